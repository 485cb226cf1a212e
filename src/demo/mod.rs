//! `gadwall demo`: the daemon at its main job with nothing to set up. A simulated hub talks to it through a real
//! pseudo-terminal, and devices publish to it through a real broker where there is one; at the end everything that was
//! sent is compared with what is stored.

mod broker;
mod child;
mod climate;
mod daemon;
mod folder;
mod hub;
mod port;
mod progress;
mod publishers;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use broker::Broker;
use daemon::Daemon;
use folder::Folder;
use hub::Hub;
use port::Port;
use progress::Summary;
use publishers::Publishers;

/// How long the demo waits at its end until everything is acknowledged and committed.
const DRAIN: Duration = Duration::from_secs(20);
/// Time from one line of progress to the next.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How often is looked for signals and lost children.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the user wants of the demo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// End after so many seconds of readings; without it on SIGINT, SIGTERM or SIGHUP only.
    pub seconds: Option<u64>,
    /// Keep the database, the configuration and the logs in this folder, which must be empty or not exist yet.
    pub keep: Option<PathBuf>,
}

/// Runs the demo and prints to `out`. Blocks until it has ended; call it on the main thread, since the daemon and the
/// broker are killed when the calling thread ends. All of its processes and, unless kept, files are gone when it returns.
///
/// # Errors
/// When something cannot be started, when the daemon or the broker ends by itself, when what was sent is not what is
/// stored, or when `out` cannot be written.
pub fn run(options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let mut stop = Stop(Signals::new([SIGINT, SIGTERM, SIGHUP])?);
    let folder = match &options.keep {
        Some(path) => Folder::kept(path)?,
        None => Folder::temporary()?,
    };
    let result = run_in(&folder, options.seconds.map(Duration::from_secs), &mut stop, out);
    if folder.is_kept() {
        writeln!(out, "Database, configuration and logs stay in {}", folder.path().display())?;
    }
    result
}

fn run_in(folder: &Folder, limit: Option<Duration>, stop: &mut Stop, out: &mut impl Write) -> anyhow::Result<()> {
    let mut demo = Demo::start(folder, stop, out)?;
    demo.introduce(folder, limit, out)?;
    let elapsed = demo.watch(limit, stop, out)?;
    writeln!(out, "Stopping: nothing new is sent; waiting until everything is acknowledged and committed")?;
    demo.drain(stop)?;
    let summary = demo.account(elapsed)?;
    let stopped = demo.daemon.stop();
    write!(out, "\n{}", summary.text())?;
    writeln!(out, "{}", summary.verdict()?)?;
    stopped?;
    Ok(())
}

/// The signals that end the demo.
struct Stop(Signals);

impl Stop {
    /// Whether one has come since this was last asked.
    fn asked(&mut self) -> bool {
        self.0.pending().count() > 0
    }
}

/// Everything that is running. It ends in the order of the fields: those who send, those who receive.
struct Demo {
    publishers: Option<Publishers>,
    daemon: Daemon,
    port: Port,
    broker: Option<Broker>,
}

impl Demo {
    fn start(folder: &Folder, stop: &mut Stop, out: &mut impl Write) -> anyhow::Result<Self> {
        let broker = if let Some(program) = broker::find(std::env::var_os("PATH").as_deref()) {
            Some(Broker::start(&program, folder.path())?)
        } else {
            writeln!(out, "mosquitto is not installed (apt install mosquitto): the demo runs with the hub alone")?;
            None
        };
        let port = Port::open()?;
        let broker_port = broker.as_ref().map(Broker::port);
        let daemon = Daemon::start(folder.path(), port.path(), broker_port, || stop.asked())?;
        let publishers = broker_port.map(Publishers::start).transpose()?;
        Ok(Self { publishers, daemon, port, broker })
    }

