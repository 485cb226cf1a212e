use proptest::prelude::*;

use super::stuffing::{END, ESC};
use super::*;

const WIKI_1: &[u8] = include_bytes!("../../../../tests/fixtures/serial/cobs-wiki-1.bin");
const WIKI_4: &[u8] = include_bytes!("../../../../tests/fixtures/serial/cobs-wiki-4.bin");
const COBS_CRC: &[u8] = include_bytes!("../../../../tests/fixtures/serial/cobs-crc16-json-DERIVED.bin");
const RFC_1055: &[u8] = include_bytes!("../../../../tests/fixtures/serial/slip-rfc1055-DERIVED.bin");

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Whole(Vec<u8>),
    Bad(Fault, Vec<u8>, usize),
}

fn whole(payload: &[u8]) -> Seen {
    Seen::Whole(payload.to_vec())
}

fn seen(frame: Frame<'_>) -> Seen {
    match frame {
        Frame::Whole(payload) => whole(payload),
        Frame::Bad { reason, head, len } => Seen::Bad(reason, head.to_vec(), len),
    }
}

fn rules(framing: Framing, max: usize) -> Rules {
    Rules { framing, check: None, max }
}

fn with(framing: Framing, name: &str, order: Order, max: usize) -> Rules {
    let checksum = Checksum::named(name).unwrap();
    Rules { framing, check: Some(Check { checksum, order, covers: Covers::Payload }), max }
}

/// Frames of chunks with a silence behind each, and what was skipped.
fn chunks<'a>(rules: &Rules, chunks: impl IntoIterator<Item = &'a [u8]>, idle: bool) -> (Vec<Seen>, u64) {
    let mut frames = Frames::new(rules.clone()).unwrap();
    let mut all = Vec::new();
    for chunk in chunks {
        frames.feed(chunk, &mut |frame| all.push(seen(frame)));
        assert!(frames.pending() <= rules.max || matches!(frames.inner, Inner::Lines(_) | Inner::Held(_)));
        if idle {
            frames.idle(&mut |frame| all.push(seen(frame)));
        }
    }
    (all, frames.skipped())
}

fn all(rules: &Rules, bytes: &[u8]) -> Vec<Seen> {
    chunks(rules, [bytes], false).0
}

fn prefix(sync: &[u8], wide: bool, order: Order, counts: Counts) -> Framing {
    Framing::LengthPrefixed(Prefix { sync: sync.to_vec(), wide, order, counts })
}

#[test]
fn cobs_frames_of_the_published_tables() {
    let cobs = rules(Framing::Cobs, 600);
    assert_eq!(all(&cobs, WIKI_1), [whole(&[0])]);
    assert_eq!(all(&cobs, WIKI_4), [whole(&[0x11, 0x22, 0x00, 0x33])]);
    // Wikipedia's further rows: 00 00; 11 00 00 00; 01..FE; 00 01..FE; 01..FF; 02..FF 00; 03..FF 00 01.
    let run = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases: [(Vec<u8>, Vec<u8>); 7] = [
        (vec![0, 0], vec![1, 1, 1]),
        (vec![0x11, 0, 0, 0], vec![2, 0x11, 1, 1, 1]),
        (run(1, 0xFE), [vec![0xFF], run(1, 0xFE)].concat()),
        ([vec![0], run(1, 0xFE)].concat(), [vec![1, 0xFF], run(1, 0xFE)].concat()),
        (run(1, 0xFF), [vec![0xFF], run(1, 0xFE), vec![2, 0xFF]].concat()),
        ([run(2, 0xFF), vec![0]].concat(), [vec![0xFF], run(2, 0xFF), vec![1, 1]].concat()),
        ([run(3, 0xFF), vec![0, 1]].concat(), [vec![0xFE], run(3, 0xFF), vec![2, 1]].concat()),
    ];
    for (payload, encoded) in cases {
        assert_eq!(all(&cobs, &[encoded, vec![0]].concat()), [whole(&payload)]);
        assert_eq!(all(&cobs, &cobs.encode(&payload).unwrap()), [whole(&payload)]);
    }
    // A code that leads behind the end.
    assert_eq!(all(&cobs, &[3, 0x11, 0, 2, 5, 0]), [Seen::Bad(Fault::Code(0), vec![3, 0x11], 2), whole(&[5])]);
}

