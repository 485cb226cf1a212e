//! What is given up when memory is above its limit, and in which order. Pure.

use crate::metrics::Shed;

/// Looks, a second apart, below the mark for one step back.
const CALM: u32 = 5;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    step: Shed,
    calm: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { step: Shed::Nothing, calm: 0 }
    }
}

impl Pressure {
    /// Looks at the anonymous memory; call it once a second. Above `limit` it goes one step further, so that each has a second
    /// to show an effect; below nine tenths of it one step back for every five looks in a row. In between it stays.
    pub fn look(&mut self, anon: u64, limit: u64) -> Shed {
        if anon > limit {
            self.calm = 0;
            self.step = self.step.further();
        } else if anon <= limit - limit / 10 {
            self.calm += 1;
            if self.calm == CALM {
                self.calm = 0;
                self.step = self.step.back();
            }
        } else {
            self.calm = 0;
        }
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_a_step_a_look_and_comes_back_slowly() {
        let mut pressure = Pressure::default();
        let mut looks = |anon: &[u64]| anon.iter().map(|a| pressure.look(*a, 1_000)).collect::<Vec<_>>();
        assert_eq!(looks(&[0, 900, 1_000]), [Shed::Nothing; 3], "the limit itself may be used");
        assert_eq!(
            looks(&[1_001, 2_000, 1_001, 1_001, 1_001]),
            [Shed::Trim, Shed::Queries, Shed::Brokers, Shed::Serial, Shed::Serial]
        );
        assert_eq!(looks(&[950; 20]), [Shed::Serial; 20], "between the marks it stays");
        assert_eq!(looks(&[900, 900, 900, 900, 901]), [Shed::Serial; 5], "not five in a row");
        assert_eq!(looks(&[900; 5])[3..], [Shed::Serial, Shed::Brokers]);
        assert_eq!(looks(&[0; 15])[4..], {
            let mut steps = vec![Shed::Queries; 5];
            steps.extend([Shed::Trim; 5]);
            steps.push(Shed::Nothing);
            steps
        });
        assert_eq!(looks(&[1_001, 0, 0, 1_001]), [Shed::Trim, Shed::Trim, Shed::Trim, Shed::Queries]);
    }

    #[test]
    fn a_limit_of_nothing_is_always_exceeded() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.look(1, 0), Shed::Trim);
        assert_eq!(pressure.look(u64::MAX, u64::MAX), Shed::Trim);
    }
}
