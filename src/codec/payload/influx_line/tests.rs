use super::*;
use crate::codec::time::Local;
use crate::reading::Timestamp;

const BASIC: &str = include_str!("../../../../tests/fixtures/payloads/influx-line-protocol/01-basic.txt");
const TWO_TAGS: &str = include_str!("../../../../tests/fixtures/payloads/influx-line-protocol/02-two-tags.txt");
const HUE: &str = include_str!("../../../../tests/fixtures/payloads/influx-line-protocol/04-int-unsigned-escape.txt");
const ROBOT: &str = include_str!("../../../../tests/fixtures/payloads/influx-line-protocol/05-escaped-space.txt");

type Row = (String, String, Option<String>, Option<String>, f64, When);

fn rows(decoded: &Decoded) -> Vec<Row> {
    let row = |r: &crate::reading::Reading| {
        let text = |t: Option<&str>| t.map(str::to_owned);
        (
            r.node.to_string(),
            r.metric.to_string(),
            text(r.own_name.as_deref()),
            text(r.unit.as_deref()),
            r.value,
            r.when,
        )
    };
    decoded.readings.iter().map(row).collect()
}

fn row(node: &str, metric: &str, own: Option<&str>, unit: Option<&str>, value: f64, when: When) -> Row {
    (node.into(), metric.into(), own.map(Into::into), unit.map(Into::into), value, when)
}

fn lines(text: &str) -> Decoded {
    decode_lines(text, Origin { node: None, fallback: "sensors/weather" })
}

#[test]
fn the_samples_are_what_their_documentation_says() {
    // Nanoseconds: 2016-06-13T17:43:50.100400200Z, what is finer than a microsecond cut.
    let at = When::Live(Timestamp(1_465_839_830_100_400));
    let basic = lines(BASIC);
    assert_eq!(rows(&basic), [row("us-midwest", "temperature", None, Some("degC"), 82.0, at)]);
    assert_eq!(
        rows(&lines(TWO_TAGS)),
        [
            row("us-midwest", "temperature", None, Some("degC"), 82.0, at),
            row("us-midwest", "humidity", None, Some("%"), 71.0, at),
        ]
    );
    // `#` within a tag's value begins no comment; the timestamp is in seconds.
    assert_eq!(
        rows(&lines(HUE)),
        [row(
            "Name#15/Name#7/0123456789ABCDEF",
            "huebridge_motion_sensor.motion",
            Some("motion"),
            None,
            0.0,
            When::Live(Timestamp(1_734_880_329_000_000))
        )]
    );
    assert_eq!(
        rows(&lines(ROBOT)),
        [
            row("robot/San Francisco/114h", "pressure", None, Some("hPa"), 1027.0, When::Arrival),
            row("robot/San Francisco/114h", "temperature", None, Some("degC"), 10.09, When::Arrival),
            row(
                "robot/San Francisco/114h",
                "weather.wind_degrees",
                Some("wind_degrees"),
                Some("deg"),
                34.0,
                When::Arrival
            ),
        ]
    );
}

