//! A serial port whose driver does not come back from a call: it is told, everything else goes on, and it does not hold a
//! stop. The calls are made to hang by a library that is preloaded into the daemon.

use std::time::{Duration, Instant};

use crate::harness::{Call, DEADLINE, Daemon, Hub, Record, Setup, Shim, assert_between, wait_for};

const DEVICE: u64 = 77;

fn record(time: i64) -> Record {
    Record { time: 1_760_000_000 + time, temp: 2_150, hum: 4_875, flags: 0 }
}

struct Bench {
    shim: Shim,
    hub: Hub,
    other: Hub,
    daemon: Daemon,
    call: Call,
    /// The calls that have hung so far.
    hung: u64,
}

impl Bench {
    /// Two hubs; for [`Call::Open`] the first one hangs from the start.
    fn new(call: Call) -> Self {
        let (hub, other) = (Hub::new(), Hub::new());
        let shim = Shim::new().port(hub.link());
        if call == Call::Open {
            shim.hang(Some(call));
        }
        let config = format!(
            "{}\n{}\n[store]\nflush-interval = \"100ms\"\n",
            hub.section("hub-lines", ""),
            other.section("hub-lines", "").replace("\"hub\"", "\"other\"")
        );
        let daemon = Setup::new(&config).envs(shim.env()).start();
        let mut bench = Self { shim, hub, other, daemon, call, hung: 0 };
        bench.other.wait_answered();
        if call == Call::Open {
            bench.wait_hung();
        } else {
            bench.hub.wait_answered();
            bench.hang();
        }
        bench
    }

    /// Makes the driver hang once more.
    fn hang(&mut self) {
        self.shim.hang(Some(self.call));
        match self.call {
            Call::Open => {
                self.hub.unplug();
                self.hub.plug();
            }
            Call::Close => self.hub.unplug(),
            // It is read and answered.
            Call::Read | Call::Write => self.hub.send("GET_DATETIME"),
        }
        self.wait_hung();
    }

    fn wait_hung(&mut self) {
        self.hung += 1;
        wait_for("the call to hang", || self.shim.hung() >= self.hung);
    }

    fn come_back(&mut self) {
        self.shim.hang(None);
        if self.call == Call::Close {
            self.hub.plug();
        }
    }
}

/// The whole course for one call; `told` is what `/healthz` says of it.
fn hangs(call: Call, told: &str) {
    let mut b = Bench::new(call);
    let since = Instant::now();
    // Not told yet, and nothing waits for it.
    b.other.send_batch(4, DEVICE, &[record(0)]);
    b.other.expect_ack("BATCH_ACK 4 1 0");
    b.daemon.wait_failing("hub", told);
    assert!(since.elapsed() < DEADLINE, "told after {:?}", since.elapsed());
    assert_eq!(b.daemon.source("hub")["state"], "down");
    assert_eq!(b.daemon.source("other")["state"], "up");
    b.other.send_batch(4, DEVICE, &[record(1)]);
    b.other.expect_ack("BATCH_ACK 4 1 0");
    assert_eq!(b.shim.hung(), b.hung, "the driver is asked once and not again while it hangs");
    assert_eq!(b.daemon.log().matches(told).count(), 1, "the journal says it once");

    b.come_back();
    b.hub.wait_answered();
    b.hub.send_batch(3, DEVICE, &[record(2)]);
    b.hub.expect_ack("BATCH_ACK 3 1 0");
    assert_eq!(b.daemon.failing(), Vec::<String>::new());

    b.hang();
    let stop = Instant::now();
    let stored = b.daemon.finish();
    assert!(stop.elapsed() < Duration::from_secs(10), "the stop took {:?}", stop.elapsed());
    let expected: Vec<_> = [("other", 0), ("other", 1), ("hub", 2)]
        .iter()
        .flat_map(|(source, time)| record(*time).expected(source, DEVICE))
        .collect();
    assert_between(&stored, &expected, &expected);
}

#[test]
fn a_port_that_never_comes_back_from_being_opened_is_told_and_holds_up_nothing() {
    hangs(Call::Open, "its driver does not come back from opening it");
}

#[test]
fn a_port_that_never_comes_back_from_being_read_is_told_and_holds_up_nothing() {
    hangs(Call::Read, "its driver does not come back from reading it");
}

#[test]
fn a_port_that_never_comes_back_from_being_written_is_told_and_holds_up_nothing() {
    hangs(Call::Write, "its driver does not come back from writing to it");
}

#[test]
fn a_port_that_never_comes_back_from_being_closed_is_told_and_holds_up_nothing() {
    hangs(Call::Close, "its driver does not come back from closing it");
}
