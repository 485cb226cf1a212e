//! The parts of a run, in their order. Each leaves a board that is on, with the gateway running.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use crate::hub::{Hub, RECORDS, Tally};
use crate::load;
use crate::machine::{Kind, Machine};
use crate::publishers::{self, Publishers};
use crate::table::Table;

type Part = fn(&mut Site, &mut Table) -> anyhow::Result<()>;

/// All parts. The first two are done whatever is asked for.
pub const PARTS: [(&str, Part); 13] = [
    ("boot", boot),
    ("install", install),
    ("flow", flow),
    ("look", look),
    ("reload", reload),
    ("restart", restart),
    ("upgrade", upgrade),
    ("unplug", unplug),
    ("power-cut", power_cut),
    ("load", load::load),
    ("clock", clock),
    ("cgroup", cgroup),
    ("full", load::full),
];

/// How long something may take that takes a moment on a Pi.
pub const SOON: Duration = Duration::from_secs(300);
/// The hub's name below /dev/gadwall is made of the adapter's vendor, product and serial number.
const CONFIG: &str = r#"
[[serial]]
name = "hub"
port = "PORT"
format = "hub-lines"

[[mqtt]]
name = "home"
url = "mqtt://localhost:1883"

[[mqtt.subscribe]]
topic = "sensors/{node}"
format = "json"
time = "time"

[[mqtt.subscribe]]
topic = "live/{node}"
format = "json"
"#;

/// The board with what is around it.
pub struct Site {
    pub board: Machine,
    package: PathBuf,
    next: PathBuf,
    /// How long the load lasts.
    pub load: Duration,
    /// A file with millions of readings of a gateway, for the part `full`.
    pub full: Option<PathBuf>,
    pub tally: Tally,
    /// Messages that the broker has confirmed.
    pub messages: u64,
    pub hub: Option<Hub>,
    began: i64,
}

impl Site {
    /// `next` is the package of the next version.
    pub fn new(board: Machine, package: &Path, next: &Path, load: Duration, full: Option<&Path>) -> Self {
        let began = unix() - 40 * 86_400;
        Self {
            board,
            package: package.into(),
            next: next.into(),
            load,
            full: full.map(Into::into),
            tally: Tally::default(),
            messages: 0,
            hub: None,
            began,
        }
    }

    /// Switches a board on again that a part has left off.
    pub fn recover(&mut self) -> anyhow::Result<()> {
        self.hub = None;
        if self.board.run("true").is_err() {
            let _ = self.board.cut();
            self.board.boot("")?;
            self.set_clock()?;
        }
        Ok(())
    }

    /// Readings that have to be stored, each of them once.
    pub fn expected(&self) -> u64 {
        self.tally.readings() + self.messages * publishers::READINGS
    }

    /// Plugs the hub in to send `batches` more.
    pub fn plug(&mut self, batches: u64, every: Duration) -> anyhow::Result<u64> {
        self.hub = None;
        let until = self.tally.acked() + batches;
        self.hub = Some(Hub::plug(&self.board.usb(), &self.tally, self.began, until, every)?);
        Ok(until)
    }

    /// Waits until the hub's batches have been acknowledged up to `until`.
    pub fn acked(&self, until: u64, within: Duration) -> anyhow::Result<()> {
        soon("the hub's batches to be acknowledged", within, || Ok(self.tally.acked() >= until))
    }

    pub fn stored(&self) -> anyhow::Result<u64> {
        self.board.json("/stats")?["store"]["readings"].as_u64().context("store.readings")
    }

    /// Waits until everything is stored, and puts the comparison into the table.
    pub fn count(&self, part: &str, table: &mut Table) -> anyhow::Result<()> {
        let expected = self.expected();
        let _ = soon("all to be stored", SOON, || Ok(self.stored()? >= expected));
        table.equal(part, "readings stored, each once", expected, self.stored()?);
        Ok(())
    }

