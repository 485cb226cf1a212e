//! Processes that end, or stand still, at any moment.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::Call;
use crate::rig::{Keeps, Plan, Rig, Round, run, wait};

/// Kills may come too late, because what they were to hit was over: so often another moment is tried.
const TRIES: u32 = 6;

fn killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// The daemon is killed under load, while it starts, and while it stops.
pub fn daemon(round: &mut Round) -> String {
    let mut rig = Rig::start(&Plan::default());
    let (mut in_load, mut in_start, mut in_stop, mut completed) = (0, 0, 0, 0);
    let mut slowest = Duration::ZERO;
    let first = round.rng.below(3);
    for kill in first..first + 3 {
        rig.wait_progress();
        run(round.rng.millis(0, 700));
        match kill % 3 {
            0 => {
                assert!(killed(rig.daemon.kill9()), "the daemon had ended before the kill");
                in_load += 1;
            }
            1 => {
                assert!(killed(rig.daemon.kill9()), "the daemon had ended before the kill");
                let mut longest = 300;
                for _ in 0..TRIES {
                    rig.daemon.respawn();
                    thread::sleep(round.rng.millis(0, longest));
                    let ready = rig.daemon.has_address();
                    assert!(killed(rig.daemon.kill9()), "the daemon had ended before the kill");
                    if !ready {
                        in_start += 1;
                        break;
                    }
                    longest /= 2;
                }
                assert!(in_start > 0, "fault not injected: every start was over before its kill");
            }
            _ => {
                let mut longest = 120;
                for attempt in 0..TRIES {
                    if attempt > 0 {
                        rig.daemon.restart();
                        rig.wait_progress();
                    }
                    rig.daemon.signal(Signal::TERM);
                    thread::sleep(round.rng.millis(0, longest));
                    if killed(rig.daemon.kill9()) {
                        in_stop += 1;
                        break;
                    }
                    longest /= 2;
                }
                assert!(in_stop > 0, "fault not injected: every stop was over before its kill");
            }
        }
        let start = Instant::now();
        rig.daemon.restart();
        slowest = slowest.max(start.elapsed());
        let store = &rig.daemon.stats()["store"];
        // The one thing that a kill can leave half done (docs/reliability.md); what it loses is compared below.
        let half_written = store["recovery"].as_str().is_some_and(|text| text.contains("half written"));
        assert!(store["recovered"] == 0 || half_written, "a kill is no damage: {}", store["recovery"]);
        completed += u32::from(half_written);
    }
    let counts = rig.finish();
    format!(
        "{counts}; killed {in_load} under load, {in_start} in start, {in_stop} in stop, {completed} blocks half written, slowest start {slowest:.1?}"
    )
}

fn broker(round: &mut Round, keeps: Keeps) -> String {
    let mut rig = Rig::start(&Plan { broker_dies: Some(keeps), ..Plan::default() });
    let mut kills = 0;
    for _ in 0..3 {
        rig.wait_progress();
        run(round.rng.millis(500, 2_500));
        rig.broker.kill9();
        rig.wait_unhealthy("home", "", Duration::from_secs(10));
        thread::sleep(round.rng.millis(0, 500));
        rig.broker.start();
        // The publisher goes on as soon as somebody listens; the gateway comes back after its backoff.
        rig.daemon.wait_state("home", "up");
        kills += 1;
    }
    run(Duration::from_millis(500));
    format!("{}; {kills} kills of the broker", rig.finish())
}

/// The broker is killed, and knows afterwards what it had written to its file.
pub fn broker_with_persistence(round: &mut Round) -> String {
    broker(round, Keeps::File)
}

/// The broker is killed, and knows nothing afterwards.
pub fn broker_without_persistence(round: &mut Round) -> String {
    broker(round, Keeps::Nothing)
}

