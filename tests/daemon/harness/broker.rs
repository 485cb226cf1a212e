//! A real mosquitto on an ephemeral loopback port.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, DEADLINE};

/// Where Debian's package has the plug-in that can refuse subscriptions.
const DYNAMIC_SECURITY: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/mosquitto_dynamic_security.so",
];

/// Certificates of a TLS listener, as PEM files.
struct Tls {
    port: u16,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// What a broker is to be like.
#[derive(Default)]
pub struct Settings {
    user: Option<(String, String)>,
    /// Topics below which subscribing is allowed; `None`: everywhere.
    subscribable: Option<String>,
    persistence: bool,
    quiet: bool,
    /// CA, certificate and key as PEM text.
    tls: Option<[String; 3]>,
}

impl Settings {
    /// Asks for this user name and password.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Refuses subscriptions that are not below this filter.
    pub fn subscribable(mut self, filter: &str) -> Self {
        self.subscribable = Some(filter.into());
        self
    }

    /// Keeps sessions and messages on disk when it ends.
    pub fn persistent(mut self) -> Self {
        self.persistence = true;
        self
    }

    /// Does not log each packet: what depends on the log, such as [`Broker::acknowledged`], sees nothing then.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Has a second listener that speaks TLS and asks for a client's certificate of the same authority.
    pub fn tls(mut self, ca: &str, cert: &str, key: &str) -> Self {
        self.tls = Some([ca.into(), cert.into(), key.into()]);
        self
    }

    /// Starts it.
    pub fn start(self) -> Broker {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut broker =
            Broker { dir, settings: self, port: 0, tls: None, child: None, log: Arc::default(), fixed_port: false };
        broker.start();
        broker
    }
}

/// A broker, killed when dropped. Its log is printed when the test fails.
pub struct Broker {
    dir: TempDir,
    settings: Settings,
    port: u16,
    tls: Option<Tls>,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    fixed_port: bool,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

impl Broker {
    /// A broker that everybody may use.
    pub fn new() -> Self {
        Settings::default().start()
    }

    /// A broker that is not started yet; its port is chosen already.
    pub fn stopped() -> Self {
        let mut broker = Self::new();
        broker.stop();
        broker
    }

    /// Starts it; after the first time on the same port.
    pub fn start(&mut self) {
        let end = Instant::now() + DEADLINE;
        loop {
            if !self.fixed_port {
                self.port = free_port();
            }
            match self.try_start() {
                Ok(()) => {
                    self.fixed_port = true;
                    return;
                }
                Err(e) => assert!(Instant::now() < end, "mosquitto does not start: {e}"),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_start(&mut self) -> Result<(), String> {
        let config = self.write_config();
        let mut child = Command::new(mosquitto())
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::clone(&self.log);
        let from = log.lock().expect("no panic holds the log").len();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("no panic holds the log");
                let _ = writeln!(log, "{line}");
            }
        });
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!(
                    "it ended with {status}: {}",
                    &self.log.lock().expect("no panic holds the log")[from..]
                ));
            }
            let running = self.log.lock().expect("no panic holds the log")[from..].contains(" running\n");
            if running && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "it does not listen: {}",
                    &self.log.lock().expect("no panic holds the log")[from..]
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn write_config(&mut self) -> PathBuf {
        let dir = self.dir.path();
        let mut text = format!(
            "user root\nlog_dest stderr\nmax_queued_messages 1000000\nmax_inflight_messages 0\n\
             autosave_interval 1\nset_tcp_nodelay true\nlistener {} 127.0.0.1\n",
            self.port
        );
        if !self.settings.quiet {
            text += "log_type all\n";
        }
        if self.settings.persistence {
            let _ = writeln!(text, "persistence true\npersistence_location {}/", dir.display());
        }
        if let Some([ca, cert, key]) = &self.settings.tls {
            let port = match &self.tls {
                Some(tls) if self.fixed_port => tls.port,
                _ => free_port(),
            };
            let file = |name: &str, text: &str| {
                let path = dir.join(name);
                std::fs::write(&path, text).expect("writing a certificate");
                path
            };
            let tls = Tls { port, ca: file("ca.pem", ca), cert: file("cert.pem", cert), key: file("key.pem", key) };
            let _ = writeln!(
                text,
                "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
                 use_identity_as_username true",
                tls.ca.display(),
                tls.cert.display(),
                tls.key.display()
            );
            self.tls = Some(tls);
        }
        if let Some((name, password)) = &self.settings.user {
            let file = dir.join("passwords");
            let status = Command::new(beside_mosquitto("mosquitto_passwd"))
                .args(["-c", "-b"])
                .arg(&file)
                .args([name, password])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("mosquitto_passwd is part of Debian's package mosquitto: apt-get install mosquitto");
            assert!(status.success(), "mosquitto_passwd: {status}");
            let _ = writeln!(text, "allow_anonymous false\npassword_file {}", file.display());
        } else {
            text += "allow_anonymous true\n";
        }
        if let Some(filter) = &self.settings.subscribable {
            let plugin = DYNAMIC_SECURITY.iter().find(|p| Path::new(p).exists());
            let plugin = plugin.expect("mosquitto_dynamic_security.so is part of Debian's package mosquitto");
            let file = dir.join("dynamic-security.json");
            let rules = serde_json::json!({
                "defaultACLAccess": {
                    "publishClientSend": true, "publishClientReceive": true, "subscribe": false, "unsubscribe": true
                },
                "clients": [],
                "groups": [{"groupname": "all", "roles": [{"rolename": "reader", "priority": 0}]}],
                "roles": [{"rolename": "reader", "acls": [
                    {"acltype": "subscribePattern", "topic": filter, "priority": 0, "allow": true}
                ]}],
                "anonymousGroup": "all"
            });
            std::fs::write(&file, rules.to_string()).expect("writing the rules");
            let _ = writeln!(text, "plugin {plugin}\nplugin_opt_config_file {}", file.display());
        }
        let path = dir.join("mosquitto.conf");
        std::fs::write(&path, text).expect("writing the broker's configuration");
        path
    }

