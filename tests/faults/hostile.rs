//! Senders and clients that mean no good, or know no better: memory stays bounded, and the others go on.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Hub;
use crate::harness::batch;
use crate::load::record;
use crate::rig::{Memory, Plan, Rig, Round, goes_on, run, wait};

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
    // After the flood new sensors of its source are accepted again: 100 an hour with this bound.
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

/// 200 clients that connect and say nothing, and 200 that send their request a byte at a time, and connect again when they
/// are closed; there is room for all of them.
pub fn http_clients(round: &mut Round) -> String {
    clients(round, 500)
}

/// The same with the default bound on connections: there is not.
pub fn http_clients_default(round: &mut Round) -> String {
    clients(round, 32)
}

/// An honest client is answered within this time, whatever the others do.
const ANSWERED: Duration = Duration::from_secs(2);

fn clients(round: &Round, most: usize) -> String {
    const REQUEST: &[u8] =
        b"GET /stats HTTP/1.1\r\nHost: gadwall\r\nX-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let rig = Rig::start(&Plan { config: format!("[http]\nmax-connections = {most}\n"), ..Plan::default() });
    rig.wait_progress();
    let memory = Memory::watch(rig.daemon.id());
    let address: std::net::SocketAddr = rig.daemon.address().parse().expect("an address");
    let stop = Arc::new(AtomicBool::new(false));
    let hostile = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut slots: Vec<Option<(TcpStream, Option<usize>)>> = (0..400).map(|_| None).collect();
            let (mut connects, mut bytes, mut tick) = (0_u64, 0_u64, 0_u64);
            while !stop.load(Ordering::Acquire) {
                for (i, slot) in slots.iter_mut().enumerate() {
                    match slot {
                        Some((stream, _)) if is_closed(stream) => *slot = None,
                        Some((stream, Some(sent))) if tick.is_multiple_of(25) && *sent < REQUEST.len() => {
                            if stream.write(&REQUEST[*sent..=*sent]).is_ok_and(|n| n == 1) {
                                (*sent, bytes) = (*sent + 1, bytes + 1);
                            } else {
                                *slot = None;
                            }
                        }
                        _ => {}
                    }
                    if slot.is_none()
                        && let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(50))
                    {
                        stream.set_nonblocking(true).expect("a socket that does not block");
                        // Every second one is slow.
                        *slot = Some((stream, (i % 2 == 0).then_some(0)));
                        connects += 1;
                    }
                }
                tick += 1;
                thread::sleep(Duration::from_millis(20));
            }
            (connects, bytes)
        })
    };
    let honest = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let (mut asked, mut slowest) = (0_u64, Duration::ZERO);
            let mut kept = None;
            while !stop.load(Ordering::Acquire) {
                for path in ["/healthz", "/stats", "/metrics"] {
                    slowest = slowest.max(ask(address, path, &mut None));
                    // As Prometheus asks: over a connection that it keeps, if the other end does so too.
                    slowest = slowest.max(ask(address, path, &mut kept));
                    asked += 2;
                }
                thread::sleep(Duration::from_millis(50));
            }
            (asked, slowest)
        })
    };
    let mut open = 0;
    let end = Instant::now() + Duration::from_secs(if round.quick { 10 } else { 30 });
    while Instant::now() < end {
        goes_on(&rig, Duration::from_millis(500));
        open = open.max(rig.daemon.stat("/http/open"));
    }
    stop.store(true, Ordering::Release);
    let (asked, slowest) = honest.join().expect("the honest client was answered all the time");
    let (connects, bytes) = hostile.join().expect("the hostile clients");
    let closed = rig.daemon.stat("/http/closed_for_others");
    assert!(asked > 100, "fault not injected: an honest client asked only {asked} times");
    if most > 400 {
        assert!(open >= 400, "fault not injected: at most {open} connections were open");
    } else {
        assert!(open as usize <= most + 8, "{open} connections were open");
        assert!(closed > 400, "fault not injected: only {closed} connections were closed for others");
    }
    let start = Instant::now();
    rig.wait_healthy();
    let answered = start.elapsed();
    let memory = memory.finish();
    format!(
        "{}; {connects} connections of 400 hostile clients, {bytes} bytes of them, {open} open at once, {closed} closed for \
         others; an honest client was answered {asked} times, after {slowest:.1?} at the latest, and {answered:.1?} after \
         they left, {memory}",
        rig.finish()
    )
}

/// Whether the other end has closed it. Reads what there is.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Asks for `path`, over `kept` if it is open. Returns how long it took, and panics when it took too long.
fn ask(address: std::net::SocketAddr, path: &str, kept: &mut Option<TcpStream>) -> Duration {
    let start = Instant::now();
    let mut try_again = kept.is_some();
    loop {
        match ask_once(address, path, kept) {
            Ok(()) => break,
            // A connection that was kept may have been closed meanwhile: every client of HTTP opens another then.
            Err(_) if try_again => (try_again, *kept) = (false, None),
            Err(e) => panic!("{path}: {e} after {:?}", start.elapsed()),
        }
    }
    let took = start.elapsed();
    assert!(took < ANSWERED, "{path} was answered after {took:?}");
    took
}

fn ask_once(address: std::net::SocketAddr, path: &str, kept: &mut Option<TcpStream>) -> std::io::Result<()> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&address, ANSWERED)?,
    };
    stream.set_read_timeout(Some(ANSWERED))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: gadwall\r\n\r\n").as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4_096]);
    let whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
        (body.len() >= length).then(|| text.starts_with("HTTP/1.1 200 "))
    };
    loop {
        let n = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..n]);
        match whole(&answer) {
            Some(true) => {
                *kept = Some(stream);
                return Ok(());
            }
            None if n > 0 => {}
            _ => return Err(std::io::Error::other(format!("no answer: {:?}", String::from_utf8_lossy(&answer)))),
        }
    }
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
