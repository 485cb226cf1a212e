//! How many instructions a hub record and a JSON message take, from their bytes to the committed batch, and how many of
//! them are decoding, and DuckDB's; and how many it takes to recognise and decode a message of each format, and to decode a
//! frame of each format of serial ports. Unlike time, they are the same on a busy machine.
//!
//! `deploy/check-instructions` runs this program under valgrind's callgrind and compares with `benches/instructions.toml`;
//! with `--accept` it writes that file. What is measured runs on one thread: the channel is filled first and the writer
//! empties it then. So nothing waits or spins, and the counts of two runs differ by less than a percent.

#![expect(clippy::print_stdout, reason = "its output is for a person")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params};
use gadwall::clock::Clock;
use gadwall::clock::stepped::Stepped;
use gadwall::codec::hub_lines::HubLines;
use gadwall::codec::lines::{Line, Lines};
use gadwall::codec::modbus::frame::{Expected, sealed};
use gadwall::codec::modbus::plan::reads;
use gadwall::codec::modbus::{Data, Function, Kind, Order, Register, Scale, Unit, decode};
use gadwall::codec::payload::{self, Decoders, Format};
use gadwall::codec::serial::{Protocol, Stream};
use gadwall::codec::time::Local;
use gadwall::codec::topic::Pattern;
use gadwall::config::{self, Subscription, Trust};
use gadwall::metrics::{Metrics, SourceStatus};
use gadwall::pipeline::{Intake, Outlet, channel};
use gadwall::reading::{Arrival, Decoded, Delivery, Envelope, Receipt, Timestamp};
use gadwall::source::mqtt::message::{self, Received};
use gadwall::source::serial::feed::Feed;
use gadwall::zone::Tz;
use rumqttc::v5::mqttbytes::v5::Publish;

#[path = "common/frames.rs"]
mod frames;
#[path = "common/payloads.rs"]
mod payloads;

/// The accepted figures.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");
/// A figure may be so much larger than the accepted one.
const MOST: f64 = 1.10;
/// Commits before those that are counted, and those. Together below 64, so that old rows of `commits` are not among it, and
/// little enough that no checkpoint is.
const WARM: usize = 10;
const COMMITS: usize = 40;
/// Records of a hub's batch, and messages of a commit.
const RECORDS: usize = 100;
const MESSAGES: usize = 100;
/// Readings of a record, and of a message.
const OF_RECORD: usize = 3;
const OF_MESSAGE: usize = 5;
/// When it is: 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

