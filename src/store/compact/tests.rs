//! Compacting real files: every table as it was, whatever happens meanwhile, and a whole file at every moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use proptest::prelude::*;

use super::*;
use crate::store::open::Root;

struct Fixture {
    dir: tempfile::TempDir,
    config: config::Store,
}

/// Never wants an end.
struct Patient;

impl Watch for Patient {
    fn go_on(&mut self, _: &At) -> Result<(), String> {
        Ok(())
    }
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config::Store { path: dir.path().join("g.duckdb"), min_free: 1, ..config::Store::default() };
        Self { dir, config }
    }

    fn root(&self) -> Root {
        let root = Root::open(&self.config).unwrap();
        root.migrate().unwrap();
        root
    }

    fn offline(&self) -> Report {
        offline(&self.config, &mut Patient).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Adds `n` readings whose time and value follow from their number.
fn add(connection: &Connection, from: i64, n: i64) {
    connection
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT i % 50, make_timestamp(1700000000000000 + i * 600000), (i * 7919 % 3000) / 100.0, 0 \
             FROM range({from}, {}) t(i)",
            from + n
        ))
        .unwrap();
}

/// Every row of every table as text, sorted.
fn contents(path: &Path) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = {
        let mut select = connection.prepare("SELECT table_name FROM duckdb_tables() ORDER BY 1").unwrap();
        select.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let rows = |table: &String| {
        let mut select = connection.prepare(&format!("SELECT t::VARCHAR FROM {table} t ORDER BY 1")).unwrap();
        let rows: Vec<String> = select.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        rows
    };
    tables.iter().map(|table| (table.clone(), rows(table))).collect()
}

/// The same in one number for each table, for many rows.
fn sums(path: &Path) -> BTreeMap<String, (i64, i128)> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = {
        let mut select = connection.prepare("SELECT table_name FROM duckdb_tables() ORDER BY 1").unwrap();
        select.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let sum = |table: &String| {
        let sql = format!("SELECT count(*), coalesce(sum(md5_number_lower(t::VARCHAR)::HUGEINT), 0) FROM {table} t");
        connection.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
    };
    tables.iter().map(|table| (table.clone(), sum(table))).collect()
}

#[test]
fn every_table_row_constraint_and_view_is_in_the_smaller_file() {
    let fixture = Fixture::new();
    {
        let root = fixture.root();
        let c = &root.connection;
        for i in 0..4 {
            add(c, i * 100_000, 100_000);
        }
        c.execute_batch(
            "INSERT INTO g.nodes VALUES (1, 'home', 'n\u{e4}me', make_timestamp(5)), (2, NULL, NULL, NULL);
             INSERT INTO g.dead_letters SELECT make_timestamp(i), 'home', repeat('x', 200), '\\xFF\\x00'::BLOB FROM range(30000) t(i);
             INSERT INTO g.readings VALUES (1, NULL, 'nan', NULL), (NULL, make_timestamp(1), 'inf', 3);
             CREATE TABLE g.mine(\"odd \"\"name\"\"\" INTEGER CHECK (\"odd \"\"name\"\"\" > 0));
             INSERT INTO g.mine VALUES (7);
             CREATE VIEW g.seen AS SELECT * FROM g.mine;
             CHECKPOINT g;
             DELETE FROM g.readings WHERE ts < make_timestamp(1700000000000000 + 250000 * 600000::BIGINT);
             CHECKPOINT g;",
        )
        .unwrap();
        root.detach().unwrap();
    }
    let before = contents(&fixture.config.path);
    let old = fs::metadata(&fixture.config.path).unwrap().len();
    let report = fixture.offline();
    assert_eq!(contents(&fixture.config.path), before);
    let new = fs::metadata(&fixture.config.path).unwrap().len();
    assert_eq!((report.before, report.after), (old, new));
    assert!(new < old * 2 / 3, "{old} -> {new}");
    assert_eq!(report.rows, before.values().map(|rows| rows.len() as u64).sum::<u64>());
    assert_eq!(fixture.names(), ["g.duckdb"], "nothing is left");
    let root = fixture.root();
    let refused = root.connection.execute_batch("INSERT INTO g.mine VALUES (0)").unwrap_err().to_string();
    assert!(refused.contains("CHECK"), "{refused}");
    let seen: i64 = root.connection.query_row("SELECT count(*) FROM g.seen", [], |r| r.get(0)).unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn an_empty_database_and_one_with_a_log_are_compacted() {
    let fixture = Fixture::new();
    drop(fixture.root());
    fixture.offline();
    {
        let root = fixture.root();
        add(&root.connection, 0, 1_000);
        root.detach().unwrap();
    }
    assert_eq!(fixture.names(), ["g.duckdb", "g.duckdb.wal"]);
    let before = contents(&fixture.config.path);
    fixture.offline();
    assert_eq!(contents(&fixture.config.path), before);
    assert_eq!(before["readings"].len(), 1_000);
    assert_eq!(fixture.names(), ["g.duckdb"]);
}

/// Copies the folder each time it is asked.
struct Photographer<'a> {
    folder: &'a Path,
    taken: Vec<(Stage, tempfile::TempDir)>,
}

impl Watch for Photographer<'_> {
    fn go_on(&mut self, at: &At) -> Result<(), String> {
        if self.taken.last().is_some_and(|(stage, _)| *stage == at.stage) && at.stage == Stage::Finishing {
            return Ok(());
        }
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
        }
        self.taken.push((at.stage, copy));
        Ok(())
    }
}

