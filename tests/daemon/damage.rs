//! Damaged blocks: bits flipped and bytes overwritten in a real file, between two runs and while the daemon runs, and exactly
//! what is left afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use crate::harness::{Daemon, Hub, Record, Setup, batch as lines, gadwall, open, wait_for};

const DEVICE: u64 = 11_529_215_046_068_469_763;
/// Time of the first reading of the history, Unix seconds; then three readings, one of each metric, every 30 s.
const T0: i64 = 1_700_000_000;
const EVERY: i64 = 30;
const HEADERS: usize = 3 * 4_096;
const BLOCK: usize = 65_536;
/// DuckDB's checksum is 5381, xor each word of the block times this.
const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
/// Rows that DuckDB reads at once.
const VECTOR: usize = 2_048;
const LETTERS: i64 = 500;

/// Where a part of a column is.
#[derive(Clone, Debug)]
struct Segment {
    table: String,
    row_group: usize,
    column: String,
    start: usize,
    count: usize,
    block: usize,
}

/// A row of `readings`: series, ts, value, lag.
type Row = (i32, i64, f64, Option<i32>);

/// The file of a daemon that ended in order, with a history in it.
struct Base {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    segments: Vec<Segment>,
    /// Rows of each row group of `readings`.
    groups: Vec<usize>,
    nodes: i64,
    series: i64,
}

/// Small enough to be read often.
static SMALL: LazyLock<Base> = LazyLock::new(|| Base::new(300_000));
/// Larger than DuckDB's buffers, so that a query reads from the disk.
static LARGE: LazyLock<Base> = LazyLock::new(|| Base::new(3_000_000));

impl Base {
    fn new(rows: i64) -> Self {
        let mut hub = Hub::new();
        let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
        hub.wait_answered();
        hub.send_batch(3, DEVICE, &records(0, 1));
        hub.expect_ack("BATCH_ACK 3 1 0");
        assert_eq!(daemon.terminate().code(), Some(0));
        let db = open(daemon.database());
        db.execute_batch(&format!(
            "SELECT setseed(0.5); DELETE FROM readings;
             INSERT INTO readings SELECT 1 + i % 3, make_timestamp(({T0}::BIGINT + i // 3 * {EVERY}) * 1000000), random(), (random() * 1000)::INT
             FROM range({rows}) t(i);
             INSERT INTO dead_letters SELECT make_timestamp({T0}::BIGINT * 1000000), 'hub', 'garbage: ' || md5(i::VARCHAR), 'x'
             FROM range({LETTERS}) t(i);
             INSERT INTO commits SELECT i, make_timestamp({T0}::BIGINT * 1000000), NULL FROM range(2, 60) t(i);
             CHECKPOINT"
        ))
        .expect("the history");
        let mut segments = Vec::new();
        for table in ["readings", "dead_letters", "nodes", "series", "meta", "commits"] {
            let sql = format!(
                "SELECT row_group_id, column_name, start, count, block_id FROM pragma_storage_info('{table}') \
                 WHERE block_id >= 0 AND len(additional_block_ids) = 0"
            );
            let mut statement = db.prepare(&sql).expect("where it is stored");
            let found = statement.query_map([], |r| {
                Ok(Segment {
                    table: table.to_owned(),
                    row_group: r.get::<_, i64>(0)? as usize,
                    column: r.get(1)?,
                    start: r.get::<_, i64>(2)? as usize,
                    count: r.get::<_, i64>(3)? as usize,
                    block: r.get::<_, i64>(4)? as usize,
                })
            });
            segments.extend(found.expect("where it is stored").map(|s| s.expect("a segment")));
        }
        let mut groups = BTreeMap::new();
        for s in segments.iter().filter(|s| s.table == "readings" && s.column == "value") {
            *groups.entry(s.row_group).or_insert(0) += s.count;
        }
        let count = |table: &str| {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, i64>(0)).expect("a count")
        };
        let (nodes, series) = (count("nodes"), count("series"));
        let rows = read_rows(&db);
        drop(db);
        let bytes = fs::read(daemon.database()).expect("the database");
        let groups: Vec<usize> = groups.into_values().collect();
        assert_eq!(groups.iter().sum::<usize>(), rows.len());
        Self { bytes, rows, segments, groups, nodes, series }
    }

    /// The blocks in which `column` of a row group of `table` is.
    fn blocks(&self, table: &str, row_group: usize, column: &str) -> Vec<usize> {
        let of = |s: &&Segment| s.table == table && s.row_group == row_group && s.column == column;
        let blocks: Vec<usize> = self.segments.iter().filter(of).map(|s| s.block).collect();
        assert!(!blocks.is_empty(), "{table} has no {column} in row group {row_group}");
        blocks
    }

    /// Which readings can be read, and of those which have their lag, when these blocks cannot.
    fn left(&self, blocks: &[usize]) -> Vec<Row> {
        let mut rows: Vec<Option<Row>> = self.rows.iter().copied().map(Some).collect();
        for s in self.segments.iter().filter(|s| s.table == "readings" && blocks.contains(&s.block)) {
            let before: usize = self.groups[..s.row_group].iter().sum();
            let end = (s.start + s.count).next_multiple_of(VECTOR).min(self.groups[s.row_group]);
            for row in &mut rows[before + s.start / VECTOR * VECTOR..before + end] {
                *row = match (s.column.as_str(), *row) {
                    ("lag", Some((series, ts, value, _))) => Some((series, ts, value, None)),
                    _ => None,
                };
            }
        }
        rows.into_iter().flatten().collect()
    }
}

fn read_rows(db: &duckdb::Connection) -> Vec<Row> {
    let mut statement =
        db.prepare("SELECT series, epoch_us(ts), value, lag FROM readings ORDER BY rowid").expect("readings");
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).expect("readings");
    rows.map(|r| r.expect("a reading")).collect()
}

