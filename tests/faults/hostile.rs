//! Senders and clients that mean no good, or know no better: memory stays bounded, and the others go on.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::batch;
use crate::harness::{Client, Hub};
use crate::load::record;
use crate::rig::{Memory, Plan, Rig, Round, proc_number, run, wait};

/// Seconds of a flood.
fn seconds(round: &Round) -> u64 {
    if round.quick { 20 } else { 60 }
}

/// Batches of the hub are answered at least once in this time, whatever others do.
const GOES_ON: Duration = Duration::from_secs(10);

/// Sleeps, and panics when the hub is not answered for too long meanwhile.
#[track_caller]
fn goes_on(rig: &Rig, time: Duration) {
    let end = Instant::now() + time;
    let (mut batches, mut since) = (rig.acknowledged().1, Instant::now());
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        let now = rig.acknowledged().1;
        if now > batches {
            (batches, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < GOES_ON, "the hub's batches are not answered any more");
    }
}

/// Topics with random names, far more than there may be series: known sensors and other sources go on, the rest is counted.
pub fn topic_flood(round: &mut Round) -> String {
    let rig = Rig::start(&Plan {
        config: "[store]\nflush-interval = \"1s\"\nmax-series = 500\n".into(),
        subscribe: r#"{ topic = "random/{node}", format = "json" }"#.into(),
        ..Plan::default()
    });
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let mut client = rig.broker.publisher();
    let sent = 20_000;
    for i in 0..sent {
        client.send(&format!("random/x{:x}", round.rng.next()), i.to_string(), 1, false);
    }
    client.flush();
    let refused = || {
        ["too-many-nodes", "too-many-series", "too-many-new"].iter().map(|r| rig.daemon.reason("dead", r)).sum::<u64>()
    };
    wait("the flood to be refused", Duration::from_secs(60), || refused() >= sent - 500);
    let letters = rig.daemon.stat("/store/dead_letters");
    rig.wait_progress();
    let before = refused();
    assert!(letters < 200, "{letters} dead letters are stored of {sent} refused messages");
    // The flood has used up its own source's part: a new sensor of another source is taken.
    {
        let mut hub = rig.load.hub();
        hub.send("");
        hub.send_batch(9, 4_711, &[record(1), record(2)]);
        let ack = hub.next_line(Duration::from_secs(20), "BATCH_ACK 9 2 ");
        assert_eq!(ack.as_deref(), Some("BATCH_ACK 9 2 0"), "a new sensor of another source");
    }
    assert_eq!(rig.daemon.get("/api/v1/nodes/4711/latest").status, 200, "a new sensor of another source");
    // After the flood new sensors of its source are accepted again, one of them within 18 seconds.
    let end = Instant::now();
    wait("a new sensor of the flooding source to be accepted", Duration::from_secs(60), || {
        client.publish("random/xnew", "1");
        thread::sleep(Duration::from_millis(500));
        rig.daemon.get("/api/v1/nodes/xnew/latest").status == 200
    });
    let memory = memory.finish();
    format!(
        "{}; {sent} random topics, {before} refused, {letters} dead letters, a new sensor accepted after {:.0} s, {memory}",
        rig.finish(),
        end.elapsed().as_secs_f64()
    )
}

/// A retained message that is far larger than `max-message`, present at every start.
pub fn retained(round: &mut Round) -> String {
    let mut rig =
        Rig::start(&Plan { subscribe: r#"{ topic = "large/{node}", format = "json" }"#.into(), ..Plan::default() });
    rig.wait_progress();
    let bytes = if round.quick { 64 << 20 } else { 255 << 20 };
    let mut client = rig.broker.publisher();
    client.send("large/x", vec![b'1'; bytes], 1, true);
    client.flush();
    let mut other = rig.broker.publisher();
    other.subscribe("large/x");
    let message = other.next(Duration::from_secs(60)).expect("fault not injected: the broker keeps no such message");
    assert_eq!(message.payload.len(), bytes, "fault not injected: the broker keeps another message");
    drop((message, other));
    let memory = Memory::watch(rig.daemon.id());
    rig.wait_progress();
    let first = memory.finish();
    rig.daemon.terminate();
    rig.daemon.restart();
    let memory = Memory::watch(rig.daemon.id());
    rig.wait_progress();
    run(Duration::from_secs(2));
    rig.wait_healthy();
    let second = memory.finish();
    format!("{}; {} MiB retained, {first}, after a start {second}", rig.finish(), bytes >> 20)
}

/// A broker that sends 256 MB though the daemon said that it takes 256 KiB.
pub fn huge_packet(_: &mut Round) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (sent, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counters = (Arc::clone(&sent), Arc::clone(&connections));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counters.1.fetch_add(1, Ordering::AcqRel);
            let _ = send_huge(stream, &counters.0);
        }
    });
    let rig = Rig::start(&Plan {
        config: format!(
            "[[mqtt]]\nname = \"large\"\nurl = \"mqtt://127.0.0.1:{port}\"\nsubscribe = [{{ topic = \"a/{{node}}\" }}]\n"
        ),
        ..Plan::default()
    });
    let memory = Memory::watch(rig.daemon.id());
    rig.wait_unhealthy("large", "max-message", Duration::from_secs(30));
    wait("another attempt", Duration::from_secs(30), || connections.load(Ordering::Acquire) >= 3);
    rig.wait_progress();
    let memory = memory.finish();
    let mib = sent.load(Ordering::Acquire) >> 20;
    format!("{}; {} attempts, {mib} MiB taken by sockets, {memory}", rig.finish(), connections.load(Ordering::Acquire))
}

