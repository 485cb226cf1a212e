//! A program that lives no longer than the demo: the daemon, the broker.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 12;
/// Bytes of a log's end that are searched for them.
const TAIL_BYTES: usize = 8 * 1024;
/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running child process; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with its output in the file `log`. It gets a process group of its own, so that a Ctrl-C on the
    /// terminal reaches the demo alone, and is killed by the kernel when the calling **thread** ends.
    pub(super) fn spawn(name: &'static str, mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let parent = getpid();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        // SAFETY: between fork and exec only two system calls are made, prctl and getppid; both are safe after a fork of
        // a process with threads, and neither they nor the errors allocate.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the call above: nobody would ever send the signal.
                if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
        }
        let program = command.get_program().to_owned();
        let process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name, process, log })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The file with its output.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Fails when it is no longer running, with the last lines of its log.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the {} has ended by itself ({status}); {}", self.name, self.tail()),
        }
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not end within `patience` (it is killed then), or not with status 0.
    pub(super) fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.check()?;
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let deadline = Instant::now() + patience;
        let status: ExitStatus = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                bail!("the {} has not ended {} s after SIGTERM; {}", self.name, patience.as_secs(), self.tail());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        if !status.success() {
            bail!("the {} has ended with {status} after SIGTERM; {}", self.name, self.tail());
        }
        Ok(())
    }

    /// The end of its log for an error: the file itself may be gone when the error is read.
    pub(super) fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]);
        let lines: Vec<&str> = log.lines().collect();
        if lines.is_empty() {
            return format!("its log {} is empty", self.log.display());
        }
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the last lines of its log {}:\n  {}", self.log.display(), last.join("\n  "))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &tempfile::TempDir) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Child::spawn("shell", command, dir.path().join("log")).unwrap()
    }

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "{what} did not happen within 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_that_ends_by_itself_is_reported_with_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = shell("for i in $(seq 20); do echo line $i; done >&2; exit 3", &dir);
        wait_for("its end", || child.check().is_err());
        let error = child.check().unwrap_err().to_string();
        let lines: Vec<String> = (9..=20).map(|i| format!("  line {i}")).collect();
        let log = dir.path().join("log");
        let expected =
            format!("the shell has ended by itself (exit status: 3); the last lines of its log {}:\n", log.display());
        assert_eq!(error, expected + &lines.join("\n"));
    }

    #[test]
    fn stopping_is_asking_and_the_status_counts() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let ready = || std::fs::read_to_string(&log).is_ok_and(|text| text == "ready\n");
        let mut child = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", &dir);
        wait_for("the trap", ready);
        child.stop(Duration::from_secs(30)).unwrap();

        let mut child = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", &dir);
        wait_for("the trap", ready);
        let error = child.stop(Duration::from_secs(30)).unwrap_err().to_string();
        assert!(error.starts_with("the shell has ended with exit status: 7 after SIGTERM; "), "{error}");
    }

    #[test]
    fn it_is_in_a_group_of_its_own_and_ends_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let child = shell("exec sleep 600", &dir);
        let pid = Pid::from_child(&child.process);
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
        drop(child);
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let thread = std::thread::scope(|s| s.spawn(|| shell("exec sleep 600", &dir)).join().unwrap());
        let mut child = thread;
        wait_for("its end", || child.check().is_err());
        let error = child.check().unwrap_err().to_string();
        assert!(error.starts_with("the shell has ended by itself (signal: 9 (SIGKILL)); its log "), "{error}");
    }
}