fn records(from: i64, n: i64) -> Vec<Record> {
    (from..from + n)
        .map(|i| Record { time: 1_760_000_000 + i, temp: i % 5_000, hum: i % 9_999, flags: (i % 256) as u8 })
        .collect()
}

/// What a sector of `block` may look like after the medium has lost it: far more than a few bits.
fn destroy(bytes: &mut [u8], block: usize) {
    let at = HEADERS + block * BLOCK + 512;
    // Not all the same: equal changes of equal words leave the checksum as it is.
    bytes[at..at + 512].iter_mut().zip(1_u8..=251).for_each(|(b, n)| *b ^= n);
}

/// A daemon on a copy of a base, with a hub.
struct Run {
    hub: Hub,
    daemon: Daemon,
    sent: i64,
}

impl Run {
    /// Not started yet.
    fn on(bytes: &[u8]) -> Self {
        let hub = Hub::new();
        let config = format!("[store]\nmemory-limit = \"16MB\"\n{}", hub.section("hub-lines", ""));
        let mut daemon = Setup::new(&config).start();
        assert_eq!(daemon.terminate().code(), Some(0));
        let mut run = Self { hub, daemon, sent: 0 };
        run.put(bytes);
        run
    }

    /// Replaces the files of the daemon, which does not run.
    fn put(&mut self, bytes: &[u8]) {
        for name in ["gadwall.duckdb.wal", "gadwall.damaged", "gadwall.batch"] {
            let _ = fs::remove_file(self.beside(name));
        }
        let _ = fs::remove_dir_all(self.beside("damaged"));
        fs::write(self.daemon.database(), bytes).expect("writing the database");
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.daemon.database().with_file_name(name)
    }

    /// Makes the next start read everything.
    fn suspect(&self) {
        fs::write(self.beside("gadwall.damaged"), "a query met it\n").expect("the note");
    }

    fn start(&mut self) -> (u64, String) {
        self.daemon.restart();
        let stats = self.daemon.stats();
        let recovery = stats["store"]["recovery"].as_str().unwrap_or_default().to_owned();
        (stats["store"]["recovered"].as_u64().expect("a count"), recovery)
    }

    /// Sends one record, which has to be taken: three readings.
    #[track_caller]
    fn send_one(&mut self) {
        self.hub.wait_answered();
        self.sent += 1;
        self.hub.send_batch(3, DEVICE, &records(10_000 + self.sent, 1));
        self.hub.expect_ack("BATCH_ACK 3 1 0");
    }

    /// Ends it, and returns the readings of the history and how many were sent since.
    #[track_caller]
    fn finish(&mut self) -> (Vec<Row>, usize) {
        let status = self.daemon.terminate();
        assert_eq!(status.code(), Some(0), "{status}");
        let db = open(self.daemon.database());
        let mut rows = read_rows(&db);
        let new = rows.len() - rows.partition_point(|r| r.1 < 1_760_000_000_000_000);
        let history = rows.len() - new;
        rows.truncate(history);
        (rows, new)
    }

