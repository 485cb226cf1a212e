use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::super::places::SURPLUS;
use super::*;

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Long enough that only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads up to the end of an answer's header.
fn read_header(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn impatient(max_connections: usize) -> Server {
    let patience =
        Patience { header: Duration::from_millis(150), write: Duration::from_millis(150), ..Patience::default() };
    Server::with(Limits::default(), &config::Http { max_connections, ..loopback() }, patience)
}

#[test]
fn every_path_but_healthz_needs_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret \nnot this\n").unwrap();
    let http = config::Http { token_file: Some(file), ..loopback() };
    let server = Server::with(Limits::default(), &http, Patience::default());
    assert_eq!(server.get("/healthz").status, 200);
    for path in ["/", "/stats", "/metrics", "/api/v1/nodes", "/nothing"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        assert_eq!(answer.json()["error"]["code"], "unauthorized");
    }
    for (header, status) in
        [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer s3cre", 401), ("Basic s3cret", 401), ("x", 401)]
    {
        assert_eq!(server.get_with("/stats", &[("authorization", header)]).status, status, "{header}");
    }
}

#[test]
fn a_missing_or_empty_token_is_an_error_that_names_the_file() {
    let store = Fixture::new(Limits::default());
    let file = store.dir.path().join("token");
    let http = config::Http { token_file: Some(file.clone()), ..loopback() };
    let metrics: Arc<Metrics> = Arc::default();
    let clock = Clock::new(config::Trust::Always, Arc::clone(&metrics));
    let new = || {
        let state = State::new(
            store.reader.clone(),
            Arc::clone(&metrics),
            clock.clone(),
            written(&store.dir.path().join("x"), &clock, &metrics),
            store.dir.path().join("x"),
            &http,
        );
        state.err().unwrap().to_string()
    };
    assert_eq!(
        new(),
        format!("[http] token-file: cannot read {}: No such file or directory (os error 2)", file.display())
    );
    std::fs::write(&file, "\nx\n").unwrap();
    assert_eq!(new(), format!("[http] token-file: the first line of {} is empty, expected the token", file.display()));
}

#[test]
fn an_address_in_use_and_an_open_one_without_a_token_are_refused() {
    let server = Server::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let taken = config::Http { listen: server.address, ..loopback() };
    assert_eq!(
        runtime.block_on(bind(&taken)).unwrap_err().to_string(),
        format!("[http] listen: cannot listen on {}: the address is in use by another program", server.address)
    );
    let open = config::Http { listen: SocketAddr::from(([0, 0, 0, 0], 0)), ..loopback() };
    assert_eq!(
        runtime.block_on(bind(&open)).unwrap_err().to_string(),
        "[http] listen: 0.0.0.0:0 is open to other machines, which needs token-file"
    );
}

/// Whether the server has ended the connection; waits for it to, or to show that it has not.
fn is_ended(stream: &mut TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    match stream.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// A server with this many places for questions for data and a patience that only places can end, and its bound.
fn patient(max_connections: usize) -> (Server, usize) {
    let patience = Patience { header: DEADLINE, ..Patience::default() };
    let server = Server::with(Limits::default(), &config::Http { max_connections, ..loopback() }, patience);
    (server, max_connections + SURPLUS)
}

fn add_readings(server: &Server) {
    server.store.add_node(1, "hub", "n");
    server.store.add_series(1, 1, "m", None);
    server
        .store
        .root
        .execute_batch("INSERT INTO g.readings SELECT 1, make_timestamp(i * 1000000), i, 0 FROM range(300000) r(i)")
        .unwrap();
}

/// An export of which the client reads no more than the header.
fn begin_export(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(b"GET /api/v1/readings?format=csv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_header(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
    stream
}

#[test]
fn many_that_ask_nothing_or_slowly_or_nothing_more_do_not_keep_others_from_an_answer() {
    let (server, bound) = patient(2);
    let mut first = connect(&server);
    // Served before the others came, and kept until all who have not asked are gone.
    let mut idle = connect(&server);
    idle.write_all(REQUEST).unwrap();
    assert!(read_header(&mut idle).starts_with("HTTP/1.1 200 OK\r\n"));
    let mut others = Vec::new();
    for i in 0..3 * bound {
        let mut stream = connect(&server);
        if i % 2 == 0 {
            stream.write_all(&REQUEST[..20]).unwrap();
        }
        others.push(stream);
        for path in ["/healthz", "/stats", "/metrics", "/api/v1/nodes"] {
            assert_eq!(server.get(path).status, 200, "{path} after {i} others");
        }
    }
    assert!(is_ended(&mut first, DEADLINE), "the one that has asked nothing for longest goes first");
    let last = others.last_mut().unwrap();
    assert!(!is_ended(last, Duration::from_millis(50)), "the newest has its place");
    let stats = server.get_json("/stats");
    assert!(stats["http"]["closed_for_others"].as_u64().unwrap() >= 2 * bound as u64, "{}", stats["http"]);
    assert!(stats["http"]["open"].as_u64().unwrap() <= bound as u64, "{}", stats["http"]);
    assert_eq!(stats["http"]["refused"], 0);
}

#[test]
fn a_connection_that_waits_for_its_next_request_is_kept_while_others_have_not_sent_any() {
    let (server, bound) = patient(1);
    let mut idle = connect(&server);
    idle.write_all(REQUEST).unwrap();
    assert!(read_header(&mut idle).starts_with("HTTP/1.1 200 OK\r\n"));
    let body = idle.read(&mut [0; 4096]).unwrap();
    assert!(body > 0);
    let mut silent: Vec<TcpStream> = (0..2 * bound).map(|_| connect(&server)).collect();
    assert!(is_ended(&mut silent[0], DEADLINE));
    assert!(!is_ended(&mut idle, Duration::from_millis(50)));
    idle.set_read_timeout(Some(DEADLINE)).unwrap();
    idle.write_all(REQUEST).unwrap();
    assert!(read_header(&mut idle).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn an_export_is_not_cut_for_others_and_exports_leave_places() {
    let (server, bound) = patient(4);
    add_readings(&server);
    let mut export = begin_export(&server);
    // One of four places may have an export.
    let (status, code, message) = server.error("/api/v1/readings?format=csv");
    assert_eq!((status, code.as_str()), (503, "busy"));
    assert!(message.starts_with("another export is on the way; "), "{message}");
    let silent: Vec<TcpStream> = (0..3 * bound).map(|_| connect(&server)).collect();
    assert_eq!(server.get("/api/v1/readings").json()["readings"].as_array().unwrap().len(), 1_000);
    assert_eq!(server.get("/api/v1/nodes").status, 200);
    assert_eq!(server.get_json("/stats")["http"]["refused"], 1);
    drop(silent);
    let mut body = Vec::new();
    export.read_to_end(&mut body).unwrap();
    assert!(body.ends_with(b"\r\n0\r\n\r\n"), "cut off after {} bytes", body.len());
    // Its place is free again.
    assert_eq!(server.get("/api/v1/readings?format=csv").body.lines().count(), 300_001);
}

#[test]
fn when_all_places_for_data_are_taken_health_and_counters_are_still_answered() {
    let (server, _) = patient(1);
    add_readings(&server);
    let export = begin_export(&server);
    let (status, code, message) = server.error("/api/v1/nodes");
    assert_eq!((status, code.as_str()), (503, "busy"));
    assert!(message.contains("[http] max-connections"), "{message}");
    for path in ["/healthz", "/stats", "/metrics", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("\ngadwall_http_refused_total 1\n"), "{metrics}");
    assert!(metrics.contains("\ngadwall_http_closed_for_others_total 0\n"), "{metrics}");
    drop(export);
}

#[test]
fn half_a_header_and_an_idle_connection_are_ended() {
    let server = impatient(1);
    for sent in [&b""[..], b"GET /healthz HT", REQUEST] {
        let mut stream = connect(&server);
        stream.write_all(sent).unwrap();
        // The end of the connection, not the deadline, ends this.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.starts_with(b"HTTP/1.1 200"), sent == REQUEST);
    }
}

#[test]
fn a_reader_that_takes_nothing_is_ended_and_its_place_is_free_again() {
    let server = impatient(1);
    add_readings(&server);
    let mut slow = connect(&server);
    slow.write_all(b"GET /api/v1/readings?format=csv HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_header(&mut slow).starts_with("HTTP/1.1 200 OK\r\n"));
    // Its place is free when only the one that asks is left.
    let begun = Instant::now();
    while server.get_json("/stats")["http"]["open"] != 1 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(10));
    }
    // What was sent is cut off before its end.
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"));
    // One that does take it gets all of it.
    let whole = server.get("/api/v1/readings?format=csv");
    assert_eq!(whole.body.lines().count(), 300_001);
    assert!(whole.body.ends_with("1970-01-04T11:19:59Z,n,m,299999.0,,1970-01-04T11:19:59Z\n"));
}

#[test]
fn an_answer_in_progress_outlives_pauses_of_the_store() {
    let server = Server::new();
    add_readings(&server);
    let mut stream = connect(&server);
    stream.write_all(b"GET /api/v1/readings?format=csv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut body = Vec::new();
    let mut pauses = 0;
    while (&stream).take(500_000).read_to_end(&mut body).unwrap() > 0 {
        drop(server.store.reader.pause());
        pauses += 1;
    }
    assert!(pauses > 10, "{pauses}");
    assert!(body.ends_with(b"\r\n0\r\n\r\n"), "cut off after {} bytes", body.len());
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text.matches(",n,m,").count(), 300_000);
}

#[test]
fn stopping_ends_idle_connections_at_once_and_stuck_ones_in_bounded_time() {
    let mut server = Server::with(
        Limits::default(),
        &loopback(),
        Patience { stop: Duration::from_millis(100), ..Patience::default() },
    );
    let mut idle = connect(&server);
    idle.write_all(REQUEST).unwrap();
    read_header(&mut idle);
    let mut half = connect(&server);
    half.write_all(b"GET /").unwrap();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < DEADLINE);
    assert!(TcpStream::connect(server.address).is_err());
}