    /// Says what runs and what to try.
    fn introduce(&self, folder: &Folder, limit: Option<Duration>, out: &mut impl Write) -> anyhow::Result<()> {
        let child = self.daemon.child();
        writeln!(out, "A gadwall is running in {}", folder.path().display())?;
        writeln!(out, "  daemon   process {}, its log is {}", child.id(), child.log().display())?;
        writeln!(out, "  hub      {} simulated nodes on the serial port {}", hub::NODES, self.port.path().display())?;
        if let Some(broker) = &self.broker {
            let (devices, port) = (publishers::COUNT, broker.port());
            writeln!(out, "  MQTT     {devices} simulated Zigbee2MQTT devices through mosquitto on 127.0.0.1:{port}")?;
        }
        let url = format!("http://{}", self.daemon.address());
        let node = Hub::device(0);
        writeln!(
            out,
            "\nTry in another terminal:\n  \
             curl -s {url}/stats\n  \
             curl -s {url}/healthz\n  \
             curl -s {url}/api/v1/nodes\n  \
             curl -s {url}/api/v1/nodes/{node}/latest\n  \
             curl -s '{url}/api/v1/nodes/{node}/statistics?start=-8d'\n  \
             curl -s '{url}/api/v1/readings?node={node}&limit=20&format=csv'\n  \
             gadwall status --url {url}\n"
        )?;
        match limit {
            Some(limit) => writeln!(out, "It ends after {} s, or with Ctrl-C.", limit.as_secs())?,
            None => writeln!(out, "Ctrl-C ends it and compares what was sent with what is stored.")?,
        }
        Ok(out.flush()?)
    }

    /// Prints the progress until a signal comes or the time is up; returns how long it was.
    fn watch(&mut self, limit: Option<Duration>, stop: &mut Stop, out: &mut impl Write) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut next_line = LINE_EVERY;
        loop {
            let elapsed = begun.elapsed();
            self.check()?;
            if elapsed >= next_line {
                // A daemon that hangs is not asked again for all the seconds that were missed.
                next_line = LINE_EVERY * u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX - 1).saturating_add(1);
                match self.daemon.figures() {
                    Ok(figures) => writeln!(out, "{}", progress::line(elapsed, &figures))?,
                    Err(e) => writeln!(out, "{:>5} s   {e:#}", elapsed.as_secs())?,
                }
                out.flush()?;
            }
            if stop.asked() || limit.is_some_and(|limit| elapsed >= limit) {
                return Ok(elapsed);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Stops the senders and waits until everything that they sent is acknowledged and committed, or the time for it is
    /// up: then the account shows what is missing.
    fn drain(&mut self, stop: &mut Stop) -> anyhow::Result<()> {
        self.port.stop();
        if let Some(publishers) = &self.publishers {
            publishers.stop();
        }
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            self.check()?;
            if stop.asked() {
                bail!("stopped by a second signal, before everything was committed");
            }
            let quiet = self.port.is_quiet() && self.publishers.as_ref().is_none_or(Publishers::is_quiet);
            let sent = self.port.counts().readings + self.published().map_or(0, |counts| counts.readings);
            let committed = self.daemon.figures().ok().and_then(|figures| figures.committed);
            if quiet && committed.is_some_and(|committed| committed >= sent) {
                break;
            }
            std::thread::sleep(2 * LOOK_EVERY);
        }
        Ok(())
    }

    fn account(&self, elapsed: Duration) -> anyhow::Result<Summary> {
        let stored = self.daemon.count_readings()?;
        let figures = self.daemon.figures()?;
        Ok(Summary { elapsed, hub: self.port.counts(), mqtt: self.published(), stored, figures })
    }

    fn published(&self) -> Option<publishers::PublishCounts> {
        self.publishers.as_ref().map(Publishers::counts)
    }

    /// Fails when something has ended that should run.
    fn check(&mut self) -> anyhow::Result<()> {
        self.daemon.check()?;
        if let Some(broker) = &mut self.broker {
            broker.check()?;
        }
        if let Some(publishers) = &mut self.publishers {
            publishers.check()?;
        }
        self.port.check()
    }
}

/// Seconds since 1970.
fn unix() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