    fn sets(&self) -> Vec<PathBuf> {
        let Ok(dir) = fs::read_dir(self.beside("damaged")) else { return Vec::new() };
        dir.map(|e| e.expect("reading the folder").path()).collect()
    }

    /// The code of the error that the readings of these rows of the history are answered with; their number if they can be read.
    fn ask(&self, first: i64, n: i64) -> Result<usize, (u16, String)> {
        let time = |row: i64| T0 + row / 3 * EVERY;
        let path = format!("/api/v1/readings?start={}&end={}&limit={n}", time(first), time(first + n));
        let answer = self.daemon.get(&path);
        let json = answer.json();
        match answer.status {
            200 => Ok(json["readings"].as_array().expect("readings").len()),
            status => Err((status, json["error"]["code"].as_str().unwrap_or_default().to_owned())),
        }
    }
}

/// A byte of `block` whose bit `bit` can be told by the block's checksum: no other bit would change it in the same way. `None`
/// where there is none.
fn telling(bytes: &[u8], block: usize, bit: u32) -> Option<usize> {
    let from = HEADERS + block * BLOCK;
    let words: Vec<u64> = bytes[from..from + BLOCK]
        .chunks_exact(8)
        .map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
        .collect();
    let change = |word: u64| word.wrapping_mul(FACTOR) ^ (word ^ 1 << bit).wrapping_mul(FACTOR);
    let begin = 1 + block * 31 % 500;
    let tells = |i: &usize| words[1..].iter().filter(|w| change(**w) == change(words[*i])).count() == 1;
    let word = (begin..words.len()).chain(1..begin).take(600).find(tells)?;
    Some(from + word * 8 + bit as usize / 8)
}

#[test]
fn a_flipped_bit_that_the_checksum_tells_is_put_right_in_any_block_and_nothing_is_lost() {
    let base = &*SMALL;
    let mut run = Run::on(&base.bytes);
    let blocks = (base.bytes.len() - HEADERS) / BLOCK;
    let headers = [(12, 3), (4_096 + 3, 1), (2 * 4_096 + 9, 0)];
    let in_blocks = (0..blocks).filter_map(|b| {
        let bit = (b * 11 % 37) as u32;
        telling(&base.bytes, b, bit).map(|at| (at, bit % 8))
    });
    let (mut places, mut put_right) = (0, 0);
    for (at, bit) in headers.into_iter().chain(in_blocks) {
        eprintln!("bit {bit} of byte {at}");
        places += 1;
        let mut bytes = base.bytes.clone();
        bytes[at] ^= 1 << bit;
        run.put(&bytes);
        run.suspect();
        let (recovered, recovery) = run.start();
        run.send_one();
        let (rows, new) = run.finish();
        assert!(rows == base.rows, "{} readings of {}", rows.len(), base.rows.len());
        assert_eq!(new, 3);
        // A block that is not in use, or a header that is not the newest, is not missed.
        if recovered > 0 {
            put_right += 1;
            let text = format!(
                "put 1 wrong bit of the database right, which the checksums tell (at byte {at}): nothing is lost; "
            );
            assert_eq!((recovered, recovery.starts_with(&text)), (1, true), "{recovery}");
            let [set] = &run.sets()[..] else { panic!("not one set: {:?}", run.sets()) };
            let why = fs::read_to_string(set.join("why.txt")).expect("why.txt");
            assert!(why.contains(&format!("bit {bit} of byte {at} is wrong")), "{why}");
        }
        assert!(!run.beside("gadwall.damaged").exists(), "the note is dealt with");
    }
    let mut used: Vec<usize> = base.segments.iter().map(|s| s.block).collect();
    used.sort_unstable();
    used.dedup();
    // The catalog is in no segment, and of some blocks no bit can be told.
    assert!(put_right * 4 > used.len() * 3, "{put_right} of {places}, {} blocks in use", used.len());
}

