//! Rollups of a salvaged database: what was lost of them although its readings are there is marked, so that the daemon
//! computes it again; what was lost of the readings lives on in them.

use duckdb::{Connection, params};

use crate::reading::Timestamp;
use crate::store::rollup::literal;
use crate::zone::{DAY, HOUR, Tz, day_of, next_day};

/// Marks that a salvage makes of one kind, at the most, the newest first: commits wait while there are too many.
const MOST_MARKS: usize = 50_000;

/// The new database, attached as `n`, and how far its rollups are.
pub(super) struct Rollups<'a> {
    connection: &'a Connection,
    zone: Tz,
    first_reading: Option<Timestamp>,
}

impl<'a> Rollups<'a> {
    /// `None` for a database from before there were any.
    pub(super) fn of(connection: &'a Connection) -> duckdb::Result<Option<Self>> {
        let sql = "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'n' AND table_name = 'hourly'";
        if connection.query_row(sql, [], |r| r.get::<_, i64>(0))? == 0 {
            return Ok(None);
        }
        let sql = "SELECT max(value) FROM n.meta WHERE key = 'timezone'";
        let zone: Option<String> = connection.query_row(sql, [], |r| r.get(0))?;
        let zone = zone.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC);
        let first_reading = time(connection, "SELECT min(ts) FROM n.readings")?;
        Ok(Some(Self { connection, zone, first_reading }))
    }

    /// Gives `meta`, which was lost, what the tables tell: how far the rollups go, and before when readings were removed.
    pub(super) fn tell_meta(&self) -> duckdb::Result<()> {
        let last = |table: &str| time(self.connection, &format!("SELECT max(bucket) FROM n.{table}"));
        if let Some(last) = last("hourly")? {
            self.set("rolled-hours", Timestamp(last.micros() + HOUR))?;
        }
        if let Some(last) = last("daily")? {
            self.set("rolled-days", next_day(last, self.zone))?;
        }
        let first = time(self.connection, "SELECT min(bucket) FROM n.hourly")?;
        if let (Some(rolled), Some(reading)) = (first, self.first_reading)
            && rolled.micros() + HOUR <= reading.micros()
        {
            self.set("expired-before", day_of(reading, self.zone))?;
        }
        Ok(())
    }

    fn set(&self, key: &str, value: Timestamp) -> duckdb::Result<()> {
        self.connection.execute("DELETE FROM n.meta WHERE key = ?", [key])?;
        let value = value.micros().to_string();
        self.connection.execute("INSERT INTO n.meta VALUES (?, ?)", params![key, value]).map(|_| ())
    }

    /// Marks the closed hours of series that have readings and no row.
    pub(super) fn mark_hours(&self) -> duckdb::Result<usize> {
        let day = |ts: Timestamp| Timestamp(ts.micros().div_euclid(DAY) * DAY);
        self.mark("rolled-hours", day, |from, to| {
            format!(
                "INSERT INTO n.dirty SELECT DISTINCT series, date_trunc('hour', ts) AS hour FROM n.readings \
                 WHERE ts >= {0} AND ts < {1} AND (series, date_trunc('hour', ts)) NOT IN \
                 (SELECT (series, bucket) FROM n.hourly WHERE bucket >= {0} AND bucket < {1})",
                literal(from),
                literal(to)
            )
        })
    }

    /// Marks the closed days of series that have readings and no row.
    pub(super) fn mark_days(&self) -> duckdb::Result<usize> {
        self.mark(
            "rolled-days",
            |ts| day_of(ts, self.zone),
            |from, to| {
                format!(
                    "INSERT INTO n.dirty_days SELECT DISTINCT series, {0} FROM n.readings WHERE ts >= {0} AND ts < {1} \
                 AND series NOT IN (SELECT series FROM n.daily WHERE bucket = {0})",
                    literal(from),
                    literal(to)
                )
            },
        )
    }

    /// Goes through the closed days, the newest first, until it has made enough marks.
    fn mark(
        &self,
        key: &str,
        begin: impl Fn(Timestamp) -> Timestamp,
        sql: impl Fn(Timestamp, Timestamp) -> String,
    ) -> duckdb::Result<usize> {
        let until = format!("SELECT make_timestamp(max(try_cast(value AS BIGINT))) FROM n.meta WHERE key = '{key}'");
        let (Some(mut until), Some(first)) = (time(self.connection, &until)?, self.first_reading) else {
            return Ok(0);
        };
        let mut marks = 0;
        while until > first && marks < MOST_MARKS {
            let from = begin(Timestamp(until.micros() - 1));
            marks += self.connection.execute(&sql(from, until), [])?;
            until = from;
        }
        Ok(marks)
    }
}

