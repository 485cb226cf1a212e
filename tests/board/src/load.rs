//! The parts that look at memory: load like a house's for an hour, and all that the board can do on a file of millions.

use std::fs::File;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::machine::Machine;
use crate::memory::{Usage, mb};
use crate::parts::{SOON, Site, seconds, soon};
use crate::publishers::Publishers;
use crate::table::Table;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The full board is busy for at most so long.
const BUSY: Duration = Duration::from_secs(1200);

/// Somebody on the board who asks the daemon, question after question.
struct Asker {
    child: Child,
}

impl Asker {
    /// Asks `questions` again and again, with a pause of `pause` seconds behind each round.
    fn start(board: &Machine, questions: &[String], pause: u64) -> anyhow::Result<Self> {
        let list = questions.iter().map(|q| format!("'{q}'")).collect::<Vec<_>>().join(" ");
        let child = board.feed(&format!(
            "touch /run/asking; while [ -e /run/asking ]; do for question in {list}; do \
             curl -s -m 600 -o /dev/null -w '%{{http_code}} %{{time_total}}\\n' \"http://localhost:8080$question\"; done; \
             sleep {pause}; done >/root/answers"
        ))?;
        Ok(Self { child })
    }

    /// Ends it; all answers must have been 200.
    fn end(mut self, board: &Machine, part: &str, table: &mut Table) -> anyhow::Result<()> {
        board.run("rm /run/asking")?;
        self.child.wait()?;
        let answers = board.run(
            "sort -k1,1 -k2,2n /root/answers | awk '{ n[$1]++; t[$1] = $2 } \
             END { for (c in n) printf \"%d x %s, at most %s s; \", n[c], c, t[c] }'",
        )?;
        let good = !answers.is_empty() && answers.split("; ").filter(|a| !a.is_empty()).all(|a| a.contains(" x 200,"));
        table.check(part, "answers", "all 200", answers.trim(), good);
        Ok(())
    }
}

/// Looks at the daemon's memory for a while and says what it was, against design's bounds.
fn watch(site: &Site, time: Duration, part: &str, table: &mut Table) -> anyhow::Result<()> {
    let first = Usage::of(&site.board)?;
    let stored_first = site.stored()?;
    let (mut anonymous, began) = (first.anonymous, Instant::now());
    while began.elapsed() < time {
        thread::sleep(LOOK);
        anonymous = anonymous.max(Usage::of(&site.board)?.anonymous);
    }
    let last = Usage::of(&site.board)?;
    let stored = site.stored()? - stored_first;
    let elapsed = (last.uptime - first.uptime) as f64 / 1000.0;
    let cpu = (last.processor - first.processor) as f64 / 10.0 / elapsed;
    table.figure(part, "time", format!("{:.0} min", elapsed / 60.0));
    table.figure(part, "readings a second", format!("{:.0}", stored as f64 / elapsed));
    table.check(part, "anonymous memory, the most", "56 MB", mb(anonymous), anonymous <= 56_000_000);
    table.check(part, "resident memory, the most", "96 MB", mb(last.resident_peak), last.resident_peak <= 96_000_000);
    table.figure(part, "resident memory at the end", mb(last.resident));
    table.figure(part, "share of one emulated core", format!("{cpu:.1} %"));
    let bytes = (last.written - first.written) as f64 / stored.max(1) as f64;
    table.figure(part, "written by the process", format!("{bytes:.0} bytes a reading"));
    Ok(())
}

