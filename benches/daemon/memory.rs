//! Memory while everything is busy: a hub with five nodes, a second serial port, a broker, and questions, on a database of
//! millions of readings, where 128 MB is all there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::cgroup::Cgroup;
use crate::common::data::{METRICS, NODES, SERIES, START, STEP, node};
use crate::common::machine::{self, Memory};
use crate::common::result::{record, record_with};
use crate::harness::{Hub, Settings, Setup};
use crate::hub::{self, RECORDS};
use crate::{copy, quick, record_waits};

/// Bytes that the process and its pages may use.
const LIMIT: u64 = 128 << 20;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Messages a second through the broker, lines a second through the second port.
const MESSAGES: u32 = 200;
const LINES: u32 = 20;

/// With so many million readings stored.
pub fn run(millions: usize) -> anyhow::Result<()> {
    let (_folder, database) = copy(millions)?;
    let (mut hub, lines) = (Hub::new(), Hub::new());
    let broker = Settings::default().quiet().start();
    let config = format!(
        "{}\n{}\n{}\n[store]\npath = \"{}\"\n[log]\nlevel = \"warn\"\n",
        hub.section("hub-lines", ""),
        lines.section("json-lines", "").replace("\"hub\"", "\"lines\""),
        broker.section("home", "", r#"{ topic = "sensors/{node}" }"#),
        database.display()
    );
    let mut daemon = Setup::new(&config).spawn();
    let cgroup = Cgroup::new(LIMIT);
    if let Some(cgroup) = &cgroup {
        cgroup.take(daemon.id())?;
    }
    daemon.wait_answering();
    hub.wait_answered();

    let stop = Arc::new(AtomicBool::new(false));
    let load = Load {
        threads: vec![
            publish(broker.publisher(), &stop),
            write(lines, &stop),
            talk(hub, &stop),
            ask(daemon.address(), millions, 0, &stop),
            ask(daemon.address(), millions, 13, &stop),
        ],
    };
    let seconds = if quick() { 20 } else { 300 };
    let peak = watch(daemon.id(), Duration::from_secs(seconds))?;
    stop.store(true, Ordering::Release);
    let mut counts = load.join()?;

    let stats = daemon.stats();
    let committed = stats.pointer("/readings/committed").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(committed > 0, "nothing was stored: {stats}");
    ensure!(stats.pointer("/commits/failed").and_then(serde_json::Value::as_u64) == Some(0), "commits failed: {stats}");
    let place = match &cgroup {
        Some(cgroup) => format!("cgroup of 128 MiB, pressed {} times", cgroup.pressed()),
        None => "no cgroup could be made".into(),
    };
    let key = format!("memory.{millions}m");
    record_with(&format!("{key}.rss-peak-mb"), "MB", &[peak.peak as f64 / 1e6], &place)?;
    record_with(&format!("{key}.anon-mb"), "MB", &[peak.anon as f64 / 1e6], &place)?;
    record(&format!("{key}.committed"), "readings", &[committed as f64])?;
    record(&format!("{key}.queries"), "answers", &[counts.answers as f64])?;
    if !counts.waits.is_empty() {
        let busy = if millions == 10 { "hub.busy".to_owned() } else { format!("hub.busy-{millions}m") };
        let rate = (counts.waits.len() * RECORDS) as f64 / seconds as f64;
        record_waits(&busy, &mut counts.waits)?;
        record(&format!("{busy}.rate"), "records/s", &[rate])?;
    }
    daemon.terminate();
    Ok(())
}

/// The most that is seen: anonymous in looks, resident as the kernel noted it.
fn watch(pid: u32, time: Duration) -> anyhow::Result<Memory> {
    let end = Instant::now() + time;
    let mut most = Memory::default();
    while Instant::now() < end {
        let now = machine::memory(Some(pid)).context("the daemon is gone")?;
        most.anon = most.anon.max(now.anon);
        most.rss = most.rss.max(now.rss);
        most.peak = now.peak;
        std::thread::sleep(LOOK);
    }
    Ok(most)
}

#[derive(Default)]
struct Counts {
    answers: u64,
    waits: Vec<f64>,
}

struct Load {
    threads: Vec<JoinHandle<anyhow::Result<Counts>>>,
}

impl Load {
    fn join(self) -> anyhow::Result<Counts> {
        let mut all = Counts::default();
        for thread in self.threads {
            let counts = thread.join().map_err(|_| anyhow::anyhow!("a part of the load panicked"))??;
            all.answers += counts.answers;
            all.waits.extend(counts.waits);
        }
        Ok(all)
    }
}

/// Runs `turn` so many times a second until `stop`.
fn pace(stop: &AtomicBool, a_second: u32, mut turn: impl FnMut(u32)) {
    let begun = Instant::now();
    let mut n = 0;
    while !stop.load(Ordering::Acquire) {
        let due = begun + Duration::from_secs(1) * n / a_second;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        turn(n);
        n += 1;
    }
}

fn publish(mut client: crate::harness::Client, stop: &Arc<AtomicBool>) -> JoinHandle<anyhow::Result<Counts>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        pace(&stop, MESSAGES, |n| {
            let payload = format!("{{\"power\":{}.5,\"voltage\":231,\"state\":\"ON\"}}", n % 400);
            client.send(&format!("sensors/plug{}", n % 20), payload, 1, false);
        });
        client.flush();
        Ok(Counts::default())
    })
}

