//! `[[modbus]]`: a bus of units that are asked for their registers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::raw::{Entry, Section};
use super::validate::{DAY, SECOND, Taken, all};
use super::{Parity, Uart, value};
use crate::codec::modbus::{Decimal, Function, Kind, MAX_REGISTERS, MAX_UNIT, Na, Order, Register, Scale, Unit};

/// Longest name of a node or metric in bytes.
const MAX_NAME: usize = 128;
/// Longest unit of measure in bytes.
const MAX_MEASURE: usize = 32;

/// `[[modbus]]`: one serial port with Modbus RTU on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Modbus {
    /// `name`: the source's name, as that of [`Serial`](super::Serial). Required.
    pub name: String,
    /// `port`: path of the device. Required; each port once.
    pub port: PathBuf,
    /// `baud`, `parity`, `stop-bits`: how the line is set; 9600 8N1 by default, and always 8 data bits.
    pub uart: Uart,
    /// `timeout`: how long a unit may take to begin its answer. 20 ms to 10 s.
    pub timeout: Duration,
    /// `unit`: the units with their registers; at least one.
    pub units: Vec<Unit>,
}

impl Default for Modbus {
    fn default() -> Self {
        Self {
            name: String::new(),
            port: PathBuf::new(),
            uart: Uart { baud: 9_600, ..Uart::default() },
            timeout: Duration::from_millis(500),
            units: Vec::new(),
        }
    }
}

/// The interval of a register where nothing else says one.
const INTERVAL: Duration = Duration::from_secs(10);

/// What a unit's registers have where they do not say otherwise.
#[derive(Clone)]
struct Defaults {
    node: Arc<str>,
    interval: Duration,
    function: Function,
    kind: Option<Kind>,
    order: Order,
}

pub(super) fn modbus(mut section: Section<'_>, taken: &mut Taken) -> Option<Modbus> {
    let default = Modbus::default();
    let name = taken.name(&mut section);
    let port = taken.port(&mut section);
    let baud = section.or("baud", default.uart.baud, value::whole(300..=4_000_000));
    let parity = section.or("parity", default.uart.parity, value::choice(&Parity::ALL));
    let stop_bits = section.or("stop-bits", default.uart.stop_bits, value::whole(1..=2));
    let timeout = Duration::from_millis(20)..=10 * SECOND;
    let timeout = section.or("timeout", default.timeout, value::duration(timeout, default.timeout));
    let interval = section.or("interval", INTERVAL, interval);
    let units = section.tables("unit");
    if units.as_ref().is_some_and(Vec::is_empty) {
        section.blame("unit", "expected at least one, written as [[modbus.unit]]");
    }
    let mut known = Known::default();
    let alone = units.as_ref().is_some_and(|units| units.len() == 1);
    let source = name.clone().unwrap_or_default();
    let units = all(units, |section| unit(section, &source, alone, interval.unwrap_or(INTERVAL), &mut known));
    if known.registers > MAX_REGISTERS {
        let reason = format!("{} registers in all, expected at most {MAX_REGISTERS}", known.registers);
        section.blame("unit", reason);
    }
    section.finish();
    interval?;
    let uart = Uart { baud: baud?, parity: parity?, stop_bits: stop_bits?, ..default.uart };
    Some(Modbus { name: name?, port: port?, uart, timeout: timeout?, units: units? })
}

/// What only one unit or register of a bus may have, with the dotted path of the one that has it.
#[derive(Default)]
struct Known {
    ids: HashMap<u8, String>,
    series: HashMap<(Arc<str>, String), String>,
    registers: usize,
}

fn unit(
    mut section: Section<'_>,
    source: &str,
    alone: bool,
    default_interval: Duration,
    known: &mut Known,
) -> Option<Unit> {
    let expected = format!("the unit's address, 1 to {MAX_UNIT}");
    let id = section.required("id", &expected, value::whole::<u8>(1..=u64::from(MAX_UNIT)));
    if let Some(id) = id
        && let Some(other) = known.ids.insert(id, section.path().to_owned())
    {
        section.blame("id", format!("{other} is this unit, expected all its registers there"));
    }
    let own = if alone { source.to_owned() } else { format!("{source}-{}", id.unwrap_or_default()) };
    let node = section.or("node", own, value::text(MAX_NAME));
    let interval = section.or("interval", default_interval, interval);
    let function = section.or("function", Function::Holding, function);
    let kind = section.optional("type", value::choice(Kind::NAMED));
    let order = section.or("order", Order::default(), value::choice(Order::NAMED));
    let gap = section.or("gap", 0, value::whole(0..=120));
    let registers = section.tables("registers");
    if registers.as_ref().is_some_and(Vec::is_empty) {
        section.blame("registers", "expected at least one, such as { metric = \"voltage\", address = 0 }");
    }
    section.finish();
    let defaults = Defaults {
        node: Arc::from(node.clone().unwrap_or_default()),
        interval: interval.unwrap_or(default_interval),
        function: function.unwrap_or(Function::Holding),
        kind: kind.flatten(),
        order: order.unwrap_or_default(),
    };
    let registers = all(registers, |section| register(section, &defaults, known));
    // Each of them has its default above, if it is wrong: its registers are read all the same.
    node?;
    interval?;
    function?;
    kind?;
    order?;
    Some(Unit { id: id?, gap: gap?, registers: registers? })
}

