//! Bytes that keep the end of a frame out of it: COBS (Cheshire and Baker, 1999) and SLIP (RFC 1055).

use super::Fault;

/// RFC 1055.
pub const END: u8 = 0xC0;
pub const ESC: u8 = 0xDB;
const ESC_END: u8 = 0xDC;
const ESC_ESC: u8 = 0xDD;

/// Whether a frame without zero bytes is none.
pub fn cobs_fault(frame: &[u8]) -> Option<Fault> {
    let mut at = 0;
    while at < frame.len() {
        let next = at + usize::from(frame[at]);
        if next > frame.len() {
            return Some(Fault::Code(at));
        }
        at = next;
    }
    None
}

/// Decodes a frame without zero bytes and faults; it becomes shorter.
pub fn cobs_decode(frame: &mut [u8]) -> usize {
    let (mut at, mut len) = (0, 0);
    while at < frame.len() {
        let code = usize::from(frame[at]);
        frame.copy_within(at + 1..at + code, len);
        len += code - 1;
        at += code;
        if code < 0xFF && at < frame.len() {
            frame[len] = 0;
            len += 1;
        }
    }
    len
}

/// Whether a frame without `C0` is none.
pub fn slip_fault(frame: &[u8]) -> Option<Fault> {
    let mut at = 0;
    while at < frame.len() {
        if frame[at] == ESC {
            if !matches!(frame.get(at + 1), Some(&(ESC_END | ESC_ESC))) {
                return Some(Fault::Escape(at));
            }
            at += 1;
        }
        at += 1;
    }
    None
}

/// Decodes a frame without faults; it becomes shorter.
pub fn slip_decode(frame: &mut [u8]) -> usize {
    let (mut at, mut len) = (0, 0);
    while at < frame.len() {
        let mut byte = frame[at];
        if byte == ESC {
            at += 1;
            byte = if frame[at] == ESC_END { END } else { ESC };
        }
        frame[len] = byte;
        (at, len) = (at + 1, len + 1);
    }
    len
}

/// The other way, without the zero byte behind it.
pub fn cobs_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    let mut code_at = 0;
    for &byte in bytes {
        if byte != 0 {
            out.push(byte);
        }
        let code = out.len() - code_at;
        // A code of FF stands for 254 bytes without a zero behind them.
        if byte == 0 || code == 0xFF {
            out[code_at] = u8::try_from(code).expect("a code is at most 255");
            code_at = out.len();
            out.push(0);
        }
    }
    out[code_at] = u8::try_from(out.len() - code_at).expect("a code is at most 255");
    out
}

/// The other way, without the `C0` behind it.
pub fn slip_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            END => out.extend([ESC, ESC_END]),
            ESC => out.extend([ESC, ESC_ESC]),
            byte => out.push(byte),
        }
    }
    out
}
