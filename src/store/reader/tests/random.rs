//! The numbers of random readings, out of whatever tables, against plain SQL over the readings.

use std::collections::HashMap;

use duckdb::params;
use duckdb::types::{TimeUnit, Value};

use super::*;
use crate::store::reader::aggregate;
use crate::zone::{self, DAY, HOUR, Tz};

const ZONE: Tz = Tz::Europe__Berlin;
/// Time of a scenario, from the beginning of a day of UTC, three days before the clocks are changed.
const LENGTH: i64 = 8 * DAY;

/// id, node, metric
const SERIES: [(i32, i32, &str); 4] =
    [(1, 1, "temperature"), (2, 1, "humidity"), (3, 2, "temperature"), (4, 2, "energy")];

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
struct Scenario {
    autumn: bool,
    /// Which of the series have values of which kind.
    kinds: [u8; 4],
    /// Series, time from the beginning, and what the value is made of.
    readings: Vec<(usize, i64, i16)>,
    /// The same, stored when the rollups were already made.
    late: Vec<(usize, i64, i16)>,
    /// The hours that became out of date were computed again, and their days not yet.
    settled: bool,
    rolled_hours: i64,
    rolled_days: i64,
    /// What is removed ends at days of UTC, not at those of the zone.
    utc: bool,
    expired_days: Option<i64>,
    hourly_days: Option<i64>,
    daily_days: Option<i64>,
    width: Option<&'static str>,
    start: i64,
    length: i64,
    grouping: u8,
    some_series: bool,
    exact: bool,
    /// Values that percentiles may hold at once.
    most: u64,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 0..LENGTH,
        // A crowd, and the very edges of hours.
        2 => (0..HOUR).prop_map(|t| 3 * DAY + t),
        2 => (0..LENGTH / HOUR, -1..=1_i64).prop_map(|(hour, off)| (hour * HOUR + off).clamp(0, LENGTH - 1)),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let reading = || (0..4_usize, time(), any::<i16>());
    let data = (
        any::<bool>(),
        prop::array::uniform4(0..4_u8),
        prop::collection::vec(reading(), 0..400),
        prop::collection::vec(reading(), 0..12),
    );
    let rolled = (prop_oneof![0..=LENGTH / HOUR, LENGTH / HOUR / 2..=LENGTH / HOUR], 0..=8_i64, any::<bool>());
    let gone = (prop::option::of(0..=6_i64), prop::option::of(0..=6_i64), prop::option::of(0..=4_i64), any::<bool>());
    let widths = vec![
        None,
        Some("15m"),
        Some("1h"),
        Some("3h"),
        Some("7h"),
        Some("24h"),
        Some("1d"),
        Some("2d"),
        Some("7d"),
        Some("1mo"),
    ];
    let question = (
        prop::sample::select(widths),
        0..LENGTH,
        1..LENGTH,
        0..4_u8,
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::sample::select(vec![3_u64, 20, 250_000]),
    );
    (data, rolled, gone, question).prop_map(|(data, rolled, gone, question)| Scenario {
        autumn: data.0,
        kinds: data.1,
        readings: data.2,
        late: data.3,
        settled: rolled.2,
        rolled_hours: rolled.0,
        rolled_days: rolled.1,
        utc: gone.3,
        expired_days: gone.0,
        hourly_days: gone.1,
        daily_days: gone.2,
        width: question.0,
        start: question.1,
        length: question.2,
        grouping: question.3,
        some_series: question.4,
        exact: question.5,
        most: question.6,
    })
}

fn value(kind: u8, seed: i16) -> f64 {
    match kind {
        0 => f64::from(seed) / 100.0,
        // A meter: far from zero, close together.
        1 => 50_000_000.0 + f64::from(seed % 5),
        2 => f64::from(seed) * 1e298,
        _ => 21.5,
    }
}

struct World {
    store: Fixture,
    origin: i64,
    marks: Marks,
}

