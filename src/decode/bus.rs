//! Bytes of a Modbus RTU line, as somebody has listened to them: requests, and what the units answered.

use std::time::Duration;

use crate::codec::modbus::frame::{Expected, REQUEST, answer_at, is_sound};
use crate::codec::modbus::plan::{Read, reads};
use crate::codec::modbus::{Data, Function, Kind, MAX_UNIT, Order, Register, Scale, Unit, decode, exception};
use crate::reading::Decoded;

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) decoded: Decoded,
    /// Why something is not stored, with its byte.
    pub(super) told: Vec<String>,
    pub(super) requests: usize,
    pub(super) answers: usize,
    /// Answers that could not be decoded, exceptions among them.
    pub(super) bad: usize,
    pub(super) skipped: usize,
}

/// What a master asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    unit: u8,
    function: Function,
    address: u16,
    count: u16,
}

impl Request {
    /// The request that `bytes` begin with.
    fn at(bytes: &[u8]) -> Option<Self> {
        let frame = bytes.first_chunk::<REQUEST>()?;
        let [unit, code, a, b, c, d, ..] = *frame;
        let function = Function::ALL.into_iter().find(|function| function.code() == code)?;
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let fits = (1..=MAX_UNIT).contains(&unit) && (1..=function.most()).contains(&count);
        (fits && is_sound(frame)).then_some(Self { unit, function, address, count })
    }

    fn expected(self) -> Expected {
        Expected::new(self.unit, self.function, self.count)
    }

    /// The length of its answer, or of an exception, that `bytes` begin with.
    fn answer_at(self, bytes: &[u8]) -> Option<usize> {
        let found = self.expected().find(&bytes[..bytes.len().min(self.expected().len())])?;
        (found.start == 0).then_some(found.end)
    }
}

/// Takes the bytes apart. `units` is the table of a bus; without it each register is a reading of its own.
pub(super) fn listen(units: Option<&[Unit]>, bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut asked: Option<Request> = None;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        // An answer with three bytes is as long as a request: what was asked for tells.
        let taken = if let Some((request, len)) = asked.and_then(|asked| Some((asked, asked.answer_at(rest)?))) {
            asked = None;
            heard.answer(units, at, Some(request), &rest[..len]);
            len
        } else if let Some(request) = Request::at(rest) {
            heard.requests += 1;
            asked = Some(request);
            REQUEST
        } else if let Some(len) = answer_at(rest) {
            heard.answer(units, at, None, &rest[..len]);
            len
        } else {
            heard.skipped += 1;
            1
        };
        at += taken;
    }
    heard
}

impl Heard {
    fn answer(&mut self, units: Option<&[Unit]>, at: usize, request: Option<Request>, frame: &[u8]) {
        self.answers += 1;
        let (unit, code) = (frame[0], frame[1]);
        if code & 0x80 != 0 {
            self.refuse(at, &format!("unit {unit} answers {}", exception(frame[2])));
            return;
        }
        let Some(function) = Function::ALL.into_iter().find(|function| function.code() == code) else { return };
        let data = &frame[3..frame.len() - 2];
        let table;
        let (registers, read) = if let Some(units) = units {
            let Some(of_unit) = units.iter().find(|known| known.id == unit) else {
                self.told.push(format!("byte {at}: unit {unit} is not in the table: nothing of it is stored"));
                return;
            };
            let read = match request {
                Some(request) => Some(wanted(of_unit, request)),
                None => only(of_unit, function, data.len()),
            };
            let Some(read) = read else {
                let what = format!("which registers of unit {unit} these are is not known without the request");
                self.refuse(at, &what);
                return;
            };
            (of_unit.registers.as_slice(), read)
        } else {
            if request.is_none() {
                let what = "an answer without its request: registers are counted from its first";
                self.told.push(format!("byte {at}: {what}"));
            }
            let in_data = if function.reads_bits() { data.len() * 8 } else { data.len() / 2 };
            let count = request.map_or(u16::try_from(in_data).unwrap_or(u16::MAX), |request| request.count);
            let first = request.map_or(0, |request| request.address);
            table = (0..count).filter_map(|i| Some(raw(unit, function, first.checked_add(i)?))).collect::<Vec<_>>();
            let registers = (0..table.len()).collect();
            (table.as_slice(), Read { unit, function, address: first, count, registers })
        };
        self.decoded.append(if function.reads_bits() {
            let bits: Vec<bool> = data.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
            decode(&read, registers, Data::Bits(&bits))
        } else {
            let words: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            decode(&read, registers, Data::Words(&words))
        });
    }

    fn refuse(&mut self, at: usize, why: &str) {
        self.bad += 1;
        self.told.push(format!("byte {at}: {why}"));
    }
}

/// The registers of a unit that a request asks for.
fn wanted(unit: &Unit, request: Request) -> Read {
    let Request { function, address, count, .. } = request;
    let end = u32::from(address) + u32::from(count);
    let within = |r: &Register| r.function == function && r.address >= address && r.end() <= end;
    let registers = (0..unit.registers.len()).filter(|i| within(&unit.registers[*i])).collect();
    Read { unit: unit.id, function, address, count, registers }
}

