//! `gadwall decode`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::fail;
use crate::clock;
use crate::codec::modbus::Unit;
use crate::codec::payload;
use crate::codec::serial::crc::Checksum;
use crate::codec::serial::layout::Layout;
use crate::codec::serial::protocol::{self, COUNTS, COVERS, Keys, Kind, MODELS, ORDERS, Protocol};
use crate::codec::serial::{self, hex};
use crate::codec::topic::Pattern;
use crate::config::{Config, Modbus};
use crate::decode::{self, How, Options};
use crate::zone::Tz;

/// The format of what is heard on a `[[modbus]]` bus.
const MODBUS: &str = "modbus";

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// How they are read, as `format` in the configuration of a broker or a port.
    #[arg(long, value_name = "FORMAT", value_parser = format_of, default_value = "auto")]
    format: String,
    /// The topic that they came on.
    #[arg(long, value_name = "TOPIC", default_value = "node")]
    topic: String,
    /// The topic's pattern in the configuration, such as `sensors/{node}/{metric}`.
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pattern: Option<Pattern>,
    /// The name of the port, or of the bus in `--config`; by default what `--topic` says, and the only bus.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The field with the time, as `time` in the configuration.
    #[arg(long, value_name = "FIELD")]
    time: Option<String>,
    /// The zone of times that come without one; by default the machine's, and for dsmr-p1 Central Europe.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<Tz>,
    /// Print an object a line: `node`, `metric`, `value`, `unit`, `time` of a reading, `node`, `event`, `data`, `time` of an
    /// event; `time` is null where the arrival counts.
    #[arg(long)]
    json: bool,
    /// The configuration whose table of registers says what the answers of the format `modbus` hold; without it each register
    /// is a reading.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file holds the bytes as hex digits.
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    port: PortArgs,
    /// The file with the bytes; `-` is the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// As the keys of a serial port.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bytes of a serial port")]
struct PortArgs {
    /// How frames are told apart.
    #[arg(long, value_parser = words(&Kind::ALL))]
    framing: Option<String>,
    /// The fields of the payload, for the format `layout`.
    #[arg(long, value_parser = Layout::parse)]
    layout: Option<Layout>,
    /// The checksum at the end of a frame by its name, such as `CRC-16/MODBUS`.
    #[arg(long, value_name = "NAME", value_parser = crc)]
    crc: Option<Checksum>,
    /// Which byte of it comes first.
    #[arg(long, value_parser = words(&ORDERS))]
    crc_order: Option<String>,
    /// What it is over.
    #[arg(long, value_parser = words(&COVERS))]
    crc_covers: Option<String>,
    /// Length of a fixed frame.
    #[arg(long, value_name = "BYTES")]
    length: Option<usize>,
    /// Bytes that every frame begins with, in hex.
    #[arg(long, value_name = "HEX", value_parser = sync)]
    sync: Option<Hex>,
    /// How many bytes the length in front has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    length_bytes: Option<u8>,
    /// Which of them comes first.
    #[arg(long, value_parser = words(&ORDERS))]
    length_order: Option<String>,
    /// What the length counts.
    #[arg(long, value_parser = words(&COUNTS))]
    length_counts: Option<String>,
    /// Longest line.
    #[arg(long, value_name = "BYTES")]
    max_line: Option<usize>,
    /// Longest frame.
    #[arg(long, value_name = "BYTES")]
    max_frame: Option<usize>,
    /// The field or column that names the node.
    #[arg(long, value_name = "FIELD")]
    node: Option<String>,
    /// The names of the columns with commas between them, where no header has them.
    #[arg(long, value_name = "NAMES", value_parser = columns)]
    columns: Option<Columns>,
    /// Whether rows have a header before them; found out by default.
    #[arg(long, value_name = "BOOL")]
    header: Option<bool>,
    /// What stands between columns.
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// The device of the format `pms`.
    #[arg(long, value_parser = words(&MODELS))]
    model: Option<String>,
}

/// Types of their own: of a list the parser would make several values.
#[derive(Clone, Debug)]
struct Hex(Vec<u8>);
#[derive(Clone, Debug)]
struct Columns(Vec<String>);

fn format_of(name: &str) -> Result<String, String> {
    let serial = serial::Format::all().map(serial::Format::as_str);
    let messages = payload::Format::ALL.map(payload::Format::as_str);
    let mut known: Vec<&str> = messages.into_iter().chain(serial).chain([MODBUS]).collect();
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    known.sort_unstable();
    known.dedup();
    Err(format!("expected one of {}", known.join(", ")))
}

