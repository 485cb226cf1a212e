use super::*;
use crate::reading::{Reading, Timestamp};
use crate::zone::Tz;

fn message<'a>(topic: &'a str, payload: &'a str) -> Message<'a> {
    Message {
        topic,
        payload: payload.as_bytes(),
        node: None,
        metric: None,
        time: None,
        local: Local::UTC,
        retain: false,
    }
}

/// `node metric=value unit @time`, for short.
fn shown_reading(r: &Reading) -> String {
    let unit = r.unit.as_deref().map_or_else(String::new, |unit| format!(" {unit}"));
    let own = r.own_name.as_deref().map_or_else(String::new, |own| format!(" ({own})"));
    let when = match r.when {
        When::Arrival => String::new(),
        When::Live(ts) => format!(" @{ts}"),
        When::Stored(ts) => format!(" stored @{ts}"),
    };
    format!("{} {}={}{unit}{own}{when}", r.node, r.metric, r.value)
}

fn readings(decoded: &Decoded) -> Vec<String> {
    decoded.readings.iter().map(shown_reading).collect()
}

#[test]
fn a_table_with_a_header() {
    let text = "time,node,temperature [degC],pressure_pa,state\n\
                2025-10-09T08:53:20Z,t1,21.5,101300,ok\n\
                2025-10-09T08:53:30Z,t2,NaN,,\"a, \"\"quoted\"\" text\"\n";
    let decoded = decode(&message("site/csv", text));
    assert_eq!(
        readings(&decoded),
        [
            "t1 temperature=21.5 degC (temperature [degC]) @2025-10-09T08:53:20Z",
            "t1 pressure=1013 hPa (pressure_pa) @2025-10-09T08:53:20Z",
        ]
    );
    let events: Vec<_> = decoded.events.iter().map(|e| (&*e.node, &*e.kind, e.data.as_str())).collect();
    assert_eq!(events, [("t1", "state", "ok"), ("t2", "state", "a, \"quoted\" text")]);
    assert_eq!(decoded.dead, []);
}

#[test]
fn decimal_commas_local_times_and_date_beside_time() {
    let berlin = Local::of(Tz::Europe__Berlin);
    let text = "Datum;Uhrzeit;Temp (°F);Feuchte\n9.10.2025;10:53;70,7;1,234\n";
    let decoded = decode(&Message { local: berlin, ..message("garden", text) });
    assert_eq!(
        decoded.readings[1],
        Reading {
            node: "garden".into(),
            metric: "Feuchte".into(),
            own_name: None,
            unit: None,
            when: When::Live(Timestamp(1_760_000_000_000_000 - 20_000_000)),
            value: 1.234,
        }
    );
    assert!((decoded.readings[0].value - 21.5).abs() < 1e-9);
    assert_eq!((&*decoded.readings[0].metric, decoded.readings[0].unit.as_deref()), ("temperature", Some("degC")));
    // A name that says UTC comes before the node's zone.
    let utc = decode(&Message { local: berlin, ..message("g", "Time (UTC)\tx\n2025-10-09 08:53:20\t1,5\n") });
    assert_eq!(readings(&utc), ["g x=1.5 @2025-10-09T08:53:20Z"]);
}

#[test]
fn rows_without_a_header() {
    assert_eq!(readings(&decode(&message("t", "21.5,40,ON"))), ["t column_1=21.5", "t column_2=40", "t column_3=1"]);
    assert_eq!(
        readings(&decode(&message("t", "1760000000,kitchen,21.5"))),
        ["kitchen column_3=21.5 @2025-10-09T08:53:20Z"]
    );
    assert_eq!(readings(&decode(&message("t", "42"))), ["t value=42"]);
    let named = Message { node: Some("n"), metric: Some("temp"), ..message("n/temp", "2025-10-09 08:53:20,21.5") };
    assert_eq!(readings(&decode(&named)), ["n temperature=21.5 degC (temp) @2025-10-09T08:53:20Z"]);
    let both = Message { node: Some("site"), ..message("site/csv", "node,temp\nt1,21.5\nsite,3") };
    assert_eq!(readings(&decode(&both)), ["site/t1 temperature=21.5 degC (temp)", "site temperature=3 degC (temp)"]);
}

#[test]
fn rows_that_do_not_fit_are_told_with_their_line() {
    let decoded = decode(&message("t", "a,b\n1,2\n3\n4,5,\n6,7,8\n"));
    // Rows without a time are all kept.
    assert_eq!(readings(&decoded), ["t a=1", "t b=2", "t a=4", "t b=5"]);
    let dead: Vec<_> = decoded.dead.iter().map(|d| (d.reason, d.detail.as_str())).collect();
    assert_eq!(
        dead,
        [
            (DeadReason::Malformed, "line 3: 1 cells: expected 2 as in the header"),
            (DeadReason::Malformed, "line 5: 3 cells: expected 2 as in the header"),
        ]
    );
    let many = decode(&message("t", &format!("a,b\n{}", "1,2\n1,2,3\n".repeat(100))));
    assert_eq!(many.dead.len(), MAX_BAD_ROWS + 1);
    let wide = decode(&message("t", &"1,".repeat(300)));
    assert_eq!(wide.dead[0].reason, DeadReason::TooManyValues);
    assert_eq!(decode(&message("t", "  \n")).dead[0].reason, DeadReason::NoReading);
    let bad_time = decode(&message("t", "time,x\nnoon,1\n0,2\n"));
    assert_eq!(readings(&bad_time), ["t x=1", "t x=2"]);
    assert_eq!((&*bad_time.events[0].kind, bad_time.events.len()), ("clock", 1));
}

#[test]
fn a_port_sends_its_rows_one_by_one() {
    let mut rows = Rows::new(Options { node: "port".into(), ..Options::default() });
    let all: Vec<String> = ["# temp,hum", "21.5,40", "# a comment", "\"22\",41", "hum,temp", "42,23", "boot,done"]
        .iter()
        .flat_map(|line| readings(&rows.line(line, Local::UTC)))
        .collect();
    assert_eq!(
        all,
        [
            "port temperature=21.5 degC (temp)",
            "port humidity=40 % (hum)",
            "port temperature=22 degC (temp)",
            "port humidity=41 % (hum)",
            "port humidity=42 % (hum)",
            "port temperature=23 degC (temp)",
        ]
    );
    // A header that was cut is forgotten once the rows never fit it.
    rows.forget();
    for line in ["mp,hum", "1,2,3", "1,2,3", "1,2,3"] {
        assert_eq!(rows.line(line, Local::UTC).readings, []);
    }
    assert_eq!(readings(&rows.line("1,2,3", Local::UTC)).len(), 3);
    let columns = Some(vec!["time".into(), "co2".into()]);
    let mut fixed = Rows::new(Options { node: "port".into(), columns, ..Options::default() });
    assert_eq!(readings(&fixed.line("1760000000,640", Local::UTC)), ["port co2=640 ppm @2025-10-09T08:53:20Z"]);
}

#[test]
fn only_tables_are_recognised() {
    for (text, is) in [
        ("temp,hum\n21.5,40", true),
        ("2025-10-09 08:53:20;21,5", true),
        ("1760000000,21.5", true),
        ("21.5", false),
        ("21,5", false),
        ("255,128,0", false),
        ("hello, world", false),
        ("{\"a\":1,\"b\":2}", false),
        ("weather,location=a temperature=82 1465839830100400200", false),
        ("", false),
    ] {
        assert_eq!(recognises(&message("t", text)), is, "{text}");
    }
}
