//! The fields of a sentence, by the published descriptions of NMEA 0183 ("NMEA Revealed" and receivers' manuals).

use std::borrow::Cow;

use chrono::NaiveDate;

use super::Memory;
use crate::codec::payload::found::Found;
use crate::codec::payload::scalar::{Scalar, of_text};
use crate::codec::payload::vocabulary::Term;
use crate::reading::DeadReason;

/// Most transducers of one XDR sentence: four fields each.
const TRANSDUCERS: usize = 64;

struct Sentence<'a, 'f, 'p> {
    kind: &'a str,
    fields: Vec<&'a str>,
    memory: &'a mut Memory,
    found: &'f mut Found<'p>,
}

/// Reads a sentence without `$` and checksum.
pub fn read(text: &str, memory: &mut Memory, found: &mut Found<'_>) {
    let fields: Vec<&str> = text.split(',').collect();
    let address = fields[0];
    // Two characters of the talker, three of the kind; `P` and a maker's name is something else.
    if address.len() != 5 || address.starts_with('P') {
        return;
    }
    let (talker, kind) = address.split_at(2);
    let mut s = Sentence { kind, fields, memory, found };
    match kind {
        "GGA" => s.gga(),
        "GNS" => s.gns(),
        "RMC" => s.rmc(),
        "GLL" => s.gll(),
        "VTG" => s.vtg(),
        "GSA" => s.gsa(),
        "GSV" => s.gsv(talker),
        "ZDA" => s.zda(),
        "HDT" => s.metric("heading", 1, "deg"),
        "THS" if s.field(2) != "V" => s.metric("heading", 1, "deg"),
        "HDM" | "HDG" => s.metric("heading_magnetic", 1, "deg"),
        "ROT" if s.field(2) == "A" => s.metric("rate_of_turn", 1, "deg/min"),
        "VHW" => s.metric("water_speed", 5, "kn"),
        "MTW" => s.metric("water_temperature", 1, "C"),
        "MTA" => s.metric("temperature", 1, "C"),
        "MHU" => s.metric("humidity", 1, "%"),
        "MMB" => s.metric("pressure", 3, "bar"),
        "MDA" => s.mda(),
        "MWV" => s.mwv(),
        "MWD" => s.mwd(),
        "DBT" => s.depth("depth"),
        "DPT" => s.metric("depth", 1, "m"),
        "DBS" => s.depth("depth_below_surface"),
        "DBK" => s.depth("depth_below_keel"),
        "XDR" => s.xdr(),
        _ => {}
    }
}

