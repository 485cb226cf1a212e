//! Properties of what the store keeps for itself and reads again at a start, whatever became of it meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use gadwall::reading::{Delivery, Digest};
use gadwall::store::floor::text::{parse, sensible, show};
use gadwall::store::poison::{GROUP, Record, noted};
use gadwall::store::recovery::wal::{Scan, marks_from, scan};
use gadwall::store::redelivery::{MAX, Unconfirmed, decode, encode};

/// `commits.unconfirmed`: a blob that is cut gives a part of what the whole one gives; what is read is written and read
/// again the same; the bound holds.
pub fn redelivery(input: &[u8]) {
    let Some((kind, all)) = decode(input) else { return };
    if let Some((kind_of_part, part)) = decode(&input[..input.len().div_ceil(2)]) {
        assert_eq!((kind_of_part, part.as_slice()), (kind, &all[..part.len()]));
    }
    assert_eq!(by_source(&entries(&encode(kind, &all))), by_source(&all));

    let mut memory = Unconfirmed::default();
    memory.load(input);
    let whole = memory.all_with(&[]);
    let remembered = by_key(&entries(&whole));
    assert!(remembered.len() <= MAX);
    if all.len() <= MAX {
        assert_eq!(remembered, by_key(&all));
    }
    let mut again = Unconfirmed::default();
    again.load(&whole);
    assert_eq!(by_key(&entries(&again.all_with(&[]))), remembered);
}

fn entries(blob: &[u8]) -> Entries {
    decode(blob).expect("of a known kind").1
}

type Entries = Vec<(Arc<str>, Delivery)>;

fn by_source(all: &Entries) -> BTreeMap<&str, Vec<Delivery>> {
    let mut sources: BTreeMap<&str, Vec<Delivery>> = BTreeMap::new();
    for (source, delivery) in all {
        sources.entry(source).or_default().push(*delivery);
    }
    // Whole messages are written by their packet ids, further parts behind them.
    for of in sources.values_mut() {
        of.sort_by_key(|delivery| if delivery.part > 0 { (true, 0) } else { (false, delivery.packet) });
    }
    sources
}

/// The last one of each source, packet and part.
fn by_key(all: &Entries) -> BTreeMap<(Arc<str>, u16, u16), Digest> {
    all.iter().map(|(source, d)| ((Arc::clone(source), d.packet, d.part), d.digest)).collect()
}

/// `gadwall.starts` and `gadwall.inprogress`: what is read is written and read again the same; of another boot nothing
/// counts.
pub fn starts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(record) = Record::parse(text) {
        assert_eq!(Record::parse(&record.text()), Some(record));
    }
    let boot = text.split(' ').next().unwrap_or_default();
    let names = noted(text, boot);
    assert!(names.len() <= GROUP);
    assert!(noted(text, &format!("{boot}x")).is_empty());
}

/// `gadwall.floor`: believed only where both of its times are the same, to the last character.
pub fn floor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(floor) = parse(text) {
        assert!(sensible(floor));
        assert_eq!(show(floor), text);
    }
}

/// The write-ahead log: its good part is not longer than it is, and cut there it has the same transactions and no damage.
pub fn wal(input: &[u8]) {
    let name = format!("gadwall-fuzz-wal-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let scan_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("writing the log");
        scan(&path).expect("it can be read")
    };
    let found = scan_of(input);
    assert_eq!(found.len, input.len() as u64);
    assert!(found.good <= found.len);
    let marks = marks_from(&path, 0).expect("it can be read");
    assert!(marks <= found.len && found.behind <= marks + 1);
    assert!(!found.damaged || found.good < found.len);
    let good = usize::try_from(found.good).expect("a part of it");
    let cut = scan_of(&input[..good]);
    let expected = Scan { len: found.good, good: found.good, commits: found.commits, behind: 0, damaged: false };
    assert_eq!(cut, expected);
    let _ = std::fs::remove_file(&path);
}