#[test]
fn a_header_that_a_checkpoint_left_half_written_is_replaced_and_nothing_is_lost() {
    let base = &*SMALL;
    let mut run = Run::on(&base.bytes);
    let iteration =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("eight bytes"));
    let destroy = |bytes: &mut [u8], at: usize, from: usize| {
        bytes[at + from..at + 4_096].iter_mut().zip((1..=251).cycle()).for_each(|(b, n)| *b ^= n);
    };
    assert_eq!(run.start().0, 0);
    run.send_one();
    run.daemon.kill9();
    let mut bytes = fs::read(run.daemon.database()).expect("the database");
    let (newer, older) =
        if iteration(&bytes, 4_096) > iteration(&bytes, 8_192) { (4_096, 8_192) } else { (8_192, 4_096) };
    // As if a checkpoint had begun to write the next one.
    destroy(&mut bytes, older, 0);
    fs::write(run.daemon.database(), &bytes).expect("writing the database");
    let (recovered, recovery) = run.start();
    let text =
        format!("replace the damaged header at byte {older} of the database by the other one: nothing is lost; ");
    assert_eq!((recovered, recovery.starts_with(&text)), (1, true), "{recovery}");
    let (rows, new) = run.finish();
    assert!(rows == base.rows && new == 3);
    // Without a WAL the older one is known by its number, and the newer one is missed.
    for (at, from, lost) in [(older, 16, false), (newer, 16, true), (newer, 0, true)] {
        let mut bytes = base.bytes.clone();
        let older_here = iteration(&bytes, 4_096) < iteration(&bytes, 8_192);
        let at = if older_here == (older == 4_096) { at } else { 12_288 - at };
        destroy(&mut bytes, at, from);
        run.put(&bytes);
        let (recovered, recovery) = run.start();
        assert_eq!(recovered, 1, "{recovery}");
        let (rows, _) = run.finish();
        assert_eq!(rows.len(), if lost { 0 } else { base.rows.len() }, "{recovery}");
    }
}

#[test]
fn what_is_outside_of_damaged_blocks_is_salvaged_and_what_is_lost_is_counted() {
    let base = &*SMALL;
    let mut run = Run::on(&base.bytes);
    let last = base.groups.len() - 1;
    let value = base.blocks("readings", 0, "value");
    let cases = [
        vec![value[value.len() / 2]],
        vec![value[0], value[1]],
        base.blocks("readings", 1, "series"),
        base.blocks("readings", 1, "lag"),
        base.blocks("readings", 0, "ts"),
        base.blocks("readings", last, "value"),
        [
            base.blocks("readings", 1, "value"),
            base.blocks("readings", 0, "lag"),
            base.blocks("dead_letters", 0, "reason"),
        ]
        .concat(),
    ];
    let (mut fewer, mut unverified) = (0, 0);
    for blocks in cases {
        let mut bytes = base.bytes.clone();
        for block in &blocks {
            destroy(&mut bytes, *block);
        }
        let left = base.left(&blocks);
        let gone = base.rows.len() - left.len();
        let without = left.iter().filter(|r| r.3.is_none()).count();
        eprintln!("blocks {blocks:?}: {gone} lost, {without} without lag");
        run.put(&bytes);
        run.suspect();
        let (recovered, recovery) = run.start();
        let mut text = format!(
            "put the database aside and a new one in its place: {} of {} readings salvaged, {gone} lost",
            left.len(),
            base.rows.len()
        );
        if without > 0 {
            text += &format!(", {without} without the time of their arrival");
        }
        if blocks.contains(&base.blocks("dead_letters", 0, "reason")[0]) {
            text += &format!(", {LETTERS} rows of dead_letters lost");
        }
        let [set] = &run.sets()[..] else { panic!("not one set: {:?}", run.sets()) };
        assert_eq!((recovered, recovery), (1, format!("{text}; as it was: {}", set.display())));
        assert!(fs::read(set.join("gadwall.duckdb")).is_ok_and(|kept| kept == bytes), "kept as it was");
        let stats = run.daemon.stats();
        assert_eq!(stats["store"]["readings"], left.len());
        assert_eq!(
            (stats["store"]["nodes"].as_i64(), stats["store"]["series"].as_i64()),
            (Some(base.nodes), Some(base.series))
        );
        assert_eq!(run.daemon.failing(), Vec::<String>::new());
        run.send_one();
        let (rows, new) = run.finish();
        assert!(rows == left, "{} readings, expected {}", rows.len(), left.len());
        assert_eq!(new, 3);
        for name in ["gadwall.damaged", "gadwall.duckdb.salvage", "gadwall.duckdb.salvaged"] {
            assert!(!run.beside(name).exists(), "{name}");
        }
        (fewer, unverified) = (fewer + usize::from(gone > 0), unverified + usize::from(without > 0));
    }
    assert!(fewer >= 5 && unverified >= 2, "{fewer} {unverified}");
}

