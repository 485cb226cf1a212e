use super::*;
use crate::reading::{Arrival, Decoded, Delivery, Reading, Receipt};

const S: i64 = 1_000_000;
const AT: Timestamp = Timestamp::from_secs(1_760_000_000);

fn envelope(value: f64, delivery: impl Into<Option<Delivery>>) -> Envelope {
    let reading =
        Reading { node: "7".into(), metric: "t".into(), own_name: None, unit: None, when: When::Arrival, value };
    Envelope {
        source: "home".into(),
        arrival: Arrival { at: AT, boottime: 5, trusted: true },
        content: Decoded { readings: vec![reading], ..Decoded::default() },
        delivery: delivery.into(),
        waiting: false,
        receipt: Receipt::none(),
    }
}

fn delivery(dup: bool, packet: u16) -> Delivery {
    Delivery { packet, dup, digest: [3; 16], part: 0 }
}

fn begun(dir: &Path, boot: &str, boottime: i64, at: Timestamp) -> Poison {
    let mut poison = Poison::new(dir);
    poison.begin(boot, boottime, at);
    poison
}

#[test]
fn three_unclean_exits_of_this_boot_in_ten_minutes_make_it_wary() {
    let dir = tempfile::tempdir().unwrap();
    let begin = |boot: &str, at: i64| begun(dir.path(), boot, at * S, AT);
    assert!(!begin("a", 100).is_wary());
    assert!(!begin("a", 110).is_wary());
    assert!(!begin("a", 120).is_wary());
    assert!(begin("a", 130).is_wary());
    // Exits that are ten minutes ago are forgotten, those of another boot do not count.
    assert!(!begin("a", 729).is_wary());
    assert!(!begin("b", 130).is_wary());
    begin("b", 131);
    begin("b", 132);
    assert!(begin("b", 133).is_wary());
}

#[test]
fn a_clean_end_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..20 {
        let mut poison = begun(dir.path(), "a", at * S, AT);
        assert!(!poison.is_wary());
        if at % 4 != 0 {
            poison.end();
        }
        // Two crashes at most among the eight starts that are remembered.
    }
    let text = std::fs::read_to_string(dir.path().join(STARTS)).unwrap();
    assert_eq!(text.lines().count(), 2 + LIVES, "{text}");
}

#[test]
fn what_was_in_progress_at_three_crashes_is_poison_until_it_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let bad = name(&envelope(666.0, None));
    let good = name(&envelope(1.0, None));
    for at in 0..3 {
        let mut poison = begun(dir.path(), "a", at * S, AT);
        assert!(!poison.is_poison(&bad));
        poison.note(&[good]);
        poison.passed(&[good]);
        poison.note(&[bad]);
    }
    let mut poison = begun(dir.path(), "a", 4 * S, AT);
    assert!(poison.is_poison(&bad) && !poison.is_poison(&good));
    assert!(!dir.path().join(IN_PROGRESS).exists());
    poison.passed(&[bad]);
    assert!(!begun(dir.path(), "a", 5 * S, AT).is_poison(&bad));
}

#[test]
fn a_group_in_progress_at_a_crash_is_suspected_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let names = [[1; 16], [2; 16], [3; 16]];
    begun(dir.path(), "a", S, AT).note(&names);
    let mut poison = begun(dir.path(), "a", 2 * S, AT);
    assert!(names.iter().all(|n| poison.is_suspect(n) && !poison.is_poison(n)) && !poison.is_suspect(&[4; 16]));
    poison.passed(&names[..1]);
    assert!(!poison.is_suspect(&names[0]) && poison.is_suspect(&names[1]));
    poison.passed(&names);
    assert_eq!(begun(dir.path(), "a", 3 * S, AT).record.suspects, []);
}

#[test]
fn equal_messages_in_progress_at_one_crash_are_no_three_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let (stuck, other) = ([1; 16], [2; 16]);
    for crash in 1..=3 {
        begun(dir.path(), "a", crash * S, AT).note(&[stuck, other, stuck, stuck, stuck]);
        let poison = begun(dir.path(), "a", crash * S, AT);
        assert!(poison.is_suspect(&stuck));
        assert_eq!((poison.is_poison(&stuck), poison.is_poison(&other)), (crash == 3, crash == 3));
    }
}