/// The daemon stands still for 5 s, as on a machine that swaps or sleeps.
pub fn daemon_stopped(round: &mut Round) -> String {
    let rig = Rig::start(&Plan::default());
    rig.wait_progress();
    run(round.rng.millis(0, 500));
    rig.daemon.signal(Signal::STOP);
    // An answer that was sent before is read within the next moment.
    thread::sleep(Duration::from_millis(300));
    let (messages, batches) = rig.acknowledged();
    thread::sleep(Duration::from_millis(4_700));
    let (more, same) = rig.acknowledged();
    assert_eq!(same, batches, "fault not injected: a stopped daemon answered");
    assert!(more > messages, "the broker went on meanwhile");
    rig.daemon.signal(Signal::CONT);
    rig.wait_progress();
    rig.wait_healthy();
    rig.finish()
}

/// The broker stands still for 5 s, and closes nothing.
pub fn broker_stopped(round: &mut Round) -> String {
    let rig = Rig::start(&Plan::default());
    rig.wait_progress();
    run(round.rng.millis(0, 500));
    rig.broker.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(300));
    let (messages, batches) = rig.acknowledged();
    thread::sleep(Duration::from_millis(4_700));
    let (same, more) = rig.acknowledged();
    assert_eq!(same, messages, "fault not injected: a stopped broker answered");
    assert!(more > batches, "the hub went on meanwhile");
    rig.broker.signal(Signal::CONT);
    rig.wait_progress();
    rig.wait_healthy();
    rig.finish()
}

/// The hub's port goes away and comes back under another name of the kernel, with the same link.
pub fn port_renamed(round: &mut Round) -> String {
    let rig = Rig::start(&Plan::default());
    let mut names = Vec::new();
    for _ in 0..3 {
        rig.wait_progress();
        run(round.rng.millis(0, 700));
        let mut hub = rig.load.hub();
        let before = hub.port_name();
        hub.unplug();
        rig.wait_unhealthy("hub", &hub.link().display().to_string(), Duration::from_secs(20));
        thread::sleep(round.rng.millis(0, 300));
        hub.plug();
        let after = hub.port_name();
        assert_ne!(before, after, "fault not injected: the port has the same name");
        names.push(after.display().to_string());
        drop(hub);
        wait("the port to be open again", Duration::from_secs(30), || rig.daemon.source("hub")["state"] == "up");
    }
    format!("{}; ports {}", rig.finish(), names.join(" "))
}

/// The driver of the hub's port does not come back from a call: from two of them in turn, or from all four.
pub fn port_hangs(round: &mut Round) -> String {
    let rig = Rig::start(&Plan { port_hangs: true, ..Plan::default() });
    let shim = rig.shim.as_ref().expect("the plan has a port that hangs");
    let mut calls = vec![Call::Read, Call::Open, Call::Write, Call::Close];
    if round.quick {
        let first = round.rng.below(2) as usize;
        calls = calls[2 * first..][..2].to_vec();
    }
    let mut noticed = Vec::new();
    for call in &calls {
        rig.wait_progress();
        run(round.rng.millis(0, 700));
        let hung = shim.hung();
        let mut hub = rig.load.hub();
        shim.hang(Some(*call));
        match call {
            Call::Open => {
                hub.unplug();
                hub.plug();
            }
            Call::Close => hub.unplug(),
            // The load reads and writes.
            Call::Read | Call::Write => {}
        }
        // What is sent while it is unplugged waits for the hub.
        let unplugged = (*call == Call::Close).then_some(hub);
        wait("fault not injected: no call hangs", Duration::from_secs(20), || shim.hung() > hung);
        let committed = rig.daemon.stat("/readings/committed");
        noticed.push(rig.wait_unhealthy("hub", "does not come back", Duration::from_secs(40)).as_secs_f64());
        wait("the broker's messages to be stored", Duration::from_secs(10), || {
            rig.daemon.stat("/readings/committed") > committed + 100
        });
        assert_eq!(shim.hung(), hung + 1, "the driver is asked again while it hangs");
        shim.hang(None);
        if let Some(mut hub) = unplugged {
            hub.plug();
        }
        rig.wait_batches(2);
        rig.wait_healthy();
    }
    format!("{}; hung in {calls:?}, noticed after {noticed:.1?} s", rig.finish())
}
