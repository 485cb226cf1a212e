//! Modbus: what the registers of a unit hold, which of them are read at once, and how an answer is found among the bytes of
//! a line.
//!
//! Rules and names are those of the "MODBUS Application Protocol Specification" 1.1b3 and "MODBUS over Serial Line" 1.02.

pub mod frame;
pub mod plan;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::payload::found::Found;
use crate::reading::{Decoded, When};

pub use super::serial::layout::scale::{Decimal, Scale};
pub use value::{Data, decode};

/// Most registers of one source.
pub const MAX_REGISTERS: usize = 1_000;
/// Highest address of a unit; those above are reserved.
pub const MAX_UNIT: u8 = 247;

/// One table of a unit, by the function that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Bits that can be written: function 1.
    Coil,
    /// Bits that can only be read: function 2.
    Discrete,
    /// Registers that can be written: function 3.
    Holding,
    /// Registers that can only be read: function 4.
    Input,
}

impl Function {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Coil, Self::Discrete, Self::Holding, Self::Input];

    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// Its code in a frame.
    pub const fn code(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// Whether it reads bits and not registers.
    pub const fn reads_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// How many of them one request may ask for.
    pub const fn most(self) -> u16 {
        if self.reads_bits() { 2_000 } else { 125 }
    }

    /// Bytes that hold `count` of them in an answer.
    pub const fn bytes(self, count: u16) -> usize {
        if self.reads_bits() { (count as usize).div_ceil(8) } else { count as usize * 2 }
    }
}

impl fmt::Display for Function {
    /// As a manual has it: `holding register`, `coil`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete input",
            Self::Holding => "holding register",
            Self::Input => "input register",
        })
    }
}

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A coil, a discrete input, or a register that is 0 or not.
    Bool,
    /// One bit of a register, counted from the lowest.
    Bit(u8),
    /// One register without a sign.
    U16,
    /// One register with a sign.
    I16,
    /// Two registers without a sign.
    U32,
    /// Two registers with a sign.
    I32,
    /// Four registers without a sign.
    U64,
    /// Four registers with a sign.
    I64,
    /// Two registers, IEEE 754.
    F32,
    /// Four registers, IEEE 754.
    F64,
}

impl Kind {
    /// Those that have a name in the configuration.
    pub const NAMED: &[(&'static str, Self)] = &[
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("bool", Self::Bool),
    ];

    /// Registers (or bits of a table of bits) that it takes.
    pub const fn width(self) -> u16 {
        match self {
            Self::Bool | Self::Bit(_) | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    /// Whether it is 0 or 1, and so has no scale.
    pub const fn is_switch(self) -> bool {
        matches!(self, Self::Bool | Self::Bit(_))
    }
}

/// In which order the bytes of a value come; A is the most significant one of four. Values of four registers keep to the same
/// two rules, those of one register have no words to exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The high word first, the high byte first, as the specification has it.
    #[default]
    Abcd,
    /// The low word first, the high byte first.
    Cdab,
    /// The high word first, the low byte first.
    Badc,
    /// The low word first, the low byte first.
    Dcba,
}

impl Order {
    /// All of them with their names in the configuration.
    pub const NAMED: &[(&'static str, Self)] =
        &[("ABCD", Self::Abcd), ("CDAB", Self::Cdab), ("BADC", Self::Badc), ("DCBA", Self::Dcba)];
}

/// A value that means that there is none, as it was written down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Na {
    /// The number itself, or the bits of it.
    Integer(i128),
    /// The number.
    Float(f64),
}

/// One value of a unit, and what it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// The node that it belongs to.
    pub node: Arc<str>,
    /// The metric's name.
    pub metric: String,
    /// The unit of measure of the scaled value; empty where it is that of the vocabulary, or none.
    pub measure: String,
    /// The table that it is in.
    pub function: Function,
    /// Its first register, counted from 0 as in a frame.
    pub address: u16,
    /// What it is made of.
    pub kind: Kind,
    /// The order of its bytes.
    pub order: Order,
    /// What makes the value of the number.
    pub scale: Scale,
    /// The value that means that there is none.
    pub na: Option<Na>,
    /// The time from one reading to the next.
    pub interval: Duration,
}

impl Register {
    /// The address behind its last register; at most 65,536.
    pub fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.kind.width())
    }
}

/// A device on the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Its address: 1 to [`MAX_UNIT`].
    pub id: u8,
    /// Registers between two of its own that may be read along to save a request; 0 reads only what is wanted.
    pub gap: u16,
    /// What is read of it.
    pub registers: Vec<Register>,
}

impl Unit {
    /// Its nodes, each once.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let mut nodes: Vec<Arc<str>> = Vec::new();
        for register in &self.registers {
            if !nodes.contains(&register.node) {
                nodes.push(Arc::clone(&register.node));
            }
        }
        nodes
    }
}

/// The events that say that all nodes of a unit are there, or gone.
pub fn availability(unit: &Unit, online: bool) -> Decoded {
    let mut found = Found::new(&[]);
    for node in unit.nodes() {
        found.availability(&node, online, When::Arrival);
    }
    found.finish()
}

/// An exception by its name in the specification.
pub fn exception(code: u8) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        1 => "ILLEGAL FUNCTION",
        2 => "ILLEGAL DATA ADDRESS",
        3 => "ILLEGAL DATA VALUE",
        4 => "SERVER DEVICE FAILURE",
        5 => "ACKNOWLEDGE",
        6 => "SERVER DEVICE BUSY",
        8 => "MEMORY PARITY ERROR",
        10 => "GATEWAY PATH UNAVAILABLE",
        11 => "GATEWAY TARGET DEVICE FAILED TO RESPOND",
        _ => return Cow::Owned(format!("EXCEPTION {code}")),
    })
}
