//! Clocks that are stepped, and one that is wrong from the start: the whole daemon under libfaketime.

use std::time::Duration;

use crate::harness::now_micros;
use crate::rig::{Plan, Rig, Round, run, wait};

const HOUR: i64 = 3_600;

/// A trusted clock is stepped forwards and backwards; the daemon is killed once meanwhile.
pub fn steps(round: &mut Round) -> String {
    let mut rig = Rig::start(&Plan { clock: Some((0, "trust = \"always\"")), ..Plan::default() });
    let mut step = |from: i64, to: i64| from + round.rng.below((to - from) as u64) as i64;
    let steps = [step(60, 2 * HOUR), step(-2 * HOUR, -60), step(5, 60), step(-60, -5), 0];
    let pauses: Vec<Duration> = steps.iter().map(|_| round.rng.millis(0, 700)).collect();
    rig.clock_off = 2 * HOUR;
    let mut jumps = 0;
    for (i, (off, pause)) in steps.iter().zip(pauses).enumerate() {
        rig.wait_progress();
        run(pause);
        let before = rig.daemon.stat("/clock/jumps");
        rig.clock.as_ref().expect("the plan has a clock").shift(*off);
        wait("fault not injected: the jump to be seen", Duration::from_secs(30), || {
            rig.daemon.stat("/clock/jumps") > before
        });
        jumps += 1;
        if i == 1 {
            // The clock is now before the newest reading.
            rig.wait_progress();
            rig.daemon.kill9();
            rig.daemon.restart();
        }
    }
    rig.wait_progress();
    rig.wait_healthy();
    format!("{}; {jumps} jumps, off by {steps:?} s", rig.finish())
}

/// The daemon starts on 1 January 1970, is killed, and its clock is synchronised later.
pub fn from_1970(round: &mut Round) -> String {
    let off = HOUR + round.rng.below(20 * HOUR as u64) as i64 - now_micros() / 1_000_000;
    let clock = "trust = \"synchronised\"\npatience = \"1000d\"";
    let mut rig = Rig::start(&Plan { clock: Some((off, clock)), ..Plan::default() });
    rig.wait_progress();
    run(round.rng.millis(500, 1_500));
    rig.daemon.kill9();
    rig.daemon.restart();
    rig.wait_progress();
    run(round.rng.millis(500, 1_500));
    let waiting = rig.daemon.stat("/clock/unsynced");
    assert!(waiting > 50, "fault not injected: {waiting} readings wait for the clock");
    let failing = rig.daemon.failing();
    assert!(failing.iter().any(|f| f.starts_with("clock: ")), "fault not injected: the clock is trusted: {failing:?}");
    let clock = rig.clock.as_ref().expect("the plan has a clock");
    clock.shift(0);
    clock.synchronise();
    wait("the readings to get their true time", Duration::from_secs(60), || rig.daemon.stat("/clock/unsynced") == 0);
    rig.wait_progress();
    run(round.rng.millis(0, 1_000));
    rig.wait_healthy();
    format!("{}; {waiting} readings had to wait for their time", rig.finish())
}
