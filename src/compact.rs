//! `gadwall compact`: makes the file of a database smaller, by asking the daemon that has it, or itself where none has.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config;
use crate::status::{grouped, size, span};
use crate::store::compact::{Answer, At, Progress, Request, State, Watch, offline};
use crate::store::{Lock, LockError};

/// How often the daemon's answer is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A daemon takes a request on within a second or two, between two commits; one that checkpoints may need longer.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// A daemon at work shows every second that it lives, but for single steps on a slow disk.
const NEXT_ANSWER: Duration = Duration::from_secs(120);

/// Compacts the database of `config`, and writes to `out` what is going on and what came of it. Blocks until it is done; a
/// signal (Ctrl-C) gives it up.
///
/// # Errors
/// Why it was not done; the database is as it was then.
pub fn run(mut config: config::Store, out: &mut impl Write) -> anyhow::Result<()> {
    config.path = std::path::absolute(&config.path).context("the current folder")?;
    let path = &config.path;
    if !path.exists() {
        bail!("{} is not there", path.display());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("the signal handlers")?;
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let request = Request::make(dir)?;
    let mut shown = Shown { out, tenths: None };
    let state = match Lock::take(dir) {
        Ok(_lock) => {
            shown.line("no daemon has the database: it is compacted here")?;
            let report = offline(&config, &mut Local { shown: &mut shown, stop: &stop })?;
            State::from(report)
        }
        Err(LockError::Held { pid, .. }) => {
            shown.line(&format!("asking the daemon (process {pid}); Ctrl-C gives it up"))?;
            request.send().context("the request beside the database")?;
            wait(&request, &pid, &mut shown, &stop)?
        }
        Err(error) => return Err(error.into()),
    };
    match state {
        State::Done { before, after, rows, took_ms, paused_ms } => {
            let seconds = |ms: u64| span(Duration::from_millis(ms).as_secs_f64());
            let paused = match paused_ms {
                0 => String::new(),
                ms => format!("; {} of it nothing was stored", Seconds(ms)),
            };
            shown.line(&format!(
                "file {} -> {} in {}, {} rows{paused}",
                size(before),
                size(after),
                seconds(took_ms),
                grouped(rows)
            ))
        }
        State::Failed(why) => bail!("{why}"),
        State::Working(_) => bail!("the daemon did not come to its end"),
    }
}

/// Milliseconds as seconds with two decimals.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02} s", self.0 / 1_000, self.0 % 1_000 / 10)
    }
}

/// Waits for the daemon's last word.
fn wait(request: &Request, pid: &str, shown: &mut Shown<'_, impl Write>, stop: &AtomicBool) -> anyhow::Result<State> {
    let process = Path::new("/proc").join(pid);
    // In another namespace of processes it has another number.
    let visible = process.exists();
    let mut last: Option<Answer> = None;
    let mut heard = Instant::now();
    loop {
        if stop.load(Ordering::Relaxed) {
            bail!("given up: the daemon leaves the file as it is");
        }
        // Looked at before the answer, so that the last word of a daemon that ends is not missed.
        let gone = visible && !process.exists();
        let answer = request.answer();
        if answer.is_some() && answer != last {
            heard = Instant::now();
            last = answer;
            match last.as_ref().map(|answer| &answer.state) {
                Some(State::Working(progress)) => shown.progress(progress)?,
                Some(state) => return Ok(state.clone()),
                None => {}
            }
        }
        if gone {
            bail!("the daemon has ended; the file is whole, and what is left of the copy is removed by the next start");
        }
        let patience = if last.is_some() { NEXT_ANSWER } else { FIRST_ANSWER };
        if heard.elapsed() > patience {
            bail!(
                "process {pid} has the database and does not answer within {} s: it may still be starting, wait for \
                 space on the disk, be an older version, or another command (see `gadwall status`)",
                patience.as_secs()
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// What a person sees.
struct Shown<'a, W> {
    out: &'a mut W,
    tenths: Option<(String, u64)>,
}

impl<W: Write> Shown<'_, W> {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()?;
        Ok(())
    }

    /// One line for each tenth.
    fn progress(&mut self, at: &Progress) -> anyhow::Result<()> {
        let tenths = at.done.saturating_mul(10) / at.total.max(1);
        let new = Some((at.stage.clone(), tenths));
        if self.tenths == new {
            return Ok(());
        }
        self.tenths = new;
        self.line(&format!("{}: {} of {} rows", at.stage, grouped(at.done), grouped(at.total)))
    }
}

/// Watches a compaction of this process.
struct Local<'a, 'b, W> {
    shown: &'a mut Shown<'b, W>,
    stop: &'a AtomicBool,
}

impl<W: Write> Watch for Local<'_, '_, W> {
    fn go_on(&mut self, at: &At) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("a signal asked for it; the file is as it was".to_owned());
        }
        self.shown.progress(&Progress::from(*at)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_line_for_each_tenth_and_stage() {
        let mut out = Vec::new();
        let mut shown = Shown { out: &mut out, tenths: None };
        for (stage, done) in
            [("copying", 1), ("copying", 999), ("copying", 1_000), ("copying", 1_500), ("comparing", 9_999)]
        {
            shown.progress(&Progress { stage: stage.to_owned(), done, total: 10_000 }).unwrap();
        }
        shown.progress(&Progress { stage: "copying".to_owned(), done: 0, total: 0 }).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "copying: 1 of 10,000 rows\ncopying: 1,000 of 10,000 rows\ncomparing: 9,999 of 10,000 rows\n\
             copying: 0 of 0 rows\n"
        );
    }

    #[test]
    fn a_pause_is_shown_in_hundredths_of_a_second() {
        assert_eq!(Seconds(45).to_string(), "0.04 s");
        assert_eq!(Seconds(12_345).to_string(), "12.34 s");
    }
}
