//! Finds the messages in a line. Where bytes were lost on the wire, two or more can stand on one.
//!
//! What splits a line are the keywords of messages that carry data or ask for something. The answers to commands do not:
//! they hold nothing to rescue, and their keywords are parts of each other (`NODE`, `NODE_LIST`, `DELETED_NODE`).

/// Keywords of messages without fields.
const BARE: [&[u8]; 2] = [b"HUB_READY", b"GET_DATETIME"];

/// Keywords of messages that begin with address and device id. None is the start of another one followed by a blank, so
/// their order does not matter: `EVENT ` is not in `EVENT_LOG `.
const WITH_SENDER: [&[u8]; 7] =
    [b"HEARTBEAT", b"SENSOR_DATA", b"SENSOR_BATCH", b"SENSOR_RECORD", b"BATCH_COMPLETE", b"EVENT_LOG", b"EVENT"];

/// Keywords of lines that end in free text, or in fields that nobody describes. In these a keyword may be a word of the
/// text, so it splits only where a message really seems to follow.
const FREE_TEXT: [&[u8]; 8] =
    [b"EVENT_LOG", b"ERROR", b"NODE", b"NODE_LIST", b"QUEUE", b"QUEUED", b"DELETED_NODE", b"BATCH_ACK_SENT"];

/// Calls `each` with every piece of the line and whether it is the last one, which alone can be whole: a piece that runs
/// into a keyword has lost its end.
pub fn pieces<'a>(line: &'a [u8], mut each: impl FnMut(&'a [u8], bool)) {
    let mut start = 0;
    let mut free_text = begins_with_any(line, &FREE_TEXT);
    let mut at = 1;
    while at < line.len() {
        if matches!(line[at], b'H' | b'G' | b'S' | b'B' | b'E') && splits(line, at, free_text) {
            each(&line[start..at], false);
            start = at;
            free_text = begins_with_any(&line[at..], &FREE_TEXT);
        }
        at += 1;
    }
    each(&line[start..], true);
}

fn begins_with_any(piece: &[u8], keywords: &[&[u8]]) -> bool {
    keywords.iter().any(|k| piece.strip_prefix(*k).is_some_and(|rest| rest.is_empty() || rest[0] == b' '))
}

fn splits(line: &[u8], at: usize, free_text: bool) -> bool {
    let rest = &line[at..];
    if let Some(bare) = BARE.iter().find(|k| rest.starts_with(k)) {
        // In free text only where it ends the line and is not a word of its own.
        return !free_text || (rest.len() == bare.len() && line[at - 1] != b' ');
    }
    WITH_SENDER.iter().any(|k| {
        rest.strip_prefix(*k)
            .and_then(|rest| rest.strip_prefix(b" "))
            .is_some_and(|fields| !free_text || names_a_sender(fields))
    })
}

/// Whether the first two fields are an address and a device id.
fn names_a_sender(fields: &[u8]) -> bool {
    let mut fields = fields.split(|b| *b == b' ').map(|f| std::str::from_utf8(f).unwrap_or(""));
    fields.next().is_some_and(|f| f.parse::<u16>().is_ok()) && fields.next().is_some_and(|f| f.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    fn split(line: &str) -> Vec<&str> {
        let mut all = Vec::new();
        super::pieces(line.as_bytes(), |piece, last| {
            assert!(!last || line.ends_with(std::str::from_utf8(piece).unwrap()));
            all.push(std::str::from_utf8(piece).unwrap());
        });
        all
    }

    #[test]
    fn a_keyword_in_the_middle_starts_a_new_message() {
        assert_eq!(split("SENSOR_RECORD 3 1SENSOR_BATCH 4 77 2"), ["SENSOR_RECORD 3 1", "SENSOR_BATCH 4 77 2"]);
        assert_eq!(split("xEVENT 1 2 3EVENT_LOG 1 2 3 4 5"), ["x", "EVENT 1 2 3", "EVENT_LOG 1 2 3 4 5"]);
        assert_eq!(split("HEARTBEAT 3 1GET_DATETIME"), ["HEARTBEAT 3 1", "GET_DATETIME"]);
        assert_eq!(split("HUB_READYHUB_READY"), ["HUB_READY", "HUB_READY"]);
        assert_eq!(split("NODE 3 SENSOR_DATA 3 7 TEMP 1"), ["NODE 3 ", "SENSOR_DATA 3 7 TEMP 1"]);
        assert_eq!(
            split("EVENT_LOG 3 7 1 2 3 loBATCH_COMPLETE 3 7 1"),
            ["EVENT_LOG 3 7 1 2 3 lo", "BATCH_COMPLETE 3 7 1"]
        );
    }

    #[test]
    fn whole_lines_are_not_split() {
        for line in [
            "",
            "x",
            "BATCH_ACK_SENT 3 2",
            "NODE_LIST 3 4 5",
            "DELETED_NODE 3",
            "QUEUED SENSOR_DATA request",
            "ERROR unknown command EVENT 7 of node",
            "EVENT_LOG 3 7 1 2 3 lost EVENT 5 from node after GET_DATETIME",
            "EVENT_LOG 3 7 1 2 3 a SENSOR_RECORD was lost",
            "EVENT_LOG 3 7 1 2 3 asked GET_DATETIME twice",
            "SENSOR_DATA 3 7 TEMP 1",
            "EVENT_LOG_2 3 7",
        ] {
            assert_eq!(split(line), [line]);
        }
    }
}