impl<'a> Sentence<'a, '_, '_> {
    fn field(&self, at: usize) -> &'a str {
        self.fields.get(at).copied().unwrap_or("").trim()
    }

    fn bad(&mut self, at: usize, expected: &str) {
        let detail = format!("field {at} of {} is `{}`, expected {expected}", self.kind, self.field(at));
        self.found.dead(DeadReason::Malformed, detail);
    }

    /// A number; none where the field is empty.
    fn number(&mut self, at: usize) -> Option<f64> {
        match of_text(self.field(at)) {
            Scalar::Value(value) => Some(value),
            Scalar::Nothing => None,
            _ => {
                self.bad(at, "a number");
                None
            }
        }
    }

    fn tell(&mut self, metric: &'static str, unit: &str, value: f64) {
        if self.memory.first(metric) {
            let when = self.memory.when();
            self.found.value(&self.memory.node, metric, &Term::in_unit(metric, unit), value, when);
        }
    }

    /// A metric that is one field.
    fn metric(&mut self, metric: &'static str, at: usize, unit: &str) {
        if let Some(value) = self.number(at) {
            self.tell(metric, unit, value);
        }
    }

    /// `hhmmss.ss` in microseconds of the day.
    fn time(&mut self, at: usize) {
        let text = self.field(at);
        if text.is_empty() {
            return;
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let clock = (whole.len() == 6 && digits(whole) && digits(fraction)).then(|| {
            let two = |at: usize| whole[at..at + 2].parse::<i64>().unwrap_or(99);
            let micros =
                (0..6).fold(0, |m, at| m * 10 + fraction.as_bytes().get(at).map_or(0, |b| i64::from(b - b'0')));
            // A leap second is the second after it.
            (two(0) < 24 && two(2) < 60 && two(4) <= 60)
                .then(|| (two(0) * 3_600 + two(2) * 60 + two(4)) * 1_000_000 + micros)
        });
        match clock.flatten() {
            Some(clock) => self.memory.at(clock),
            None => self.bad(at, "a time such as 092750.00"),
        }
    }

    /// `ddmm.mmmm,N,dddmm.mmmm,W`.
    fn position(&mut self, at: usize) {
        let pairs = [("latitude", at, 90.0, ["N", "S"]), ("longitude", at + 2, 180.0, ["E", "W"])];
        for (metric, at, most, sides) in pairs {
            let side = self.field(at + 1);
            let text = self.field(at);
            if text.is_empty() {
                return;
            }
            // The two digits before the point are minutes.
            let split = text.find('.').unwrap_or(text.len()).checked_sub(2);
            let parts = split
                .and_then(|at| text.split_at_checked(at))
                .map(|(degrees, minutes)| (of_text(if degrees.is_empty() { "0" } else { degrees }), of_text(minutes)));
            let value = match parts {
                Some((Scalar::Value(degrees), Scalar::Value(minutes)))
                    if degrees >= 0.0 && (0.0..60.0).contains(&minutes) =>
                {
                    degrees + minutes / 60.0
                }
                _ => f64::NAN,
            };
            // False for what is not a number, too.
            let fits = value <= most;
            if !fits {
                self.bad(at, if metric == "latitude" { "ddmm.mmmm" } else { "dddmm.mmmm" });
                return;
            }
            if !sides.contains(&side) {
                self.bad(at + 1, &sides.join(" or "));
                return;
            }
            self.tell(metric, "deg", if side == sides[1] { -value } else { value });
        }
    }

    fn gga(&mut self) {
        self.time(1);
        let Some(quality) = self.number(6) else { return };
        self.tell("fix_quality", "", quality);
        self.metric("satellites", 7, "");
        // 0 is no fix, 7 was typed in, 8 is made up.
        if quality != 0.0 && quality != 7.0 && quality != 8.0 {
            self.position(2);
            self.metric("hdop", 8, "");
            self.metric("altitude", 9, "m");
            self.metric("geoid_separation", 11, "m");
        }
    }

    fn gns(&mut self) {
        self.time(1);
        let fix = self.field(6).chars().any(|mode| !matches!(mode, 'N' | 'M' | 'S'));
        self.metric("satellites", 7, "");
        if fix {
            self.position(2);
            self.metric("hdop", 8, "");
            self.metric("altitude", 9, "m");
            self.metric("geoid_separation", 10, "m");
        }
    }

    /// Whether a sentence with this status and this mode, where there is one, has a fix.
    fn fix(&self, status: usize, mode: usize) -> bool {
        self.field(status) == "A" && !matches!(self.field(mode), "N" | "M" | "S")
    }

    fn rmc(&mut self) {
        self.time(1);
        if !self.fix(2, 12) {
            return;
        }
        let date = self.field(9);
        if date.len() == 6 && date.bytes().all(|b| b.is_ascii_digit()) {
            let two = |at: usize| date[at..at + 2].parse::<u32>().unwrap_or(0);
            // The first satellites are of 1980.
            let year = if two(4) < 80 { 2000 } else { 1900 } + two(4);
            match NaiveDate::from_ymd_opt(i32::try_from(year).unwrap_or(0), two(2), two(0)) {
                Some(date) => self.memory.dated(date, self.found),
                None => self.bad(9, "a date as ddmmyy"),
            }
        } else if !date.is_empty() {
            self.bad(9, "a date as ddmmyy");
        }
        self.position(3);
        self.metric("speed", 7, "kn");
        self.metric("course", 8, "deg");
    }

    fn gll(&mut self) {
        self.time(5);
        if self.fix(6, 7) {
            self.position(1);
        }
    }

    fn vtg(&mut self) {
        if matches!(self.field(9), "N" | "M" | "S") {
            return;
        }
        self.metric("course", 1, "deg");
        if self.field(5).is_empty() {
            self.metric("speed", 7, "km/h");
        } else {
            self.metric("speed", 5, "kn");
        }
    }

    fn gsa(&mut self) {
        let Some(mode) = self.number(2) else { return };
        self.tell("fix_mode", "", mode);
        if mode > 1.0 {
            self.metric("pdop", 15, "");
            self.metric("hdop", 16, "");
            self.metric("vdop", 17, "");
        }
    }

    /// The first of several sentences has the number of all.
    fn gsv(&mut self, talker: &str) {
        if self.field(2).trim_start_matches('0') != "1" {
            return;
        }
        let metric = match talker {
            "GP" => "satellites_in_view_gps",
            "GL" => "satellites_in_view_glonass",
            "GA" => "satellites_in_view_galileo",
            "GB" | "BD" => "satellites_in_view_beidou",
            "GQ" | "QZ" => "satellites_in_view_qzss",
            "GI" => "satellites_in_view_navic",
            _ => "satellites_in_view",
        };
        self.metric(metric, 3, "");
    }

    fn zda(&mut self) {
        self.time(1);
        let part = |at: usize| self.field(at).parse::<u32>().ok();
        let (Some(day), Some(month), Some(year)) = (part(2), part(3), part(4)) else { return };
        match NaiveDate::from_ymd_opt(i32::try_from(year.min(9_999)).unwrap_or(0), month, day) {
            Some(date) => self.memory.dated(date, self.found),
            None => self.bad(2, "a date as dd,mm,yyyy"),
        }
    }

    fn mda(&mut self) {
        for (metric, at, unit) in [
            ("pressure", 3, "bar"),
            ("temperature", 5, "C"),
            ("water_temperature", 7, "C"),
            ("humidity", 9, "%"),
            ("absolute_humidity", 10, "%"),
            ("dew_point", 11, "C"),
            ("wind_direction_true", 13, "deg"),
            ("wind_speed", 19, "m/s"),
        ] {
            // Field 10 is a ratio that few know; the vocabulary's quantity is another.
            if metric != "absolute_humidity" {
                self.metric(metric, at, unit);
            }
        }
    }

    /// In feet, metres and fathoms; some fill in only one.
    fn depth(&mut self, metric: &'static str) {
        if !self.field(3).is_empty() {
            self.metric(metric, 3, "m");
        } else if let Some(feet) = self.number(1) {
            self.tell(metric, "m", feet * 0.3048);
        }
    }

    /// Wind as it is felt (`R`), or computed for still water (`T`).
    fn mwv(&mut self) {
        if self.field(5) != "A" {
            return;
        }
        let (direction, speed) = match self.field(2) {
            "R" => ("wind_direction", "wind_speed"),
            "T" => ("wind_direction_true", "wind_speed_true"),
            _ => return self.bad(2, "R or T"),
        };
        let unit = match self.field(4) {
            "N" => "kn",
            "K" => "km/h",
            "M" => "m/s",
            "S" => "mph",
            _ => return self.bad(4, "N, K, M or S"),
        };
        self.metric(direction, 1, "deg");
        // The unit is told by the name without its suffix.
        if let Some(value) = self.number(3)
            && self.memory.first(speed)
        {
            let term = Term { metric: Cow::Borrowed(speed), ..Term::in_unit("wind_speed", unit) };
            self.found.value(&self.memory.node, speed, &term, value, self.memory.when());
        }
    }

    fn mwd(&mut self) {
        self.metric("wind_direction_true", 1, "deg");
        if self.field(7).is_empty() {
            if let Some(knots) = self.number(5) {
                self.tell("wind_speed_true", "m/s", knots * 1852.0 / 3600.0);
            }
        } else {
            self.metric("wind_speed_true", 7, "m/s");
        }
    }

    /// Transducers: type, value, unit, name.
    fn xdr(&mut self) {
        let groups = (self.fields.len() - 1).div_ceil(4).min(TRANSDUCERS);
        for at in (0..groups).map(|group| 1 + 4 * group) {
            let (quantity, unit) = match (self.field(at), self.field(at + 2)) {
                ("C", "F") => ("temperature", "degF"),
                ("C", "K") => ("temperature", "K"),
                ("C", _) => ("temperature", "degC"),
                ("P", "B") => ("pressure", "bar"),
                ("P", "P") => ("pressure", "Pa"),
                ("P", _) => ("pressure", ""),
                ("H", _) => ("humidity", "%"),
                ("A", _) => ("angle", "deg"),
                ("D", _) => ("distance", "m"),
                ("F", _) => ("frequency", "Hz"),
                ("I", _) => ("current", "A"),
                ("U", _) => ("voltage", "V"),
                ("N", _) => ("force", "N"),
                ("R", _) => ("flow", "L/s"),
                ("T", _) => ("tachometer", "1/min"),
                ("V", _) => ("volume", "m3"),
                ("L", _) => ("salinity", "ppt"),
                ("S", _) => ("switch", ""),
                ("G", _) => ("generic", ""),
                _ => continue,
            };
            let Some(value) = self.number(at + 1) else { continue };
            let name = self.field(at + 3);
            let term = Term::in_unit(quantity, unit);
            let metric = if name.is_empty() { quantity.to_owned() } else { format!("{quantity}_{name}") };
            let term = Term { metric: Cow::Owned(metric), ..term };
            let own_name = if name.is_empty() { quantity } else { name };
            self.found.value(&self.memory.node, own_name, &term, value, self.memory.when());
        }
    }
}