#[test]
fn readings_outlive_the_names_and_the_bookkeeping() {
    let base = &*SMALL;
    let mut run = Run::on(&base.bytes);
    for (table, column) in [("series", "metric"), ("nodes", "name"), ("meta", "value"), ("commits", "batch")] {
        let mut bytes = base.bytes.clone();
        for block in base.blocks(table, 0, column) {
            destroy(&mut bytes, block);
        }
        run.put(&bytes);
        let (recovered, recovery) = run.start();
        assert_eq!(recovered, 1, "{recovery}");
        assert!(recovery.contains(&format!(": {0} of {0} readings salvaged, 0 lost, ", base.rows.len())), "{recovery}");
        let nodes: Vec<String> = run.daemon.json("/api/v1/nodes")["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(|n| {
                format!(
                    "{}/{} {}",
                    n["source"].as_str().unwrap_or("?"),
                    n["name"].as_str().unwrap_or("?"),
                    n["metrics"]
                )
            })
            .collect();
        let known = format!("hub/{DEVICE}");
        match table {
            "series" => {
                assert!(
                    recovery.contains("3 rows of series lost, 3 nodes and series without their names"),
                    "{recovery}"
                );
                assert_eq!(
                    nodes,
                    [format!("{known} []"), "salvaged/salvaged [\"series-1\",\"series-2\",\"series-3\"]".to_owned()]
                );
            }
            "nodes" => {
                assert!(
                    recovery.contains("1 rows of nodes lost, 1 nodes and series without their names"),
                    "{recovery}"
                );
                assert_eq!(nodes, ["salvaged/node-1 [\"flags\",\"humidity\",\"temperature\"]"]);
            }
            _ => assert_eq!(nodes, [format!("{known} [\"flags\",\"humidity\",\"temperature\"]")], "{recovery}"),
        }
        // The sensor goes on under its own name, and nothing of it is mixed with what was salvaged.
        run.send_one();
        let latest = run.daemon.json(&format!("/api/v1/nodes/{DEVICE}/latest"));
        assert_eq!(latest["values"].as_array().expect("values").len(), 3);
        let (rows, new) = run.finish();
        assert!(rows == base.rows);
        assert_eq!(new, 3);
    }
}

#[test]
fn a_damaged_block_that_a_query_meets_is_told_and_the_next_start_puts_it_right() {
    let base = &*LARGE;
    let mut run = Run::on(&base.bytes);
    assert_eq!(run.start().0, 0);
    let (first, n) = (10_000, 300);
    assert_eq!(run.ask(first, n), Ok(300));
    // The row group that the query reads was read at start, and has left the buffers since.
    let block = base.blocks("readings", 1, "value")[0];
    let row = base.groups[0] as i64 + 100;
    let at = telling(&base.bytes, block, 10).expect("a word that is there once") as u64;
    let file = fs::File::options().read(true).write(true).open(run.daemon.database()).expect("the database");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reading the byte");
    file.write_all_at(&[byte[0] ^ 4], at).expect("writing the byte");
    for met in 1..=3 {
        assert_eq!(run.ask(row, n), Err((500, "damaged".to_owned())));
        assert_eq!(run.daemon.stat("/store/damaged"), met);
    }
    assert_eq!(run.ask(first, n), Ok(300), "others are answered");
    run.send_one();
    let damage = run.daemon.stats()["store"]["damage"].as_str().expect("what was met").to_owned();
    assert!(damage.starts_with("a query met it: Data Corruption Error: Corrupt database file: "), "{damage}");
    let health = run.daemon.get("/healthz");
    assert_eq!(health.status, 200, "readings are being committed");
    assert!(health.body.contains(&format!("; DAMAGED, a restart repairs it: {damage}")), "{}", health.body);
    assert_eq!(run.daemon.log().matches("the database is damaged").count(), 1, "once in the journal");
    assert!(run.daemon.get("/metrics").body.contains("\ngadwall_store_damaged_total 3\n"));
    assert_eq!(run.daemon.terminate().code(), Some(0));
    assert!(run.beside("gadwall.damaged").exists());
    let (recovered, recovery) = run.start();
    assert_eq!(recovered, 1);
    assert!(recovery.starts_with("put 1 wrong bit of the database right"), "{recovery}");
    assert_eq!(run.ask(row, n), Ok(300));
    assert_eq!(run.daemon.stat("/store/damaged"), 0);
    let (rows, new) = run.finish();
    assert!(rows == base.rows && new == 3);
}