/// 100 readings a second: 30 of the hub, 70 of four publishers, and somebody who asks all the time.
pub fn load(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    site.board.run("systemctl restart gadwall")?;
    site.active()?;
    site.plug(u64::MAX / 2, Duration::from_secs(2))?;
    let publishers = Publishers::start(&site.board, 4, u64::MAX, Duration::from_millis(286), true)?;
    let questions = [
        "/api/v1/nodes/room-0/statistics?start=-1h",
        "/api/v1/statistics?bucket=1h&aggregate=count,mean,p95",
        "/api/v1/nodes",
        "/stats",
        "/api/v1/readings?node=room-1&limit=1000",
    ]
    .map(String::from);
    let asker = Asker::start(&site.board, &questions, 10)?;
    watch(site, site.load, "load", table)?;
    asker.end(&site.board, "load", table)?;
    site.messages += publishers.stop()?;
    site.hub = None;
    table.figure("load", "batches that the hub sent again, so far", site.tally.again());
    // The batch that was on its way when the hub was pulled out.
    let until = site.plug(1, Duration::ZERO)?;
    site.acked(until, SOON)?;
    site.count("load", table)
}

/// A file of millions of readings in the place of what the board has collected, hub and publishers without a pause, and two
/// who ask without one. It is the last part: what was there before is away.
pub fn full(site: &mut Site, table: &mut Table) -> anyhow::Result<()> {
    let Some(file) = site.full.clone() else {
        table.figure("full", "not run", "no file was given with --full FILE");
        return Ok(());
    };
    site.hub = None;
    site.board.run("systemctl stop gadwall && rm -rf /var/lib/gadwall/*")?;
    site.board.write("/var/lib/gadwall/gadwall.duckdb", File::open(&file).context(file.display().to_string())?)?;
    site.board
        .run("chown gadwall:gadwall /var/lib/gadwall/gadwall.duckdb && sync && echo 3 >/proc/sys/vm/drop_caches")?;
    let began = Instant::now();
    site.board.run("systemctl start gadwall")?;
    table.figure("full", "systemctl start", seconds(began.elapsed()));
    site.active()?;
    soon("the store to answer", SOON, || Ok(site.stored()? > 0))?;
    let before = site.stored()?;
    table.figure("full", "readings in the file", before);
    let sent_before = site.expected();

    // The file's own end: questions are about what is there, not about today.
    let nodes = site.board.json("/api/v1/nodes")?;
    let node = nodes["nodes"][0]["name"].as_str().context("a node of the file")?;
    let latest = site.board.json(&format!("/api/v1/nodes/{node}/latest"))?;
    let metric = latest["values"][0]["metric"].as_str().context("a metric of the file")?;
    let time = latest["values"][0]["time"].as_str().context("the time of its newest reading")?;
    let end: i64 = site.board.run(&format!("date -d '{time}' +%s"))?.trim().parse()?;
    let end = end + 1;
    let (month, day) = (end - 30 * 86_400, end - 86_400);
    let questions = [
        format!("/api/v1/nodes/{node}/statistics?metric={metric}&start={month}&end={end}"),
        format!("/api/v1/nodes/{node}/statistics/hourly?metric={metric}&start={month}&end={end}"),
        format!("/api/v1/readings?node={node}&start={day}&end={end}&format=csv"),
        format!("/api/v1/nodes/{node}/latest"),
        format!("/api/v1/nodes/{node}/statistics?start={day}&end={end}"),
        format!("/api/v1/statistics?start={day}&end={end}&bucket=15m&limit=10000"),
        format!("/api/v1/nodes/{node}/chart?metric={metric}&start={month}&end={end}"),
        "/stats".to_owned(),
    ];
    site.plug(u64::MAX / 2, Duration::ZERO)?;
    let publishers = Publishers::start(&site.board, 8, u64::MAX, Duration::from_millis(100), true)?;
    let asker = Asker::start(&site.board, &questions, 0)?;
    watch(site, site.load.min(BUSY), "full", table)?;
    asker.end(&site.board, "full", table)?;
    site.messages += publishers.stop()?;
    site.hub = None;
    let until = site.plug(1, Duration::ZERO)?;
    site.acked(until, SOON)?;
    let expected = before + site.expected() - sent_before;
    let _ = soon("all to be stored", SOON, || Ok(site.stored()? >= expected));
    table.equal("full", "readings stored, each once", expected, site.stored()?);
    Ok(())
}
