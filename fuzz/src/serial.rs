//! The line splitter and the hub's protocol.

use std::collections::HashSet;

use gadwall::codec::hub_lines::message::Message;
use gadwall::codec::hub_lines::{Answer, HubLines, Signal, batch_ack_line};
use gadwall::codec::lines::{Line, Lines};
use gadwall::reading::{Decoded, MAX_EXCERPT, MAX_NAME};

/// Lines: the first byte gives the limit, the second the size of the chunks. The cut into chunks does not matter; no line
/// exceeds the limit; the lines are those of a plain split at `\n`.
pub fn lines(input: &[u8]) {
    let [max, size, bytes @ ..] = input else { return };
    let (max, size) = (usize::from(*max) + 1, usize::from(*size) + 1);
    let at_once = split(max, [bytes]);
    assert_eq!(split(max, bytes.chunks(1)), at_once);
    assert_eq!(split(max, bytes.chunks(size)), at_once);

    // What stands behind the last `\n` is no line yet.
    let ended = bytes.iter().rposition(|b| *b == b'\n').map_or(&bytes[..0], |end| &bytes[..end]);
    let plain: Vec<(Vec<u8>, usize)> = ended
        .split(|b| *b == b'\n')
        .filter_map(|line| match line.trim_ascii_end() {
            _ if line.len() > max => Some((line[..max.min(1024)].to_vec(), line.len())),
            [] => None,
            trimmed => Some((trimmed.to_vec(), 0)),
        })
        .collect();
    assert_eq!(at_once, plain);
}

/// Whole lines with 0, over-long ones by their head with their length.
fn split<'a>(max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, usize)> {
    let mut lines = Lines::new(max);
    let mut all = Vec::new();
    for chunk in chunks {
        lines.feed(chunk, &mut |line| match line {
            Line::Whole(line) => {
                assert!(!line.is_empty() && line.len() <= max);
                all.push((line.to_vec(), 0));
            }
            Line::TooLong { head, len } => {
                assert!(len > max && head.len() <= 1024);
                all.push((head.to_vec(), len));
            }
        });
    }
    all
}

/// The hub's lines: bytes one by one are decoded as all at once; limits hold; a message that was parsed, written and
/// parsed again is the same; a batch is whole only if it had as many records as it says.
pub fn hub_lines(input: &[u8]) {
    let at_once = decode([input]);
    assert_eq!(decode(input.chunks(1)), at_once);
    for line in input.split(|b| *b == b'\n') {
        if let Ok(message) = Message::parse(line) {
            let written = message.to_string();
            assert_eq!(Message::parse(written.as_bytes()), Ok(message), "{written}");
        }
    }
}

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Decoded, Vec<String>) {
    let (mut lines, mut hub) = (Lines::new(256), HubLines::new());
    let (mut content, mut signals) = (Decoded::default(), Vec::new());
    let mut records = 0;
    for chunk in chunks {
        lines.feed(chunk, &mut |line| {
            let Line::Whole(line) = line else { return };
            let before = content.readings.len() + content.events.len() + content.dead.len() + signals.len();
            hub.line(line, &mut content, &mut |content, signal| {
                records = content.readings.iter().filter(|r| &*r.metric == "flags").count();
                if let Signal::BatchEnd(end) = signal {
                    assert!(!end.whole || end.announced as usize <= records, "{end:?} after {records} records");
                    assert!(!end.whole || end.device != 0);
                    let line = batch_ack_line(end.address, end.announced, 1);
                    let ack = Answer::BatchAck { address: end.address, count: end.announced, status: 1 };
                    assert_eq!(Answer::parse(line.trim_end()), Some(ack));
                }
                signals.push(format!("{signal:?}"));
            });
            let after = content.readings.len() + content.events.len() + content.dead.len() + signals.len();
            // A line of 256 bytes holds at most 23 keywords, and a message at most 5 readings.
            assert!(after - before <= 23 * 5, "{} of one line", after - before);
        });
    }
    let metrics: HashSet<&str> =
        ["temperature", "humidity", "flags", "battery", "errors", "rssi", "uptime", "pending"].into();
    for r in &content.readings {
        assert!(r.value.is_finite() && metrics.contains(&*r.metric), "{r:?}");
        assert!(r.node.parse::<u64>().is_ok_and(|id| id != 0), "{r:?}");
    }
    for e in &content.events {
        assert!(e.kind.len() <= MAX_NAME && e.node.parse::<u64>().is_ok_and(|id| id != 0), "{e:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&e.data).is_ok_and(|v| v.is_object()), "{e:?}");
    }
    for d in &content.dead {
        assert!(d.excerpt.len() <= MAX_EXCERPT && !d.detail.is_empty() && d.detail.len() <= 1024, "{d:?}");
    }
    (content, signals)
}
