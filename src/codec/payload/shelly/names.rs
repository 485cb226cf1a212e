//! The fields of Shelly's components in the vocabulary's names.

use std::borrow::Cow;

use crate::codec::payload::vocabulary::Term;

/// Fields that are the same for all components: path, the vocabulary's name, unit.
const NAMES: &[(&str, &str, &str)] = &[
    ("act_power", "power", "W"),
    ("aenergy.total", "energy", "Wh"),
    ("apower", "power", "W"),
    ("aprt_power", "apparent_power", "VA"),
    ("battery", "battery", "%"),
    ("battery.V", "battery_voltage", "V"),
    ("battery.percent", "battery", "%"),
    ("current", "current", "A"),
    ("current_C", "temperature", "degC"),
    ("freq", "frequency", "Hz"),
    ("lux", "illuminance", "lx"),
    ("output", "output", ""),
    ("pf", "power_factor", ""),
    ("ret_aenergy.total", "energy_returned", "Wh"),
    ("rh", "humidity", "%"),
    ("rssi", "rssi", "dBm"),
    ("tC", "temperature", "degC"),
    ("target_C", "target_temperature", "degC"),
    ("temperature.tC", "device_temperature", "degC"),
    ("total_act", "energy", "Wh"),
    ("total_act_energy", "energy", "Wh"),
    ("total_act_power", "power", "W"),
    ("total_act_ret", "energy_returned", "Wh"),
    ("total_act_ret_energy", "energy_returned", "Wh"),
    ("total_aprt_power", "apparent_power", "VA"),
    ("total_current", "current", "A"),
    ("uptime", "uptime", "s"),
    ("voltage", "voltage", "V"),
];

/// Parts of paths below which there are no values: ids, addresses, revisions, times, settings of timers, and what is said twice.
const NO_VALUES: [&str; 26] = [
    "available_updates",
    "btrelay_rev",
    "by_minute",
    "cfg_rev",
    "id",
    "kvs_rev",
    "last_sync_ts",
    "last_updated_ts",
    "mac",
    "minute_ts",
    "move_started_at",
    "packet_id",
    "reset_reason",
    "schedule_rev",
    "sta_ip",
    "started_at",
    "tF",
    "time",
    "timer_duration",
    "timer_started_at",
    "transition",
    "ts",
    "unixtime",
    "updated_ts",
    "utc_offset",
    "webhook_rev",
];

pub(super) fn is_no_value(key: &str) -> bool {
    NO_VALUES.binary_search(&key).is_ok()
}

/// The metric of a number. `own` is the whole path with the component before it.
pub(super) fn term<'a>(own: &'a str, kind: &str, id: &str, path: &str) -> Term<'a> {
    let find = |path: &str| NAMES.binary_search_by(|(own, ..)| (*own).cmp(path)).ok().map(|at| NAMES[at]);
    // The phases a, b and c and the neutral of a three-phase meter.
    let of_phase = || {
        let (phase, field) = path.split_once('_').filter(|(phase, _)| matches!(*phase, "a" | "b" | "c" | "n"))?;
        let (_, metric, unit) = find(field)?;
        Some((format!("{metric}_{phase}"), unit))
    };
    let known = find(path).map(|(_, metric, unit)| (metric.to_owned(), unit));
    let phase = || if matches!(kind, "em" | "emdata") { of_phase() } else { None };
    let Some((mut metric, unit)) = known.or_else(phase) else { return unknown(own) };
    // The unit is that of the bare name: that of `voltage` for `voltage_a`.
    let bare = find(path).map_or(path, |(_, metric, _)| metric);
    let term = if bare == metric { Term::in_unit(&metric, unit) } else { Term::in_unit("", unit) };
    let Term { unit, factor, offset, .. } = term;
    push_id(&mut metric, id);
    Term { metric: Cow::Owned(metric), unit, factor, offset }
}

/// The metric of a switch: of a relay its output.
pub(super) fn of_switch<'a>(own: &'a str, id: &str, path: &str) -> Term<'a> {
    if path != "output" {
        return Term::unknown(own);
    }
    let mut metric = path.to_owned();
    push_id(&mut metric, id);
    Term { metric: Cow::Owned(metric), ..Term::unknown(own) }
}

/// The first component of a kind has the bare name.
fn push_id(metric: &mut String, id: &str) {
    if !matches!(id, "" | "0") {
        metric.push('_');
        metric.push_str(id);
    }
}

/// What the vocabulary has no name for; a position is in percent.
fn unknown(own: &str) -> Term<'_> {
    let percent = [".current_pos", ".target_pos", ".slat_pos", ".pos", ".percent", ".brightness"];
    if percent.iter().any(|end| own.ends_with(end)) { Term::in_unit(own, "%") } else { Term::unknown(own) }
}

/// 1 or 0 for the words in which a cover tells that it is at one of its ends; on its way it is at neither.
pub(super) fn switch(text: &str) -> Option<f64> {
    match text {
        "open" => Some(1.0),
        "closed" => Some(0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(NO_VALUES.is_sorted());
    }
}
