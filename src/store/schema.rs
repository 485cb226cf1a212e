//! The tables, and the numbered migrations that make them.

/// Each element brings the schema from the version of its index to the next. All tables are in the attached database
/// `g`; times are UTC. There is no key and no index on `readings`: it would make the file five times larger.
///
/// `unsynced` holds records with an impossible time of their node (`node_ts`), and readings that wait for the clock of
/// this machine (`node_ts` NULL, `ts` what the clock showed). `provisional` notes the rows of `readings` that a doubtful
/// clock has stamped: by their boot and CLOCK_BOOTTIME they can be corrected.
///
/// `hourly` and `daily` are the rollups: one row for each series and hour of UTC or day of the time zone, `bucket` its
/// beginning. `dirty` and `dirty_days` name those that have to be computed again; a mark goes with the reading that makes
/// it necessary in one transaction, and with the rollup that makes up for it in another.
///
/// `series.own_name` is what the publisher calls the metric, where it calls it differently.
///
/// `quality` counts by the hour of arrival what is not in `readings`; a series has no row for an hour without any, and may
/// have several for one in which the daemon was stopped.
pub const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE g.meta(key VARCHAR, value VARCHAR);
CREATE TABLE g.nodes(node INTEGER, source VARCHAR, name VARCHAR, first_seen TIMESTAMP);
CREATE TABLE g.series(series INTEGER, node INTEGER, metric VARCHAR, unit VARCHAR);
CREATE TABLE g.readings(series INTEGER, ts TIMESTAMP, value DOUBLE, lag INTEGER);
CREATE TABLE g.events(node INTEGER, ts TIMESTAMP, kind VARCHAR, data VARCHAR);
CREATE TABLE g.unsynced(series INTEGER, boot VARCHAR, boottime BIGINT, node_ts BIGINT, value DOUBLE);
CREATE TABLE g.dead_letters(ts TIMESTAMP, source VARCHAR, reason VARCHAR, excerpt BLOB);
CREATE TABLE g.commits(batch BIGINT, \"at\" TIMESTAMP, unconfirmed BLOB);
",
    "
ALTER TABLE g.unsynced ADD COLUMN ts TIMESTAMP;
CREATE TABLE g.provisional(series INTEGER, boot VARCHAR, boottime BIGINT, ts TIMESTAMP);
",
    "
CREATE TABLE g.hourly(series INTEGER, bucket TIMESTAMP, count BIGINT, min DOUBLE, max DOUBLE, sum DOUBLE, sum_sq DOUBLE,
    first DOUBLE, last DOUBLE, p50 DOUBLE, p95 DOUBLE, p99 DOUBLE);
CREATE TABLE g.daily(series INTEGER, bucket TIMESTAMP, count BIGINT, min DOUBLE, max DOUBLE, sum DOUBLE, sum_sq DOUBLE,
    first DOUBLE, last DOUBLE, p50 DOUBLE, p95 DOUBLE, p99 DOUBLE);
CREATE TABLE g.dirty(series INTEGER, bucket TIMESTAMP);
CREATE TABLE g.dirty_days(series INTEGER, bucket TIMESTAMP);
",
    "
CREATE TABLE g.quality(series INTEGER, hour TIMESTAMP, duplicates BIGINT, conflicts BIGINT, clock_errors BIGINT);
",
    "
ALTER TABLE g.series ADD COLUMN own_name VARCHAR;
",
];
