//! The real binary on a database, asked over HTTP.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// A running daemon without sources; it ends with this.
pub struct Daemon {
    child: Child,
    agent: ureq::Agent,
    address: String,
}

impl Daemon {
    /// Starts the binary that `BENCH_DAEMON` names on `database`.
    pub fn start(database: &Path) -> anyhow::Result<Self> {
        let program = PathBuf::from(
            std::env::var_os("BENCH_DAEMON").context("BENCH_DAEMON names the daemon; deploy/run-benchmarks sets it")?,
        );
        let folder = database.parent().context("the database is in a folder")?;
        let config = folder.join("gadwall.toml");
        let text = format!(
            "[store]\npath = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[clock]\ntrust = \"always\"\ntimezone = \"UTC\"\n\
             [log]\nlevel = \"warn\"\n",
            database.display()
        );
        std::fs::write(&config, text)?;
        let file = folder.join("http.addr");
        let child = Command::new(&program).arg("run").arg("--config").arg(&config).stdin(Stdio::null()).spawn();
        let mut child = child.with_context(|| program.display().to_string())?;
        let deadline = Instant::now() + Duration::from_secs(120);
        let address = loop {
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended with {status} while starting");
            }
            match std::fs::read_to_string(&file) {
                Ok(text) if !text.trim().is_empty() => break text.trim().to_owned(),
                _ => {}
            }
            ensure!(Instant::now() < deadline, "the daemon does not start");
            std::thread::sleep(Duration::from_millis(10));
        };
        let agent =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(60))).build().into();
        Ok(Self { child, agent, address })
    }

    /// What it answers to GET.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", self.address);
        let mut response = self.agent.get(&url).call().with_context(|| path.to_owned())?;
        Ok(response.body_mut().with_config().limit(256 << 20).read_to_string()?)
    }

    /// The same as JSON.
    pub fn json(&self, path: &str) -> anyhow::Result<Value> {
        let body = self.get(path)?;
        serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
    }

    /// Ends it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