fn register(mut section: Section<'_>, defaults: &Defaults, known: &mut Known) -> Option<Register> {
    known.registers += 1;
    let metric = section.required("metric", "the metric's name, such as \"voltage\"", value::text(MAX_NAME));
    let address = section.required("address", "the register's address, 0 to 65535", address);
    let node = section.or("node", Arc::clone(&defaults.node), |entry| value::text(MAX_NAME)(entry).map(Arc::from));
    let interval = section.or("interval", defaults.interval, interval);
    let function = section.or("function", defaults.function, function);
    let named = section.optional("type", value::choice(Kind::NAMED));
    let bit = section.optional("bit", value::whole::<u8>(0..=15));
    let order = section.or("order", defaults.order, value::choice(Order::NAMED));
    let scale = section.or("scale", Scale::default(), scale);
    let offset = section.optional("offset", decimal);
    let measure = section.or("unit", String::new(), value::text(MAX_MEASURE));
    let na = section.optional("na", na);
    let kind = match (function, named, bit) {
        (Some(function), Some(named), Some(bit)) => kind(&section, function, named, bit, defaults.kind),
        _ => None,
    };
    if let (Some(kind), Some(address)) = (kind, address)
        && u32::from(address) + u32::from(kind.width()) > 65_536
    {
        let reason =
            format!("expected at most {}: it takes {} registers", 65_536 - u32::from(kind.width()), kind.width());
        section.blame("address", reason);
    }
    if kind.is_some_and(Kind::is_switch) {
        for key in ["scale", "offset", "na", "unit"] {
            if section.is_set(key) {
                section.blame(key, "expected without it: a bit is 0 or 1");
            }
        }
    }
    let scale = match (scale, offset) {
        (Some(scale), Some(Some(offset))) => {
            let whole = scale.then('+', offset);
            if whole.is_none() {
                section.blame("offset", "expected fewer digits together with scale");
            }
            whole
        }
        (scale, Some(None)) => scale,
        (None, Some(Some(_))) | (_, None) => None,
    };
    if let (Some(metric), Some(node)) = (&metric, &node)
        && let Some(other) = known.series.insert((Arc::clone(node), metric.clone()), section.path().to_owned())
    {
        section.blame("metric", format!("{other} is this metric of the node {node:?}, expected another name or node"));
    }
    section.finish();
    Some(Register {
        node: node?,
        metric: metric?,
        measure: measure?,
        function: function?,
        address: address?,
        kind: kind?,
        order: order?,
        scale: scale?,
        na: na?,
        interval: interval?,
    })
}

/// What a register is made of: its `bit`, its `type`, that of its unit where that fits, or what its table holds.
fn kind(
    section: &Section<'_>,
    function: Function,
    named: Option<Kind>,
    bit: Option<u8>,
    default: Option<Kind>,
) -> Option<Kind> {
    match (function.reads_bits(), named, bit) {
        (true, None | Some(Kind::Bool), None) => Some(Kind::Bool),
        (true, Some(_), _) => {
            section.blame("type", format!("expected \"bool\" or nothing: a {function} is one bit"));
            None
        }
        (true, _, Some(_)) => {
            section.blame("bit", format!("expected without it: a {function} is one bit"));
            None
        }
        (false, None | Some(Kind::Bool | Kind::U16), Some(bit)) => Some(Kind::Bit(bit)),
        (false, Some(_), Some(_)) => {
            section.blame("bit", "expected with type = \"u16\" or without a type: it is a bit of one register");
            None
        }
        (false, Some(kind), None) => Some(kind),
        (false, None, None) => Some(default.unwrap_or(Kind::U16)),
    }
}

fn interval(entry: &Entry<'_>) -> Result<Duration, String> {
    value::duration(Duration::from_millis(100)..=DAY, INTERVAL)(entry)
}

fn function(entry: &Entry<'_>) -> Result<Function, String> {
    value::choice(&Function::ALL.map(|function| (function.as_str(), function)))(entry)
}

fn address(entry: &Entry<'_>) -> Result<u16, String> {
    value::whole(0..=65_535)(entry).map_err(|expected| {
        if entry.whole().is_some_and(|number| (300_001..=465_536).contains(&number)) {
            format!("{expected}: 400108 in a manual is address 107 with function = \"holding\", 300108 with \"input\"")
        } else {
            expected
        }
    })
}

fn scale(entry: &Entry<'_>) -> Result<Scale, String> {
    let scale = decimal(entry).ok().and_then(|by| Scale::default().then('*', by));
    scale.ok_or_else(|| "expected a number of up to 18 digits that is not 0".to_owned())
}

fn decimal(entry: &Entry<'_>) -> Result<Decimal, String> {
    entry.decimal().ok_or_else(|| "expected a number of up to 18 digits".to_owned())
}

fn na(entry: &Entry<'_>) -> Result<Na, String> {
    let number = entry.integer().map(Na::Integer).or_else(|| value::number(entry).ok().map(Na::Float));
    number.ok_or_else(|| "expected the number that means that there is no value, such as 0x8000".to_owned())
}

#[cfg(test)]
mod tests;