#[test]
fn every_type_and_escape_of_the_reference_is_read() {
    // The examples of the line protocol reference.
    let text = "my\\ Measurement,tag\\ Key1=tag\\,Value1,tagKey2=a\\=b fieldKey=\"string \\\"value\\\" \\\\ C:\\x\" 1556813561098000000\n\
                m f=1,i=-12i,u=7u,e=-1.234456e+78 1556813561098\n\
                # a comment\n\
                \n\
                m b1=t,b2=F,b3=true,b4=FALSE,s=\"21.5\",t=\"ON\" 1556813561098000\n";
    let decoded = lines(text);
    assert_eq!(decoded.dead, []);
    let at = When::Live(Timestamp(1_556_813_561_098_000));
    let fallback = "sensors/weather";
    assert_eq!(
        rows(&decoded),
        [
            row(fallback, "m.f", Some("f"), None, 1.0, at),
            row(fallback, "m.i", Some("i"), None, -12.0, at),
            row(fallback, "m.u", Some("u"), None, 7.0, at),
            row(fallback, "m.e", Some("e"), None, -1.234_456e78, at),
            row(fallback, "m.b1", Some("b1"), None, 1.0, at),
            row(fallback, "m.b2", Some("b2"), None, 0.0, at),
            row(fallback, "m.b3", Some("b3"), None, 1.0, at),
            row(fallback, "m.b4", Some("b4"), None, 0.0, at),
            row(fallback, "m.s", Some("s"), None, 21.5, at),
            row(fallback, "m.t", Some("t"), None, 1.0, at),
        ]
    );
    let event = &decoded.events[0];
    // No tag of the list: all of them name the node, by the order of their keys.
    assert_eq!((&*event.node, &*event.kind), ("tag,Value1/a=b", "my Measurement.fieldKey"));
    assert_eq!((&*event.data, event.when), ("string \"value\" \\ C:\\x", at));
}

#[test]
fn series_of_one_host_stay_apart() {
    let text = "cpu,cpu=cpu0,host=pi usage_idle=90 1734880329\n\
                cpu,cpu=cpu1,host=pi usage_idle=80 1734880329\n\
                mem,host=pi used_percent=40 1734880329\n\
                swap,host=pi used_percent=4 1734880329\n\
                disk,device=sda1,fstype=ext4,host=pi,mode=rw,path=/ used_percent=7 1734880329\n\
                temp,host=pi value=51.5 1734880329\n";
    let at = When::Live(Timestamp(1_734_880_329_000_000));
    assert_eq!(
        rows(&lines(text)),
        [
            row("pi/cpu0", "cpu.usage_idle", Some("usage_idle"), None, 90.0, at),
            row("pi/cpu1", "cpu.usage_idle", Some("usage_idle"), None, 80.0, at),
            row("pi", "mem.used_percent", Some("used_percent"), Some("%"), 40.0, at),
            row("pi", "swap.used_percent", Some("used_percent"), Some("%"), 4.0, at),
            row("pi/sda1//", "disk.used_percent", Some("used_percent"), Some("%"), 7.0, at),
            row("pi", "temperature", Some("value"), Some("degC"), 51.5, at),
        ]
    );
    let named = decode_lines(text, Origin { node: Some("pi"), fallback: "telegraf/pi/cpu" });
    let of = |r: &crate::reading::Reading| format!("{} {}", r.node, r.metric);
    assert_eq!(
        named.readings.iter().map(of).collect::<Vec<_>>(),
        [
            "pi cpu0.cpu.usage_idle",
            "pi cpu1.cpu.usage_idle",
            "pi mem.used_percent",
            "pi swap.used_percent",
            "pi sda1./.disk.used_percent",
            "pi temperature",
        ]
    );
}

#[test]
fn points_that_differ_by_a_tag_are_two_series() {
    assert!(DESCRIBING.is_sorted());
    let text = "mqtt_consumer,host=tele,topic=sensors/kitchen temperature=21 1734880329\n\
                mqtt_consumer,host=tele,topic=sensors/bath temperature=23 1734880329\n\
                gauge,host=h,colour=red,shade=dark value=1 1734880329\n\
                gauge,host=h,colour=blue,shade=dark value=2 1734880329\n\
                bme280,host=h temperature=20 1734880329\n\
                ds18b20,host=h temperature=22 1734880329\n\
                bme280,host=h,region=eu temperature=24 1734880329\n\
                bme280,host=h temperature=25 1734880330\n\
                bme280,host=h,region=eu temperature=26 1734880331\n";
    let lines = lines(text);
    let shown: Vec<_> = lines.readings.iter().map(|r| format!("{} {} {}", r.node, r.metric, r.value)).collect();
    assert_eq!(
        shown,
        [
            "tele/sensors/kitchen temperature 21",
            "tele/sensors/bath temperature 23",
            "h/red/dark gauge 1",
            "h/blue/dark gauge 2",
            "h temperature 20",
            // These would be the same as the one before.
            "h ds18b20.temperature 22",
            "h/eu temperature 24",
            "h temperature 25",
            "h temperature 26",
        ]
    );
}

