//! The daemon as a child process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, Stored, wait_for};

/// The program under test, with an environment that does not depend on who runs the tests.
pub fn gadwall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gadwall"));
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("GADWALL_") {
            command.env_remove(key);
        }
    }
    for key in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "RUST_LOG"] {
        command.env_remove(key);
    }
    command.stdin(Stdio::null());
}

/// How a daemon is to be started.
pub struct Setup {
    dir: TempDir,
    config: toml::Table,
    env: Vec<(String, OsString)>,
    token: Option<String>,
}

impl Setup {
    /// With `config`, to which the database's path, port 0 and a trusted clock are added where it does not set them.
    pub fn new(config: &str) -> Self {
        let mut config: toml::Table = config.parse().expect("the test's configuration is TOML");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("gadwall.duckdb");
        section(&mut config, "store").entry("path").or_insert(path.to_str().expect("an UTF-8 path").into());
        section(&mut config, "http").entry("listen").or_insert("127.0.0.1:0".into());
        section(&mut config, "clock").entry("trust").or_insert("always".into());
        Self { dir, config, env: Vec::new(), token: None }
    }

    /// Sets an environment variable of the daemon.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets several.
    pub fn envs(mut self, env: impl IntoIterator<Item = (String, OsString)>) -> Self {
        self.env.extend(env);
        self
    }

    /// Requests carry this bearer token.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_answering();
        daemon
    }

    /// Starts it and does not wait.
    pub fn spawn(self) -> Daemon {
        let config = self.dir.path().join("gadwall.toml");
        std::fs::write(&config, self.config.to_string()).expect("writing the configuration");
        let database = PathBuf::from(self.config["store"]["path"].as_str().expect("a path"));
        let mut daemon = Daemon {
            dir: self.dir,
            database,
            config,
            env: self.env,
            token: self.token,
            child: None,
            log: Arc::default(),
            address: String::new(),
        };
        daemon.spawn_child();
        daemon
    }
}

fn section<'a>(config: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    config
        .entry(name)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()))
        .as_table_mut()
        .expect("a section is a table")
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.body))
    }
}

/// A running daemon, killed when dropped. Its log is printed when the test fails.
pub struct Daemon {
    dir: TempDir,
    database: PathBuf,
    config: PathBuf,
    env: Vec<(String, OsString)>,
    token: Option<String>,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    address: String,
}

impl Daemon {
    /// Starts it with `config` and waits until it answers.
    pub fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    fn spawn_child(&mut self) {
        // What an earlier run has left would be taken for this one's.
        let _ = std::fs::remove_file(self.http_addr());
        let program = env!("CARGO_BIN_EXE_gadwall");
        let mut command = Command::new(program);
        clean(&mut command);
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary under test starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::clone(&self.log);
        thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                log.lock().expect("no panic holds the log").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        self.child = Some(child);
    }

    /// Starts it again on the same files and does not wait.
    pub fn respawn(&mut self) {
        assert!(self.child.is_none(), "end it first");
        self.spawn_child();
    }

    /// Whether it has said under which address it answers.
    pub fn has_address(&self) -> bool {
        std::fs::read_to_string(self.http_addr()).is_ok_and(|text| !text.trim().is_empty())
    }

    /// Waits until it answers.
    #[track_caller]
    pub fn wait_answering(&mut self) {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.exit_status() {
                panic!("the daemon ended with {status} while starting");
            }
            if let Ok(text) = std::fs::read_to_string(self.http_addr()) {
                text.trim().clone_into(&mut self.address);
                if self.try_get("/healthz").is_ok() {
                    return;
                }
            }
            assert!(Instant::now() < end, "the daemon does not answer on HTTP after {DEADLINE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn http_addr(&self) -> PathBuf {
        self.database.parent().expect("the database is in a directory").join("http.addr")
    }

    /// The database's path.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// The configuration's path.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The directory that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic holds the log").clone()
    }

