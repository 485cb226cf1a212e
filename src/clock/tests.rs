use super::stepped::Stepped;
use super::*;

const NOW: i64 = 1_760_000_000;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn jumps(metrics: &Metrics) -> u64 {
    metrics.clock.jumps.get()
}

#[test]
fn always_is_trusted_and_clocks_run() {
    let metrics = Arc::new(Metrics::default());
    let clock = Clock::new(Trust::Always, Arc::clone(&metrics));
    let first = clock.now();
    assert!(first.trusted && metrics.clock.trusted.load(Ordering::Relaxed));
    assert!(first.at > at(1_600_000_000));
    assert!(clock.now().boottime >= first.boottime);
    assert!(clock.boot().len() >= 8);
}

#[test]
fn synchronised_trusts_only_what_the_kernel_or_the_time_service_says() {
    let metrics = Arc::new(Metrics::default());
    let clock = Clock::new(Trust::Synchronised, Arc::clone(&metrics));
    assert_eq!(clock.trusted(), metrics.clock.synchronised.load(Ordering::Relaxed));
}

#[test]
fn a_file_can_say_that_the_clock_is_synchronised() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gps");
    let config =
        config::Clock { trust: Trust::Synchronised, synchronised_file: Some(file.clone()), ..config::Clock::default() };
    let clock = Clock::with(&config, Arc::default());
    assert!(!clock.trusted(), "whatever the kernel says");
    std::fs::write(&file, "").unwrap();
    clock.refresh();
    assert!(clock.trusted());
}

#[test]
fn a_board_without_a_battery_waits_until_its_patience_is_over_and_is_right_a_second_after_the_first_synchronisation() {
    let metrics = Arc::new(Metrics::default());
    let board = Stepped::new("a", at(0));
    let clock = board.clock(Trust::Auto, &metrics);
    assert_eq!((clock.trusted(), clock.standing()), (false, Standing::Waiting));
    board.pass(Duration::from_secs(799));
    assert_eq!(clock.standing(), Standing::Waiting, "899 s after the boot");
    board.pass(second());
    assert_eq!(clock.standing(), Standing::Doubtful);
    board.set(at(NOW));
    board.synchronise(true);
    clock.refresh();
    assert_eq!((clock.trusted(), clock.standing(), jumps(&metrics)), (true, Standing::Fresh, 1));
    board.pass(second());
    clock.refresh();
    assert_eq!(clock.standing(), Standing::Right((NOW - 900) * 1_000_000));
    board.synchronise(false);
    clock.refresh();
    assert_eq!(clock.standing(), Standing::Waiting, "patience begins anew when trust is lost");
}

#[test]
fn jumps_are_counted_in_both_directions_and_small_steps_are_not() {
    let metrics = Arc::new(Metrics::default());
    let board = Stepped::new("a", at(NOW)).with_battery();
    let clock = board.clock(Trust::Auto, &metrics);
    board.pass(second());
    assert!(matches!(clock.standing(), Standing::Right(_)));
    for (step, count) in [(1_000_000, 0), (-1_000_000, 0), (1_000_001, 1), (-7_200_000_000, 2), (7_200_000_000, 3)] {
        board.step(step);
        if count > 0 {
            assert_eq!(clock.standing(), Standing::Fresh, "not seen by a refresh yet");
        }
        clock.refresh();
        assert_eq!(jumps(&metrics), count, "after a step of {step} us");
    }
    assert_eq!(clock.standing(), Standing::Fresh);
    board.pass(second());
    assert!(matches!(clock.standing(), Standing::Right(_)));
    clock.refresh();
    assert_eq!(jumps(&metrics), 3, "a jump is told once");
}

#[test]
fn a_clock_before_the_floor_is_trusted_only_when_it_is_synchronised() {
    let metrics = Arc::new(Metrics::default());
    let board = Stepped::new("a", at(NOW)).with_battery();
    let clock = board.clock(Trust::Auto, &metrics);
    let before = || metrics.clock.before_floor.load(Ordering::Relaxed);
    clock.raise_floor(at(NOW + 60));
    clock.raise_floor(at(NOW + 30));
    clock.refresh();
    assert_eq!((clock.trusted(), before(), metrics.clock.floor.get()), (false, true, (NOW + 60) * 1_000_000));
    board.set(at(NOW + 59));
    clock.refresh();
    assert!(clock.trusted() && !before(), "a second is not worth a doubt");
    board.set(at(NOW));
    clock.refresh();
    assert!(!clock.trusted());
    board.synchronise(true);
    clock.refresh();
    assert_eq!((clock.trusted(), before(), clock.floor()), (true, false, Some(at(NOW))), "the floor was wrong");
    board.synchronise(false);
    clock.refresh();
    assert!(clock.trusted());
}

#[test]
fn always_lowers_a_wrong_floor() {
    let metrics = Arc::new(Metrics::default());
    let clock = Stepped::new("a", at(NOW)).clock(Trust::Always, &metrics);
    clock.raise_floor(at(NOW * 2));
    clock.refresh();
    assert_eq!((clock.trusted(), clock.floor()), (true, Some(at(NOW))));
}

#[test]
fn steps_are_told_in_seconds() {
    assert_eq!(seconds(1_500_000), "+1.500");
    assert_eq!(seconds(-1_001_000), "-1.001");
    assert_eq!(seconds(-3_600_000_000), "-3600.000");
}