    fn source(&self, name: &str) -> anyhow::Result<String> {
        let stats = self.board.json("/stats")?;
        let sources = stats["sources"].as_array().context("sources")?;
        let source = sources.iter().find(|s| s["name"] == name).with_context(|| format!("no source {name}"))?;
        Ok(source["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Does what a time service does once it has reached its server.
    fn set_clock(&self) -> anyhow::Result<()> {
        self.board.run(&format!(
            "date -s @{} && mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized",
            unix()
        ))?;
        Ok(())
    }

    pub fn active(&self) -> anyhow::Result<()> {
        soon("the unit to be active", SOON, || Ok(self.board.see("systemctl is-active gadwall")?.trim() == "active"))
    }
}

fn unix() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("before the end")
}

/// Asks twice a second until it is so.
pub fn soon(what: &str, within: Duration, mut is: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + within;
    loop {
        // Right after a start nobody answers yet.
        match is() {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() > end => bail!("waited {within:?} for {what}"),
            Err(error) if Instant::now() > end => return Err(error.context(format!("waited {within:?} for {what}"))),
            _ => thread::sleep(Duration::from_millis(500)),
        }
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn boot(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let time = site.board.boot("")?;
    table.figure("boot", "from power to a login", seconds(time));
    let _ = site.board.see("timeout 300 systemctl is-system-running --wait")?;
    let system =
        site.board.see("lsb=$(. /etc/os-release; echo $PRETTY_NAME); echo $lsb, $(uname -m), $(nproc) cores")?;
    table.figure("boot", "system", system.trim());
    let memory = site.board.run("awk '/^MemTotal|^MemAvailable/ { printf \"%d MB \", $2 / 1000 }' /proc/meminfo")?;
    table.figure("boot", "memory in all, and available", memory.trim());
    Ok(())
}

fn install(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    site.set_clock()?;
    site.board.write("/root/gadwall.deb", File::open(&site.package)?)?;
    let began = Instant::now();
    site.board.run("DEBIAN_FRONTEND=noninteractive dpkg -i /root/gadwall.deb")?;
    table.figure("install", "dpkg -i", seconds(began.elapsed()));
    site.active()?;
    let state = site.board.see("systemctl is-active gadwall; systemctl is-enabled gadwall")?;
    table.equal("install", "the unit", "active enabled".into(), state.split_whitespace().collect::<Vec<_>>().join(" "));
    let folder = site.board.run("stat -c '%U:%G %a' /var/lib/gadwall")?;
    table.equal("install", "the readings' folder", "gadwall:gadwall 750", folder.trim());
    let listening = site.board.run("ss -Hltnp | awk '/gadwall/ { print $4 }'")?;
    table.equal("install", "listens on", "127.0.0.1:8080", listening.trim());
    let score = site.board.see("systemd-analyze security gadwall | tail -1 | grep -oE '[0-9]+[.][0-9]+'")?;
    let good = score.trim().parse::<f64>().is_ok_and(|score| score <= 1.8);
    table.check("install", "systemd-analyze security", "at most 1.8", score.trim(), good);
    // As docs/raspberry-pi.md says.
    site.board.run(
        "cp /usr/share/doc/gadwall/examples/mosquitto-gadwall.conf /etc/mosquitto/conf.d/gadwall.conf && \
         systemctl restart mosquitto",
    )?;
    let until = site.plug(0, Duration::ZERO)?;
    ensure!(until == 0, "the hub has sent something");
    // The name with its serial number; the other is the socket's.
    let names = "ls /dev/gadwall/0403-6001-* | grep -v -e -at-";
    soon("the adapter", SOON, || Ok(site.board.run(names).is_ok()))?;
    let port = site.board.run(names)?.trim().to_owned();
    table.check("install", "name of the USB adapter", "/dev/gadwall/0403-6001-..", &port, port.lines().count() == 1);
    let latency = site.board.run("cat /sys/bus/usb-serial/devices/ttyUSB0/latency_timer")?;
    table.equal("install", "its latency timer, ms", "1", latency.trim());
    let config = CONFIG.replace("PORT", &port);
    site.board.run(&format!(
        "cat >>/etc/gadwall/gadwall.toml <<'END'\n{config}\nEND\ngadwall check /etc/gadwall/gadwall.toml"
    ))?;
    if site.board.kind() == Kind::Pc {
        // It has a clock that goes on without power, which a Pi has not.
        site.board.run("sed -i 's/^trust = .*/trust = \"synchronised\"/' /etc/gadwall/gadwall.toml")?;
    }
    site.board.run("systemctl restart gadwall")?;
    soon("both sources", SOON, || Ok(site.source("hub")? == "up" && site.source("home")? == "up"))?;
    table.figure("install", "sources", "hub up, home up");
    Ok(())
}

fn flow(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let until = site.plug(20, Duration::from_millis(500))?;
    let publishers = Publishers::start(&site.board, 4, 100, Duration::from_millis(200), true)?;
    site.messages += publishers.end()?;
    site.acked(until, SOON)?;
    table.figure(
        "flow",
        "sent",
        format!("{} records of the hub, {} messages of 5 readings", site.tally.acked() * RECORDS, site.messages),
    );
    site.count("flow", table)
}

fn look(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let status = site.board.see("systemctl status gadwall --no-pager")?;
    println!("{status}");
    let line =
        |start: &str| status.lines().map(str::trim).find(|l| l.starts_with(start)).unwrap_or_default().to_owned();
    let active = line("Active:");
    table.check("look", "systemctl status", "active (running)", &active, active.contains("active (running)"));
    let told = line("Status:");
    table.check("look", "its status line", "readings committed", &told, told.contains("readings committed"));
    let journal = site.board.see("journalctl -b -u gadwall --no-pager -o cat | tail -n 20")?;
    println!("{journal}");
    let problems = site.board.see("journalctl -b -u gadwall -p err --no-pager -o cat | wc -l")?;
    table.equal("look", "errors in the journal", "0", problems.trim());
    let health = site.board.see("curl -s -o /dev/null -w '%{http_code}' localhost:8080/healthz")?;
    table.equal("look", "curl localhost:8080/healthz", "200", health.trim());
    let stats = site.board.json("/stats")?;
    println!("{stats:#}");
    table.equal("look", "/stats: readings dropped", "0", &stats["readings"]["dropped"].to_string());
    let ports = site.board.see("gadwall ports")?;
    table.check(
        "look",
        "gadwall ports",
        "lists the adapter",
        ports.lines().last().unwrap_or_default(),
        ports.contains("ttyUSB0"),
    );
    Ok(())
}

fn reload(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let before = site.board.run("systemctl show -P MainPID gadwall")?;
    for (times, level) in [("1", "debug"), ("2", "info")] {
        site.board.run(&format!(
            "sed -i 's/^level = .*/level = \"{level}\"/' /etc/gadwall/gadwall.toml && systemctl reload gadwall"
        ))?;
        soon("the reload in the journal", SOON, || {
            let told = site.board.see("journalctl -b -u gadwall --no-pager -o cat")?;
            Ok(told.matches("the configuration was reloaded").count().to_string() == times)
        })?;
    }
    table.figure("reload", "the journal says", "the configuration was reloaded");
    table.equal("reload", "the process", before.trim(), site.board.run("systemctl show -P MainPID gadwall")?.trim());
    site.active()
}

/// Stopped under load: the hub waits, and the broker keeps what is published meanwhile.
fn restart(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let until = site.plug(20, Duration::from_millis(500))?;
    let publishers = Publishers::start(&site.board, 4, 100, Duration::from_millis(200), true)?;
    site.acked(until - 15, SOON)?;
    let began = Instant::now();
    site.board.run("systemctl stop gadwall")?;
    let stopped = began.elapsed();
    table.check("restart", "systemctl stop under load", "at most 30 s", seconds(stopped), stopped.as_secs() <= 30);
    let result = site.board.run("systemctl show -P Result gadwall")?;
    table.equal("restart", "its result", "success", result.trim());
    site.messages += publishers.end()?;
    let began = Instant::now();
    site.board.run("systemctl start gadwall")?;
    table.figure("restart", "systemctl start", seconds(began.elapsed()));
    site.acked(until, SOON)?;
    site.count("restart", table)
}

/// Upgraded under load to a package with a higher version and the same files, and then back, which is refused.
fn upgrade(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    site.board.write("/root/next.deb", File::open(&site.next)?)?;
    let until = site.plug(20, Duration::from_millis(500))?;
    let publishers = Publishers::start(&site.board, 4, 100, Duration::from_millis(200), true)?;
    let before = site.board.run("systemctl show -P MainPID gadwall")?;
    let changed = site.board.run("md5sum </etc/gadwall/gadwall.toml | cut -c1-8")?;
    site.board.run("DEBIAN_FRONTEND=noninteractive dpkg -i --force-confold /root/next.deb")?;
    site.active()?;
    let after = site.board.run("systemctl show -P MainPID gadwall")?;
    table.check("upgrade", "the process", "another one", after.trim(), before != after);
    table.equal(
        "upgrade",
        "the configuration",
        changed,
        site.board.run("md5sum </etc/gadwall/gadwall.toml | cut -c1-8")?,
    );
    let back = site.board.see("DEBIAN_FRONTEND=noninteractive dpkg -i /root/gadwall.deb; echo status $?")?;
    let refused = back.contains("may not be able to read it") && back.contains("status 1");
    table.check("upgrade", "a downgrade", "refused", if refused { "refused" } else { &back }, refused);
    // dpkg has the maintainer scripts of what stays restart it.
    site.active()?;
    table.equal("upgrade", "the unit after it", "active", site.board.see("systemctl is-active gadwall")?.trim());
    site.messages += publishers.end()?;
    site.acked(until, SOON)?;
    site.count("upgrade", table)
}

fn unplug(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let until = site.plug(1000, Duration::from_millis(500))?;
    site.acked(until - 995, SOON)?;
    site.hub = None;
    let began = Instant::now();
    soon("the hub to be missed", SOON, || Ok(site.source("hub")? != "up"))?;
    table.figure("unplug", "noticed", seconds(began.elapsed()));
    // So long nobody is there: the port is looked for again and again meanwhile.
    thread::sleep(Duration::from_secs(5));
    let began = Instant::now();
    let until = site.plug(10, Duration::from_millis(500))?;
    soon("the hub to be found", SOON, || Ok(site.source("hub")? == "up"))?;
    table.figure("unplug", "up again", seconds(began.elapsed()));
    site.acked(until, SOON)?;
    site.count("unplug", table)
}

fn power_cut(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let until = site.plug(100_000, Duration::from_millis(300))?;
    let publishers = Publishers::start(&site.board, 4, 100_000, Duration::from_millis(200), true)?;
    // Half a minute of load: the store has rows in its log, and may be in the middle of a checkpoint.
    site.acked(until - 99_920, SOON)?;
    // Durable is what was committed; what was acknowledged to the hub is known here.
    let committed = site.stored()?;
    let acked = site.tally.readings();
    site.board.cut()?;
    drop(publishers);
    site.hub = None;
    table.figure("power-cut", "stored just before it", committed);
    let time = site.board.boot("")?;
    site.set_clock()?;
    site.active()?;
    table.figure("power-cut", "from power to a login", seconds(time));
    soon("the store to answer", SOON, || Ok(site.stored()? > 0))?;
    let stored = site.stored()?;
    table.check("power-cut", "stored after it", format!("at least {committed}"), stored, stored >= committed);
    let starts = site.board.see("systemctl show -P NRestarts gadwall")?;
    table.equal("power-cut", "restarts that it needed", "0", starts.trim());
    let of_hub = hub_readings(site)?;
    table.check(
        "power-cut",
        "of the hub, acknowledged before it",
        format!("at least {acked}"),
        of_hub,
        of_hub >= acked,
    );
    // What was on its way is sent again, and the hub's readings are then those of its batches.
    let until = site.plug(10, Duration::from_millis(500))?;
    site.acked(until, SOON)?;
    let _ = soon("all to be stored", SOON, || Ok(hub_readings(site)? >= site.tally.readings()));
    table.equal("power-cut", "of the hub, each once", site.tally.readings(), hub_readings(site)?);
    // How many messages the broker has lost with the power is its own matter: they are counted from what is stored.
    settle(site)?;
    let rest = site.stored()? - site.tally.readings();
    table.equal("power-cut", "readings of half a message", 0, rest % publishers::READINGS);
    site.messages = rest / publishers::READINGS;
    Ok(())
}

/// Waits until nothing more comes.
fn settle(site: &Site) -> anyhow::Result<()> {
    let mut last = 0;
    soon("the broker's queue to be empty", SOON, || {
        thread::sleep(Duration::from_secs(12));
        let now = site.stored()?;
        Ok(std::mem::replace(&mut last, now) == now)
    })
}

fn hub_readings(site: &Site) -> anyhow::Result<u64> {
    let answer = site.board.json("/api/v1/statistics?start=0&group=node&aggregate=count&exact=true")?;
    let rows = answer["rows"].as_array().context("rows")?;
    let of_hub = rows.iter().filter(|row| row["node"].as_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())));
    Ok(of_hub.filter_map(|row| row["count"].as_u64()).sum())
}

/// No clock at the start, as on a Pi without a network; it becomes right later.
fn clock(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    site.hub = None;
    site.board.shut_down()?;
    site.board.boot("")?;
    site.active()?;
    // systemd sets a clock that is before its own release to that; the daemon gets what a kernel alone would have.
    site.board.run("systemctl stop gadwall && date -s @1000 && systemctl start gadwall")?;
    site.active()?;
    table.equal("clock", "the board's date", "1970-01-01", site.board.run("date -u +%F")?.trim());
    let stats = site.board.json("/stats")?;
    table.equal("clock", "/stats: the clock is trusted", "false", &stats["clock"]["trusted"].to_string());
    let before = site.stored()?;
    let from = unix();
    site.messages += Publishers::start(&site.board, 2, 20, Duration::from_millis(500), false)?.end()?;
    let until = unix();
    thread::sleep(Duration::from_secs(15));
    table.equal("clock", "stored with a wrong time meanwhile", 0, site.stored()? - before);
    site.set_clock()?;
    site.count("clock", table)?;
    let answer = site.board.json(&format!(
        "/api/v1/statistics?start={}&end={}&group=node&aggregate=count&exact=true&node=room-0&node=room-1&metric=battery",
        from - 5,
        until + 5
    ))?;
    let count: u64 = answer["rows"].as_array().context("rows")?.iter().filter_map(|row| row["count"].as_u64()).sum();
    table.equal("clock", "of 40 messages, those with their true time to 5 s", 40, count);
    Ok(())
}

/// As Raspberry Pi OS boots: nobody but the daemon bounds its memory.
fn cgroup(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    site.hub = None;
    site.board.shut_down()?;
    site.board.boot("cgroup_disable=memory")?;
    site.set_clock()?;
    site.active()?;
    let controllers = site.board.run("cat /sys/fs/cgroup/cgroup.controllers")?;
    table.check("cgroup", "controllers", "no memory", controllers.trim(), !controllers.contains("memory"));
    let until = site.plug(10, Duration::from_millis(500))?;
    site.messages += Publishers::start(&site.board, 4, 50, Duration::from_millis(200), true)?.end()?;
    site.acked(until, SOON)?;
    site.count("cgroup", table)
}