impl World {
    fn build(scenario: &Scenario) -> Self {
        let store = fixture();
        store
            .root
            .execute_batch("BEGIN TRANSACTION; CREATE TEMP TABLE truth(series INTEGER, ts TIMESTAMP, value DOUBLE)")
            .unwrap();
        for (node, name) in [(1, "attic"), (2, "cellar")] {
            store.add_node(node, "hub", name);
        }
        for (id, node, metric) in SERIES {
            store.add_series(id, node, metric, None);
        }
        // 30 March and 26 October 2025.
        let origin = if scenario.autumn { 1_761_177_600 } else { 1_743_033_600 } * SEC;
        let mut stored: BTreeMap<(i32, i64), f64> = BTreeMap::new();
        let mut rows = |readings: &[(usize, i64, i16)]| -> Vec<Row> {
            let mut rows = Vec::new();
            for &(series, time, seed) in readings {
                let (id, at) = (SERIES[series].0, origin + time);
                let value = value(scenario.kinds[series], seed);
                if stored.insert((id, at), value).is_none() {
                    rows.push(row(at, id, value));
                } else {
                    // The first one stays.
                    let first = rows.iter().find(|r| r.series == id && r.ts.0 == at).map(|r| r.value);
                    stored.extend(first.map(|first| ((id, at), first)));
                }
            }
            rows
        };
        let early = rows(&scenario.readings);
        store.insert(&early);
        let hours = Timestamp(origin + scenario.rolled_hours * HOUR);
        let days = zone::day_of(Timestamp(origin + scenario.rolled_days * DAY).min(hours), ZONE);
        store.roll(ZONE, hours, days);

        let mut world = Self { store, origin, marks: Marks::default() };
        // Readings go when their hours and days are rolled up, and what is late by then is not stored.
        let begin = |days: i64| {
            let begin = Timestamp(origin + days * DAY);
            if scenario.utc { begin } else { zone::day_of(begin, ZONE) }
        };
        let expired = scenario
            .expired_days
            .map(begin)
            .filter(|expired| *expired <= hours && zone::next_day(*expired, ZONE) <= days);
        let late: Vec<Row> =
            rows(&scenario.late).into_iter().filter(|r| expired.is_none_or(|expired| r.ts >= expired)).collect();
        world.store.insert(&late);
        world.note_truth(&[early, late.clone()].concat());
        for late in late.iter().filter(|r| zone::hour_of(r.ts) < hours) {
            let (hour, day) = (zone::hour_of(late.ts), zone::day_of(late.ts, ZONE));
            world.spoil("daily", late.series, day);
            if scenario.settled {
                world.store.roll_hour(late.series, hour);
                if day < days {
                    world.mark("dirty_days", late.series, day);
                }
            } else {
                world.spoil("hourly", late.series, hour);
                world.mark("dirty", late.series, hour);
            }
        }
        if let Some(expired) = expired {
            world.store.expire(expired);
            for (table, days) in [("hourly", scenario.hourly_days), ("daily", scenario.daily_days)] {
                let Some(before) = days.map(|days| begin(days).min(expired)) else { continue };
                let sql = format!("DELETE FROM g.{table} WHERE bucket < {}", literal(before));
                world.store.root.execute_batch(&sql).unwrap();
                world.store.note(&format!("{table}-before"), &before.micros().to_string());
            }
        }
        world.store.root.execute_batch("COMMIT").unwrap();
        world.marks = world.store.reader.marks().unwrap();
        world
    }

    fn note_truth(&self, rows: &[Row]) {
        let mut appender = self.store.root.appender_to_catalog_and_db("truth", "temp", "main").unwrap();
        for r in rows {
            let ts = Value::Timestamp(TimeUnit::Microsecond, r.ts.micros());
            appender.append_row(params![r.series, ts, r.value]).unwrap();
        }
        appender.flush().unwrap();
    }

    fn mark(&self, dirty: &str, series: i32, bucket: Timestamp) {
        self.store
            .root
            .execute_batch(&format!("INSERT INTO g.{dirty} VALUES ({series}, {})", literal(bucket)))
            .unwrap();
    }