fn write(mut port: Hub, stop: &Arc<AtomicBool>) -> JoinHandle<anyhow::Result<Counts>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        pace(&stop, LINES, |n| port.send(&format!("{{\"node\":\"meter{}\",\"energy\":{n}}}", n % 3)));
        Ok(Counts::default())
    })
}

/// Five nodes without a pause: each sends its next batch when all are answered.
fn talk(mut hub: Hub, stop: &Arc<AtomicBool>) -> JoinHandle<anyhow::Result<Counts>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut nodes = hub::Nodes::new(5);
        let mut waits = Vec::new();
        while !stop.load(Ordering::Acquire) {
            nodes.round(&mut hub, &mut waits)?;
        }
        Ok(Counts { waits, ..Counts::default() })
    })
}

/// Questions one after the other, from question number `from` on.
fn ask(address: &str, millions: usize, from: usize, stop: &Arc<AtomicBool>) -> JoinHandle<anyhow::Result<Counts>> {
    let (stop, address) = (Arc::clone(stop), address.to_owned());
    let end = START + (millions * 1_000_000 / SERIES) as i64 * STEP;
    let month = (end - 30 * 86_400).max(START);
    let day = end - 86_400;
    std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut answers = 0;
        for n in from.. {
            if stop.load(Ordering::Acquire) {
                break;
            }
            let (node, metric) = (node(n % NODES), METRICS[n % METRICS.len()]);
            let route = match n % 8 {
                0 => format!("/api/v1/nodes/{node}/statistics?metric={metric}&start={month}&end={end}"),
                1 => format!("/api/v1/nodes/{node}/statistics/hourly?metric={metric}&start={month}&end={end}"),
                2 => format!("/api/v1/readings?node={node}&start={day}&end={end}&format=csv"),
                3 => format!("/api/v1/nodes/{node}/latest"),
                4 => format!("/api/v1/nodes/{node}/statistics?start={day}&end={end}"),
                5 => format!("/api/v1/statistics?start={day}&end={end}&bucket=15m&limit=10000"),
                6 => format!("/api/v1/nodes/{node}/chart?metric={metric}&start={month}&end={end}"),
                _ => "/stats".to_owned(),
            };
            let mut response = agent.get(format!("http://{address}{route}")).call().context("asking the daemon")?;
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
            ensure!(status == 200 || status == 503, "{route}: {status}: {body}");
            answers += u64::from(status == 200);
        }
        Ok(Counts { answers, waits: Vec::new() })
    })
}