    /// The address that it serves.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the daemon runs"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|c| c.try_wait().expect("waiting for the daemon"))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the daemon's end", || {
            status = self.exit_status();
            status.is_some()
        });
        self.child = None;
        status.expect("just seen")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signalling the daemon");
    }

    /// Ends it as a power cut does, and says how it ended: it may have been over before.
    pub fn kill9(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("killing the daemon");
        child.wait().expect("waiting for the daemon")
    }

    /// Sends SIGTERM and waits for its end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Sends SIGTERM, expects exit status 0, and reads the file.
    #[track_caller]
    pub fn finish(&mut self) -> Stored {
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "exit status after SIGTERM: {status}");
        self.stored()
    }

    /// Starts it again on the same files and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "end it first");
        self.spawn_child();
        self.wait_answering();
    }

    /// What is in the file of the daemon that has ended.
    #[track_caller]
    pub fn stored(&self) -> Stored {
        assert!(self.child.is_none(), "another DuckDB can open the file only when the daemon is gone");
        Stored::read(&self.database)
    }

    /// Starts a second daemon with the same configuration and returns what it says when it ends.
    pub fn second(&self) -> Output {
        gadwall().arg("run").arg("--config").arg(&self.config).output().expect("the binary under test starts")
    }

    /// Limits the size that the daemon's files may grow to; `None` lifts the limit.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        prlimit(Some(self.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None })
            .expect("setting the daemon's file-size limit");
    }

    /// GET with the daemon's token.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.get_as(path, self.token.as_deref())
    }

    /// GET with another token, or none.
    pub fn get_as(&self, path: &str, token: Option<&str>) -> Result<Answer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let mut request = agent.get(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call()?;
        let header = |(n, v): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok(Answer { status, headers, body })
    }

    /// GET that must be answered.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// GET that must be answered with 200 and JSON.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.json()
    }

    /// `/stats`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.json("/stats")
    }

    /// A count in `/stats`, such as `/readings/committed`.
    #[track_caller]
    pub fn stat(&self, pointer: &str) -> u64 {
        let stats = self.stats();
        let found = stats.pointer(pointer).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no count {pointer} in /stats: {stats}"))
    }

    /// How often `reason` was counted under `readings.dead` or `readings.dropped` in `/stats`.
    #[track_caller]
    pub fn reason(&self, what: &str, reason: &str) -> u64 {
        let stats = self.stats();
        let found = stats["readings"][format!("{what}_by_reason")][reason].as_u64();
        found.unwrap_or(0)
    }

    /// One source in `/stats`.
    #[track_caller]
    pub fn source(&self, name: &str) -> Value {
        let stats = self.stats();
        let sources = stats["sources"].as_array().expect("sources is an array");
        sources.iter().find(|s| s["name"] == name).cloned().unwrap_or_else(|| panic!("no source {name}: {stats}"))
    }

    /// The checks of `/healthz` that fail, as `name: details`.
    #[track_caller]
    pub fn failing(&self) -> Vec<String> {
        let answer = self.get("/healthz");
        let health = answer.json();
        let checks = health["checks"].as_array().unwrap_or_else(|| panic!("no checks in {health}"));
        let failing: Vec<String> = checks
            .iter()
            .filter(|c| c["ok"] == false)
            .map(|c| format!("{}: {}", c["name"].as_str().unwrap_or("?"), c["detail"].as_str().unwrap_or("?")))
            .collect();
        assert_eq!(answer.status, if failing.is_empty() { 200 } else { 503 }, "{health}");
        failing
    }

    /// Waits until exactly one check of `/healthz` fails, that of `source`, and its details hold `text`.
    #[track_caller]
    pub fn wait_failing(&self, source: &str, text: &str) {
        let mut failing = Vec::new();
        let name = format!("source {source}: ");
        for _ in 0..3_000 {
            failing = self.failing();
            if let [one] = &failing[..]
                && one.starts_with(&name)
                && one.contains(text)
            {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("not the one failing check of source {source} with {text:?}: {failing:?}");
    }

    /// Waits until a count in `/stats` has reached `count`.
    #[track_caller]
    pub fn wait_stat(&self, pointer: &str, count: u64) {
        wait_for(&format!("{pointer} to reach {count}"), || self.stat(pointer) >= count);
    }

    /// Waits until a source is in `state`.
    #[track_caller]
    pub fn wait_state(&self, source: &str, state: &str) {
        wait_for(&format!("source {source} to be {state}"), || self.source(source)["state"] == state);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            if super::keeps_folders() {
                let _ = std::fs::write(self.dir.path().join("daemon.log"), self.log());
                self.dir.disable_cleanup(true);
                return;
            }
            eprintln!(
                "---- the daemon's log ----\n{}---- end of the log ----",
                self.log.lock().expect("no panic holds the log")
            );
        }
    }
}
