//! Faults for real, under load from a broker and a hub at once; after each round what was acknowledged is compared with
//! what is stored. `deploy/run-faults` runs it; docs/reliability-faults.md says what each round does.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person, whose lines are its result")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the suite's numbers are small and whole"
)]

mod check;
mod clock;
mod disk;
mod flood;
mod hostile;
mod kill;
mod load;
mod network;
mod proxy;
mod rig;
mod rng;
mod runner;

#[expect(dead_code, unused_imports, reason = "the other black-box tests use what this one does not")]
#[path = "../daemon/harness/mod.rs"]
mod harness;

use std::time::Duration;

use rig::Round;

/// A round: its name, what it does, and whether it runs unless it is asked for by name.
struct Fault {
    name: &'static str,
    run: fn(&mut Round) -> String,
    /// Rounds of it in quick mode.
    quick: u32,
    /// It mounts something.
    own_disk: bool,
    /// The longest that it may take; its own deadlines are shorter.
    longest: Duration,
}

const fn fault(name: &'static str, quick: u32, run: fn(&mut Round) -> String) -> Fault {
    Fault { name, run, quick, own_disk: false, longest: Duration::from_secs(300) }
}

/// The longest first, so that they do not run alone at the end.
const FAULTS: &[Fault] = &[
    fault("comparison", 1, check::detects),
    fault("half-open", 1, network::half_open),
    fault("torn-packet", 1, network::torn_packet),
    Fault { longest: Duration::from_secs(4_200), ..fault("noise", 1, flood::noise) },
    fault("slow-disk", 1, flood::slow_disk),
    fault("qos0-flood", 1, flood::qos0),
    fault("port-hangs", 1, kill::port_hangs),
    fault("http-clients", 1, hostile::http_clients),
    fault("http-clients-default", 1, hostile::http_clients_default),
    fault("slow-export", 1, hostile::slow_export),
    fault("no-connack", 1, network::no_connack),
    fault("topic-flood", 1, hostile::topic_flood),
    fault("retained", 1, hostile::retained),
    fault("huge-packet", 1, hostile::huge_packet),
    fault("kill9", 3, kill::daemon),
    fault("broker-kill", 1, kill::broker_with_persistence),
    fault("broker-kill-forgetful", 1, kill::broker_without_persistence),
    Fault { own_disk: true, ..fault("disk-full", 1, disk::full) },
    fault("file-limit", 1, disk::file_limit),
    fault("clock-steps", 1, clock::steps),
    fault("clock-1970", 1, clock::from_1970),
    fault("cut", 1, network::cut),
    fault("stall", 1, network::stall),
    fault("daemon-stopped", 1, kill::daemon_stopped),
    fault("broker-stopped", 1, kill::broker_stopped),
    fault("port-renamed", 1, kill::port_renamed),
    // What a damaged file comes to is not acknowledged means durable, but that the daemon starts and says what is gone.
    fault("damaged-wal-cut", 1, disk::wal_cut),
    fault("damaged-wal-flip", 1, disk::wal_flipped),
    fault("damaged-file", 1, disk::file_damaged),
];

fn main() -> std::process::ExitCode {
    runner::main()
}