#[test]
fn points_without_a_time_are_all_kept() {
    let lines = lines(
        "m,host=h temperature=1\nm,host=h temperature=2\nm,host=h temperature=3 1734880329\nm,host=h temperature=4 1734880329",
    );
    let shown: Vec<_> = lines.readings.iter().map(|r| r.value).collect();
    // As in Influx, the last of two for the same time wins.
    assert_eq!(shown, [1.0, 2.0, 4.0]);
}

#[test]
fn a_bad_line_is_told_with_its_place_and_the_others_are_kept() {
    for (line, detail) in [
        ("weather", "line 2, column 8: expected a blank and a field such as `temperature=21.5`"),
        ("weather,location=a", "line 2, column 19: expected a blank and a field such as `temperature=21.5`"),
        ("weather,=a x=1", "line 2, column 9: expected a tag's key"),
        ("weather,a= x=1", "line 2, column 11: expected a tag's value"),
        ("weather,a x=1", "line 2, column 10: expected `=` behind the key"),
        ("weather x", "line 2, column 10: expected `=` behind the key"),
        (
            "wétter x=",
            "line 2, column 10: expected a value: a number, a number with i or u, true, false, or text in double quotes",
        ),
        ("weather x=1 1 2", "line 2, column 13: expected a timestamp in integers, or the end"),
        ("weather x=\"a", "line 2, column 11: expected the text's closing quote in the same line"),
        ("weather x=\"a\"b", "line 2, column 14: expected `,`, a blank or the end behind the field's value"),
        (
            "weather x=1.5i",
            "line 2, column 11: expected a value: a number, a number with i or u, true, false, or text in double quotes",
        ),
        (",a=b x=1", "line 2, column 1: expected a measurement's name"),
    ] {
        let decoded = lines(&format!("a x=1\n{line}\nb x=2"));
        assert_eq!(decoded.readings.len(), 2, "{line}");
        let dead: Vec<_> = decoded.dead.iter().map(|d| (d.reason, d.detail.as_str(), d.excerpt.as_slice())).collect();
        assert_eq!(dead, [(DeadReason::Malformed, detail, line.as_bytes())]);
    }
    let many = lines(&"x\n".repeat(1_000));
    assert_eq!(many.dead.len(), MAX_BAD_LINES + 1);
    assert!(many.dead.iter().any(|d| d.detail == "980 more lines are no points"));
}

#[test]
fn times_that_are_none_and_numbers_that_do_not_fit() {
    assert_eq!(rows(&lines("m value=1 0")), [row("sensors/weather", "m", Some("value"), None, 1.0, When::Arrival)]);
    let large = lines("m value=1e999,i=99999999999999999999i");
    assert_eq!(large.dead.iter().map(|d| d.reason).collect::<Vec<_>>(), [DeadReason::BadNumber; 2]);
    assert_eq!(lines("# only a comment").dead[0].reason, DeadReason::NoReading);
    // InfluxDB knows no infinity: neither does a line.
    assert_eq!(lines("m value=NaN").dead[0].reason, DeadReason::Malformed);
}

#[test]
fn only_points_are_recognised() {
    let is = |payload: &str| {
        recognises(&Message {
            topic: "t",
            payload: payload.as_bytes(),
            node: None,
            metric: None,
            time: None,
            local: Local::UTC,
            retain: false,
        })
    };
    for text in [BASIC, TWO_TAGS, HUE, ROBOT, "# c\n\nm x=1\nm x=2 12"] {
        assert!(is(text), "{text}");
    }
    for text in ["{\"a\":1}", "temp=21 hum=40", "21.5", "a,b,c", "hello world", "", "# c", "m x=1\nbad"] {
        assert!(!is(text), "{text}");
    }
}
