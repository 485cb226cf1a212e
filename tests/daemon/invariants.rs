//! The statements of docs/invariants.md, as a person would paste them: they find nothing in the file of a daemon that was
//! under load and killed, and each finds what it is for.

use std::path::Path;

use duckdb::Connection;

use crate::harness::{Broker, DEADLINE, Hub, Record, Setup, batch, now_micros, open, wait_within};

/// A statement and what is above it.
struct Invariant {
    title: String,
    sql: String,
}

/// Each `###` of the page with the statement below it.
fn invariants() -> Vec<Invariant> {
    let page = include_str!("../../docs/invariants.md");
    let parts = page.split("\n### ").skip(1);
    let all: Vec<Invariant> = parts
        .map(|part| {
            let title = part.lines().next().unwrap_or_default().to_owned();
            let sql = part.split_once("```sql\n").and_then(|(_, rest)| rest.split_once("\n```"));
            let sql = sql.unwrap_or_else(|| panic!("no statement below {title:?}")).0.to_owned();
            Invariant { title, sql }
        })
        .collect();
    assert_eq!(page.matches("```sql").count(), all.len(), "each statement has a heading of its own");
    assert!(all.len() > 10);
    all
}

/// How many rows it finds.
fn rows(db: &Connection, invariant: &Invariant) -> usize {
    let mut statement = db.prepare(&invariant.sql).unwrap_or_else(|e| panic!("{}: {e}", invariant.title));
    let mut rows = statement.query([]).unwrap_or_else(|e| panic!("{}: {e}", invariant.title));
    let mut count = 0;
    while rows.next().unwrap_or_else(|e| panic!("{}: {e}", invariant.title)).is_some() {
        count += 1;
    }
    count
}

/// What breaks each of them in a file with readings of series 1.
const BROKEN: &[(&str, &str)] = &[
    ("A series has one reading at one time", "INSERT INTO readings SELECT * FROM readings LIMIT 1"),
    ("Every reading has a series", "INSERT INTO readings VALUES (999999, '2025-01-01', 1, 0)"),
    ("Every reading is whole", "INSERT INTO readings VALUES (1, '2025-01-01', 'nan', 0)"),
    ("Every reading is whole", "INSERT INTO readings VALUES (1, NULL, 1, 0)"),
    ("A lag is that of a time that can be believed", "INSERT INTO readings VALUES (1, '2025-01-01', 1, -86401)"),
    ("Every series has a node", "INSERT INTO series VALUES (999999, 999999, 'm', NULL, NULL)"),
    ("A number and a name mean one node", "INSERT INTO nodes SELECT node, 'x', 'y', first_seen FROM nodes LIMIT 1"),
    (
        "A number and a name mean one node",
        "INSERT INTO nodes SELECT 999999, source, name, first_seen FROM nodes LIMIT 1",
    ),
    (
        "A number and a name mean one series",
        "INSERT INTO series SELECT series, node, 'x', unit, NULL FROM series LIMIT 1",
    ),
    (
        "A number and a name mean one series",
        "INSERT INTO series SELECT 999999, node, metric, unit, NULL FROM series LIMIT 1",
    ),
    ("Names are short and can be printed", "UPDATE nodes SET name = 'a' || chr(27) WHERE node = 1"),
    ("Names are short and can be printed", "UPDATE series SET metric = repeat('é', 65) WHERE series = 1"),
    (
        "An hour of the rollups is what its readings give",
        "DELETE FROM meta WHERE key LIKE 'rolled-%'; INSERT INTO meta VALUES ('rolled-hours', '1420070400000000');
         INSERT INTO readings VALUES (1, '2014-12-31 23:30', 7, 0)",
    ),
    (
        "An hour of the rollups is what its readings give",
        "DELETE FROM meta WHERE key LIKE 'rolled-%'; INSERT INTO meta VALUES ('rolled-hours', '1420070400000000');
         INSERT INTO readings VALUES (1, '2014-12-31 23:30', 7, 0);
         INSERT INTO hourly VALUES (1, '2014-12-31 23:00', 1, 7, 7, 7, 49, 7, 7, 8, 7, 7)",
    ),
    (
        "The days of a series count all of its readings",
        "DELETE FROM meta WHERE key LIKE 'rolled-%'; INSERT INTO meta VALUES ('rolled-days', '1420070400000000');
         DELETE FROM dirty; DELETE FROM dirty_days;
         INSERT INTO daily VALUES (1, '2014-12-31', 1, 7, 7, 7, 49, 7, 7, 7, 7, 7)",
    ),
    (
        "A series has one row for an hour and one for a day",
        "INSERT INTO daily SELECT 1, '2014-12-31', 1, 7, 7, 7, 49, 7, 7, 7, 7, 7 FROM range(2)",
    ),
    (
        "A series has one row for an hour and one for a day",
        "INSERT INTO hourly SELECT 1, '2014-12-31', 1, 7, 7, 7, 49, 7, 7, 7, 7, 7 FROM range(2)",
    ),
    ("Every rollup has a series", "INSERT INTO hourly VALUES (999999, '2014-12-31', 1, 7, 7, 7, 49, 7, 7, 7, 7, 7)"),
    ("Every rollup has a series", "INSERT INTO daily VALUES (999999, '2014-12-31', 1, 7, 7, 7, 49, 7, 7, 7, 7, 7)"),
    ("What waits is of a known series", "INSERT INTO unsynced VALUES (999999, 'b', 1, 1, 1, NULL)"),
    ("What waits is a record or a reading", "INSERT INTO unsynced VALUES (1, 'b', 1, NULL, 1, NULL)"),
    ("What waits is a record or a reading", "INSERT INTO unsynced VALUES (1, NULL, 1, 1, 1, NULL)"),
    (
        "A record that waits is there once",
        "INSERT INTO unsynced VALUES (1, 'b', 1, 7, 1, NULL); INSERT INTO unsynced VALUES (1, 'c', 2, 7, 1, NULL)",
    ),
    ("What is noted is of a known series", "INSERT INTO provisional VALUES (999999, 'b', 1, '2025-01-01')"),
    ("Every event has a node", "INSERT INTO events VALUES (999999, '2025-01-01', 'k', '')"),
    (
        "An excerpt of a dead letter is short",
        "INSERT INTO dead_letters VALUES ('2025-01-01', 's', 'malformed', repeat('x', 1025)::BLOB)",
    ),
    ("Commits ascend", "INSERT INTO commits SELECT min(batch), max(\"at\"), NULL FROM commits"),
    ("Commits ascend", "INSERT INTO commits SELECT max(batch), max(\"at\"), NULL FROM commits"),
    (
        "What a commit keeps of messages can be read",
        "INSERT INTO commits SELECT max(batch) + 1, max(\"at\"), '\\x06\\x00'::BLOB FROM commits",
    ),
    ("There is one version of the schema, and at most one floor of time", "DELETE FROM meta WHERE key = 'schema'"),
    (
        "There is one version of the schema, and at most one floor of time",
        "INSERT INTO meta VALUES ('floor', '1'); INSERT INTO meta VALUES ('floor', '2')",
    ),
    (
        "No table has run over its bound",
        "INSERT INTO dead_letters SELECT '2025-01-01', 's', 'malformed', NULL FROM range(12000)",
    ),
    ("No table has run over its bound", "INSERT INTO events SELECT 1, '2025-01-01', 'k', '' FROM range(221000)"),
    ("No table has run over its bound", "INSERT INTO unsynced SELECT 1, 'b', 1, range, 1, NULL FROM range(100001)"),
];