fn main() -> ExitCode {
    // `cargo bench` and `cargo test --benches` pass flags of the standard harness.
    let flags = ["--bench", "--test"];
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !flags.contains(&a.as_str())).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => Ok(true),
        ["--check"] => check(),
        ["--accept"] => accept(),
        ["--measured"] => measured().map(|()| true),
        _ => Err(anyhow::anyhow!("usage: instructions --check | --accept")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Counts by what is counted.
type Counts = BTreeMap<String, u64>;

/// Compares with the accepted figures; false when one has grown too much.
fn check() -> anyhow::Result<bool> {
    let (new, old) = (count()?, accepted()?);
    let arch = std::env::consts::ARCH;
    let Some(old) = old.get(arch) else {
        bail!("benches/instructions.toml has no figures for {arch}: deploy/check-instructions --accept writes them");
    };
    println!("{:34} {:>12} {:>12}  change", "instructions", "accepted", "now");
    let mut grown = Vec::new();
    for (key, now) in &new {
        let Some(was) = old.get(key) else {
            println!("{key:34} {:>12} {now:>12}  new", "-");
            grown.push(key.as_str());
            continue;
        };
        let ratio = ratio(*now, *was);
        println!("{key:34} {was:>12} {now:>12}  {:+.1} %", (ratio - 1.0) * 100.0);
        if ratio > MOST {
            grown.push(key);
        }
    }
    let gone: Vec<&String> = old.keys().filter(|key| !new.contains_key(*key)).collect();
    ensure!(gone.is_empty(), "accepted and not counted any more: {gone:?}");
    if !grown.is_empty() {
        println!(
            "\nmore than {:.0} % above what is accepted: {}\nFind out why. Where it is worth it, accept it with\n  \
             deploy/check-instructions --accept\nand commit benches/instructions.toml with a word about the reason. Accepted figures are \
             of {}; this is {}.",
            (MOST - 1.0) * 100.0,
            grown.join(", "),
            made_with()?,
            compilers(),
        );
    }
    Ok(grown.is_empty())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(now: u64, was: u64) -> f64 {
    now as f64 / was as f64
}

fn accept() -> anyhow::Result<bool> {
    let new = count()?;
    let mut all = accepted().unwrap_or_default();
    all.insert(std::env::consts::ARCH.into(), new);
    let mut text = format!(
        "# Instructions of one hub record, one JSON message, one message of each format and one frame of each serial one; deploy/check-instructions counts\n\
         # them anew and fails where one has grown by more than {:.0} %. It writes this file with --accept.\n\ncompilers = {:?}\n",
        (MOST - 1.0) * 100.0,
        compilers()
    );
    for (arch, counts) in &all {
        text += &format!("\n[{arch}]\n");
        for (key, count) in counts {
            println!("{key:34} {count:>12}");
            text += &format!("{key} = {count}\n");
        }
    }
    std::fs::write(FILE, text).context(FILE)?;
    Ok(true)
}

fn file() -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(FILE).context(FILE)?;
    text.parse().context(FILE)
}

fn accepted() -> anyhow::Result<BTreeMap<String, Counts>> {
    let mut all = BTreeMap::new();
    for (arch, table) in file()? {
        let Some(table) = table.as_table() else { continue };
        let mut counts = Counts::new();
        for (key, count) in table {
            let count = count.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
            counts.insert(key.clone(), count.with_context(|| format!("{FILE}: {arch}.{key} is no count"))?);
        }
        all.insert(arch, counts);
    }
    Ok(all)
}

fn made_with() -> anyhow::Result<String> {
    Ok(file()?.get("compilers").and_then(toml::Value::as_str).unwrap_or("unknown compilers").to_owned())
}

/// The compilers of this machine: other ones make other code.
fn compilers() -> String {
    let first = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    format!("{}, {}", first("rustc"), first("c++"))
}

/// Runs this program under callgrind, and reads what it has counted between the marks.
fn count() -> anyhow::Result<Counts> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let program = std::env::current_exe()?;
    // Addresses are the same in every run.
    let mut command = Command::new("setarch");
    command.args(["-R", "valgrind", "--quiet", "--tool=callgrind", "--dump-before=gadwall_mark"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program).arg("--measured");
    let output = command.output().context("setarch and valgrind are needed: apt-get install util-linux valgrind")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut counts = Counts::new();
    for (number, line) in said.lines().enumerate() {
        // A dump has what was executed since the one before; the mark that follows names it.
        let (key, by) = line.split_once(' ').with_context(|| format!("no mark: {line}"))?;
        if key == "-" {
            continue;
        }
        let dump = format!("{}.{}", out.display(), number + 1);
        let text = std::fs::read_to_string(&dump).context(dump)?;
        let total: u64 = text
            .lines()
            .find_map(|l| l.strip_prefix("totals: "))
            .and_then(|n| n.trim().parse().ok())
            .with_context(|| format!("no total for {key}"))?;
        *counts.entry(key.to_owned()).or_default() += total / by.parse::<u64>().context("a mark's number")?;
    }
    ensure!(!counts.is_empty() && counts.values().all(|n| *n > 0), "nothing was counted: {counts:?}");
    Ok(counts)
}

/// Callgrind writes down what was executed before this.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gadwall_mark() {
    std::hint::black_box(());
}

/// What was executed since the last mark counts as `key`, for each of `by`.
fn mark(key: &str, by: usize) {
    gadwall_mark();
    println!("{key} {by}");
}

/// What was executed since the last mark does not count.
fn skip() {
    mark("-", 1);
}

fn measured() -> anyhow::Result<()> {
    hub_decode();
    hub()?;
    json_decode()?;
    json()?;
    formats()?;
    serial()?;
    modbus()?;
    duckdb_alone("hub-record-duckdb-alone", RECORDS, OF_RECORD)?;
    duckdb_alone("json-message-duckdb-alone", MESSAGES, OF_MESSAGE)
}