    /// Ends it in an orderly way: what is to be kept is written to disk.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("signalling the broker");
        child.wait().expect("waiting for the broker");
    }

    /// Ends it as a power cut does: what it had not written to disk is gone.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("killing the broker");
        child.wait().expect("waiting for the broker");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("the broker runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("signalling the broker");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its plain listener.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The URL of its TLS listener, by the name that stands in the certificate.
    pub fn tls_url(&self) -> String {
        format!("mqtts://localhost:{}", self.tls.as_ref().expect("a TLS listener").port)
    }

    /// A `[[mqtt]]` section for it with `more` keys and `subscribe` as the elements of the list.
    pub fn section(&self, name: &str, more: &str, subscribe: &str) -> String {
        format!(
            "[[mqtt]]\nname = \"{name}\"\nurl = \"{}\"\nclient-id = \"gadwall-{name}\"\n{more}\nsubscribe = [{subscribe}]\n",
            self.url()
        )
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic holds the log").clone()
    }

    /// How often a text stands in its log.
    pub fn logged(&self, text: &str) -> usize {
        self.log.lock().expect("no panic holds the log").matches(text).count()
    }

    /// How long its log is.
    pub fn log_len(&self) -> usize {
        self.log.lock().expect("no panic holds the log").len()
    }

    /// Waits, without a pause between the looks, until a text stands `count` times in its log behind byte `from`.
    #[track_caller]
    pub fn wait_logged(&self, from: usize, text: &str, count: usize) {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.log.lock().expect("no panic holds the log")[from..].matches(text).count();
            if found >= count {
                return;
            }
            assert!(Instant::now() < end, "the broker logged {text:?} {found} times of {count} within {DEADLINE:?}");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// The topics of the messages that `client` has acknowledged, by the log: packet ids are those of the last message
    /// sent under them.
    pub fn acknowledged(&self, client: &str) -> Vec<String> {
        let log = self.log.lock().expect("no panic holds the log");
        let (sent, answered) =
            (format!("Sending PUBLISH to {client} ("), format!("Received PUBACK from {client} (Mid: "));
        let mut topics = std::collections::HashMap::new();
        let mut found = Vec::new();
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once(&sent) {
                // d0, q1, r0, m7, 'topic', ... (5 bytes))
                let packet = rest.split(", ").nth(3).and_then(|m| m.strip_prefix('m'));
                let topic = rest.split('\'').nth(1);
                let (Some(packet), Some(topic)) = (packet, topic) else { panic!("not as expected: {line}") };
                topics.insert(packet.to_owned(), topic.to_owned());
            } else if let Some((_, rest)) = line.split_once(&answered) {
                let packet = rest.split([',', ')']).next().unwrap_or_default();
                found.push(topics.get(packet).unwrap_or_else(|| panic!("acknowledged and not sent: {line}")).clone());
            }
        }
        found
    }

    /// A client that publishes.
    pub fn publisher(&self) -> Client {
        Client::connect(self.port, "", true, None)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log.lock().expect("no panic holds the log");
            if super::keeps_folders() {
                let _ = std::fs::write(self.dir.path().join("broker.log"), log.as_bytes());
                self.dir.disable_cleanup(true);
                return;
            }
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("---- the broker's log, its end ----");
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
            eprintln!("---- end of the log ----");
        }
    }
}

fn mosquitto() -> PathBuf {
    beside_mosquitto("mosquitto")
}

/// Debian puts the broker where a user's path often does not look.
fn beside_mosquitto(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    places
        .iter()
        .map(|p| p.join(program))
        .find(|p| p.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed, and the tests need it: apt-get install mosquitto"))
}