#[test]
fn at_every_step_the_folder_holds_one_whole_file_and_the_next_start_cleans_up() {
    let fixture = Fixture::new();
    {
        let root = fixture.root();
        add(&root.connection, 0, 150_000);
        root.detach().unwrap();
    }
    let before = sums(&fixture.config.path);
    let mut photographer = Photographer { folder: fixture.dir.path(), taken: Vec::new() };
    offline(&fixture.config, &mut photographer).unwrap();
    let stages: Vec<Stage> = photographer.taken.iter().map(|(stage, _)| *stage).collect();
    for stage in [Stage::Copying, Stage::Comparing, Stage::Finishing, Stage::Closed, Stage::Sealed, Stage::Replaced] {
        assert!(stages.contains(&stage), "{stage:?} of {stages:?}");
    }
    for (stage, folder) in photographer.taken {
        let path = folder.path().join("g.duckdb");
        let left = leftovers(&path);
        assert_eq!(left.is_empty(), stage == Stage::Replaced, "{stage:?}: {left:?}");
        let config = config::Store { path: path.clone(), ..config::Store::default() };
        let store = crate::store::open(&config, &std::sync::Arc::default()).unwrap();
        drop(store);
        assert_eq!(leftovers(&path), [], "{stage:?}");
        assert_eq!(sums(&path), before, "{stage:?}");
    }
}

/// Wants an end when a stage is reached.
struct Until(Stage);

impl Watch for Until {
    fn go_on(&mut self, at: &At) -> Result<(), String> {
        if at.stage == self.0 { Err("enough".to_owned()) } else { Ok(()) }
    }
}

