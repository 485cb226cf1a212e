//! Modbus: answers among the bytes of a line, and what their registers become.

use std::time::Duration;

use gadwall::codec::modbus::frame::{Expected, Strays, is_sound, sealed};
use gadwall::codec::modbus::plan::{Read, reads};
use gadwall::codec::modbus::{Data, Function, Kind, Na, Order, Register, Scale, Unit, decode};

/// Five bytes choose the request and its registers, the others are the line. What is found is sound, of the unit, the function
/// and the length that were asked for; nothing of what stands beside it is lost from the counts; an answer that is put behind
/// the line is found unless one stood there before; readings are finite, and no more than there are registers.
pub fn modbus(input: &[u8]) {
    let [unit, function, count, kind, options, line @ ..] = input else { return };
    let function = Function::ALL[usize::from(function % 4)];
    let kind = if function.reads_bits() { Kind::Bool } else { Kind::NAMED[usize::from(kind % 9)].1 };
    let count = u16::from(count % 31) + 1;
    let unit_id = unit % 247 + 1;
    let expected = Expected::new(unit_id, function, count);
    let rest = |from: usize| {
        let mut strays = Strays::default();
        strays.note(&line[..from], Some(expected));
        assert!(strays.skipped + strays.answers.len() as u64 + strays.crc_errors <= from as u64);
        assert!(from == 0 || strays.skipped > 0 || !strays.answers.is_empty() || strays.crc_errors > 0);
    };
    match expected.find(line) {
        Some(found) => {
            let frame = &line[found.clone()];
            assert!(is_sound(frame) && frame[0] == unit_id && frame[1] & 0x7F == function.code());
            assert_eq!(frame.len(), if frame[1] & 0x80 == 0 { expected.len() } else { 5 });
            rest(found.start);
        }
        None => {
            rest(line.len());
            let data = vec![0x5A; function.bytes(count)];
            let bytes = u8::try_from(data.len()).expect("at most 62 bytes");
            let answer = sealed(&[&[unit_id, function.code(), bytes], &data[..]].concat());
            let whole = [line, &answer[..]].concat();
            let found = expected.find(&whole).expect("an answer behind noise");
            assert!(is_sound(&whole[found]));
        }
    }
    values(unit_id, function, count, kind, *options, line);
}

fn values(id: u8, function: Function, count: u16, kind: Kind, options: u8, bytes: &[u8]) {
    let register = |index: u16| Register {
        node: "n".into(),
        metric: format!("m{index}"),
        measure: String::new(),
        function,
        address: index * kind.width(),
        kind,
        order: Order::NAMED[usize::from(options % 4)].1,
        scale: Scale::default(),
        na: (options & 4 != 0).then_some(Na::Integer(0)),
        interval: Duration::from_secs(1),
    };
    let unit = Unit { id, gap: 0, registers: (0..count).map(register).collect() };
    let planned = reads(&unit);
    let all: usize = planned.iter().map(|(_, read)| read.registers.len()).sum();
    assert_eq!(all, unit.registers.len());
    for (_, read) in &planned {
        assert!(read.count <= function.most());
        let decoded = answered(read, &unit.registers, bytes);
        assert!(decoded.readings.len() + decoded.dead.len() <= read.registers.len());
        assert!(decoded.readings.iter().all(|reading| reading.value.is_finite()));
    }
}

fn answered(read: &Read, registers: &[Register], bytes: &[u8]) -> gadwall::reading::Decoded {
    if read.function.reads_bits() {
        let bits: Vec<bool> = bytes.iter().map(|byte| byte & 1 == 1).collect();
        return decode(read, registers, Data::Bits(&bits));
    }
    let words: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    decode(read, registers, Data::Words(&words))
}