/// A whole batch of the hub.
fn hub_batch(batch: usize) -> String {
    use std::fmt::Write as _;
    let (address, device) = (2 + batch % 5, 0xA000_0000_0000_0000_u64 + (batch % 5) as u64);
    let mut text = format!("SENSOR_BATCH {address} {device} {RECORDS}\n");
    for i in 0..RECORDS {
        let n = batch / 5 * RECORDS + i;
        let (temp, hum) = (2_000 + n * 7 % 900, 4_000 + n * 11 % 3_000);
        let time = NOW - 86_400 + 30 * i64::try_from(n).unwrap_or(0);
        let _ = writeln!(text, "SENSOR_RECORD {address} {device} {time} {temp} {hum} 0");
    }
    text + &format!("BATCH_COMPLETE {address} {device} {RECORDS}\n")
}

fn hub_decode() {
    let batches: Vec<String> = (0..COMMITS).map(hub_batch).collect();
    let (mut lines, mut hub) = (Lines::new(4_096), HubLines::new());
    let mut readings = 0;
    skip();
    for batch in &batches {
        let mut content = Decoded::default();
        lines.feed(batch.as_bytes(), &mut |line| {
            if let Line::Whole(line) = line {
                hub.line(line, &mut content, &mut |_, _| {});
            }
        });
        readings += content.readings.len();
    }
    mark("hub-record-decode", COMMITS * RECORDS);
    assert_eq!(readings, COMMITS * RECORDS * OF_RECORD);
}

/// A store, the channel in front of it, and the clock, which stands still unless it is moved.
struct Bench {
    _folder: tempfile::TempDir,
    store: gadwall::store::Store,
    intake: Intake,
    outlet: Outlet,
    metrics: Arc<Metrics>,
    machine: Stepped,
    clock: Clock,
}

impl Bench {
    fn new(batch_rows: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let metrics = Arc::new(Metrics::default());
        let config = config::Store {
            path: folder.path().join("gadwall.duckdb"),
            batch_rows,
            // Only the number of rows makes a commit, however slow the machine is.
            flush_interval: Duration::from_secs(3_600),
            ..config::Store::default()
        };
        let store = gadwall::store::open(&config, &metrics)?;
        let bounds = config::Intake { capacity: 1_000_000, max_bytes: 256_000_000 };
        let (intake, outlet) = channel(&bounds, Arc::clone(&metrics));
        let machine = Stepped::new("bench", Timestamp::from_secs(NOW)).with_battery();
        let clock = machine.clock(Trust::Always, &metrics);
        Ok(Self { _folder: folder, store, intake, outlet, metrics, machine, clock })
    }

    /// An envelope without contents, whose answer is `then`: it counts as one row of the commit that it is in.
    fn marker(&self, then: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        self.intake.try_send(Envelope {
            source: "marker".into(),
            arrival: self.clock.now(),
            content: Decoded::default(),
            delivery: None,
            waiting: false,
            receipt: Receipt::new(move |_| then()),
        })?;
        Ok(())
    }

    /// Writes what is in the channel. The commits between two markers count as `key`.
    fn write(self, rows: usize) -> anyhow::Result<()> {
        let Self { store, intake, outlet, metrics, clock, .. } = self;
        drop(intake);
        store.writer.under(clock)?.run(&outlet)?;
        let committed = metrics.readings.committed.get();
        ensure!(committed == rows as u64, "{committed} of {rows} readings were stored");
        Ok(())
    }
}

fn hub() -> anyhow::Result<()> {
    // A batch and its end are one commit.
    let bench = Bench::new(RECORDS * OF_RECORD + 1)?;
    let batches: Vec<String> = (0..WARM + COMMITS).map(hub_batch).collect();
    let config = config::Serial { name: "hub".into(), ..config::Serial::default() };
    let status = bench.metrics.add_source(SourceStatus::new("hub".into(), "serial", String::new()));
    let (words, _heard) = tokio::sync::mpsc::unbounded_channel();
    let mut feed =
        Feed::new(&config, bench.intake.clone(), bench.clock.clone(), Arc::clone(&bench.metrics), status, words);
    for batch in &batches[..WARM] {
        feed.read(batch.as_bytes())?;
    }
    bench.marker(skip)?;
    skip();
    for batch in &batches[WARM..] {
        feed.read(batch.as_bytes())?;
    }
    mark("hub-record-stored", COMMITS * RECORDS);
    drop(feed);
    bench.marker(|| mark("hub-record-stored", COMMITS * RECORDS))?;
    bench.write((WARM + COMMITS) * RECORDS * OF_RECORD)
}

