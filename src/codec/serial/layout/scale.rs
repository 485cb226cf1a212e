//! Scale and offset as they are written, in fractions of integers: 2115 * 0.01 is 21.15 and not 21.150000000000002.

/// Integers stay below this, so that a product of two fits into an `i128`.
const MOST: i128 = 1_000_000_000_000_000_000;
/// Up to here every integer is a float.
const EXACT: i128 = 1 << 53;

/// `(raw * mul + add) / div`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    mul: i128,
    add: i128,
    div: i128,
}

/// A decimal number as it is written: digits over a power of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    power: i128,
}

impl Decimal {
    /// `[+-]digits[.digits][e[+-]digits]` with at most 18 digits; `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = format!("{whole}{fraction}");
        if written.is_empty() || written.len() > 18 || !written.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = written.parse::<i128>().ok()?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs()).filter(|power| *power <= MOST)?;
        let digits = if negative { -digits } else { digits };
        if exponent < 0 {
            return Some(Self { digits, power });
        }
        digits.checked_mul(power).filter(|d| d.abs() <= MOST).map(|digits| Self { digits, power: 1 })
    }

    /// As a float.
    #[expect(clippy::cast_precision_loss, reason = "both are exact up to 2^53, and rounded once beyond")]
    pub fn value(self) -> f64 {
        self.digits as f64 / self.power as f64
    }

    /// As an integer, where it is one.
    pub fn integer(self) -> Option<i128> {
        (self.digits % self.power == 0).then(|| self.digits / self.power)
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self { mul: 1, add: 0, div: 1 }
    }
}

impl Scale {
    /// What is computed next; `None` for a factor of zero and for more digits than can be kept.
    pub fn then(self, operator: char, by: Decimal) -> Option<Self> {
        let Self { mul, add, div } = self;
        let Decimal { digits, power } = by;
        let (mul, add, div) = match operator {
            '*' if digits != 0 => (mul * digits, add * digits, div * power),
            '/' if digits != 0 => (mul * power, add * power, div * digits),
            '+' => (mul * power, add.checked_mul(power)?.checked_add(digits.checked_mul(div)?)?, div * power),
            '-' => (mul * power, add.checked_mul(power)?.checked_sub(digits.checked_mul(div)?)?, div * power),
            _ => return None,
        };
        let common = gcd(gcd(mul, add), div) * div.signum();
        let (mul, add, div) = (mul / common, add / common, div / common);
        [mul, add, div].iter().all(|n| n.abs() <= MOST).then_some(Self { mul, add, div })
    }

    /// Whether it changes nothing.
    pub fn is_one(self) -> bool {
        self == Self::default()
    }

    /// An integer's value.
    #[expect(clippy::cast_precision_loss, reason = "rounded once, by the division, where it can be")]
    pub fn of_integer(self, raw: i128) -> f64 {
        match raw.checked_mul(self.mul).and_then(|product| product.checked_add(self.add)) {
            Some(numerator) if numerator.abs() <= EXACT && self.div <= EXACT => numerator as f64 / self.div as f64,
            _ => self.of_float(raw as f64),
        }
    }

    /// A float's value.
    #[expect(clippy::cast_precision_loss, reason = "the value is one of a float")]
    pub fn of_float(self, raw: f64) -> f64 {
        (raw * self.mul as f64 + self.add as f64) / self.div as f64
    }

    /// The other way.
    #[expect(clippy::cast_precision_loss, reason = "the caller rounds")]
    pub fn back(self, value: f64) -> f64 {
        (value * self.div as f64 - self.add as f64) / self.mul as f64
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(steps: &[(char, &str)]) -> Option<Scale> {
        steps.iter().try_fold(Scale::default(), |scale, (op, by)| scale.then(*op, Decimal::parse(by)?))
    }

    #[test]
    fn values_are_those_of_a_pocket_calculator() {
        for (steps, raw, expected) in [
            ([('*', "0.01")].as_slice(), 2115, 21.15),
            (&[('*', "0.01")], -2115, -21.15),
            (&[('/', "10")], 3, 0.3),
            (&[('*', "0.1"), ('+', "-40")], 613, 21.3),
            (&[('-', "40"), ('*', "0.1")], 613, 57.3),
            (&[('/', "10"), ('-', "273.15")], 2953, 22.15),
            (&[('*', "1e3")], 2, 2000.0),
            (&[('*', "1.5e-3")], 7, 0.0105),
            (&[('/', "0.5")], 7, 14.0),
            (&[('/', "-4")], 7, -1.75),
            (&[('*', "9"), ('/', "5"), ('+', "32")], 100, 212.0),
        ] {
            let scale = scale(steps).unwrap();
            assert_eq!(scale.of_integer(raw), expected, "{steps:?}");
            assert!((scale.back(expected) - f64::from(i32::try_from(raw).unwrap())).abs() < 1e-6, "{steps:?}");
        }
    }

    #[test]
    fn what_is_no_scale_is_refused() {
        for steps in [[('*', "0")].as_slice(), &[('/', "0.0")], &[('*', "1e19")], &[('*', "1e18"), ('*', "10")]] {
            assert_eq!(scale(steps), None, "{steps:?}");
        }
        for text in ["", "-", ".", "1e", "0x10", "1.2.3", "1234567890123456789", "1e99999999999", "1e-2147483648"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert_eq!(Decimal::parse("-1.50").unwrap().value(), -1.5);
        assert_eq!(
            (Decimal::parse("2.0").unwrap().integer(), Decimal::parse("2.5").unwrap().integer()),
            (Some(2), None)
        );
    }
}
