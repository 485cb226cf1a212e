//! What a field or a whole payload means as one value: a number, a switch, nothing at all, or text.

use serde_json::Value;

/// The meaning of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A finite number; switches are 0 and 1.
    Value(f64),
    /// The publisher says that it has no value: null, NaN, an infinity, empty text, `unavailable`, `unknown`, `none`, `null`,
    /// `n/a`, `undefined`.
    Nothing,
    /// Other text.
    Text(&'a str),
    /// A number that does not fit into a 64-bit float, as it was written.
    TooLarge(&'a str),
    /// An array or an object.
    Compound,
}

/// Words that stand where a publisher has no value, in lower case.
const NOTHING: [&str; 11] =
    ["", "nan", "-nan", "inf", "-inf", "unavailable", "unknown", "none", "null", "n/a", "undefined"];

/// What a text means: a number in decimal (with blanks around it, with a sign, with an exponent), `true`/`false`,
/// `on`/`off` in any case, a word for nothing, or text.
pub fn of_text(text: &str) -> Scalar<'_> {
    let text = text.trim();
    if is_number(text) {
        return match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Scalar::Value(value),
            _ => Scalar::TooLarge(text),
        };
    }
    // No word is longer than `unavailable`: text of any length is compared at once.
    if text.len() <= 16 {
        let word = text.to_ascii_lowercase();
        match word.as_str() {
            "true" | "on" => return Scalar::Value(1.0),
            "false" | "off" => return Scalar::Value(0.0),
            word if NOTHING.contains(&word) || matches!(word, "infinity" | "-infinity" | "+inf") => {
                return Scalar::Nothing;
            }
            _ => {}
        }
    }
    Scalar::Text(text)
}

/// What a JSON value means; text as [`of_text`] has it.
pub fn of_json(value: &Value) -> Scalar<'_> {
    match value {
        Value::Null => Scalar::Nothing,
        Value::Bool(value) => Scalar::Value(f64::from(u8::from(*value))),
        Value::Number(number) => match number.as_f64() {
            Some(value) if value.is_finite() => Scalar::Value(value),
            _ => Scalar::TooLarge(number.as_str()),
        },
        Value::String(text) => of_text(text),
        Value::Array(_) | Value::Object(_) => Scalar::Compound,
    }
}

/// A 32-bit float as the shortest decimal number that gives it, which is what its sender had in mind: 21.1 and not
/// 21.100000381.
pub fn of_f32(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Whether this is a decimal number: not `inf`, not `nan`, not `0x10`, not a version such as `1.2.3`.
pub fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = rest.split_once(['e', 'E']).map_or((rest, None), |(m, e)| (m, Some(e)));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    !(whole.is_empty() && fraction.is_empty()) && digits(whole) && digits(fraction) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_switches_nothing_or_text() {
        for (text, value) in [
            ("21.5", 21.5),
            (" -3 ", -3.0),
            ("+.5", 0.5),
            ("1e3", 1000.0),
            ("5.", 5.0),
            ("007", 7.0),
            ("ON", 1.0),
            ("off", 0.0),
            ("True", 1.0),
        ] {
            assert_eq!(of_text(text), Scalar::Value(value), "{text}");
        }
        for text in ["", " ", "nan", "NaN", "-inf", "unavailable", "Unknown", "None", "N/A", "Infinity"] {
            assert_eq!(of_text(text), Scalar::Nothing, "{text}");
        }
        for text in ["0x10", "1.2.3", "open", "-", ".", "e5", "1e", "12:30", "21,5", "1 2", "١"] {
            assert_eq!(of_text(text), Scalar::Text(text), "{text}");
        }
        assert_eq!(of_text("1e999"), Scalar::TooLarge("1e999"));
    }

    #[test]
    fn json_values_are_read_like_texts() {
        let of = |text: &str| format!("{:?}", of_json(&serde_json::from_str(text).unwrap()));
        assert_eq!(of("\"21.5\""), "Value(21.5)");
        assert_eq!(of("true"), "Value(1.0)");
        assert_eq!(of("null"), "Nothing");
        assert_eq!(of("1e999"), "TooLarge(\"1e+999\")");
        assert_eq!(of("[1]"), "Compound");
        assert_eq!(of("\"open\""), "Text(\"open\")");
    }
}