#[test]
fn a_checksum_in_a_cobs_frame_is_checked_and_cut_off() {
    let rules = with(Framing::Cobs, "CRC-16/MODBUS", Order::Little, 64);
    let payload = br#"{"s":"t1","v":21.5}"#;
    assert_eq!(all(&rules, COBS_CRC), [whole(payload)]);
    assert_eq!(rules.encode(payload).unwrap(), COBS_CRC);
    let mut flipped = COBS_CRC.to_vec();
    flipped[3] ^= 1;
    let (got, skipped) = chunks(&rules, [flipped.as_slice(), COBS_CRC], false);
    assert!(matches!(&got[0], Seen::Bad(Fault::Checksum { found: 0xB64A, .. }, _, 21)), "{got:?}");
    assert_eq!((&got[1..], skipped), ([whole(payload)].as_slice(), 21));
    // One byte cannot hold two of checksum; nothing but a checksum says nothing.
    assert_eq!(all(&rules, &[2, 7, 0]), [Seen::Bad(Fault::Short, vec![7], 1)]);
    assert_eq!(all(&rules, &[3, 0xFF, 0xFF, 0]), []);
}

#[test]
fn slip_frames_as_in_rfc_1055() {
    let slip = rules(Framing::Slip, 16);
    assert_eq!(all(&slip, RFC_1055), [whole(&[0x01, 0xC0, 0x02, 0xDB, 0x03])]);
    assert_eq!(all(&slip, &slip.encode(&[0xC0, 0xDB]).unwrap()), [whole(&[0xC0, 0xDB])]);
    let bad = [1, 0xDB, 2, 0xC0, 7, 0xC0, 0xDB, 0xC0];
    let expected =
        [Seen::Bad(Fault::Escape(1), vec![1, 0xDB, 2], 3), whole(&[7]), Seen::Bad(Fault::Escape(0), vec![0xDB], 1)];
    assert_eq!(chunks(&slip, [bad.as_slice()], false), (expected.to_vec(), 4));
    let long = [vec![9; 17], vec![0xC0, 5, 0xC0]].concat();
    assert_eq!(all(&slip, &long), [Seen::Bad(Fault::TooLong(16), vec![9; 16], 17), whole(&[5])]);
}

#[test]
fn lines_end_with_their_checksum_in_hex() {
    assert_eq!(all(&rules(Framing::Lines, 8), b"one\r\n\ntwo\n"), [whole(b"one"), whole(b"two")]);
    let rules = with(Framing::Lines, "CRC-16/MODBUS", Order::Big, 32);
    // The catalogue's check value of 123456789 is 4B37.
    assert_eq!(all(&rules, b"123456789*4B37\r\n1234567894b37\n"), [whole(b"123456789"), whole(b"123456789")]);
    let got = all(&rules, b"123456788*4B37\n12\nabcdef\n");
    assert!(matches!(got[0], Seen::Bad(Fault::Checksum { found: 0x4B37, .. }, _, 14)), "{got:?}");
    assert_eq!(got[1], Seen::Bad(Fault::Short, b"12".to_vec(), 2));
    assert!(matches!(got[2], Seen::Bad(Fault::Checksum { found: 0xCDEF, .. }, _, 6)), "{got:?}");
    let noise = b"\x00\xFE123456789*4B37\n";
    assert_eq!(chunks(&rules, [noise.as_slice()], false), (vec![whole(b"123456789")], 2));
    assert_eq!(all(&rules, b"abxyzw\n"), [Seen::Bad(Fault::NoChecksum, b"abxyzw".to_vec(), 6)]);
    let little = with(Framing::Lines, "CRC-16/MODBUS", Order::Little, 32);
    assert_eq!(all(&little, b"123456789*374B\n"), [whole(b"123456789")]);
    assert_eq!(little.encode(b"123456789").unwrap(), b"123456789*374B\n");
    assert_eq!((rules.encode(b"a\nb"), rules.encode(b"")), (None, None));
}

#[test]
fn lengths_count_the_payload_the_rest_or_the_frame() {
    let payload = [1, 2, 3];
    for (framing, bytes) in [
        (prefix(&[], false, Order::Little, Counts::Payload), vec![3, 1, 2, 3]),
        (prefix(&[], true, Order::Little, Counts::Payload), vec![3, 0, 1, 2, 3]),
        (prefix(&[], true, Order::Big, Counts::Payload), vec![0, 3, 1, 2, 3]),
        (prefix(&[0xAA, 0x55], false, Order::Little, Counts::Frame), vec![0xAA, 0x55, 6, 1, 2, 3]),
    ] {
        let rules = rules(framing, 32);
        assert_eq!(all(&rules, &bytes), [whole(&payload)]);
        assert_eq!(rules.encode(&payload).unwrap(), bytes);
    }
    // CRC-8/SMBUS of 123456789 is F4.
    let digits = b"123456789";
    for (counts, said) in [(Counts::Payload, 9), (Counts::Rest, 10), (Counts::Frame, 11)] {
        let rules = with(prefix(&[], false, Order::Little, counts), "CRC-8", Order::Little, 32);
        let bytes = [&[said], digits.as_slice(), &[0xF4]].concat();
        assert_eq!(all(&rules, &bytes), [whole(digits)]);
        assert_eq!(rules.encode(digits).unwrap(), bytes);
    }
    let mut over_all = with(prefix(&[], false, Order::Little, Counts::Payload), "CRC-16/MODBUS", Order::Little, 32);
    over_all.check.as_mut().unwrap().covers = Covers::Frame;
    // The Modbus request 01 03 00 02 00 01 25 CA, its first byte being the length of nothing else.
    assert_eq!(
        all(&over_all, &[1, 3, 0x20, 0x21]),
        [Seen::Bad(Fault::Checksum { expected: 0x2140, found: 0x2120 }, vec![1, 3, 0x20, 0x21], 4)]
    );
    assert_eq!(all(&over_all, &over_all.encode(&payload).unwrap()), [whole(&payload)]);
}

