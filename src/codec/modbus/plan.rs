//! Which registers are read at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Function, Register, Unit};

/// One request, and the registers that its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The unit that is asked.
    pub unit: u8,
    /// The table that is read.
    pub function: Function,
    /// The first register.
    pub address: u16,
    /// How many.
    pub count: u16,
    /// The unit's registers among them, by their index.
    pub registers: Vec<usize>,
}

impl Read {
    /// The same as one request for each register: for a unit that does not answer for all of them together.
    pub fn split(&self, unit: &Unit) -> Vec<Self> {
        let single = |index: &usize| Some(one(unit.id, *index, unit.registers.get(*index)?));
        self.registers.iter().filter_map(single).collect()
    }
}

/// The requests that read all registers of `unit`, each with its interval. Registers of one table and interval that stand
/// next to each other, with at most [`Unit::gap`] others between them, are read at once, up to what a request may ask for; a
/// value is never cut.
pub fn reads(unit: &Unit) -> Vec<(Duration, Read)> {
    let mut tables: BTreeMap<(Function, Duration), Vec<usize>> = BTreeMap::new();
    for (index, register) in unit.registers.iter().enumerate() {
        tables.entry((register.function, register.interval)).or_default().push(index);
    }
    let mut reads = Vec::new();
    for ((function, interval), mut indices) in tables {
        indices.sort_by_key(|index| (unit.registers[*index].address, unit.registers[*index].end()));
        let mut last: Option<Read> = None;
        for index in indices {
            let register = &unit.registers[index];
            if let Some(read) = &mut last
                && let Some(count) = joined(read, register, unit.gap)
            {
                read.count = count;
                read.registers.push(index);
                continue;
            }
            let read = one(unit.id, index, register);
            reads.extend(last.replace(Read { function, ..read }).map(|read| (interval, read)));
        }
        reads.extend(last.map(|read| (interval, read)));
    }
    reads
}

fn one(unit: u8, index: usize, register: &Register) -> Read {
    let Register { function, address, kind, .. } = register;
    Read { unit, function: *function, address: *address, count: kind.width(), registers: vec![index] }
}

/// How many registers `read` has when it takes this one as well; `None` where it must not. They come by their addresses.
fn joined(read: &Read, register: &Register, gap: u16) -> Option<u16> {
    let end = u32::from(read.address) + u32::from(read.count);
    if u32::from(register.address) > end + u32::from(gap) {
        return None;
    }
    let count = end.max(register.end()) - u32::from(read.address);
    u16::try_from(count).ok().filter(|count| *count <= read.function.most())
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Order, Scale};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn register(function: Function, address: u16, kind: Kind, interval: Duration) -> Register {
        Register {
            node: "n".into(),
            metric: format!("m{address}"),
            measure: String::new(),
            function,
            address,
            kind,
            order: Order::Abcd,
            scale: Scale::default(),
            na: None,
            interval,
        }
    }

    fn holding(address: u16, kind: Kind) -> Register {
        register(Function::Holding, address, kind, SECOND)
    }

    fn planned(gap: u16, registers: Vec<Register>) -> Vec<(u16, u16, Vec<usize>)> {
        let reads = reads(&Unit { id: 1, gap, registers });
        reads.into_iter().map(|(_, read)| (read.address, read.count, read.registers)).collect()
    }

    #[test]
    fn neighbours_are_read_at_once_in_any_order() {
        assert_eq!(
            planned(
                0,
                vec![holding(4, Kind::U16), holding(0, Kind::U32), holding(2, Kind::F32), holding(6, Kind::U16)]
            ),
            [(0, 5, vec![1, 2, 0]), (6, 1, vec![3])]
        );
        // Bits of the same register, and a register that is also part of a longer value.
        let bits =
            vec![holding(7, Kind::Bit(0)), holding(7, Kind::Bit(9)), holding(7, Kind::U32), holding(8, Kind::U16)];
        assert_eq!(planned(0, bits), [(7, 2, vec![0, 1, 2, 3])]);
    }

    #[test]
    fn a_gap_is_bridged_only_where_that_is_allowed() {
        let registers = || vec![holding(0, Kind::U16), holding(3, Kind::U16)];
        assert_eq!(planned(1, registers()), [(0, 1, vec![0]), (3, 1, vec![1])]);
        assert_eq!(planned(2, registers()), [(0, 4, vec![0, 1])]);
    }

    #[test]
    fn a_request_has_at_most_125_registers_or_2000_bits_and_cuts_no_value() {
        let registers: Vec<Register> = (0..64).map(|i| holding(i * 2, Kind::U32)).collect();
        let reads = planned(0, registers);
        assert_eq!(reads.iter().map(|(a, n, r)| (*a, *n, r.len())).collect::<Vec<_>>(), [(0, 124, 62), (124, 4, 2)]);
        let coils = (0..2_001).map(|a| register(Function::Coil, a, Kind::Bool, SECOND)).collect();
        let reads = planned(0, coils);
        assert_eq!(reads.iter().map(|(a, n, _)| (*a, *n)).collect::<Vec<_>>(), [(0, 2_000), (2_000, 1)]);
        assert_eq!(planned(65_535, vec![holding(0, Kind::U16), holding(65_535, Kind::U16)]).len(), 2);
    }

    #[test]
    fn tables_and_intervals_are_read_apart() {
        let unit = Unit {
            id: 9,
            gap: 0,
            registers: vec![
                holding(0, Kind::U16),
                register(Function::Holding, 1, Kind::U16, 5 * SECOND),
                register(Function::Input, 2, Kind::U16, SECOND),
                holding(1, Kind::U16),
            ],
        };
        let got: Vec<_> =
            reads(&unit).into_iter().map(|(i, r)| (r.function, i.as_secs(), r.address, r.count)).collect();
        assert_eq!(got, [(Function::Holding, 1, 0, 2), (Function::Holding, 5, 1, 1), (Function::Input, 1, 2, 1)]);
        assert!(reads(&unit).iter().all(|(_, read)| read.unit == 9));
    }

    #[test]
    fn a_joined_read_can_be_taken_apart() {
        let unit = Unit { id: 1, gap: 4, registers: vec![holding(0, Kind::U16), holding(3, Kind::F32)] };
        let (_, read) = &reads(&unit)[0];
        assert_eq!((read.address, read.count), (0, 5));
        let single: Vec<_> = read.split(&unit).into_iter().map(|r| (r.address, r.count, r.registers)).collect();
        assert_eq!(single, [(0, 1, vec![0]), (3, 2, vec![1])]);
    }
}