fn publication(n: usize) -> Publish {
    Publish {
        topic: format!("zigbee2mqtt/0x00158d00012345{:02x}", n % 20).into(),
        pkid: u16::try_from(n % 60_000 + 1).unwrap_or(1),
        qos: rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
        payload: format!(
            r#"{{"battery":{},"humidity":{}.25,"linkquality":{},"pressure":{}.4,"temperature":{}.53}}"#,
            97 - n % 7,
            40 + n % 30,
            100 + n % 100,
            1_000 + n % 25,
            15 + n % 10
        )
        .into(),
        ..Publish::default()
    }
}

fn received(publish: &Publish) -> Received<'_> {
    Received { topic: &publish.topic, payload: &publish.payload, retain: publish.retain }
}

fn subscriptions() -> anyhow::Result<Vec<Subscription>> {
    let topic = Pattern::parse("zigbee2mqtt/{node}")?;
    Ok(vec![Subscription { topic, format: Format::Json, time: None, layout: None, timezone: None, qos: 1 }])
}

fn json_decode() -> anyhow::Result<()> {
    let subscriptions = subscriptions()?;
    let mut decoders = Decoders::new();
    let messages: Vec<Publish> = (0..COMMITS * MESSAGES).map(publication).collect();
    let mut readings = 0;
    skip();
    let arrival = Arrival { at: Timestamp::from_secs(1_760_000_000), boottime: 0, trusted: true };
    for publish in &messages {
        readings +=
            message::read(&subscriptions, &mut decoders, received(publish), arrival, Tz::UTC).content.readings.len();
    }
    mark("json-message-decode", COMMITS * MESSAGES);
    ensure!(readings == COMMITS * MESSAGES * OF_MESSAGE, "{readings} readings were decoded");
    Ok(())
}

/// A message of each format, which `auto` recognises first. What is remembered of earlier messages is forgotten, or it would be
/// taken for a repeat.
fn formats() -> anyhow::Result<()> {
    for (format, (topic, payload), readings) in payloads::samples() {
        let message = payload::Message {
            topic: topic.trim_end(),
            payload,
            node: None,
            metric: None,
            time: None,
            local: Local::UTC,
            retain: false,
        };
        let mut decoders = Decoders::new();
        let output = decoders.decode(Format::Auto, &message);
        ensure!(output.taken_for == Some(format), "{format:?} is taken for {:?}", output.taken_for);
        let mut found = 0;
        skip();
        for _ in 0..MESSAGES {
            decoders.forget_frames();
            found += decoders.decode(Format::Auto, &message).decoded.readings.len();
        }
        mark(&format!("auto-{}-decode", format.as_str()), MESSAGES);
        ensure!(found == MESSAGES * readings, "{found} readings of {format:?}");
    }
    Ok(())
}

/// A frame of each format and framing of serial ports, as one chunk.
fn serial() -> anyhow::Result<()> {
    for (name, keys, frame, readings) in frames::samples() {
        let protocol = Protocol::new(keys).map_err(|error| anyhow::anyhow!("{name}: {error:?}"))?;
        let mut stream = Stream::new(&protocol, "port", None);
        // The first one may be a header.
        stream.feed(&frame, Local::UTC, &mut |_| {});
        let mut found = 0;
        skip();
        for _ in 0..MESSAGES {
            stream.feed(&frame, Local::UTC, &mut |decoded| found += decoded.readings.len());
        }
        mark(&format!("serial-{name}-decode"), MESSAGES);
        ensure!(found == MESSAGES * readings, "{found} readings of {name}");
    }
    Ok(())
}

