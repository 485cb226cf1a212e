use super::*;

const UNIX: i64 = 1_760_000_000;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn said(hub: &mut Hub) -> Vec<String> {
    let text = String::from_utf8(hub.unsent().to_vec()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    hub.sent(text.len());
    text.lines().map(str::to_owned).collect()
}

/// A hub whose question was answered, at time zero.
fn answered() -> Hub {
    let mut hub = Hub::new(UNIX);
    hub.tick(Duration::ZERO, UNIX, false);
    assert_eq!(said(&mut hub), ["HUB_READY", "GET_DATETIME"]);
    hub.hear("DATETIME 2025-10-09 08:53:20 4", Duration::ZERO);
    hub
}

/// Readings of lines, by the rules of the protocol and not by the hub's own counting.
fn readings(lines: &[String]) -> u64 {
    lines
        .iter()
        .map(|line| match line.split(' ').next().unwrap() {
            "SENSOR_RECORD" => 3,
            "SENSOR_DATA" => 1,
            "HEARTBEAT" => line.split(' ').count() as u64 - 3,
            _ => 0,
        })
        .sum()
}

#[test]
fn only_asks_for_the_time_until_it_is_answered() {
    let mut hub = Hub::new(UNIX);
    hub.tick(Duration::ZERO, UNIX, false);
    assert_eq!(said(&mut hub), ["HUB_READY", "GET_DATETIME"]);
    hub.tick(Duration::from_millis(999), UNIX, false);
    assert_eq!(said(&mut hub), [""; 0]);
    hub.tick(seconds(1), UNIX + 1, false);
    assert_eq!(said(&mut hub), ["GET_DATETIME"]);
    assert_eq!(hub.counts(), HubCounts::default());
}

#[test]
fn the_first_node_sends_a_heartbeat_live_values_and_a_batch() {
    let mut hub = answered();
    hub.tick(Duration::ZERO, UNIX, false);
    let lines = said(&mut hub);
    let starts: Vec<&str> = lines.iter().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(starts[..4], ["HEARTBEAT", "SENSOR_DATA", "SENSOR_DATA", "SENSOR_BATCH"]);
    assert_eq!(starts[4..24], ["SENSOR_RECORD"; 20]);
    assert_eq!(starts[24..], ["BATCH_COMPLETE"]);

    // A week of records, one each 30 seconds; 20 are in the batch that follows.
    let beat: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(beat[..5], ["HEARTBEAT", "2", "11529215046068469763", "95", "0"]);
    assert_eq!(beat[6..], ["86400", "20160"]);
    assert_eq!(lines[3], "SENSOR_BATCH 2 11529215046068469763 20");
    assert_eq!(lines[24], "BATCH_COMPLETE 2 11529215046068469763 20");
    let begin = UNIX - 7 * 86_400 - (UNIX - 7 * 86_400) % 30;
    for (i, line) in (0..).zip(&lines[4..24]) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..4], ["SENSOR_RECORD", "2", "11529215046068469763", &(begin + 30 * i).to_string()]);
        assert_eq!(words[6..], ["0"]);
    }
    let expected = HubCounts { readings: 67, batches: 1, busy: true, ..HubCounts::default() };
    assert_eq!(hub.counts(), expected);
}

#[test]
fn every_node_sends_and_every_reading_is_counted() {
    let mut hub = answered();
    let mut lines = Vec::new();
    for turn in 0..80 {
        let now = Duration::from_millis(200 * turn);
        hub.tick(now, UNIX + now.as_secs().cast_signed(), false);
        for line in said(&mut hub) {
            if let Some(rest) = line.strip_prefix("BATCH_COMPLETE ") {
                let words: Vec<&str> = rest.split(' ').collect();
                hub.hear(&format!("BATCH_ACK {} {} 0\r", words[0], words[2]), now);
            }
            lines.push(line);
        }
    }
    let counts = hub.counts();
    assert_eq!(counts.readings, readings(&lines));
    assert_eq!((counts.batches, counts.acked, counts.resent, counts.refused), (20, 20, 0, 0));
    assert!(!counts.busy);
    for node in 0..5_u64 {
        let id = format!(" {} ", 0xA000_0000_0000_0003 + node);
        assert_eq!(lines.iter().filter(|l| l.starts_with("SENSOR_RECORD") && l.contains(&id)).count(), 80);
    }
    // Old firmware: no `pending`.
    let old = lines.iter().find(|l| l.starts_with("HEARTBEAT 6 ")).unwrap();
    assert_eq!(old.split(' ').count(), 7);
}

#[test]
fn a_batch_without_its_ack_is_sent_again_as_it_was_and_counts_once() {
    let mut hub = answered();
    hub.tick(Duration::ZERO, UNIX, false);
    let first = said(&mut hub);
    let before = hub.counts();
    hub.tick(seconds(7), UNIX + 7, true);
    assert_eq!(said(&mut hub), [""; 0]);
    hub.tick(seconds(8), UNIX + 8, true);
    assert_eq!(said(&mut hub), first[3..]);
    assert_eq!(hub.counts(), HubCounts { resent: 1, ..before });

    hub.hear("BATCH_ACK 2 20 1", seconds(9));
    assert_eq!(hub.counts(), HubCounts { resent: 1, refused: 1, ..before });
    hub.tick(seconds(10), UNIX + 10, true);
    assert_eq!(said(&mut hub), first[3..]);

    hub.hear("BATCH_ACK 2 20 0", seconds(11));
    let done = HubCounts { resent: 2, refused: 1, acked: 1, busy: false, ..before };
    assert_eq!(hub.counts(), done);
    hub.hear("BATCH_ACK 2 20 0", seconds(11));
    assert_eq!(hub.counts(), done);
}

#[test]
fn answers_that_fit_nothing_change_nothing() {
    let mut hub = answered();
    hub.tick(Duration::ZERO, UNIX, false);
    let before = hub.counts();
    for line in
        ["", "BATCH_ACK", "BATCH_ACK 2", "BATCH_ACK 2 19 0", "BATCH_ACK 9 20 0", "BATCH_ACK 3 20 0", "BATCH_ACK x y z"]
    {
        hub.hear(line, Duration::ZERO);
        assert_eq!(hub.counts(), before, "{line}");
    }
}

#[test]
fn nothing_new_is_said_while_the_port_takes_nothing_or_when_stopping() {
    let mut hub = answered();
    let mut most = 0;
    for s in 0..1_000 {
        hub.tick(seconds(s), UNIX + s.cast_signed(), false);
        most = most.max(hub.unsent().len());
    }
    assert!((MAX_UNSENT..MAX_UNSENT + 10_000).contains(&most), "{most}");

    let mut hub = answered();
    hub.tick(seconds(60), UNIX, true);
    assert_eq!(said(&mut hub), [""; 0]);
    assert_eq!(hub.counts(), HubCounts::default());
}

#[test]
fn a_node_that_has_sent_everything_waits_for_its_next_record() {
    let mut node = Node::new(0, UNIX);
    let mut records = 0;
    while let Some((_, n)) = node.batch(UNIX) {
        records += n;
    }
    assert_eq!(records, 20_161);
    assert!(node.next_record >= UNIX && node.batch(node.next_record).is_none());
    let next = node.next_record;
    let (text, n) = node.batch(next + 1).unwrap();
    assert_eq!((n, text.lines().count()), (1, 3));
}