fn time(connection: &Connection, sql: &str) -> duckdb::Result<Option<Timestamp>> {
    let sql = format!("SELECT epoch_us(({sql}))");
    connection.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0)).map(|ts| ts.map(Timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::MIGRATIONS;

    /// Two series with a reading each half hour of three days, rolled up to the beginning of the third day.
    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let tables = MIGRATIONS.concat().replace("g.", "n.");
        connection
            .execute_batch(&format!(
                "ATTACH ':memory:' AS n; {tables}
                 INSERT INTO n.readings SELECT 1 + i % 2, make_timestamp(100 * {DAY} + i // 2 * {HOUR} // 2), i, 0 FROM range(288) t(i);
                 INSERT INTO n.hourly(series, bucket) SELECT DISTINCT series, date_trunc('hour', ts) FROM n.readings WHERE ts < make_timestamp(102 * {DAY});
                 INSERT INTO n.daily(series, bucket) SELECT DISTINCT series, date_trunc('day', bucket) FROM n.hourly;
                 INSERT INTO n.meta VALUES ('rolled-hours', '{0}'), ('rolled-days', '{0}')",
                102 * DAY
            ))
            .unwrap();
        connection
    }

    fn marks(connection: &Connection, table: &str) -> Vec<(i32, i64)> {
        let sql = format!("SELECT series, epoch_us(bucket) FROM n.{table} ORDER BY ALL");
        let mut statement = connection.prepare(&sql).unwrap();
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn only_what_is_missing_and_closed_is_marked() {
        let connection = database();
        let rollups = Rollups::of(&connection).unwrap().unwrap();
        assert_eq!((rollups.mark_hours().unwrap(), rollups.mark_days().unwrap()), (0, 0));
        let lost = [(1, 100 * DAY + 5 * HOUR), (2, 101 * DAY), (2, 101 * DAY + 23 * HOUR)];
        for (series, hour) in lost {
            let sql = format!("DELETE FROM n.hourly WHERE series = {series} AND bucket = make_timestamp({hour})");
            assert_eq!(connection.execute(&sql, []).unwrap(), 1);
        }
        connection
            .execute(&format!("DELETE FROM n.daily WHERE series = 2 AND bucket = make_timestamp({})", 100 * DAY), [])
            .unwrap();
        assert_eq!((rollups.mark_hours().unwrap(), rollups.mark_days().unwrap()), (3, 1));
        assert_eq!(marks(&connection, "dirty"), lost);
        assert_eq!(marks(&connection, "dirty_days"), [(2, 100 * DAY)]);
    }

    #[test]
    fn what_meta_said_is_told_by_the_tables() {
        let connection = database();
        let get = |key: &str| -> Option<String> {
            connection.query_row("SELECT max(value) FROM n.meta WHERE key = ?", [key], |r| r.get(0)).unwrap()
        };
        connection.execute_batch("DELETE FROM n.meta").unwrap();
        Rollups::of(&connection).unwrap().unwrap().tell_meta().unwrap();
        let until = Some((102 * DAY).to_string());
        assert_eq!((get("rolled-hours"), get("rolled-days"), get("expired-before")), (until.clone(), until, None));
        // A day of readings was removed behind its rollup.
        connection
            .execute_batch(&format!(
                "DELETE FROM n.meta; DELETE FROM n.readings WHERE ts < make_timestamp({})",
                101 * DAY
            ))
            .unwrap();
        let rollups = Rollups::of(&connection).unwrap().unwrap();
        rollups.tell_meta().unwrap();
        assert_eq!(get("expired-before"), Some((101 * DAY).to_string()));
        assert_eq!((rollups.mark_hours().unwrap(), rollups.mark_days().unwrap()), (0, 0));
    }

    #[test]
    fn a_database_without_rollups_has_none() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("ATTACH ':memory:' AS n").unwrap();
        assert!(Rollups::of(&connection).unwrap().is_none());
    }
}
