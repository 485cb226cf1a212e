//! More than can be stored: a flood of messages, also on a slow disk, and a port that streams noise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Hub};
use crate::rig::{GOES_ON, Memory, Plan, Rig, Round, SlowDisk, goes_on, goes_on_within, proc_number, run, wait};

/// Messages a second.
const RATE: f64 = 10_000.0;

/// Bytes a second of a port at 3 Mbaud, with a start and a stop bit for each.
const NOISE: f64 = 300_000.0;

/// A disk as slow as an SD card, and one that is nearly worn out.
const SLOW: [SlowDisk; 2] =
    [SlowDisk { sync_ms: 100, bytes_per_second: 5_000_000 }, SlowDisk { sync_ms: 500, bytes_per_second: 500_000 }];

/// Seconds of a flood.
fn seconds(round: &Round) -> u64 {
    if round.quick { 20 } else { 60 }
}

/// Publishes with QoS 0 until it is told to stop; then how many, and in how many seconds.
fn publish(rig: &Rig, stop: &Arc<AtomicBool>) -> thread::JoinHandle<(u64, f64)> {
    let (stop, port) = (Arc::clone(stop), rig.broker.port());
    thread::spawn(move || {
        let mut client = Client::connect(port, "", true, None);
        let start = Instant::now();
        let mut sent = 0_u64;
        while !stop.load(Ordering::Acquire) {
            while (sent as f64) < start.elapsed().as_secs_f64() * RATE {
                client.send(&format!("flood/x{}", sent % 40), sent.to_string(), 0, false);
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        client.flush();
        (sent, start.elapsed().as_secs_f64())
    })
}

/// The flood of `publish`, during which the hub has to be answered at least so often; what was received is accounted for.
fn flood(mut rig: Rig, time: Duration, within: Duration) -> (Rig, String) {
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let stop = Arc::new(AtomicBool::new(false));
    let flood = publish(&rig, &stop);
    goes_on_within(&rig, time, within);
    stop.store(true, Ordering::Release);
    let (sent, took) = flood.join().expect("the flood");
    let rate = sent as f64 / took;
    assert!(rate > 0.9 * RATE, "fault not injected: only {rate:.0} messages/s");
    rig.wait_progress();
    let memory = memory.finish();
    assert!(rig.load.finish(crate::rig::PATIENCE), "not everything is acknowledged after the flood");
    rig.settle();
    // Whatever was received is counted somewhere.
    wait("all that was received to be counted", Duration::from_secs(10), || {
        let readings = rig.daemon.stats()["readings"].clone();
        let count = |key: &str| readings[key].as_u64().unwrap_or(0);
        count("received") == ["committed", "duplicate", "conflict", "dropped"].map(count).iter().sum::<u64>()
    });
    let readings = rig.daemon.stats()["readings"].clone();
    let text = format!(
        "{sent} messages, {rate:.0}/s for {took:.0} s, {} readings received, {} committed, {} dropped {}, {memory}",
        readings["received"], readings["committed"], readings["dropped"], readings["dropped_by_reason"]
    );
    (rig, text)
}

fn plan() -> Plan {
    Plan { subscribe: r#"{ topic = "flood/{node}", format = "json" }"#.into(), ..Plan::default() }
}

/// 10,000 messages a second with QoS 0.
pub fn qos0(round: &mut Round) -> String {
    let (rig, text) = flood(Rig::start(&plan()), Duration::from_secs(seconds(round)), GOES_ON);
    format!("{}; {text}", rig.finish())
}

/// The same against a slow disk: every sync of the database's files waits as long as the disk would take.
pub fn slow_disk(round: &mut Round) -> String {
    let folder = std::env::temp_dir().join("slow");
    let mut text = String::new();
    for (i, disk) in SLOW.into_iter().enumerate() {
        let folder = folder.join(i.to_string());
        std::fs::create_dir_all(&folder).expect("a folder for the database");
        let database = folder.join("gadwall.duckdb").display().to_string();
        let rig = Rig::start(&Plan { database: Some(database), disk: Some(disk), ..plan() });
        let time = Duration::from_secs(seconds(round));
        // A checkpoint writes some MB at once.
        let (rig, told) = flood(rig, time, GOES_ON * 3);
        let work = rig.shim.as_ref().expect("the plan has a slow disk").disk_work();
        let each = work.seconds / work.syncs.max(1) as f64;
        let least = disk.sync_ms as f64 / 1_000.0;
        assert!(work.syncs > 10 && each >= least, "fault not injected: {work:?}");
        assert!(work.bytes > 1_000_000, "fault not injected: {work:?}");
        text += &format!(
            "; {} ms a sync and {} kB/s: {} syncs of {:.0} ms and {} kB, {told}; {}",
            disk.sync_ms,
            disk.bytes_per_second / 1_000,
            work.syncs,
            each * 1_000.0,
            work.bytes / 1_000,
            rig.finish()
        );
    }
    text.trim_start_matches("; ").to_owned()
}

/// A second port streams noise at 3 Mbaud: for 20 s, or for an hour.
pub fn noise(round: &mut Round) -> String {
    let mut noisy = Hub::new();
    let section = noisy.section("hub-lines", "").replace("\"hub\"", "\"noisy\"");
    // An hour of the full load would make the comparison long, and is not the matter here.
    let rig = Rig::start(&Plan { config: section, calm: !round.quick, ..Plan::default() });
    rig.wait_progress();
    let pid = rig.daemon.id();
    let written = || proc_number(pid, "io", "write_bytes").expect("/proc/PID/io");
    let (before, quiet) = (written(), Duration::from_secs(if round.quick { 5 } else { 60 }));
    run(quiet);
    let load_alone = (written() - before) / quiet.as_secs();
    let memory = Memory::watch(pid);
    let (stop, seed) = (Arc::new(AtomicBool::new(false)), round.rng.next());
    let stream = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut rng = crate::rng::Rng::new(seed);
            let start = Instant::now();
            let mut taken = 0_u64;
            while !stop.load(Ordering::Acquire) {
                if (taken as f64) < start.elapsed().as_secs_f64() * NOISE {
                    let block = nonsense(&mut rng);
                    if noisy.try_send_bytes(&block, Duration::from_millis(500)) {
                        taken += block.len() as u64;
                    }
                    noisy.clear();
                } else {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            taken
        })
    };
    let (start, before) = (Instant::now(), written());
    goes_on(&rig, Duration::from_secs(if round.quick { 20 } else { 3_600 }));
    let took = start.elapsed().as_secs();
    let wrote = (written() - before) / took;
    stop.store(true, Ordering::Release);
    let taken = stream.join().expect("the noise");
    let rate = taken as f64 / start.elapsed().as_secs_f64();
    assert!(rate > 0.97 * NOISE, "fault not injected: only {rate:.0} bytes/s of noise were taken");
    let (dead, letters) = (rig.daemon.stat("/readings/dead"), rig.daemon.stat("/store/dead_letters"));
    let reasons = rig.daemon.stats()["readings"]["dead_by_reason"]
        .as_object()
        .map_or(0, |reasons| reasons.values().filter(|n| n.as_u64().is_some_and(|n| n > 0)).count() as u64);
    assert!(dead > 1_000, "fault not injected: only {dead} frames were noise");
    assert!(letters <= (took + 5) * reasons.max(1), "{letters} dead letters in {took} s for {reasons} reasons");
    assert!(wrote <= load_alone * 2 + 100_000, "{wrote} bytes/s written with noise, {load_alone} bytes/s without");
    let (memory, file) = (memory.finish(), rig.daemon.stat("/store/file_bytes"));
    format!(
        "{}; {:.0} kB/s of noise for {took} s, {dead} frames refused, {letters} dead letters of {reasons} reasons, \
         {wrote} B/s written ({load_alone} without noise), a file of {} kB, {memory}",
        rig.finish(),
        rate / 1_000.0,
        file / 1_000
    )
}

/// Some lines and bytes of all kinds.
fn nonsense(rng: &mut crate::rng::Rng) -> Vec<u8> {
    let mut block = Vec::new();
    for _ in 0..64 {
        match rng.below(8) {
            0 => block.extend((0..rng.below(200)).map(|_| (rng.next() >> 20) as u8)),
            1 => block.extend(b"SENSOR_DATA 3 0 TEMP 2150"),
            2 => block.extend(b"SENSOR_RECORD 3 1SENSOR_BATCH 4"),
            3 => block.extend(b"HEARTBEAT 99999 -1 x y z"),
            4 => block.extend(vec![b'A'; rng.below(6_000) as usize]),
            5 => block.extend(format!("SENSOR_DATA {} {} XX 1", rng.below(1_000), rng.next()).as_bytes()),
            6 => block.extend(b"BATCH_COMPLETE 4 77 5"),
            _ => block.extend(b"\xff\xfe\x00garbage"),
        }
        block.push(b'\n');
    }
    block
}
