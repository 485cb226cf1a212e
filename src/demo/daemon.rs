//! The daemon of the demo: this very program, run as `gadwall run` with a configuration in the demo's folder.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::child::Child;
use super::progress::Figures;
use crate::status::Endpoint;

/// How long it may take until it answers; a slow card takes its time to make the database.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// How long a question for the numbers of a moment may take.
const GLANCE: Duration = Duration::from_secs(3);
/// How long counting all readings may take.
const COUNTING: Duration = Duration::from_secs(300);
/// The columns of a CSV answer.
const COLUMNS: [&str; 6] = ["time", "node", "metric", "value", "unit", "received_at"];
/// What systemd tells a service: meant for the demo's surroundings, not for its daemon.
const SERVICE: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID", "CREDENTIALS_DIRECTORY"];

/// A running daemon.
pub(super) struct Daemon {
    child: Child,
    address: SocketAddr,
    endpoint: Endpoint,
}

impl Daemon {
    /// Starts it on the serial port `hub`, and on the broker's port where there is one, and waits until it answers.
    /// `interrupted` ends the wait.
    pub(super) fn start(
        folder: &Path,
        hub: &Path,
        broker: Option<u16>,
        mut interrupted: impl FnMut() -> bool,
    ) -> anyhow::Result<Self> {
        let file = folder.join("gadwall.toml");
        std::fs::write(&file, configuration(folder, hub, broker)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file);
        // The environment overrides the configuration, and could name the database of a real gateway.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GADWALL_") {
                command.env_remove(name);
            }
        }
        for name in SERVICE {
            command.env_remove(name);
        }
        let mut child = Child::spawn("daemon", command, folder.join("gadwall.log"))?;

        let deadline = Instant::now() + START;
        loop {
            child.check()?;
            if interrupted() {
                bail!("stopped before the daemon was ready");
            }
            let address = std::fs::read_to_string(folder.join("http.addr")).ok();
            if let Some(address) = address.and_then(|text| text.trim().parse::<SocketAddr>().ok()) {
                let endpoint = Endpoint::new(&address.to_string(), None, GLANCE);
                if endpoint.json("/stats").is_ok() {
                    return Ok(Self { child, address, endpoint });
                }
            }
            if Instant::now() >= deadline {
                bail!("the daemon does not answer within {} s; {}", START.as_secs(), child.tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(super) fn child(&self) -> &Child {
        &self.child
    }

    /// Fails when it is no longer running.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.child.check()
    }

    /// Its numbers now.
    pub(super) fn figures(&self) -> anyhow::Result<Figures> {
        Ok(Figures::read(&self.endpoint.json("/stats")?))
    }

    /// Number of readings that it has stored: the rows of its own answer, not a counter.
    pub(super) fn count_readings(&self) -> anyhow::Result<u64> {
        let path = "/api/v1/readings?format=csv";
        let endpoint = Endpoint::new(&self.address.to_string(), None, COUNTING);
        let response = endpoint.open(path)?;
        let status = response.status();
        if status != 200 {
            bail!("http://{}{path} answers with HTTP {status}, not 200", self.address);
        }
        count_rows(response.into_body().into_reader())
            .with_context(|| format!("cannot count the rows of http://{}{path}", self.address))
    }

    /// Sends SIGTERM and waits for its end with status 0.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.child.stop(END)
    }
}

/// Rows of a CSV answer without its header, which must have all columns.
fn count_rows(csv: impl Read) -> anyhow::Result<u64> {
    let mut reader = csv::Reader::from_reader(csv);
    if *reader.headers()? != COLUMNS[..] {
        bail!("the columns are {:?}, not {COLUMNS:?}", reader.headers()?.iter().collect::<Vec<_>>());
    }
    let mut rows = 0;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        rows += 1;
    }
    Ok(rows)
}

fn configuration(folder: &Path, hub: &Path, broker: Option<u16>) -> anyhow::Result<String> {
    let quoted = |path: &Path| {
        let text = path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))?;
        Ok::<_, anyhow::Error>(toml::Value::from(text).to_string())
    };
    // The demo brings its own time to the hub: a board that is not synchronised yet shows it as well.
    let text = format!(
        "# Written by `gadwall demo`.\n\
         [store]\n\
         path = {}\n\
         \n\
         [clock]\n\
         trust = \"always\"\n\
         \n\
         [http]\n\
         listen = \"127.0.0.1:0\"\n\
         \n\
         [[serial]]\n\
         name = \"hub\"\n\
         port = {}\n\
         format = \"hub-lines\"\n",
        quoted(&folder.join("gadwall.duckdb"))?,
        quoted(hub)?,
    );
    let mqtt = broker.map(|port| {
        format!(
            "\n\
             [[mqtt]]\n\
             name = \"home\"\n\
             url = \"mqtt://127.0.0.1:{port}\"\n\
             subscribe = [{{ topic = \"zigbee2mqtt/{{node}}\", format = \"json\" }}]\n"
        )
    });
    Ok(text + &mqtt.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_port_and_the_broker() {
        let folder = Path::new("/tmp/a \"quoted\" folder");
        let text = configuration(folder, Path::new("/dev/pts/3"), Some(40_123)).unwrap();
        let expected = r#"# Written by `gadwall demo`.
[store]
path = '/tmp/a "quoted" folder/gadwall.duckdb'

[clock]
trust = "always"

[http]
listen = "127.0.0.1:0"

[[serial]]
name = "hub"
port = "/dev/pts/3"
format = "hub-lines"

[[mqtt]]
name = "home"
url = "mqtt://127.0.0.1:40123"
subscribe = [{ topic = "zigbee2mqtt/{node}", format = "json" }]
"#;
        assert_eq!(text, expected);
        let alone = configuration(folder, Path::new("/dev/pts/3"), None).unwrap();
        assert_eq!(alone, expected.split_once("\n[[mqtt]]").unwrap().0);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["store"]["path"].as_str(), Some("/tmp/a \"quoted\" folder/gadwall.duckdb"));
    }

    #[test]
    fn rows_are_counted_as_records_and_the_header_is_checked() {
        let csv = "time,node,metric,value,unit,received_at\n\
                   2026-01-01T00:00:00Z,7,temperature,21.5,degC,\n\
                   2026-01-01T00:00:00Z,\"two\nlines\",temperature,21.5,degC,\n";
        assert_eq!(count_rows(csv.as_bytes()).unwrap(), 2);
        assert_eq!(count_rows("time,node,metric,value,unit,received_at\n".as_bytes()).unwrap(), 0);
        let error = count_rows("{\"error\":1}\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("the columns are [\"{\\\"error\\\":1}\"], not [\"time\", "), "{error}");
        assert!(count_rows("time,node,metric,value,unit,received_at\ncut,of".as_bytes()).is_err());
    }
}