#[test]
fn given_up_at_any_stage_it_leaves_the_old_file_alone() {
    let fixture = Fixture::new();
    {
        let root = fixture.root();
        add(&root.connection, 0, 150_000);
        root.detach().unwrap();
    }
    let before = sums(&fixture.config.path);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let old = inode(&fixture.config.path);
    for stage in [Stage::Copying, Stage::Comparing, Stage::Finishing, Stage::Closed, Stage::Sealed] {
        let error = offline(&fixture.config, &mut Until(stage)).unwrap_err();
        assert_eq!(error.to_string(), "it was given up: enough");
        assert_eq!(fixture.names(), ["g.duckdb"], "{stage:?}");
        assert_eq!(inode(&fixture.config.path), old, "{stage:?}");
    }
    assert_eq!(sums(&fixture.config.path), before);
    // The last stage is behind the rename: nothing can be given up there.
    offline(&fixture.config, &mut Until(Stage::Replaced)).unwrap();
    assert_ne!(inode(&fixture.config.path), old);
    assert_eq!(sums(&fixture.config.path), before);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let fixture = Fixture::new();
    drop(fixture.root());
    let config = config::Store { min_free: 1 << 60, ..fixture.config.clone() };
    let error = offline(&config, &mut Patient).unwrap_err();
    let CompactError::Space { needed, copy, spare, free, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *spare), (copy + spare, (1 << 60) + RESERVE));
    let text = error.to_string();
    let expected = format!(
        "not enough free space beside {}: {needed} bytes are needed ({copy} for the copy and {spare} that stay free), {free} are free",
        config.path.display()
    );
    assert_eq!(text, expected);
    assert_eq!(leftovers(&config.path), []);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let fixture = Fixture::new();
    {
        let root = fixture.root();
        root.connection.execute_batch("UPDATE g.meta SET value = '99' WHERE key = 'schema'; CHECKPOINT g").unwrap();
        root.detach().unwrap();
    }
    let bytes = fs::read(&fixture.config.path).unwrap();
    let error = offline(&fixture.config, &mut Patient).unwrap_err().to_string();
    assert!(error.contains("was written by a newer version of gadwall (schema 99)"), "{error}");
    assert_eq!(fs::read(&fixture.config.path).unwrap(), bytes);
    assert_eq!(fixture.names(), ["g.duckdb"]);
}

/// Runs a compaction whose database is written to between its steps; `meanwhile` learns whether rows of large tables may
/// only be added any more.
fn compact_meanwhile(fixture: &Fixture, mut meanwhile: impl FnMut(&Connection, u32, bool)) -> (Report, u32) {
    let root = fixture.root();
    root.connection.execute_batch("CHECKPOINT g").unwrap();
    let mut compaction = Compaction::begin(&root, &fixture.config).unwrap();
    let mut steps = 0;
    loop {
        meanwhile(&root.connection, steps, compaction.copying.is_proving());
        steps += 1;
        if compaction.step(&root).unwrap() == Step::Ready {
            break;
        }
    }
    root.connection.execute_batch("CHECKPOINT g").unwrap();
    let (copy, now) = (fixture.dir.path().join("now"), fixture.config.path.clone());
    fs::copy(&now, &copy).unwrap();
    compaction.finish(&root, &mut Patient).unwrap();
    compaction.replace(&root, &mut Patient).unwrap();
    root.attach().unwrap();
    let report = compaction.report(Duration::ZERO);
    root.detach().unwrap();
    assert_eq!(sums(&now), sums(&copy));
    (report, compaction.restarts)
}

#[test]
fn what_comes_while_it_is_copied_is_in_the_new_file() {
    let fixture = Fixture::new();
    add(&fixture.root().connection, 0, 300_000);
    let (report, restarts) = compact_meanwhile(&fixture, |c, step, _| {
        add(c, 300_000 + i64::from(step) * 500, 500);
        c.execute_batch("INSERT INTO g.commits VALUES (1, NULL, NULL); DELETE FROM g.meta WHERE key = 'floor'")
            .unwrap();
    });
    assert!(report.rows > 300_000 + 3 * 501, "{report:?}");
    assert_eq!(restarts, 0, "rows that are added cost nothing");
}