/// The answer of a Modbus unit with ten registers: found behind its request's echo, and made readings.
fn modbus() -> anyhow::Result<()> {
    const REGISTERS: u16 = 10;
    let register = |address: u16| Register {
        node: "meter".into(),
        metric: format!("m{address}"),
        measure: "V".into(),
        function: Function::Holding,
        address,
        kind: Kind::I16,
        order: Order::default(),
        scale: Scale::default(),
        na: None,
        interval: Duration::from_secs(1),
    };
    let unit = Unit { id: 1, gap: 0, registers: (0..REGISTERS).map(register).collect() };
    let planned = reads(&unit);
    let [(_, read)] = planned.as_slice() else { bail!("{} requests for neighbours", planned.len()) };
    let expected = Expected::new(unit.id, Function::Holding, REGISTERS);
    let data: Vec<u8> = (0..REGISTERS).flat_map(u16::to_be_bytes).collect();
    let line = [&[1, 3, 0, 0][..], &sealed(&[&[1, 3, 20], &data[..]].concat())].concat();
    let mut found = 0;
    skip();
    for _ in 0..MESSAGES {
        let frame = expected.find(&line).context("an answer")?;
        let words = line[frame.start + 3..frame.end - 2].chunks_exact(2);
        let words: Vec<u16> = words.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        found += decode(read, &unit.registers, Data::Words(&words)).readings.len();
    }
    mark("modbus-answer-decode", MESSAGES);
    ensure!(found == MESSAGES * usize::from(REGISTERS), "{found} readings of Modbus registers");
    Ok(())
}

fn json() -> anyhow::Result<()> {
    let bench = Bench::new(MESSAGES * OF_MESSAGE)?;
    let subscriptions = subscriptions()?;
    let mut decoders = Decoders::new();
    let messages: Vec<Publish> = (0..(WARM + COMMITS) * MESSAGES).map(publication).collect();
    let source: Arc<str> = "home".into();
    let mut send = |publish: &Publish| -> anyhow::Result<()> {
        bench.machine.pass(Duration::from_millis(10));
        let arrival = bench.clock.now();
        let message = message::read(&subscriptions, &mut decoders, received(publish), arrival, Tz::UTC);
        let delivery = message::needs_delivery(&message, arrival).then(|| Delivery {
            packet: publish.pkid,
            dup: publish.dup,
            digest: message::digest(&publish.topic, &publish.payload),
            part: 0,
        });
        let content = message.content;
        let (source, receipt) = (Arc::clone(&source), Receipt::new(|_| {}));
        bench.intake.try_send(Envelope { source, arrival, content, delivery, waiting: false, receipt })?;
        Ok(())
    };
    messages[..WARM * MESSAGES].iter().try_for_each(&mut send)?;
    bench.marker(skip)?;
    skip();
    messages[WARM * MESSAGES..].iter().try_for_each(&mut send)?;
    mark("json-message-stored", COMMITS * MESSAGES);
    bench.marker(|| mark("json-message-stored", COMMITS * MESSAGES))?;
    bench.write((WARM + COMMITS) * MESSAGES * OF_MESSAGE)
}

/// The same number of rows in the same commits by DuckDB's Appender alone.
fn duckdb_alone(key: &str, units: usize, readings: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let connection = open(folder.path())?;
    for commit in 0..WARM + COMMITS {
        if commit == WARM {
            skip();
        }
        connection.execute_batch("BEGIN TRANSACTION")?;
        let mut appender = connection.appender_to_catalog_and_db("readings", "g", "main")?;
        for i in 0..units * readings {
            let n = i64::try_from(commit * units + i / readings).unwrap_or(0);
            let series = i32::try_from(i % readings).unwrap_or(0);
            let ts = Value::Timestamp(TimeUnit::Microsecond, (NOW + 30 * n) * 1_000_000);
            let value = f64::from(series) + f64::from(i32::try_from(n % 900).unwrap_or(0)) / 100.0;
            appender.append_row(params![series, ts, value, 0])?;
        }
        appender.flush()?;
        drop(appender);
        connection.execute_batch("COMMIT")?;
    }
    mark(key, COMMITS * units);
    Ok(())
}

fn open(folder: &Path) -> anyhow::Result<Connection> {
    let flags = duckdb::Config::default()
        .with("memory_limit", "24MB")?
        .with("threads", "1")?
        .with("async_threads", "1")?
        .with("checkpoint_threshold", "4MB")?;
    let connection = Connection::open_in_memory_with_flags(flags)?;
    let file = folder.join("bare.duckdb");
    connection.execute_batch(&format!(
        "ATTACH '{}' AS g (BLOCK_SIZE 65536); \
         CREATE TABLE g.readings(series INTEGER, ts TIMESTAMP, value DOUBLE, lag INTEGER)",
        file.display()
    ))?;
    Ok(connection)
}