/// The one request of the gateway itself whose answer has so many bytes; `None` where it is none, or several.
fn only(unit: &Unit, function: Function, bytes: usize) -> Option<Read> {
    let mut fit = reads(unit)
        .into_iter()
        .map(|(_, read)| read)
        .filter(|r| r.function == function && function.bytes(r.count) == bytes);
    let one = fit.next()?;
    fit.next().is_none().then_some(one)
}

/// A register that no table names.
fn raw(unit: u8, function: Function, address: u16) -> Register {
    Register {
        node: format!("unit-{unit}").into(),
        metric: format!("{}_{address}", function.as_str()),
        measure: String::new(),
        function,
        address,
        kind: if function.reads_bits() { Kind::Bool } else { Kind::U16 },
        order: Order::default(),
        scale: Scale::default(),
        na: None,
        interval: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::modbus::frame::sealed;

    fn rows(heard: &Heard) -> Vec<String> {
        heard.decoded.readings.iter().map(|r| format!("{} {}={}", r.node, r.metric, r.value)).collect()
    }

    fn line(frames: &[&[u8]]) -> Vec<u8> {
        frames.iter().flat_map(|frame| sealed(frame)).collect()
    }

    #[test]
    fn registers_are_named_by_the_request_before_their_answer() {
        // The example of the specification: registers 107 to 109 of unit 17.
        let bytes = line(&[&[17, 3, 0, 107, 0, 3], &[17, 3, 6, 2, 43, 0, 0, 0, 100]]);
        let heard = listen(None, &bytes);
        assert_eq!(rows(&heard), ["unit-17 holding_107=555", "unit-17 holding_108=0", "unit-17 holding_109=100"]);
        assert_eq!((heard.requests, heard.answers, heard.bad, heard.skipped, heard.told.len()), (1, 1, 0, 0, 0));

        // Three bytes of coils make an answer as long as a request; ten coils of sixteen bits.
        let bytes = line(&[&[1, 1, 3, 0, 0, 18], &[1, 1, 3, 0b101, 0, 0b10], &[1, 2, 0, 0, 0, 2], &[1, 2, 1, 2]]);
        let heard = listen(None, &bytes);
        let ones: Vec<String> = rows(&heard).into_iter().filter(|row| row.ends_with("=1")).collect();
        assert_eq!(ones, ["unit-1 coil_768=1", "unit-1 coil_770=1", "unit-1 coil_785=1", "unit-1 discrete_1=1"]);
        assert_eq!((heard.decoded.readings.len(), heard.requests, heard.answers), (20, 2, 2));
    }

    #[test]
    fn noise_exceptions_and_answers_alone_are_told() {
        let mut bytes = vec![0xFF, 0x00];
        bytes.extend(line(&[&[2, 4, 0, 0, 0, 1], &[2, 0x84, 2], &[3, 4, 2, 0x12, 0x34]]));
        bytes.extend([9, 9]);
        let heard = listen(None, &bytes);
        assert_eq!(rows(&heard), ["unit-3 input_0=4660"]);
        assert_eq!((heard.requests, heard.answers, heard.bad, heard.skipped), (1, 2, 1, 4));
        assert_eq!(
            heard.told,
            [
                "byte 10: unit 2 answers ILLEGAL DATA ADDRESS",
                "byte 15: an answer without its request: registers are counted from its first"
            ]
        );
    }

    #[test]
    fn with_a_table_it_is_what_the_daemon_would_store() {
        let register = |metric: &str, address: u16, kind: Kind| Register {
            node: "meter".into(),
            metric: metric.into(),
            kind,
            ..raw(1, Function::Input, address)
        };
        let registers = vec![register("voltage", 0, Kind::F32), register("power", 2, Kind::I16)];
        let units = [Unit { id: 1, gap: 0, registers }];
        let answer: &[u8] = &[1, 4, 6, 0x43, 0x66, 0x33, 0x33, 0xFF, 0xF6];
        let expected = ["meter voltage=230.2", "meter power=-10"];
        assert_eq!(rows(&listen(Some(&units), &line(&[&[1, 4, 0, 0, 0, 3], answer]))), expected);
        assert_eq!(rows(&listen(Some(&units), &line(&[answer]))), expected, "no other request fits");
        let part = listen(Some(&units), &line(&[&[1, 4, 0, 2, 0, 1], &[1, 4, 2, 0, 5]]));
        assert_eq!(rows(&part), ["meter power=5"]);
        let alone = listen(Some(&units), &line(&[&[1, 4, 2, 0, 5]]));
        assert_eq!(
            (rows(&alone).len(), alone.bad, alone.told[0].as_str()),
            (0, 1, "byte 0: which registers of unit 1 these are is not known without the request")
        );
        let other = listen(Some(&units), &line(&[&[7, 4, 2, 0, 5]]));
        assert_eq!(
            (other.bad, other.told[0].as_str()),
            (0, "byte 0: unit 7 is not in the table: nothing of it is stored")
        );
    }
}