#[test]
fn with_a_checksum_the_next_frame_is_found_behind_any_damage() {
    let rules = with(prefix(&[], false, Order::Little, Counts::Payload), "CRC-16/MODBUS", Order::Little, 40);
    let good: Vec<Vec<u8>> =
        [b"first".as_slice(), b"second one", b"third"].iter().map(|p| rules.encode(p).unwrap()).collect();
    for damage in 0..good[1].len() {
        let mut lost = good[1].clone();
        lost.remove(damage);
        let mut doubled = good[1].clone();
        doubled.insert(damage, good[1][damage]);
        let mut flipped = good[1].clone();
        flipped[damage] ^= 0x10;
        for damaged in [lost, doubled, flipped] {
            let bytes = [&good[0], &damaged, &good[2], &good[0], &good[2], &good[0], &good[2], &good[0], &good[2]];
            let (got, skipped) = chunks(&rules, [bytes.map(Vec::as_slice).concat().as_slice()], false);
            let payloads: Vec<&Seen> = got.iter().filter(|s| matches!(s, Seen::Whole(_))).collect();
            // A doubled first or last byte leaves the frame beside it whole.
            let lost = if payloads.len() == 9 { 1 } else { damaged.len() as u64 };
            assert!(
                payloads.len() == 8 || (payloads.len() == 9 && [0, good[1].len() - 1].contains(&damage)),
                "{damage}: {got:?}"
            );
            assert_eq!(skipped, lost);
            // Told once, however many beginnings were tried.
            assert!(got.len() <= payloads.len() + 1, "{got:?}");
        }
    }
}

#[test]
fn silence_ends_what_waits_for_more() {
    let gap = rules(Framing::IdleGap, 4);
    let got = chunks(&gap, [b"abc".as_slice(), b"", b"abcde", b"x"], true);
    assert_eq!(got, (vec![whole(b"abc"), Seen::Bad(Fault::TooLong(4), b"abcd".to_vec(), 5), whole(b"x")], 5));
    let modbus = with(Framing::IdleGap, "CRC-16/MODBUS", Order::Little, 256);
    let reply = include_bytes!("../../../../tests/fixtures/serial/modbus-rtu-rsp-holding.bin");
    // Modbus application protocol: unit 11, function 3, 6 bytes AE41 5652 4340.
    assert_eq!(chunks(&modbus, [reply.as_slice()], true).0, [whole(&[0x11, 3, 6, 0xAE, 0x41, 0x56, 0x52, 0x43, 0x40])]);
    // A length that is too large hides a frame only until the line is silent.
    let counted = with(prefix(&[], false, Order::Little, Counts::Payload), "CRC-8", Order::Little, 64);
    let bytes = [&[40], counted.encode(b"here").unwrap().as_slice()].concat();
    assert_eq!(chunks(&counted, [bytes.as_slice()], false), (vec![], 0));
    assert_eq!(chunks(&counted, [bytes.as_slice()], true), (vec![whole(b"here")], 1));
    // Without a checksum it is all there is.
    let fixed = rules(Framing::Fixed { len: 3, sync: vec![] }, 3);
    assert_eq!(chunks(&fixed, [b"abcab".as_slice(), b"def"], true), (vec![whole(b"abc"), whole(b"def")], 2));
}

