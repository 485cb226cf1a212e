//! Plausible values of a greenhouse: a curve of the day and a slowly wandering noise. Pure; the same seed gives the same
//! values.

use std::f64::consts::TAU;

/// Xorshift64: small, fast and good enough for weather.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state that xorshift never leaves.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from `low` to `high`, both included; `low` where they are in the wrong order.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        let step = self.next() % width.saturating_add(1);
        low.saturating_add_unsigned(step)
    }
}

/// The air at one place of the greenhouse.
#[derive(Clone, Debug)]
pub(super) struct Climate {
    dice: Dice,
    warmer: i64,
    wander: i64,
}

/// Temperature in 0.01 degC and relative humidity in 0.01 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Air {
    pub(super) centi_celsius: i64,
    pub(super) centi_percent: i64,
}

impl Climate {
    /// A place; `seed` says which one.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let warmer = dice.between(-150, 150);
        Self { dice, warmer, wander: 0 }
    }

    /// The air at `unix` seconds: warmest and driest at 15:00 UTC.
    pub(super) fn at(&mut self, unix: i64) -> Air {
        self.wander = (self.wander * 9 / 10 + self.dice.between(-8, 8)).clamp(-60, 60);
        #[expect(clippy::cast_precision_loss, reason = "a second of the day is below 2^53")]
        let day = (unix.rem_euclid(86_400) as f64 / 86_400.0 - 0.375) * TAU;
        #[expect(clippy::cast_possible_truncation, reason = "a sine times 600 fits")]
        let swing = (day.sin() * 600.0).round() as i64;
        let centi_celsius = 2_050 + self.warmer + swing + self.wander;
        let centi_percent = (6_400 - 2 * swing - 3 * self.wander).clamp(0, 10_000);
        Air { centi_celsius, centi_percent }
    }

    /// For what varies beside the air, such as the strength of a signal.
    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_values_and_others_give_others() {
        let air = |seed| Climate::new(seed).at(1_760_000_000);
        assert_eq!(air(3), air(3));
        assert_ne!(air(3), air(4));
    }

    #[test]
    fn a_day_is_warm_at_three_cold_at_night_and_never_jumps() {
        let mut climate = Climate::new(2);
        let midnight = 1_760_054_400;
        assert_eq!(midnight % 86_400, 0);
        let day: Vec<Air> = (0..2_880).map(|i| climate.at(midnight + i * 30)).collect();
        for pair in day.windows(2) {
            assert!((pair[1].centi_celsius - pair[0].centi_celsius).abs() <= 25, "{pair:?}");
            assert!((pair[1].centi_percent - pair[0].centi_percent).abs() <= 75, "{pair:?}");
        }
        // 15:00 and 03:00: the curve's ends, plus or minus place and noise.
        assert!((2_440..=2_860).contains(&day[1_800].centi_celsius), "{:?}", day[1_800]);
        assert!((1_240..=1_660).contains(&day[360].centi_celsius), "{:?}", day[360]);
        assert!(day.iter().all(|air| (4_900..=7_900).contains(&air.centi_percent)));
    }

    #[test]
    fn dice_stay_between_their_ends() {
        let mut dice = Dice::new(0);
        let rolls: Vec<i64> = (0..1_000).map(|_| dice.between(-2, 2)).collect();
        for n in -2..=2 {
            assert!(rolls.contains(&n));
        }
        assert!(rolls.iter().all(|n| (-2..=2).contains(n)));
        assert_eq!(dice.between(7, 7), 7);
        assert_eq!(dice.between(7, 3), 7);
    }
}