#[test]
fn a_commit_that_cannot_succeed_for_a_damaged_block_ends_the_process_and_the_next_start_salvages() {
    let base = &*LARGE;
    let mut run = Run::on(&base.bytes);
    assert_eq!(run.start().0, 0);
    run.send_one();
    let blocks = [base.blocks("readings", 1, "value")[0]];
    let file = fs::File::options().write(true).open(run.daemon.database()).expect("the database");
    let mut destroyed = base.bytes.clone();
    destroy(&mut destroyed, blocks[0]);
    let from = HEADERS + blocks[0] * BLOCK;
    file.write_all_at(&destroyed[from..from + BLOCK], from as u64).expect("destroying the block");
    // A record that is late, of the time that the damaged block is about: it has to be compared with what is stored.
    let late = [Record { time: T0 + (base.groups[0] as i64 + 100) / 3 * EVERY, temp: 1, hum: 2, flags: 3 }];
    run.hub.send_batch(3, DEVICE, &late);
    let status = run.daemon.wait_exit();
    assert_eq!(status.code(), Some(1), "{status}");
    assert!(run.daemon.log().contains("the database is damaged, and a new start repairs it"), "{}", run.daemon.log());
    // It may have been told that its batch is not stored, and nothing else.
    assert_eq!(run.hub.next_line(Duration::ZERO, "BATCH_ACK 3 1 0"), None);
    let left = base.left(&blocks);
    let lost = base.rows.len() - left.len();
    assert!(lost > 0);
    let (recovered, recovery) = run.start();
    assert_eq!(recovered, 1);
    // The record that was sent before is in the WAL.
    let text = format!(": {} of {} readings salvaged, {lost} lost; ", left.len() + 3, base.rows.len() + 3);
    assert!(recovery.contains(&text), "{recovery}");
    run.hub.wait_answered();
    run.hub.send_batch(3, DEVICE, &late);
    run.hub.expect_ack("BATCH_ACK 3 1 0");
    assert_eq!(run.daemon.terminate().code(), Some(0));
    let rows = read_rows(&open(run.daemon.database()));
    assert_eq!(rows.len(), left.len() + 3 + 3);
    assert!(rows[..left.len()] == left);
    let ts = late[0].time * 1_000_000;
    assert_eq!(
        rows[left.len() + 3..].iter().map(|r| (r.1, r.2)).collect::<Vec<_>>(),
        [(ts, 0.01), (ts, 0.02), (ts, 3.0)]
    );
}