    /// A row that is out of date is wrong in everything from now on.
    fn spoil(&self, table: &str, series: i32, bucket: Timestamp) {
        let sql = format!(
            "UPDATE g.{table} SET count = 99, min = -7, max = 7e7, sum = 3, sum_sq = 1, first = 5, last = 6, p50 = 1, p95 = 1, \
             p99 = 1 WHERE series = {series} AND bucket = {}",
            literal(bucket)
        );
        self.store.root.execute_batch(&sql).unwrap();
    }

    /// Plain SQL over all readings that were ever stored, of each bucket and group.
    fn truth(&self, edges: &[Timestamp], groups: &[Vec<i32>]) -> HashMap<(usize, usize), Vec<Option<f64>>> {
        let cells: Vec<String> = edges
            .windows(2)
            .enumerate()
            .map(|(i, pair)| format!("({i}, {}, {})", literal(pair[0]), literal(pair[1])))
            .collect();
        let members: Vec<String> = groups
            .iter()
            .enumerate()
            .flat_map(|(group, ids)| ids.iter().map(move |id| format!("({id}, {group})")))
            .collect();
        let sql = format!(
            "SELECT cell, grp, count(*)::DOUBLE, min(value), max(value), avg(value), sum(value), stddev_samp(value), \
             first(value ORDER BY ts, t.series), last(value ORDER BY ts, t.series), quantile_cont(value, 0.5), \
             quantile_cont(value, 0.95), quantile_cont(value, 0.99), max(abs(value)) \
             FROM truth t JOIN (VALUES {}) c(cell, lo, hi) ON ts >= lo AND ts < hi \
             JOIN (VALUES {}) m(series, grp) ON m.series = t.series GROUP BY cell, grp",
            cells.join(","),
            members.join(",")
        );
        let mut statement = self.store.root.prepare(&sql).unwrap();
        statement
            .query_map([], |r| {
                let place = (r.get::<_, i64>(0)?, r.get::<_, i64>(1)?);
                let values = (2..14).map(|i| r.get(i)).collect::<duckdb::Result<Vec<Option<f64>>>>()?;
                Ok((place, values))
            })
            .unwrap()
            .map(|found| {
                let ((cell, group), values) = found.unwrap();
                ((usize::try_from(cell).unwrap(), usize::try_from(group).unwrap()), values)
            })
            .collect()
    }
}

/// Whether a number is that of SQL, or both are none. `largest` is the greatest absolute value.
fn is_near(aggregate: Aggregate, got: f64, truth: Option<f64>, count: f64, largest: f64) -> bool {
    let Some(truth) = truth.filter(|t| t.is_finite()) else { return got.is_nan() };
    let off = (got - truth).abs();
    match aggregate {
        Aggregate::Count | Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => got == truth,
        // Sums are added up in another order.
        Aggregate::Sum => off <= 1e-12 * largest * count,
        Aggregate::Mean => off <= 1e-12 * largest,
        Aggregate::Stddev => off <= 1e-6 * truth + 1e-13 * largest,
        Aggregate::P50 | Aggregate::P95 | Aggregate::P99 => off <= 1e-12 * largest,
    }
}

fn grouping(scenario: &Scenario) -> (Selection, Grouping, Vec<Vec<i32>>) {
    let ids = if scenario.some_series { vec![1, 3, 4] } else { vec![1, 2, 3, 4] };
    let selection = if scenario.some_series { Selection::Series(ids.clone()) } else { Selection::All };
    let of = |is: &dyn Fn(i32, &str) -> bool| -> Vec<i32> {
        SERIES.iter().filter(|(id, node, metric)| ids.contains(id) && is(*node, metric)).map(|s| s.0).collect()
    };
    let (grouping, groups) = match scenario.grouping {
        0 => (Grouping::Series(ids.clone()), ids.iter().map(|id| vec![*id]).collect()),
        1 => (Grouping::Nodes(vec![2, 1]), vec![of(&|node, _| node == 2), of(&|node, _| node == 1)]),
        2 => (
            Grouping::Metrics(vec!["energy".into(), "temperature".into()]),
            vec![of(&|_, metric| metric == "energy"), of(&|_, metric| metric == "temperature")],
        ),
        _ => (Grouping::Together, vec![ids]),
    };
    (selection, grouping, groups)
}