fn words<T>(words: &[(&'static str, T)]) -> PossibleValuesParser {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word))
}

/// What a word that was checked stands for.
fn meant<T: Copy>(words: &[(&str, T)], said: Option<&String>) -> Option<T> {
    said.and_then(|said| words.iter().find(|(word, _)| word == said)).map(|(_, meant)| *meant)
}

fn crc(name: &str) -> Result<Checksum, String> {
    Checksum::named(name).ok_or_else(|| protocol::EXPECTED_CRC.to_owned())
}

fn sync(text: &str) -> Result<Hex, String> {
    let bytes = hex::parse(text).filter(|bytes| (1..=protocol::MAX_SYNC).contains(&bytes.len()));
    bytes.map(Hex).ok_or_else(|| protocol::EXPECTED_SYNC.to_owned())
}

fn separator(text: &str) -> Result<u8, String> {
    protocol::separator(text).ok_or_else(|| protocol::EXPECTED_SEPARATOR.to_owned())
}

fn columns(text: &str) -> Result<Columns, String> {
    let names: Vec<&str> = text.split(',').collect();
    protocol::columns(&names).map(Columns).ok_or_else(|| protocol::EXPECTED_COLUMNS.to_owned())
}

/// The units of the bus that is meant.
fn units(file: &Path, name: Option<&str>) -> Result<Vec<Unit>, String> {
    let config = Config::load(file, std::env::vars_os()).map_err(|errors| errors.to_string())?;
    let named = |bus: &&Modbus| name.is_none_or(|name| name == bus.name);
    match config.modbus.iter().filter(named).collect::<Vec<_>>().as_slice() {
        [bus] => Ok(bus.units.clone()),
        [] => Err(format!("{}: there is no such [[modbus]]", file.display())),
        _ => Err(format!("{}: there are several [[modbus]]: --name says which", file.display())),
    }
}

/// How the bytes are read. A format of messages is one of a port where something is said that only ports have.
fn how(args: DecodeArgs) -> Result<(How, DecodeArgs), String> {
    if args.format == MODBUS {
        let units = args.config.as_deref().map(|file| units(file, args.name.as_deref())).transpose()?;
        return Ok((How::Bus(units), args));
    }
    if args.config.is_some() {
        return Err(format!("--config: only --format {MODBUS} takes a table of registers from it"));
    }
    let message = payload::Format::named(&args.format);
    let PortArgs { framing, layout, crc, length, sync, max_line, max_frame, columns, header, separator, .. } =
        &args.port;
    let set = [
        framing.is_some(),
        crc.is_some(),
        length.is_some(),
        sync.is_some(),
        max_line.is_some(),
        max_frame.is_some(),
        columns.is_some(),
        header.is_some(),
        separator.is_some(),
        args.port.node.is_some(),
        args.name.is_some(),
    ];
    let of_port = set.contains(&true);
    match (message, layout) {
        (Some(format), None) if !of_port => return Ok((How::Message(format), args)),
        (None, Some(layout)) if args.format == "layout" && !of_port => return Ok((How::Layout(layout.clone()), args)),
        _ => {}
    }
    let Some(format) = serial::Format::named(&args.format) else {
        return Err(format!("--format {} is told by topics: no bytes of a port are read by it", args.format));
    };
    let port = args.port;
    let keys = Keys {
        format,
        framing: meant(&Kind::ALL, port.framing.as_ref()),
        crc: port.crc.clone(),
        crc_order: meant(&ORDERS, port.crc_order.as_ref()),
        crc_covers: meant(&COVERS, port.crc_covers.as_ref()),
        length: port.length,
        sync: port.sync.as_ref().map(|sync| sync.0.clone()),
        length_bytes: port.length_bytes,
        length_order: meant(&ORDERS, port.length_order.as_ref()),
        length_counts: meant(&COUNTS, port.length_counts.as_ref()),
        gap: None,
        max_line: port.max_line,
        max_frame: port.max_frame,
        layout: port.layout.clone(),
        time: args.time.clone(),
        node: port.node.clone(),
        columns: port.columns.as_ref().map(|columns| columns.0.clone()),
        header: port.header,
        separator: port.separator,
        model: meant(&MODELS, port.model.as_ref()),
    };
    let protocol = Protocol::new(keys).map_err(|misfits| {
        let misfits = misfits.iter().map(|(key, reason)| format!("--{key}: {reason}"));
        misfits.collect::<Vec<_>>().join("\n")
    })?;
    Ok((How::Stream(Box::new(protocol)), DecodeArgs { port, ..args }))
}

/// Decodes the file: 0 where all of it could be decoded, 1 where something could not, 2 where it was asked wrongly.
pub(super) fn run(args: DecodeArgs) -> u8 {
    let (how, args) = match how(args) {
        Ok(found) => found,
        Err(error) => return fail(2, &error),
    };
    let mut bytes = Vec::new();
    let read = if args.file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(&args.file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        return fail(2, &format!("{}: {error}", args.file.display()));
    }
    if args.hex {
        let Some(decoded) = std::str::from_utf8(&bytes).ok().and_then(hex::parse) else {
            return fail(2, &format!("{}: expected hex digits in pairs, such as AA 55", args.file.display()));
        };
        bytes = decoded;
    }
    let options = Options {
        how,
        name: args.name.unwrap_or_else(|| args.topic.clone()),
        topic: args.topic,
        pattern: args.pattern,
        time: args.time,
        zone: args.timezone.unwrap_or_else(clock::zone_of_machine),
        own_zone: args.timezone,
        arrival: clock::realtime(),
        json: args.json,
    };
    match decode::run(&options, &bytes, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(whole) => u8::from(!whole),
        Err(error) => fail(2, &format!("{error:#}")),
    }
}
