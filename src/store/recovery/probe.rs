//! Opening the file in a child process: a replay may abort the process that does it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::aside::Files;
use super::verdict::{Summary, Verdict, is_damage};
use super::{Stopped, Watch, salvage};
use crate::config;
use crate::store::open::{Access, Root};
use crate::store::retention::blocks;
use crate::store::{OpenError, schema};

/// A child that takes longer is ended; that it took so long is no damage, and it is tried again.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same for one that reads everything; it is not tried again.
const PATIENCE_READ: Duration = Duration::from_secs(1_800);
/// Shortest and longest pause between two looks at the child.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Signals by which a process ends itself. Others come from outside: the kernel that is short of memory, or a person.
const OWN_SIGNALS: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
/// Longest answer of a child, in bytes.
const MAX_ANSWER: u64 = 16_384;

/// What the child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Open it read-only and read all that a start reads; the files stay as they are.
    Look,
    /// The same, and read every column of every table.
    Read,
    /// Open it read-only and copy what can be read into a new database beside it: [`salvage`].
    Salvage,
    /// Open it for writing and bring the WAL into the database: what needed more memory than a start has.
    Checkpoint,
}

impl Task {
    /// The option of `probe-store` that asks for it.
    const fn option(self) -> Option<&'static str> {
        match self {
            Self::Look => None,
            Self::Read => Some("--read"),
            Self::Salvage => Some("--salvage"),
            Self::Checkpoint => Some("--checkpoint"),
        }
    }

    const fn patience(self) -> Duration {
        match self {
            Self::Look | Self::Checkpoint => PATIENCE,
            Self::Read => PATIENCE_READ,
            // It ends by itself; this is for one that hangs.
            Self::Salvage => salvage::TIME.saturating_add(PATIENCE),
        }
    }

    /// For a person who waits.
    const fn what(self) -> &'static str {
        match self {
            Self::Look | Self::Checkpoint => "trying the database in a child process",
            Self::Read => "reading all of the database in a child process",
            Self::Salvage => "copying what can be read of the damaged database",
        }
    }
}

/// Has a child of this program open `path` under `memory_limit` bytes, and waits for it.
///
/// # Errors
/// [`Stopped`] when `watch` says so; the child is ended. `Ok(None)` when no child can be made, or it cannot read everything
/// in a reasonable time.
pub fn ask(path: &Path, memory_limit: u64, task: Task, watch: &mut dyn Watch) -> Result<Option<Verdict>, Stopped> {
    // The name of the running program, also when it was replaced on disk meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("probe-store").arg("--path").arg(path).arg("--memory-limit").arg(memory_limit.to_string());
    command.args(task.option());
    for key in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(key);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(%error, "no child process can be made to try the database first");
            return Ok(None);
        }
    };
    let started = Instant::now();
    let mut pause = LOOK.0;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => {
                end(&mut child);
                return Ok(Some(Verdict::Outside(format!("the probe was lost: {error}"))));
            }
        }
        if !watch.go_on(task.what(), pause) {
            end(&mut child);
            return Err(Stopped);
        }
        if started.elapsed() > task.patience() {
            end(&mut child);
            let text = format!("the probe took longer than {} s", task.patience().as_secs());
            if task == Task::Read {
                tracing::warn!("{text}: the database is not read to its end");
                return Ok(None);
            }
            return Ok(Some(Verdict::Outside(text)));
        }
        pause = (pause * 2).min(LOOK.1);
    };
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        // An answer that cannot be read is none, and said below.
        let _ = stdout.take(MAX_ANSWER).read_to_string(&mut answer);
    }
    Ok(Some(heard(status, &answer)))
}

fn heard(status: ExitStatus, answer: &str) -> Verdict {
    if let Some(signal) = status.signal() {
        let text = format!("opening it ended a process by signal {signal}");
        let own = OWN_SIGNALS.contains(&signal);
        return if own { Verdict::Broke(text) } else { Verdict::Outside(text) };
    }
    let verdict = serde_json::from_str(answer.trim());
    verdict.unwrap_or_else(|_| Verdict::Outside(format!("the probe ended with {status} and no answer")))
}

fn end(child: &mut Child) {
    // It may have ended by itself this moment.
    let _ = child.kill();
    let _ = child.wait();
}

