use super::*;
use crate::codec::modbus::{Function, Kind, Order, Scale};

const COST: Duration = Duration::from_millis(600);

fn unit(id: u8, registers: &[(u16, u64)]) -> Unit {
    let register = |&(address, millis): &(u16, u64)| Register {
        node: format!("n{id}").into(),
        metric: format!("m{address}"),
        measure: String::new(),
        function: Function::Holding,
        address,
        kind: Kind::U16,
        order: Order::Abcd,
        scale: Scale::default(),
        na: None,
        interval: Duration::from_millis(millis),
    };
    Unit { id, gap: 0, registers: registers.iter().map(register).collect() }
}

/// A bus on which every read takes `took` if it is answered and [`COST`] if not: how often each unit was asked and answered
/// within `secs`, and how many of their times were passed over.
fn simulate(
    units: Vec<Unit>,
    secs: u64,
    took: u64,
    answers: impl Fn(u8, u32) -> Came,
) -> BTreeMap<u8, (u32, u32, u64)> {
    let start = Instant::now();
    let mut now = start;
    let mut schedule = Schedule::new(units, COST, now);
    let mut seen: BTreeMap<u8, (u32, u32, u64)> = BTreeMap::new();
    while now < start + Duration::from_secs(secs) {
        match schedule.next(now) {
            Next::Wait(until) => {
                assert!(until > now, "a wait that does not end");
                now = until;
            }
            Next::Ask(index) => {
                let of = seen.entry(schedule.read(index).unit).or_default();
                let came = answers(schedule.read(index).unit, of.0);
                now += if came == Came::Answer { Duration::from_millis(took) } else { COST };
                let (_, passed) = schedule.done(index, came, now);
                of.0 += 1;
                of.1 += u32::from(came == Came::Answer);
                of.2 += passed;
            }
        }
    }
    seen
}

#[test]
fn a_dead_unit_costs_the_others_no_reading() {
    let units = vec![unit(1, &[(0, 1_000)]), unit(2, &[(0, 1_000)]), unit(3, &[(0, 10_000)])];
    let seen = simulate(units, 600, 30, |unit, _| if unit == 2 { Came::Nothing } else { Came::Answer });
    assert_eq!((seen[&1], seen[&3]), ((600, 600, 0), (60, 60, 0)));
    // Seldom: three times at first, and then with growing pauses of up to a minute.
    assert!((10..25).contains(&seen[&2].0), "{seen:?}");
}

#[test]
fn where_there_is_no_gap_a_dead_unit_is_tried_once_a_minute() {
    let units = vec![unit(1, &[(0, 200)]), unit(2, &[(0, 1_000)])];
    let seen = simulate(units, 600, 30, |unit, _| if unit == 2 { Came::Nothing } else { Came::Answer });
    assert!((8..=15).contains(&seen[&2].0), "{seen:?}");
    // Three of its times go by while the other is waited for.
    assert!(seen[&1].2 <= 3 * u64::from(seen[&2].0) && seen[&1].1 > 2_950, "{seen:?}");
}

#[test]
fn one_missed_answer_is_asked_for_again_and_no_reading_is_lost() {
    let units = vec![unit(1, &[(0, 5_000)])];
    let seen = simulate(units, 100, 30, |_, n| if n % 4 == 2 { Came::Nothing } else { Came::Answer });
    assert_eq!((seen[&1].1, seen[&1].2), (20, 0));
    let units = vec![unit(1, &[(0, 1_000)])];
    let seen = simulate(units, 100, 30, |_, n| if n % 4 == 2 { Came::Garbage } else { Came::Answer });
    assert_eq!((seen[&1].1, seen[&1].2), (100, 0));
}

#[test]
fn intervals_of_different_length_share_the_bus() {
    let units = vec![unit(1, &[(0, 500), (100, 7_000)]), unit(2, &[(0, 3_000)])];
    let seen = simulate(units, 210, 50, |_, _| Came::Answer);
    assert_eq!((seen[&1], seen[&2]), ((420 + 30, 420 + 30, 0), (70, 70, 0)));
    // More than the line can carry: all get their turn, and what is passed over is counted.
    let units = vec![unit(1, &[(0, 100)]), unit(2, &[(0, 100)]), unit(3, &[(0, 100)])];
    let seen = simulate(units, 60, 60, |_, _| Came::Answer);
    for id in 1..=3 {
        assert!((290..=410).contains(&seen[&id].1), "{seen:?}");
        assert!((597..=601).contains(&(u64::from(seen[&id].1) + seen[&id].2)), "{seen:?}");
    }
}

#[test]
fn a_late_unit_is_asked_for_nothing_else_before_its_answer_can_have_come() {
    let start = Instant::now();
    let mut schedule = Schedule::new(vec![unit(1, &[(0, 1_000), (10, 1_000)])], COST, start);
    assert_eq!(schedule.next(start), Next::Ask(0));
    let now = start + COST;
    assert_eq!(schedule.done(0, Came::Nothing, now), (None, 0));
    assert_eq!(schedule.next(now), Next::Wait(now + 2 * COST));
    // The same again, and behind its answer the same rest.
    let now = now + 2 * COST;
    assert_eq!(schedule.next(now), Next::Ask(0));
    assert_eq!(schedule.done(0, Came::Answer, now), (Some(Change::Alive), 0));
    assert_eq!(schedule.next(now), Next::Wait(now + 2 * COST));
    assert_eq!(schedule.next(now + 2 * COST), Next::Ask(1));
}

#[test]
fn a_unit_dies_by_three_missed_answers_and_comes_back() {
    let mut now = Instant::now();
    let mut schedule = Schedule::new(vec![unit(7, &[(0, 1_000)])], COST, now);
    let (mut changes, mut dead) = (Vec::new(), Vec::new());
    for came in [Came::Nothing, Came::Garbage, Came::Nothing, Came::Nothing, Came::Answer, Came::Answer] {
        loop {
            match schedule.next(now) {
                Next::Wait(until) => now = until,
                Next::Ask(index) => {
                    now += COST;
                    changes.push(schedule.done(index, came, now).0);
                    break;
                }
            }
        }
        dead.push(schedule.all_dead());
    }
    assert_eq!(changes, [None, None, Some(Change::Dead), None, Some(Change::Alive), None]);
    assert_eq!(dead, [false, false, true, true, false, false]);
}

#[test]
fn a_read_is_taken_apart_once() {
    let now = Instant::now();
    let mut schedule = Schedule::new(vec![unit(1, &[(0, 1_000), (1, 1_000), (9, 1_000)])], COST, now);
    assert_eq!((schedule.read(0).count, schedule.slots.len()), (2, 2));
    assert!(schedule.split(0));
    assert_eq!(
        schedule.slots.iter().map(|s| (s.read.address, s.read.count)).collect::<Vec<_>>(),
        [(0, 1), (1, 1), (9, 1)]
    );
    assert!(!schedule.split(0));
}