/// A copy of the database that tests may break.
fn copy(database: &Path) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, needed) in [("gadwall.duckdb", true), ("gadwall.duckdb.wal", false)] {
        let from = database.with_file_name(name);
        if needed || from.exists() {
            std::fs::copy(from, dir.path().join(name)).expect("copying the database");
        }
    }
    let db = open(&dir.path().join("gadwall.duckdb"));
    (dir, db)
}

#[test]
fn the_statements_of_the_page_find_nothing_after_load_and_a_kill_and_each_finds_what_it_is_for() {
    let (broker, mut hub) = (Broker::new(), Hub::new());
    let config = broker.section(
        "home",
        "window = 50",
        r#"{ topic = "bare/{node}/{metric}", format = "json" }, { topic = "timed/{node}", format = "json", time = "time" }"#,
    );
    let config = format!("{config}\n{}\n[store]\nflush-interval = \"100ms\"\n", hub.section("hub-lines", ""));
    let mut daemon = Setup::new(&config).start();
    daemon.wait_state("home", "up");
    hub.wait_answered();
    let mut publisher = broker.publisher();
    let now = now_micros() / 1_000_000;
    let mut records = Vec::new();
    for round in 0..6_i64 {
        for i in 0..200_i64 {
            publisher.send(&format!("bare/n{}/m", i % 5), i.to_string(), 1, false);
            publisher.send(&format!("timed/n{}", i % 5), format!("{{\"time\": {}, \"v\": {i}}}", now - i), 1, false);
        }
        // Refused, impossible times, and a batch that comes again.
        publisher.send("bare/n1/m", "no json", 1, false);
        publisher.send("timed/n1", "{\"time\": 7, \"v\": 1}", 1, false);
        let new: Vec<Record> = (0..50)
            .map(|j| Record { time: now - 1_000 * round - j, temp: j, hum: j, flags: 0 })
            .chain([Record { time: 30 + round, temp: 1, hum: 1, flags: 0 }])
            .collect();
        hub.send_bytes(batch(3, 77, &new).as_bytes());
        hub.expect_ack(&format!("BATCH_ACK 3 {} 0", new.len()));
        records.extend(new);
        if round % 2 == 1 {
            daemon.kill9();
            daemon.restart();
            hub.wait_answered();
        }
    }
    publisher.flush();
    // Readings of 200 messages with their own times, each once, and at least that much of the others.
    daemon.wait_stat("/store/readings", 200 + 3 * 300);
    // The records of the hour before: without rollups there is nothing to compare them with.
    wait_within("an hour to be rolled up", 2 * DEADLINE, || daemon.stat("/rollups/hours") > 0);
    daemon.kill9();

    let all = invariants();
    {
        let (_dir, db) = copy(daemon.database());
        let count = |table: &str| -> i64 {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).expect("the table exists")
        };
        for table in ["readings", "events", "dead_letters", "unsynced", "commits", "meta", "hourly"] {
            assert!(count(table) > 0, "{table} is empty: nothing was compared");
        }
        for invariant in &all {
            assert_eq!(rows(&db, invariant), 0, "{}", invariant.title);
        }
    }
    for (title, sql) in BROKEN {
        let invariant = all.iter().find(|i| i.title == *title).unwrap_or_else(|| panic!("the page has no {title:?}"));
        let (_dir, db) = copy(daemon.database());
        db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert!(rows(&db, invariant) > 0, "{title} is not seen after {sql}");
    }
    for invariant in &all {
        assert!(BROKEN.iter().any(|(title, _)| *title == invariant.title), "{} was not broken", invariant.title);
    }
}