/// What the child does: opens `path` as a start does, and answers with one line of JSON. Takes no lock of ours: its parent
/// holds it. Blocks while the WAL is replayed, and may abort.
pub fn answer(path: PathBuf, memory_limit: u64, task: Task) -> String {
    // A parent that is killed takes its child along: nobody else must have the file open then.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let config = config::Store { path, memory_limit, ..config::Store::default() };
    let verdict = match task {
        Task::Look => look(&config, false),
        Task::Read => look(&config, true),
        Task::Salvage => {
            let to = Files::new(&config.path).salvage();
            salvage::salvage(&config, &to).map_or_else(|error| of(&error), Verdict::Salvaged)
        }
        Task::Checkpoint => checkpoint(&config),
    };
    serde_json::to_string(&verdict).unwrap_or_default()
}

fn look(config: &config::Store, all: bool) -> Verdict {
    let root = match Root::open_as(config, Access::ReadOnly) {
        Ok(root) => root,
        Err(error) => return of(&error),
    };
    let verdict = |error: &OpenError| match of(error) {
        Verdict::Corrupt { text, .. } => Verdict::Corrupt { text, at: None, checkpoint_wal: false, attached: true },
        // The medium did not read a block; the second time it is damage.
        Verdict::Broke(text) if is_damage(&text) => match summarise(&root, all) {
            Ok(summary) => Verdict::Sound(summary),
            Err(_) => Verdict::Corrupt { text, at: None, checkpoint_wal: false, attached: true },
        },
        other => other,
    };
    summarise(&root, all).map_or_else(|error| verdict(&error), Verdict::Sound)
}

/// Reads what a start reads, or `all` there is.
fn summarise(root: &Root, all: bool) -> Result<Summary, OpenError> {
    let explain = |e| root.explain(e);
    let schema = root.schema_version().map_err(explain)?;
    if schema == 0 {
        return Ok(Summary::default());
    }
    let known = schema::MIGRATIONS.len();
    if usize::try_from(schema).is_ok_and(|v| v > known) {
        return Err(root.newer(schema));
    }
    let readings = root.count("readings").map_err(explain)?;
    // The tables of an older schema are not those that a start reads after its migrations.
    if usize::try_from(schema).is_ok_and(|v| v < known) {
        if all {
            root.read_all().map_err(explain)?;
        }
        return Ok(Summary { schema, readings, ..Summary::default() });
    }
    let catalog = root.load_catalog().map_err(explain)?;
    let (batch, _) = root.load_commits().map_err(explain)?;
    root.count("dead_letters").map_err(explain)?;
    root.count("events").map_err(explain)?;
    if all {
        root.read_all().map_err(explain)?;
    }
    let blocks = blocks(&root.connection).map_err(explain)?;
    Ok(Summary {
        schema,
        readings,
        nodes: i64::try_from(catalog.node_count()).unwrap_or(i64::MAX),
        series: i64::try_from(catalog.series_count()).unwrap_or(i64::MAX),
        batch,
        last_commit: root.last_commit().map_err(explain)?,
        bytes: blocks.total,
        free: blocks.free,
    })
}

fn checkpoint(config: &config::Store) -> Verdict {
    let done = Root::open_as(config, Access::Write)
        .and_then(|root| root.connection.execute_batch("CHECKPOINT g").map_err(|e| root.explain(e)));
    done.map_or_else(|error| of(&error), |()| Verdict::Sound(Summary::default()))
}

/// The verdict that an error of opening stands for.
pub fn of(error: &OpenError) -> Verdict {
    match error {
        OpenError::Newer { .. } => Verdict::Newer(error.to_string()),
        OpenError::Database { source, .. } => Verdict::of(&source.to_string()),
        other => Verdict::Outside(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unwatched;
    use super::*;

    #[test]
    fn an_abort_may_be_damage_and_a_signal_from_outside_is_none() {
        for (signal, broke) in [(6, true), (11, true), (7, true), (9, false), (15, false), (24, false)] {
            let text = format!("opening it ended a process by signal {signal}");
            let expected = if broke { Verdict::Broke(text) } else { Verdict::Outside(text) };
            assert_eq!(heard(ExitStatus::from_raw(signal), ""), expected);
        }
        let sound = Verdict::Sound(Summary { schema: 1, readings: 7, ..Summary::default() });
        let line = serde_json::to_string(&sound).unwrap();
        assert_eq!(heard(ExitStatus::from_raw(0), &format!("{line}\n")), sound);
        assert_eq!(
            heard(ExitStatus::from_raw(1 << 8), "oh"),
            Verdict::Outside("the probe ended with exit status: 1 and no answer".into())
        );
    }

    #[test]
    fn a_child_that_does_not_know_its_task_is_no_damage() {
        // The program of this test is not gadwall.
        let verdict = ask(Path::new("/nowhere"), 1 << 24, Task::Look, &mut Unwatched).unwrap();
        assert!(matches!(verdict, Some(Verdict::Outside(_))), "{verdict:?}");
    }
}
