//! The network between the daemon and its broker, and brokers that do not answer.

use std::thread;
use std::time::Duration;

use crate::proxy::{Network, Proxy};
use crate::rig::{Plan, Rig, Round, run, wait};

/// The client pings every 30 s and gives up when the next ping is due; the daemon's own limit is 40 s.
const KEEP_ALIVE_GIVES_UP: Duration = Duration::from_secs(75);

fn rig() -> Rig {
    Rig::start(&Plan { through_proxy: true, ..Plan::default() })
}

fn proxy(rig: &Rig) -> &Proxy {
    rig.proxy.as_ref().expect("the plan has a proxy")
}

/// Connections are cut, also shortly after they were made again.
pub fn cut(round: &mut Round) -> String {
    let rig = rig();
    let mut cuts = 0;
    for i in 0..6 {
        if i % 2 == 0 {
            rig.wait_progress();
            rig.daemon.wait_state("home", "up");
            run(round.rng.millis(0, 800));
        } else {
            // In the middle of the redelivery.
            let passed = proxy(&rig).to_daemon();
            wait("the broker to send again", Duration::from_secs(40), || proxy(&rig).to_daemon() > passed + 100);
            run(round.rng.millis(0, 40));
        }
        cuts += proxy(&rig).cut();
    }
    assert!(cuts >= 5, "fault not injected: {cuts} connections were there to be cut");
    format!("{}; {cuts} cuts", rig.finish())
}

/// Nothing passes for some seconds, and nothing is closed.
pub fn stall(round: &mut Round) -> String {
    let rig = rig();
    rig.wait_progress();
    for seconds in [1, 4] {
        proxy(&rig).set(Network::Stalled);
        thread::sleep(Duration::from_millis(100));
        let (passed, (messages, batches)) = (proxy(&rig).to_daemon(), rig.acknowledged());
        thread::sleep(Duration::from_secs(seconds) + round.rng.millis(0, 500));
        let now = rig.acknowledged();
        assert_eq!(proxy(&rig).to_daemon(), passed, "fault not injected: something passed");
        assert!(now.0 > messages, "fault not injected: the broker had nothing to send");
        assert!(now.1 > batches, "the hub went on meanwhile");
        proxy(&rig).set(Network::Up);
        rig.wait_progress();
    }
    rig.wait_healthy();
    rig.finish()
}

/// The broker's host goes away without a word: the daemon's side stays open.
pub fn half_open(round: &mut Round) -> String {
    let rig = rig();
    rig.wait_progress();
    run(round.rng.millis(0, 500));
    let accepted = proxy(&rig).accepted();
    assert_eq!(proxy(&rig).half_open(), 1, "fault not injected: no connection");
    let noticed = rig.wait_unhealthy("home", "does not answer any more", KEEP_ALIVE_GIVES_UP);
    wait("another connection", Duration::from_secs(20), || proxy(&rig).accepted() > accepted);
    rig.wait_healthy();
    format!("{}; noticed after {noticed:.1?}", rig.finish())
}

/// The broker stops in the middle of a packet.
pub fn torn_packet(round: &mut Round) -> String {
    let rig = rig();
    rig.wait_progress();
    run(round.rng.millis(0, 500));
    let accepted = proxy(&rig).accepted();
    proxy(&rig).tear();
    wait("fault not injected: no packet was torn", Duration::from_secs(10), || proxy(&rig).torn());
    let noticed = rig.wait_unhealthy("home", "does not answer any more", KEEP_ALIVE_GIVES_UP);
    wait("another connection", Duration::from_secs(20), || proxy(&rig).accepted() > accepted);
    rig.wait_healthy();
    format!("{}; noticed after {noticed:.1?}", rig.finish())
}

/// The broker accepts and never answers CONNECT.
pub fn no_connack(_: &mut Round) -> String {
    let rig = rig();
    rig.wait_progress();
    proxy(&rig).set(Network::Mute);
    let accepted = proxy(&rig).accepted();
    assert_eq!(proxy(&rig).cut(), 1, "fault not injected: no connection");
    wait("a connection to the mute broker", Duration::from_secs(20), || proxy(&rig).accepted() > accepted);
    let noticed = rig.wait_unhealthy("home", "did not answer within 10 s", Duration::from_secs(25));
    wait("the source to give up and try again", Duration::from_secs(20), || proxy(&rig).accepted() > accepted + 1);
    let batches = rig.acknowledged().1;
    proxy(&rig).set(Network::Up);
    assert!(batches > 0);
    rig.wait_healthy();
    format!("{}; noticed after {noticed:.1?}", rig.finish())
}