fn check(scenario: &Scenario) -> Result<(), TestCaseError> {
    let world = World::build(scenario);
    let (start, end) = (world.origin + scenario.start, world.origin + scenario.start + scenario.length);
    let (selection, grouping, groups) = grouping(scenario);
    let single = matches!(grouping, Grouping::Series(_));
    let question = Question { selection, grouping, aggregates: Aggregate::ALL.to_vec(), exact: scenario.exact };
    let (edges, known) = match scenario.width {
        None => (vec![Timestamp(start), Timestamp(end)], None),
        Some(width) => {
            let buckets = Buckets::new(width.parse().unwrap(), ZONE);
            let known = world.marks.known_from(&buckets, scenario.exact);
            let first = buckets.begin_of(Timestamp(start));
            (buckets.edges(known.map_or(first, |known| known.max(first)), Timestamp(end), 10_000), known)
        }
    };
    if edges.len() < 2 {
        return Ok(());
    }
    let lease = world.store.reader.inner.pool.lease(Limits::default()).unwrap();
    let slice = lease.snapshot(|c| aggregate::slice(c, &question, ZONE, &edges, scenario.most)).unwrap();
    let truth = world.truth(&edges, &groups);
    let expired = world.marks.expired_before;

    let mut shown = 0;
    for found in &slice.rows {
        let cell = (edges[found.bucket], edges[found.bucket + 1]);
        let of_readings = expired.is_none_or(|expired| cell.0 >= expired);
        if found.values[0].is_nan() {
            // Only where it is not known may it be missing, and then all of it is.
            prop_assert!(
                !of_readings && slice.unknown && found.values.iter().all(|v| v.is_nan()),
                "{found:?} {cell:?}"
            );
            prop_assert!(known.is_none(), "from {known:?} on everything is known, but not {found:?} {cell:?}");
            shown += usize::from(truth.contains_key(&(found.bucket, found.group)));
            continue;
        }
        let Some(sql) = truth.get(&(found.bucket, found.group)) else {
            return Err(TestCaseError::fail(format!("{found:?} {cell:?} has no reading")));
        };
        shown += 1;
        let (count, largest) = (sql[0].unwrap(), sql[11].unwrap());
        for (i, aggregate) in Aggregate::ALL.into_iter().enumerate() {
            let got = found.values[i];
            let near = is_near(aggregate, got, sql[i], count, largest);
            // What the removed readings would tell is told by no wrong number.
            let one_row = scenario.width == Some("1h")
                || (scenario.width == Some("1d") && expired.is_none_or(|expired| cell.1 <= expired));
            let may_miss = match aggregate {
                _ if of_readings => false,
                Aggregate::Stddev => true,
                _ if aggregate.is_percentile() => !(single && one_row),
                _ => aggregate.is_end() && !single,
            };
            let missing = got.is_nan() && may_miss && slice.incomplete.contains(&aggregate);
            prop_assert!(
                near || missing,
                "{} of {cell:?} group {} is {got}, by SQL {:?}; {slice:?}",
                aggregate.name(),
                found.group,
                sql[i]
            );
        }
    }
    prop_assert_eq!(shown, truth.len(), "{:?} {:?}", slice, truth);
    prop_assert!(expired.is_some() || (slice.incomplete.is_empty() && !slice.unknown));
    if scenario.exact && !slice.unknown {
        prop_assert_eq!(slice.made_from.name(), "readings");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_are_those_of_plain_sql_over_the_readings(scenario in scenario()) {
        check(&scenario)?;
    }
}