#[test]
fn fixed_frames_begin_with_their_sync_bytes() {
    let fixed = with(Framing::Fixed { len: 6, sync: vec![0xAA, 0x55] }, "CRC-8", Order::Little, 6);
    let one = fixed.encode(&[0xAA, 0x55, 1, 2, 3]).unwrap();
    let bytes = [&[0xAA, 0xAA], one.as_slice(), &[0x55], &one[..5], one.as_slice()].concat();
    let (got, skipped) = chunks(&fixed, [bytes.as_slice()], false);
    assert_eq!((&got[0], got.last().unwrap()), (&whole(&[0xAA, 0x55, 1, 2, 3]), &whole(&[0xAA, 0x55, 1, 2, 3])));
    assert_eq!((got.len(), skipped), (3, 2 + 1 + 5));
    assert_eq!((fixed.encode(&[0xAA, 0x54, 1, 2, 3]), fixed.encode(&[0xAA, 0x55])), (None, None));
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let error = |rules: Rules| Frames::new(rules).unwrap_err();
    assert_eq!(
        error(with(Framing::Fixed { len: 3, sync: vec![1] }, "CRC-16/ARC", Order::Little, 9)),
        "a frame of 3 bytes: expected at least 4 for sync bytes, payload and checksum"
    );
    assert_eq!(
        error(rules(Framing::Fixed { len: 9, sync: vec![] }, 8)),
        "a frame of 9 bytes is over the limit of 8 bytes"
    );
    assert_eq!(error(with(Framing::Slip, "CRC-32", Order::Little, 4)), "the limit of 4 bytes: expected at least 5");
    assert_eq!(
        error(rules(prefix(&[0; 17], false, Order::Little, Counts::Rest), 99)),
        "17 sync bytes: expected at most 16"
    );
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let framing = prop_oneof![
        Just(Framing::Lines),
        Just(Framing::Cobs),
        Just(Framing::Slip),
        Just(Framing::IdleGap),
        Just(Framing::Fixed { len: 9, sync: vec![] }),
        Just(Framing::Fixed { len: 9, sync: vec![0, 1] }),
        (any::<bool>(), any::<bool>(), 0..3_usize, any::<bool>()).prop_map(|(wide, big, counts, sync)| {
            let counts = [Counts::Payload, Counts::Rest, Counts::Frame][counts];
            let order = if big { Order::Big } else { Order::Little };
            prefix(if sync { &[1, 0] } else { &[] }, wide, order, counts)
        }),
    ];
    let check = proptest::option::of((0..3_usize, any::<bool>(), 0..3_usize));
    (framing, check, 9..40_usize).prop_map(|(framing, check, max)| {
        let check = check.map(|(name, big, covers)| Check {
            checksum: Checksum::named(["CRC-8", "CRC-16/MODBUS", "CRC-32"][name]).unwrap(),
            order: if big { Order::Big } else { Order::Little },
            covers: match framing {
                Framing::LengthPrefixed(_) | Framing::Fixed { .. } => {
                    [Covers::Payload, Covers::Length, Covers::Frame][covers]
                }
                _ => Covers::Payload,
            },
        });
        Rules { framing, check, max }
    })
}

proptest! {
    #[test]
    fn the_cut_into_chunks_does_not_matter(
        rules in any_rules(),
        bytes in proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(b'\n'), Just(END), Just(ESC), any::<u8>()], 0..200),
        cut in 1_usize..50,
    ) {
        let at_once = chunks(&rules, [bytes.as_slice()], false);
        prop_assert_eq!(&chunks(&rules, bytes.chunks(1), false), &at_once);
        prop_assert_eq!(&chunks(&rules, bytes.chunks(cut), false), &at_once);
        for piece in at_once.0 {
            match piece {
                Seen::Whole(payload) => prop_assert!(!payload.is_empty() && payload.len() <= rules.max),
                Seen::Bad(fault, head, len) => {
                    prop_assert!(head.len() <= HEAD && head.len() <= len, "{fault}");
                }
            }
        }
    }

    #[test]
    fn what_is_encoded_is_found_again_behind_noise(
        rules in any_rules(),
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..5),
        noise in proptest::collection::vec(any::<u8>(), 0..30),
        cut in 1_usize..50,
    ) {
        let frames: Vec<(Vec<u8>, Vec<u8>)> =
            payloads.into_iter().filter_map(|payload| Some((rules.encode(&payload)?, payload))).collect();
        let bytes: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
        if rules.framing != Framing::IdleGap {
            let expected: Vec<Seen> = frames.iter().map(|(_, payload)| whole(payload)).collect();
            prop_assert_eq!(chunks(&rules, bytes.chunks(cut), false), (expected, 0));
        }
        // Noise, the end of a frame, a silence: nothing of it matters.
        let end = match rules.framing {
            Framing::Lines => vec![b'\n'],
            Framing::Cobs => vec![0],
            Framing::Slip => vec![END],
            _ => vec![],
        };
        let mut splitter = Frames::new(rules.clone()).unwrap();
        splitter.feed(&[noise, end].concat(), &mut |_| {});
        splitter.idle(&mut |_| {});
        for (frame, payload) in frames {
            let mut got = Vec::new();
            splitter.feed(&frame, &mut |frame| got.push(seen(frame)));
            splitter.idle(&mut |frame| got.push(seen(frame)));
            prop_assert_eq!(got, [whole(&payload)]);
        }
    }
}