fn send_huge(mut stream: TcpStream, sent: &AtomicU64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut chunk = [0; 4_096];
    let _ = stream.read(&mut chunk)?;
    // CONNACK of MQTT 5, without properties; then PUBLISH with the largest length that MQTT knows.
    stream.write_all(&[0x20, 3, 0, 0, 0])?;
    stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 3, b'a', b'/', b'b', 0])?;
    let block = vec![b'1'; 1 << 16];
    for _ in 0..4_096 {
        sent.fetch_add(stream.write(&block)? as u64, Ordering::AcqRel);
    }
    Ok(())
}

/// 10,000 messages a second with QoS 0.
pub fn qos0_flood(round: &mut Round) -> String {
    let rig =
        Rig::start(&Plan { subscribe: r#"{ topic = "flood/{node}", format = "json" }"#.into(), ..Plan::default() });
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let stop = Arc::new(AtomicBool::new(false));
    let flood = {
        let (stop, port) = (Arc::clone(&stop), rig.broker.port());
        thread::spawn(move || {
            let mut client = Client::connect(port, "", true, None);
            let start = Instant::now();
            let mut sent = 0_u64;
            while !stop.load(Ordering::Acquire) {
                while (sent as f64) < start.elapsed().as_secs_f64() * 10_000.0 {
                    client.send(&format!("flood/x{}", sent % 40), sent.to_string(), 0, false);
                    sent += 1;
                }
                thread::sleep(Duration::from_millis(1));
            }
            client.flush();
            (sent, start.elapsed().as_secs_f64())
        })
    };
    goes_on(&rig, Duration::from_secs(seconds(round)));
    stop.store(true, Ordering::Release);
    let (sent, took) = flood.join().expect("the flood");
    let rate = sent as f64 / took;
    assert!(rate > 9_000.0, "fault not injected: only {rate:.0} messages/s");
    rig.wait_progress();
    let memory = memory.finish();
    let mut rig = rig;
    assert!(rig.load.finish(crate::rig::PATIENCE), "not everything is acknowledged after the flood");
    rig.settle();
    // Whatever was received is counted somewhere.
    wait("all that was received to be counted", Duration::from_secs(10), || {
        let readings = rig.daemon.stats()["readings"].clone();
        let count = |key: &str| readings[key].as_u64().unwrap_or(0);
        count("received") == ["committed", "duplicate", "conflict", "dropped"].map(count).iter().sum::<u64>()
    });
    let readings = rig.daemon.stats()["readings"].clone();
    format!(
        "{}; {rate:.0} messages/s for {took:.0} s, {} readings committed, {} dropped, {memory}",
        rig.finish(),
        readings["committed"],
        readings["dropped"]
    )
}

/// A second port streams noise as fast as it is taken.
pub fn noise(round: &mut Round) -> String {
    let mut noisy = Hub::new();
    let section = noisy.section("hub-lines", "").replace("\"hub\"", "\"noisy\"");
    let rig = Rig::start(&Plan { config: section, ..Plan::default() });
    rig.wait_progress();
    let pid = rig.daemon.id();
    let written = || proc_number(pid, "io", "write_bytes").expect("/proc/PID/io");
    let (before, quiet) = (written(), Duration::from_secs(5));
    run(quiet);
    let load_alone = (written() - before) / quiet.as_secs();
    let memory = Memory::watch(pid);
    let (stop, seed) = (Arc::new(AtomicBool::new(false)), round.rng.next());
    let stream = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut rng = crate::rng::Rng::new(seed);
            let mut taken = 0_u64;
            while !stop.load(Ordering::Acquire) {
                let block = nonsense(&mut rng);
                if noisy.try_send_bytes(&block, Duration::from_millis(500)) {
                    taken += block.len() as u64;
                }
                noisy.clear();
            }
            taken
        })
    };
    let (start, before) = (Instant::now(), written());
    goes_on(&rig, Duration::from_secs(seconds(round)));
    let took = start.elapsed().as_secs();
    let wrote = (written() - before) / took;
    stop.store(true, Ordering::Release);
    let taken = stream.join().expect("the noise");
    assert!(taken / took > 300_000, "fault not injected: only {} bytes/s of noise", taken / took);
    let (dead, letters) = (rig.daemon.stat("/readings/dead"), rig.daemon.stat("/store/dead_letters"));
    let reasons = rig.daemon.stats()["readings"]["dead_by_reason"]
        .as_object()
        .map_or(0, |reasons| reasons.values().filter(|n| n.as_u64().is_some_and(|n| n > 0)).count() as u64);
    assert!(dead > 1_000, "fault not injected: only {dead} frames were noise");
    assert!(letters <= (took + 5) * reasons.max(1), "{letters} dead letters in {took} s for {reasons} reasons");
    assert!(wrote <= load_alone * 2 + 100_000, "{wrote} bytes/s written with noise, {load_alone} bytes/s without");
    let memory = memory.finish();
    format!(
        "{}; {} kB/s of noise for {took} s, {dead} frames refused, {letters} dead letters of {reasons} reasons, \
         {wrote} B/s written ({load_alone} without noise), {memory}",
        rig.finish(),
        taken / took / 1_000
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

/// 200 clients that connect and say nothing, and 200 that send their request a byte at a time; all of them are let in.
pub fn http_clients(round: &mut Round) -> String {
    clients(round, 500)
}

/// The same with the default bound on connections: the others wait in the kernel.
pub fn http_clients_default(round: &mut Round) -> String {
    clients(round, 32)
}

fn clients(round: &Round, most: usize) -> String {
    const REQUEST: &[u8] =
        b"GET /stats HTTP/1.1\r\nHost: gadwall\r\nX-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let rig = Rig::start(&Plan { config: format!("[http]\nmax-connections = {most}\n"), ..Plan::default() });
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let address: std::net::SocketAddr = rig.daemon.address().parse().expect("an address");
    // One that finds no room in the kernel's queue tries again later, as clients do.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let (mut idle, mut slow) = (Vec::new(), Vec::new());
    let (mut peak, mut bytes) = (0, 0);
    let honest = Arc::new(AtomicU64::new(0));
    for (tick, byte) in REQUEST.iter().take(if round.quick { 20 } else { 60 }).enumerate() {
        if tick == 4 {
            let honest = Arc::clone(&honest);
            thread::spawn(move || honest.store(ask(address), Ordering::Release));
        }
        for (clients, missing) in [(&mut slow, 200_usize), (&mut idle, 200)] {
            let missing = missing.saturating_sub(clients.len());
            clients.extend((0..missing).map_while(|_| connect()));
        }
        peak = peak.max(idle.len() + slow.len());
        slow.retain_mut(|s: &mut TcpStream| s.write(&[*byte]).is_ok_and(|n| n == 1));
        bytes += slow.len();
        goes_on(&rig, Duration::from_millis(500));
    }
    let enough = if most < 400 { most * 2 } else { 400 };
    assert!(peak >= enough, "fault not injected: at most {peak} clients were connected");
    let honest = match honest.load(Ordering::Acquire) {
        0 => "an honest client was not answered meanwhile".to_owned(),
        ms => format!("an honest client was answered after {ms} ms"),
    };
    let start = Instant::now();
    drop((idle, slow));
    rig.wait_healthy();
    let answered = start.elapsed();
    let memory = memory.finish();
    format!(
        "{}; {peak} clients at once, {bytes} bytes of them, {honest}, and {answered:.1?} after they left, {memory}",
        rig.finish()
    )
}

/// Asks for the health; returns after how many milliseconds it was answered, 0 if it was not.
fn ask(address: std::net::SocketAddr) -> u64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: gadwall\r\n\r\n");
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 ") {
            return u64::try_from(start.elapsed().as_millis()).unwrap_or(0).max(1);
        }
    }
    0
}