#[test]
fn the_end_of_a_batch_is_never_poison() {
    let dir = tempfile::tempdir().unwrap();
    let end = Envelope { content: Decoded::default(), ..envelope(0.0, None) };
    let of_end = name(&end);
    for crash in 1..=3 {
        let records = envelope(f64::from(crash), None);
        let of_records = name(&records);
        let names = worth_noting([(&of_records, &records), (&of_end, &end)]);
        assert_eq!(names, [of_records]);
        begun(dir.path(), "a", i64::from(crash) * S, AT).note(&names);
    }
    let poison = begun(dir.path(), "a", 4 * S, AT);
    assert!(!poison.is_suspect(&of_end) && !poison.is_poison(&of_end));
}

#[test]
fn what_was_in_progress_when_the_power_went_is_not_suspected() {
    let dir = tempfile::tempdir().unwrap();
    let bad = name(&envelope(666.0, None));
    for boot in ["a", "b", "c", "d"] {
        let poison = begun(dir.path(), boot, S, AT);
        assert_eq!(poison.record.suspects, []);
        poison.note(&[bad]);
    }
}

#[test]
fn damaged_files_are_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let whole = {
        let poison = begun(dir.path(), "a", S, AT);
        poison.note(&[[1; 16]]);
        begun(dir.path(), "a", 2 * S, AT).record
    };
    let text = whole.text();
    assert_eq!(Record::parse(&text).as_ref(), Some(&whole));
    for cut in 0..text.len() {
        assert_eq!(Record::parse(&text[..cut]), None, "{:?}", &text[..cut]);
    }
    for damage in ["", "\0\0\0", "gadwall starts 2\nend\n", "gadwall starts 1\nlife a b c ended\nend\n"] {
        std::fs::write(dir.path().join(STARTS), damage).unwrap();
        std::fs::write(dir.path().join(IN_PROGRESS), b"a \xff\n").unwrap();
        let poison = begun(dir.path(), "a", S, AT);
        assert_eq!((poison.record.lives.len(), poison.record.suspects.len()), (1, 0));
    }
    std::fs::write(dir.path().join(STARTS), vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(begun(dir.path(), "a", S, AT).record.lives.len(), 1);
}

#[test]
fn suspects_are_bounded_and_the_newest_stay() {
    let mut record = Record::default();
    let numbered = |i: u128| i.to_le_bytes();
    for i in 0..1_000 {
        record.suspect(numbered(i));
    }
    assert_eq!(record.suspects.len(), SUSPECTS);
    record.suspect(numbered(999));
    assert_eq!(record.suspects.last(), Some(&(numbered(999), 2)));
    assert_eq!(record.suspects.len(), SUSPECTS);
    for _ in 0..LIVES {
        record.lives.push(Life { boot: "0".repeat(36), began: i64::MAX, at: i64::MAX, ended: false });
    }
    assert!(record.text().len() < usize::try_from(MAX_FILE).unwrap(), "it is read as a whole");
    assert_eq!(Record::parse(&record.text()), Some(record));
}

#[test]
fn a_folder_that_cannot_be_written_is_no_reason_not_to_start() {
    let mut poison = begun(Path::new("/nonexistent/gadwall"), "a", S, AT);
    poison.note(&[[1; 16]]);
    poison.passed(&[[1; 16]]);
    poison.end();
    assert!(!poison.is_wary());
}

#[test]
fn a_name_is_that_of_the_message_and_not_of_its_delivery() {
    assert_eq!(
        name(&envelope(1.0, delivery(false, 1))),
        name(&envelope(2.0, delivery(true, 9))),
        "its own digest counts"
    );
    let mut later = envelope(1.0, None);
    later.arrival.at = Timestamp::from_secs(1);
    assert_eq!(name(&envelope(1.0, None)), name(&later));
    assert_ne!(name(&envelope(1.0, None)), name(&envelope(2.0, None)));
    assert_eq!(excerpt(&envelope(1.5, None)), "7 t=1.5");
}