#[test]
fn a_checkpoint_that_cannot_succeed_for_a_damaged_block_ends_the_process_and_loses_no_acknowledged_reading() {
    let base = &*SMALL;
    let mut bytes = base.bytes.clone();
    base.blocks("dead_letters", 0, "reason").iter().for_each(|b| destroy(&mut bytes, *b));
    let mut run = Run::on(&bytes);
    // A start does not read it.
    assert_eq!(run.start().0, 0);
    run.hub.wait_answered();
    // The table is written, so the next checkpoint has to read it.
    run.hub.send("SENSOR_RECORD x");
    run.daemon.wait_stat("/store/dead_letters", 1);
    let mut acked = 0;
    let mut unanswered = None;
    for b in 0..60 {
        let batch = records(b * 1_000, 1_000);
        // Nobody takes it once the process has ended.
        let taken = run.hub.try_send_bytes(lines(3, DEVICE, &batch).as_bytes(), Duration::from_secs(5));
        let mut ended = !taken;
        let mut ack = None;
        wait_for("an answer or the end", || {
            ack = run.hub.next_line(Duration::from_millis(20), "BATCH_ACK");
            ended |= run.daemon.exit_status().is_some();
            ack.is_some() || ended
        });
        match ack.as_deref() {
            Some("BATCH_ACK 3 1000 0") => acked += 1_000,
            // While it ends it may still say that a batch is not stored.
            Some("BATCH_ACK 3 1000 1") | None => {
                unanswered = Some(batch);
                ended = true;
            }
            Some(other) => panic!("{other}"),
        }
        if ended {
            break;
        }
    }
    run.hub.unplug();
    run.hub.plug();
    let status = run.daemon.wait_exit();
    assert_eq!(status.code(), Some(1), "{status}");
    let log = run.daemon.log();
    assert_eq!(log.matches("the commit that failed had been durable").count(), 3, "{log}");
    assert_eq!(log.matches("the database is damaged; the next start").count(), 1, "once in the journal: {log}");
    let (recovered, recovery) = run.start();
    assert_eq!(recovered, 1);
    assert!(recovery.contains(" readings salvaged, 0 lost, 500 rows of dead_letters lost; "), "{recovery}");
    run.hub.wait_answered();
    if let Some(batch) = unanswered {
        run.hub.send_batch(3, DEVICE, &batch);
        run.hub.expect_ack("BATCH_ACK 3 1000 0");
        acked += 1_000;
    }
    let (rows, new) = run.finish();
    assert!(acked >= 10_000, "{acked}");
    assert_eq!(new, acked * 3);
    assert!(rows == base.rows);
    let letters = "SELECT count(*) FROM dead_letters";
    let letters: i64 = open(run.daemon.database()).query_row(letters, [], |r| r.get(0)).expect("a count");
    assert_eq!(letters, 1, "the one that was in the WAL");
}

#[test]
fn a_start_that_reads_everything_and_finds_nothing_goes_on_and_damage_that_is_met_again_is_believed() {
    let base = &*SMALL;
    let mut run = Run::on(&base.bytes);
    run.suspect();
    assert_eq!(run.start().0, 0);
    assert!(run.daemon.log().contains("all of the database was read, and nothing of it is damaged"));
    run.daemon.kill9();
    // It is not read again for nothing.
    assert_eq!(run.start().0, 0);
    assert_eq!(run.daemon.log().matches("all of the database was read").count(), 1);
    run.daemon.kill9();
    let note = fs::File::options().append(true).open(run.beside("gadwall.damaged"));
    writeln!(note.expect("the note"), "a checkpoint met it").expect("the note");
    let (recovered, recovery) = run.start();
    assert_eq!(recovered, 1);
    assert!(recovery.contains(&format!("{0} of {0} readings salvaged, 0 lost; ", base.rows.len())), "{recovery}");
    let [set] = &run.sets()[..] else { panic!("not one set: {:?}", run.sets()) };
    let why = fs::read_to_string(set.join("why.txt")).expect("why.txt");
    assert!(why.contains("met again, though everything can be read: a checkpoint met it"), "{why}");
    let (rows, _) = run.finish();
    assert!(rows == base.rows);
    assert!(!run.beside("gadwall.damaged").exists());
}

#[test]
fn a_repair_that_was_interrupted_is_brought_to_its_end() {
    let base = &*SMALL;
    let mut damaged = base.bytes.clone();
    destroy(&mut damaged, base.blocks("readings", 0, "value")[0]);
    let mut run = Run::on(&damaged);
    // Once before the damaged file was moved, once behind it.
    for there in [true, false] {
        run.put(&damaged);
        if !there {
            fs::remove_file(run.daemon.database()).expect("moving it");
        }
        fs::write(run.beside("gadwall.duckdb.salvaged"), &base.bytes).expect("the salvaged database");
        let (recovered, recovery) = run.start();
        assert_eq!(recovered, 1, "{recovery}");
        assert!(recovery.starts_with("put the salvaged database in the place of the damaged one; "), "{recovery}");
        let (rows, _) = run.finish();
        assert!(rows == base.rows);
        let [set] = &run.sets()[..] else { panic!("not one set: {:?}", run.sets()) };
        assert_eq!(fs::read(set.join("gadwall.duckdb")).is_ok_and(|kept| kept == damaged), there);
        assert!(!run.beside("gadwall.duckdb.salvaged").exists());
    }
}