/// A client that reads a CSV export at 1 KB/s.
pub fn slow_export(round: &mut Round) -> String {
    let mut first = Hub::new();
    let section = first.section("hub-lines", "").replace("\"hub\"", "\"past\"");
    let rig = Rig::start(&Plan { config: section, ..Plan::default() });
    first.wait_answered();
    // Enough that the sockets' buffers do not take it.
    let (batches, records) = (80, 1_000);
    for b in 0..batches {
        let records: Vec<_> = (b * records..(b + 1) * records).map(|j| record(j - 1_000_000)).collect();
        first.send_bytes(batch(9, 77, &records).as_bytes());
        first.expect_ack(&format!("BATCH_ACK 9 {} 0", records.len()));
    }
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let mut client = TcpStream::connect(rig.daemon.address()).expect("connecting to the daemon");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut request = String::new();
    let _ = write!(
        request,
        "GET /api/v1/readings?node=77&format=csv&start=2020-01-01T00:00:00Z HTTP/1.1\r\nHost: gadwall\r\n\r\n"
    );
    client.write_all(request.as_bytes()).expect("the request");
    let (mut read, mut chunk) = (0, [0; 1_024]);
    for _ in 0..if round.quick { 15 } else { 60 } {
        let n = client.read(&mut chunk).expect("the export goes on");
        assert!(n > 0, "the export is over after {read} bytes");
        read += n;
        goes_on(&rig, Duration::from_secs(1));
        assert!(rig.daemon.get("/stats").status == 200);
    }
    assert!(read > 10_000, "fault not injected: {read} bytes read");
    let memory = memory.finish();
    drop(client);
    rig.wait_healthy();
    format!("{}; {read} bytes of the export read, {memory}", rig.finish())
}
