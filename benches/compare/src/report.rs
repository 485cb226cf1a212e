//! The tables of docs/performance.md, made of the newest line of each figure. What stands outside of the markers stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::common::machine;
use crate::common::result::{Spread, folder, short};

/// One figure.
struct Figure {
    runs: Vec<f64>,
    load: f64,
    at: String,
    commit: String,
    mode: String,
}

type Figures = BTreeMap<String, Figure>;

/// A budget: what, key of the figure, the worst that must be reached, what is aimed at, and the unit. Where the aim is
/// above the bound, more is better.
struct Budget(&'static str, &'static str, f64, f64, &'static str);

const BUDGETS: [Budget; 15] = [
    Budget("RSS, peak, 10 M readings, sources and queries busy", "memory.10m.rss-peak-mb", 96.0, 64.0, "MB"),
    Budget("anonymous memory in the same run, peak", "memory.10m.anon-mb", 56.0, 40.0, "MB"),
    Budget("anonymous memory with 50 M readings, peak", "memory.50m.anon-mb", 64.0, 48.0, "MB"),
    Budget("hub batch of 100 records, sent to acknowledged, p50", "hub.lone.p50-ms", 50.0, 10.0, "ms"),
    Budget("MQTT QoS 1, JSON, durable, of the same client that discards", "mqtt.ratio", 50.0, 80.0, "%"),
    Budget("bytes written per reading, own time, commits of 100", "ingest.100.ours.written", 90.0, 70.0, "bytes"),
    Budget("the same, commits of 1,000", "ingest.1000.ours.written", 45.0, 33.0, "bytes"),
    Budget("without a time of their own, commits of 100", "ingest.100.ours-stamped.written", 110.0, 92.0, "bytes"),
    Budget("the same, commits of 1,000", "ingest.1000.ours-stamped.written", 60.0, 53.0, "bytes"),
    Budget("file per reading, 10 M with rollups, all series read at once", "size.10m.plain", 4.0, 2.5, "bytes"),
    Budget("the same, ten nodes that each send at a second of their own", "size.10m.ours", 4.0, 2.5, "bytes"),
    Budget(
        "one series, hourly with percentiles, 30 days: of SQLite's time",
        "query.10m.hourly.plain-ratio",
        0.2,
        0.02,
        "",
    ),
    Budget("the same, SQLite built with its own percentiles", "query.10m.hourly.ratio", 0.2, 0.02, ""),
    Budget("start to READY, 10 M readings, clean file, in the page cache", "start.10m.warm-s", 2.0, 0.5, "s"),
    Budget("the same, read from the disk", "start.10m.cold-s", 2.0, 0.5, "s"),
];

/// Rewrites the tables between the markers of `file`.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let mut figures = read()?;
    derive(&mut figures);
    let mut text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let tables: [(&str, fn(&Figures) -> String); 6] = [
        ("machine", machine_lines),
        ("budgets", budgets),
        ("ingest", ingest),
        ("acknowledgements", acknowledgements),
        ("queries", queries),
        ("year", year),
    ];
    for (name, table) in tables {
        text = replaced(&text, name, &table(&figures)).with_context(|| format!("the table {name}"))?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

fn read() -> anyhow::Result<Figures> {
    let file = folder()?.join("results.jsonl");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut figures = Figures::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let runs: Vec<f64> = value["runs"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if runs.is_empty() {
            bail!("a figure without values: {line}");
        }
        let load = value["load"].as_f64().unwrap_or(f64::NAN);
        figures.insert(word("key"), Figure { runs, load, at: word("at"), commit: word("commit"), mode: word("mode") });
    }
    Ok(figures)
}

/// Adds the figures that follow from others: ratios, run by run where both ran in turn.
fn derive(figures: &mut Figures) {
    let mut ratio = |key: &str, of: &str, by: &str, factor: f64| {
        let (Some(a), Some(b)) = (figures.get(of), figures.get(by)) else { return };
        let runs = a.runs.iter().zip(&b.runs).map(|(a, b)| factor * a / b).collect();
        let load = a.load.max(b.load);
        let figure = Figure { runs, load, at: b.at.clone(), commit: b.commit.clone(), mode: b.mode.clone() };
        figures.insert(key.into(), figure);
    };
    ratio("mqtt.ratio", "mqtt.durable.rate", "mqtt.discard.rate", 100.0);
    for size in ["1m", "10m", "50m"] {
        for question in ["hourly", "statistics", "day", "all", "latest"] {
            let key = |who: &str| format!("query.{size}.{question}.{who}");
            ratio(&key("ratio"), &key("ours"), &key("sqlite"), 1.0);
            ratio(&key("plain-ratio"), &key("ours"), &key("plain"), 1.0);
        }
    }
    for rows in ["10", "100", "1000", "5000"] {
        for figure in ["rate", "cpu-us", "written"] {
            for other in ["sqlite", "bare"] {
                let key = |who: &str| format!("ingest.{rows}.{who}.{figure}");
                ratio(&format!("ingest.{rows}.{other}.{figure}-ratio"), &key("ours"), &key(other), 1.0);
            }
        }
    }
}

fn replaced(text: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let from = text.find(&begin).with_context(|| format!("no line `{}`", begin.trim()))? + begin.len();
    let to = from + text[from..].find(&end).with_context(|| format!("no `{end}` behind its beginning"))?;
    Ok(format!("{}{}{}", &text[..from], table, &text[to..]))
}

fn machine_lines(figures: &Figures) -> String {
    let folder = folder().unwrap_or_default();
    let distinct = |of: fn(&Figure) -> &str| -> String {
        let all: BTreeSet<&str> = figures.values().map(of).filter(|s| !s.is_empty()).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    let loads: Vec<f64> = figures.values().map(|f| f.load).filter(|l| l.is_finite()).collect();
    let first = figures.values().map(|f| f.at.as_str()).min().unwrap_or_default();
    let last = figures.values().map(|f| f.at.as_str()).max().unwrap_or_default();
    let load = if loads.is_empty() { Spread { median: 0.0, min: 0.0, max: 0.0 } } else { Spread::of(&loads) };
    format!(
        "Machine: {}. Measured {first} to {last} UTC, commit {}, {} run; load average of the last minute {} to {}, median {}.\n",
        machine::describe(&folder),
        distinct(|f| &f.commit),
        distinct(|f| &f.mode),
        short(load.min),
        short(load.max),
        short(load.median),
    )
}

fn budgets(figures: &Figures) -> String {
    let mut out = String::from(
        "| what | must | aim | measured | range of the runs | load | |\n| --- | ---: | ---: | ---: | --- | ---: | --- |\n",
    );
    for Budget(what, key, must, aim, unit) in &BUDGETS {
        let bound = |value: f64| format!("{} {unit}", short(value)).trim_end().to_owned();
        let Some(figure) = figures.get(*key) else {
            let _ = writeln!(out, "| {what} | {} | {} | not measured | | | |", bound(*must), bound(*aim));
            continue;
        };
        let spread = Spread::of(&figure.runs);
        let reaches = |bound: f64| if aim > must { spread.median >= bound } else { spread.median <= bound };
        let verdict = match (reaches(*must), reaches(*aim)) {
            (_, true) => "aim",
            (true, false) => "must",
            (false, false) => "**missed**",
        };
        let _ = writeln!(
            out,
            "| {what} | {} | {} | {} | {} | {} | {verdict} |",
            bound(*must),
            bound(*aim),
            bound(spread.median),
            spread.range(),
            short(figure.load)
        );
    }
    out
}

/// `median [range]`, or a dash.
fn cell(figures: &Figures, key: &str) -> String {
    figures.get(key).map_or_else(
        || "-".into(),
        |f| {
            let spread = Spread::of(&f.runs);
            format!("{} {}", short(spread.median), spread.range()).trim_end().to_owned()
        },
    )
}

fn load(figures: &Figures, key: &str) -> String {
    figures.get(key).map_or_else(String::new, |f| short(f.load))
}

fn ingest(figures: &Figures) -> String {
    let mut out = String::from(
        "| readings a commit | who | readings/s | commit p50 ms | p99 ms | p99.9 ms | CPU us a reading | bytes written a reading | file bytes a reading | anonymous MB | load |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let names = [
        ("ours", "Gadwall's store, own times"),
        ("ours-stamped", "the same, no time of their own, a message each"),
        ("ours-mixed", "own times, five kinds of sensors"),
        ("sqlite", "SQLite"),
        ("bare", "DuckDB's Appender alone"),
    ];
    for rows in [10, 100, 1_000, 5_000] {
        for (who, name) in names {
            let _ = write!(out, "| {} | {name} |", short(f64::from(rows)));
            for figure in ["rate", "p50-ms", "p99-ms", "p999-ms", "cpu-us", "written", "file", "anon-mb"] {
                let _ = write!(out, " {} |", cell(figures, &format!("ingest.{rows}.{who}.{figure}")));
            }
            let _ = writeln!(out, " {} |", load(figures, &format!("ingest.{rows}.{who}.rate")));
        }
    }
    out.push_str(
        "\nGadwall's store with own times divided by the other, run by run:\n\n\
         | readings a commit | rate, of SQLite | CPU, of SQLite | bytes written, of SQLite | rate, of DuckDB alone | CPU, of DuckDB alone | bytes written, of DuckDB alone |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for rows in [10, 100, 1_000, 5_000] {
        let _ = write!(out, "| {} |", short(f64::from(rows)));
        for other in ["sqlite", "bare"] {
            for figure in ["rate", "cpu-us", "written"] {
                let _ = write!(out, " {} |", cell(figures, &format!("ingest.{rows}.{other}.{figure}-ratio")));
            }
        }
        out.push('\n');
    }
    out
}

fn acknowledgements(figures: &Figures) -> String {
    let mut out = String::from(
        "| who waits | p50 ms | p99 ms | p99.9 ms | longest ms | a second | load |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let rows = [
        ("hub.lone", "one node sends batches of 100 records, the next when the last is acknowledged"),
        ("hub.busy", "the same with five nodes at once, 10 M readings stored, queries and MQTT running: records"),
        ("mqtt.ack", "an MQTT message among 200 a second"),
    ];
    for (key, name) in rows {
        let _ = write!(out, "| {name} |");
        for figure in ["p50-ms", "p99-ms", "p999-ms", "max-ms", "rate"] {
            let _ = write!(out, " {} |", cell(figures, &format!("{key}.{figure}")));
        }
        let _ = writeln!(out, " {} |", load(figures, &format!("{key}.p50-ms")));
    }
    out.push_str("\n| through | a second | of the client that discards | load |\n| --- | ---: | ---: | ---: |\n");
    let rows = [
        ("serial.rate", "a serial port: records of three readings, each batch acknowledged", ""),
        ("mqtt.durable.rate", "MQTT: messages of one reading, stored and acknowledged", "mqtt.ratio"),
        ("mqtt.decode.rate", "MQTT: decoded, acknowledged, not stored", ""),
        ("mqtt.discard.rate", "MQTT: acknowledged and discarded", ""),
        ("ingest.5000.ours.rate", "the store alone: readings in commits of 5,000", ""),
    ];
    for (key, name, ratio) in rows {
        let part = if ratio.is_empty() { String::new() } else { format!("{} %", cell(figures, ratio)) };
        let _ = writeln!(out, "| {name} | {} | {part} | {} |", cell(figures, key), load(figures, key));
    }
    out
}

fn queries(figures: &Figures) -> String {
    let mut out = String::from(
        "| question | readings | Gadwall over HTTP, ms | DuckDB alone on the readings, ms | SQLite, ms | SQLite without its percentiles, ms | Gadwall's part of SQLite's time | load |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let questions = [
        ("hourly", "one series, hourly with three percentiles, 30 days"),
        ("statistics", "one series, statistics with three percentiles, 30 days"),
        ("day", "one series, every reading of a day"),
        ("all", "all series, hourly, a day"),
        ("latest", "newest value of each metric of a node"),
    ];
    for (question, name) in questions {
        for size in ["1m", "10m", "50m"] {
            let key = |who: &str| format!("query.{size}.{question}.{who}");
            let _ = writeln!(
                out,
                "| {name} | {} M | {} | {} | {} | {} | {} | {} |",
                size.trim_end_matches('m'),
                cell(figures, &key("ours")),
                cell(figures, &key("bare")),
                cell(figures, &key("sqlite")),
                cell(figures, &key("plain")),
                cell(figures, &key("ratio")),
                load(figures, &key("ours"))
            );
        }
    }
    out.push_str("\n| file | 1 M | 10 M | 50 M |\n| --- | ---: | ---: | ---: |\n");
    let files = [
        ("ours", "Gadwall, with rollups"),
        ("sqlite-series", "SQLite, key (series, ts)"),
        ("sqlite-time", "SQLite, key (ts, series)"),
    ];
    for (who, name) in files {
        let _ = write!(out, "| {name}, bytes a reading |");
        for size in ["1m", "10m", "50m"] {
            let _ = write!(out, " {} |", cell(figures, &format!("size.{size}.{who}")));
        }
        out.push('\n');
    }
    out
}

fn year(figures: &Figures) -> String {
    let mut out =
        String::from("| the accelerated year | first 30 days at the bound | last 30 days |\n| --- | ---: | ---: |\n");
    let rows = [
        ("anon-mb", "anonymous memory, MB"),
        ("rss-mb", "resident memory, MB"),
        ("file-mb", "file, MB"),
        ("written-mb", "written a day, MB"),
        ("p50-ms", "commit p50, ms"),
        ("p99-ms", "commit p99, ms"),
        ("query-ms", "one series, 30 days, ms"),
    ];
    for (figure, name) in rows {
        let _ = writeln!(
            out,
            "| {name} | {} | {} |",
            cell(figures, &format!("year.first.{figure}")),
            cell(figures, &format!("year.last.{figure}"))
        );
    }
    let _ = writeln!(
        out,
        "\n{} readings sent, {} kept as readings at the end, load {}.",
        cell(figures, "year.sent"),
        cell(figures, "year.kept"),
        load(figures, "year.sent")
    );
    out
}