fn doctor(database: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = gadwall().arg("doctor").arg(database).args(args).output().expect("the binary under test starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn doctor_finds_damaged_blocks_that_a_start_does_not_read_and_salvages() {
    let base = &*SMALL;
    let letters = base.blocks("dead_letters", 0, "reason");
    let mut bytes = base.bytes.clone();
    bytes[telling(&base.bytes, letters[0], 1).expect("a word that is there once")] ^= 2;
    let mut run = Run::on(&bytes);
    let database = run.daemon.database().to_owned();
    let (code, said) = doctor(&database, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("state    DAMAGED: ") && said.contains("Corrupt database file"), "{said}");
    assert!(said.contains("put 1 wrong bit of the database right"), "{said}");
    assert!(fs::read(&database).is_ok_and(|b| b == bytes), "nothing is changed");
    let (code, said) = doctor(&database, &["--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(&database).is_ok_and(|b| b == base.bytes), "it is as it was");
    let blocks = [base.blocks("readings", 1, "value")[0], letters[0]];
    for block in &blocks {
        destroy(&mut bytes, *block);
    }
    run.put(&bytes);
    let (code, said) = doctor(&database, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("copy what can be read of the database"), "{said}");
    let (code, said) = doctor(&database, &["--yes"]);
    assert_eq!(code, Some(0), "{said}");
    let left = base.left(&blocks);
    let lost = base.rows.len() - left.len();
    let text = format!(
        "{} of {} readings salvaged, {lost} lost, {LETTERS} rows of dead_letters lost; ",
        left.len(),
        base.rows.len()
    );
    assert!(said.contains(&text), "{said}");
    assert!(said.contains(&format!("{} readings, 3 series, 1 nodes", left.len())), "{said}");
    let (recovered, _) = run.start();
    assert_eq!(recovered, 0);
    assert!(run.finish().0 == left);
}

/// A checkpoint writes its metadata block over in place, 64 KiB at once: a kill or a power cut leaves some of its pages new
/// and the others old.
#[test]
fn a_block_that_a_checkpoint_had_half_written_costs_nothing() {
    const PAGE: usize = 4_096;
    let mut hub = Hub::new();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    let mut sent = 0;
    let mut deliver = |hub: &mut Hub| {
        hub.wait_answered();
        let records: Vec<Record> =
            (sent..sent + 20).map(|i| Record { time: T0 + i * EVERY, temp: i, hum: i, flags: 0 }).collect();
        sent += 20;
        hub.send_batch(3, DEVICE, &records);
        hub.expect_ack("BATCH_ACK 3 20 0");
        sent
    };
    deliver(&mut hub);
    assert_eq!(daemon.terminate().code(), Some(0));
    daemon.restart();
    let sent = deliver(&mut hub);
    daemon.kill9();
    let wal = daemon.database().with_file_name("gadwall.duckdb.wal");
    let (old, log) = (fs::read(daemon.database()).expect("the file"), fs::read(&wal).expect("its log"));
    daemon.restart();
    assert_eq!(daemon.terminate().code(), Some(0));
    let new = fs::read(daemon.database()).expect("the file behind the next checkpoint");
    // The parts of a block are 1,016 bytes: of the block that both have, those that were free in the old one are new.
    let block = HEADERS..HEADERS + BLOCK;
    let pages: Vec<usize> =
        block.clone().step_by(PAGE).filter(|at| old[*at..at + PAGE] != new[*at..at + PAGE]).collect();
    assert!(pages.len() >= 2, "the checkpoint has written the first block in place: {pages:?}");
    for written in 1..pages.len() {
        for reversed in [false, true] {
            // What else the checkpoint has written is in blocks that the old header does not know.
            let mut torn = new.clone();
            torn[..HEADERS].copy_from_slice(&old[..HEADERS]);
            let is_new = |i: usize| (i < written) != reversed;
            for (_, at) in pages.iter().enumerate().filter(|(i, _)| !is_new(*i)) {
                torn[*at..at + PAGE].copy_from_slice(&old[*at..at + PAGE]);
            }
            fs::write(daemon.database(), &torn).expect("the torn file");
            fs::write(&wal, &log).expect("its log");
            daemon.restart();
            let stats = daemon.stats();
            assert_eq!(stats["store"]["recovered"], 1, "{}", stats["store"]["recovery"]);
            let text = stats["store"]["recovery"].as_str().expect("what was done");
            assert!(text.contains("(at byte 12288)") && text.contains("nothing is lost"), "{text}");
            assert_eq!(stats["store"]["readings"], sent * 3);
            daemon.kill9();
        }
    }
}