#[test]
fn rows_that_are_removed_or_changed_meanwhile_are_not_in_the_new_file() {
    let fixture = Fixture::new();
    add(&fixture.root().connection, 0, 300_000);
    let (report, restarts) = compact_meanwhile(&fixture, |c, step, _| {
        if step == 2 {
            c.execute_batch("DELETE FROM g.readings WHERE rowid < 1000; CHECKPOINT g").unwrap();
        }
    });
    assert_eq!(restarts, 1);
    assert_eq!(report.rows, 299_000 + 1);
    // As many go as come, every time: it is begun anew a few times, and then copied while nothing is written.
    let (report, restarts) = compact_meanwhile(&fixture, |c, step, _| {
        c.execute_batch("DELETE FROM g.readings WHERE rowid IN (SELECT rowid FROM g.readings LIMIT 10)").unwrap();
        add(c, 500_000 + i64::from(step) * 10, 10);
    });
    assert_eq!(restarts, RESTARTS);
    assert_eq!(report.rows, 299_000 + 1);
    // A change that leaves the number of rows.
    let (_, restarts) = compact_meanwhile(&fixture, |c, step, _| {
        if step == 2 {
            c.execute_batch("UPDATE g.readings SET value = -1 WHERE rowid = (SELECT min(rowid) FROM g.readings)")
                .unwrap();
        }
    });
    assert_eq!(restarts, 1);
    let c = Connection::open(&fixture.config.path).unwrap();
    let changed: i64 = c.query_row("SELECT count(*) FROM readings WHERE value = -1", [], |r| r.get(0)).unwrap();
    assert_eq!(changed, 1);
    drop(c);
    // In a table that is not large it shows at the end.
    let fixture = Fixture::new();
    add(&fixture.root().connection, 0, 150_000);
    let (_, restarts) = compact_meanwhile(&fixture, |c, _, _| {
        c.execute_batch("UPDATE g.readings SET value = value + 1 WHERE rowid < 10").unwrap();
    });
    assert_eq!(restarts, 0);
}

/// Cases of the random test; more with `GADWALL_ROUNDS`.
fn cases() -> u32 {
    std::env::var("GADWALL_ROUNDS").ok().map_or(8, |n| n.parse().expect("GADWALL_ROUNDS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever is added, removed, changed and checkpointed between two steps, the new file is equal to the old one.
    #[test]
    fn the_new_file_is_equal_whatever_happens_meanwhile(
        rows in 1_i64..400_000,
        holes in prop::collection::vec((0_i64..400_000, 1_i64..200_000), 0..3),
        changes in prop::collection::vec((0_u8..6, 0_i64..400_000, 1_i64..150_000), 0..8),
    ) {
        let fixture = Fixture::new();
        {
            let root = fixture.root();
            add(&root.connection, 0, rows);
            for (from, n) in holes {
                let sql = format!("DELETE FROM g.readings WHERE rowid BETWEEN {from} AND {}; CHECKPOINT g", from + n);
                root.connection.execute_batch(&sql).unwrap();
            }
            root.detach().unwrap();
        }
        let mut changes = changes.into_iter();
        let mut next = rows;
        compact_meanwhile(&fixture, |c, _, proving| {
            let Some((what, from, n)) = changes.next() else { return };
            let range = format!("rowid BETWEEN {from} AND {}", from + n);
            match what {
                0..3 => {
                    add(c, next, n % 20_000);
                    next += n % 20_000;
                }
                // What the writer keeps from happening.
                3 | 4 if proving => {}
                3 => c.execute_batch(&format!("DELETE FROM g.readings WHERE {range}")).unwrap(),
                4 => c.execute_batch(&format!("UPDATE g.readings SET lag = 1 WHERE {range}")).unwrap(),
                _ => c.execute_batch("CHECKPOINT g").unwrap(),
            }
        });
    }
}

#[test]
fn leftovers_go_before_anything_is_opened() {
    let fixture = Fixture::new();
    drop(fixture.root());
    let left: Vec<PathBuf> =
        [".compact", ".compact.wal"].iter().map(|s| fixture.dir.path().join(format!("g.duckdb{s}"))).collect();
    for path in &left {
        fs::write(path, "not a database").unwrap();
    }
    assert_eq!(leftovers(&fixture.config.path).len(), 2);
    let store = crate::store::open(&fixture.config, &std::sync::Arc::default()).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    drop(store);
    fs::write(&left[0], "not a database").unwrap();
    fixture.offline();
    assert!(left.iter().all(|path| !path.exists()), "another compaction takes them away, too");
}
