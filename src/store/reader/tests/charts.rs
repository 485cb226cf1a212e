//! Points for charts, against the readings that they stand for.

use super::*;

fn chart(f: &Fixture, method: Method, points: usize) -> Chart {
    f.reader.chart(1, (Timestamp(0), Timestamp::from_secs(4_000_000_000)), method, points).unwrap()
}

#[test]
fn few_readings_are_shown_as_they_are() {
    let f = fixture();
    assert_eq!(chart(&f, Method::MinMax, 100), Chart::default());
    let rows: Vec<Row> = [3, 1, 2, 7].map(|i| row(i * SEC, 1, f64::from(i32::try_from(i).unwrap()))).to_vec();
    f.insert(&rows);
    f.insert(&[row(SEC, 2, 99.0)]);
    let points: Vec<Point> = sorted(rows).iter().map(|r| Point { ts: r.ts, value: r.value }).collect();
    for method in [Method::MinMax, Method::Lttb] {
        assert_eq!(chart(&f, method, 4), Chart { readings: 4, points: points.clone() });
    }
    let ranged = f.reader.chart(1, (Timestamp(2 * SEC), Timestamp(7 * SEC)), Method::MinMax, 9).unwrap();
    assert_eq!(ranged.points, points[1..3]);
    assert_eq!(chart(&f, Method::Lttb, 2).points, [points[0], points[3]]);
}

/// A million readings, flat but for one peak up and one down, and a burst of a microsecond each.
fn million() -> Fixture {
    let f = fixture();
    f.root
        .execute_batch(
            "INSERT INTO g.readings SELECT 1, make_timestamp(1748736000000000 + i * 1000000),
               CASE i WHEN 123456 THEN 500 WHEN 765432 THEN -500 ELSE sin(i / 5000.0) END, 0 FROM range(1000000) r(i);
             INSERT INTO g.readings SELECT 1, make_timestamp(1748736000000000 - 1000 + i), 7, 0 FROM range(900) r(i)",
        )
        .unwrap();
    f
}

#[test]
fn the_extremes_of_every_stretch_are_kept() {
    let f = million();
    for points in [2, 3, 100, 777, MAX_POINTS] {
        let chart = chart(&f, Method::MinMax, points);
        assert_eq!(chart.readings, 1_000_900);
        assert!(
            chart.points.len() <= points && chart.points.len() * 10 >= points / 2 * 18,
            "{points}: {}",
            chart.points.len()
        );
        assert!(chart.points.windows(2).all(|pair| pair[0].ts < pair[1].ts));
        let values: Vec<f64> = chart.points.iter().map(|p| p.value).collect();
        assert!(values.contains(&500.0) && values.contains(&-500.0), "{points}");
        // Each is a reading.
        let list: Vec<String> =
            chart.points.iter().map(|p| format!("({}, {:e}::DOUBLE)", literal(p.ts), p.value)).collect();
        let sql = format!(
            "SELECT count(*) FROM g.readings r JOIN (VALUES {}) p(ts, value) ON r.ts = p.ts AND r.value = p.value",
            list.join(",")
        );
        let same: usize = f.root.query_row(&sql, [], |r| r.get(0)).unwrap();
        assert_eq!(same, chart.points.len());
    }
    // Each stretch has its own smallest and largest value.
    let (first, last) = (1_748_736_000 * SEC - 1_000, 1_748_736_000 * SEC + 999_999 * SEC);
    let width = (last - first) / 50 + 1;
    let sql = format!(
        "SELECT count(*) FROM (SELECT min(value) AS lo, max(value) AS hi FROM g.readings
         GROUP BY (epoch_us(ts) - {first}) // {width}) WHERE lo < hi"
    );
    let stretches: usize = f.root.query_row(&sql, [], |r| r.get(0)).unwrap();
    assert_eq!(chart(&f, Method::MinMax, 100).points.len(), 2 * stretches);
}

#[test]
fn triangles_of_a_million_readings_keep_the_peaks_and_the_ends() {
    let f = million();
    let chart = chart(&f, Method::Lttb, 200);
    assert_eq!((chart.readings, chart.points.len()), (1_000_900, 200));
    let values: Vec<f64> = chart.points.iter().map(|p| p.value).collect();
    assert!(values.contains(&500.0) && values.contains(&-500.0), "{values:?}");
    assert!(chart.points[0].ts.0 < 1_748_736_000 * SEC);
    assert!(chart.points.windows(2).all(|pair| pair[0].ts < pair[1].ts));
    // As many as can be held are read as they are.
    let held =
        f.reader.chart(1, (Timestamp(1_748_736_000 * SEC), Timestamp(1_748_756_000 * SEC)), Method::Lttb, 3).unwrap();
    assert_eq!((held.readings, held.points.len()), (20_000, 3));
}
