//! What the numbers of a line mean (OBIS, IEC 62056-61, as the companion standards of the P1 port list them).

use std::borrow::Cow;

/// `A-B:C.D.E`: medium, channel, quantity, processing, tariff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obis {
    pub medium: u8,
    pub channel: u8,
    pub c: u8,
    pub d: u8,
    pub e: u8,
}

impl Obis {
    /// Reads `1-0:1.8.1`, also with `*255` behind it; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split('*').next().unwrap_or(text);
        let (medium, rest) = text.split_once('-')?;
        let (channel, rest) = rest.split_once(':')?;
        let mut parts = rest.split('.').map(|part| part.parse().ok());
        let (c, d, e) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() {
            return None;
        }
        Some(Self { medium: medium.parse().ok()?, channel: channel.parse().ok()?, c, d, e })
    }

    pub fn cde(self) -> (u8, u8, u8) {
        (self.c, self.d, self.e)
    }

    /// The metric of a line of the electricity meter with one value, and the vocabulary's name that has its unit.
    pub fn metric(self) -> Option<(Cow<'static, str>, &'static str)> {
        let fixed = |metric: &'static str| Some((Cow::Borrowed(metric), metric));
        if self.medium == 0 {
            return match self.cde() {
                (96, 14, 0) => fixed("tariff"),
                (96, 7, 21) => fixed("power_failures"),
                (96, 7, 9) => fixed("long_power_failures"),
                (96, 50, 68) => fixed("breaker"),
                (96, 3, 10) if self.channel == 0 => fixed("switch_position"),
                (96, 3, 10) => Some((format!("switch_position_{}", self.channel).into(), "switch_position")),
                _ => None,
            };
        }
        if self.medium != 1 {
            return None;
        }
        // 21 to 40 are those of phase 1, 41 to 60 of phase 2, 61 to 80 of phase 3.
        let (quantity, phase) = match self.c {
            21..=80 => ((self.c - 1) % 20 + 1, Some((self.c - 1) / 20)),
            c => (c, None),
        };
        let (base, unit_of) = match (quantity, self.d) {
            (1, 7) => ("power", "power"),
            (2, 7) => ("power_returned", "power_returned"),
            (16, 7) => ("power_net", "power"),
            (1, 4) => ("power_demand", "power"),
            (2, 4) => ("power_returned_demand", "power"),
            (1, 6) => ("power_demand_max", "power"),
            (2, 6) => ("power_returned_demand_max", "power"),
            (3, 7) => ("reactive_power", "reactive_power"),
            (4, 7) => ("reactive_power_returned", "reactive_power"),
            (5, 7) => ("reactive_power_q1", "reactive_power"),
            (6, 7) => ("reactive_power_q2", "reactive_power"),
            (7, 7) => ("reactive_power_q3", "reactive_power"),
            (8, 7) => ("reactive_power_q4", "reactive_power"),
            (9, 7) => ("apparent_power", "apparent_power"),
            (10, 7) => ("apparent_power_returned", "apparent_power"),
            (11, 7) => ("current", "current"),
            (11, 4) => ("current_limit", "current"),
            (12, 7) => ("voltage", "voltage"),
            (13, 7) => ("power_factor", "power_factor"),
            (14, 7) => ("frequency", "frequency"),
            (12, 32) => ("voltage_sags", "voltage_sags"),
            (12, 36) => ("voltage_swells", "voltage_swells"),
            (1, 8) => ("energy", "energy"),
            (2, 8) => ("energy_returned", "energy"),
            (3, 8) => ("reactive_energy", "reactive_energy"),
            (4, 8) => ("reactive_energy_returned", "reactive_energy"),
            (5, 8) => ("reactive_energy_q1", "reactive_energy"),
            (6, 8) => ("reactive_energy_q2", "reactive_energy"),
            (7, 8) => ("reactive_energy_q3", "reactive_energy"),
            (8, 8) => ("reactive_energy_q4", "reactive_energy"),
            (9, 8) => ("apparent_energy", "apparent_energy"),
            (10, 8) => ("apparent_energy_returned", "apparent_energy"),
            (15, 8) => ("energy_combined", "energy"),
            (16, 8) => ("energy_net", "energy"),
            // Of the neutral conductor.
            (91, 7) => ("current_n", "current"),
            _ => return None,
        };
        let mut metric = Cow::Borrowed(base);
        if let Some(phase) = phase {
            metric = format!("{base}_l{phase}").into();
        }
        if self.d == 8 && self.e > 0 {
            metric = format!("{metric}_{}", self.e).into();
        }
        Some((metric, unit_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_names() {
        for (text, metric) in [
            ("1-0:1.8.0", Some("energy")),
            ("1-0:1.8.1", Some("energy_1")),
            ("1-0:2.8.2", Some("energy_returned_2")),
            ("1-0:1.8.0*255", Some("energy")),
            ("1-0:31.7.0", Some("current_l1")),
            ("1-0:52.7.0", Some("voltage_l2")),
            ("1-0:62.7.0", Some("power_returned_l3")),
            ("1-0:41.7.0", Some("power_l2")),
            ("1-0:72.36.0", Some("voltage_swells_l3")),
            ("1-0:73.7.0", Some("power_factor_l3")),
            ("1-1:31.4.0", Some("current_limit_l1")),
            ("1-0:1.4.0", Some("power_demand")),
            ("0-2:96.3.10", Some("switch_position_2")),
            ("1-0:99.97.0", None),
            ("0-0:96.13.0", None),
            ("0-1:24.2.1", None),
        ] {
            let found = Obis::parse(text).unwrap().metric();
            assert_eq!(found.as_ref().map(|(metric, _)| &**metric), metric, "{text}");
        }
        for text in ["", "1-0", "1-0:1.8", "1-0:1.8.1.2", "1-0:1.8.300", "a-0:1.8.1", "1-0:1.8."] {
            assert_eq!(Obis::parse(text), None, "{text}");
        }
    }
}
