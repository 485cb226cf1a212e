//! From the start of the process to READY=1.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::common::machine;
use crate::common::result::record;
use crate::harness::Setup;
use crate::{copy, quick};

/// Starts on a clean file with so many million readings, in the page cache and not.
pub fn run(millions: usize) -> anyhow::Result<()> {
    let repeat = if quick() { 3 } else { 11 };
    let (folder, database) = copy(millions)?;
    let address = folder.path().join("notify");
    let socket = UnixDatagram::bind(&address)?;
    socket.set_read_timeout(Some(Duration::from_secs(120)))?;
    let config = format!("[store]\npath = \"{}\"\n[log]\nlevel = \"warn\"\n", database.display());
    let setup = Setup::new(&config).env("NOTIFY_SOCKET", address.as_os_str());
    // The first start is another one: it migrates, and rolls up what is due.
    let mut daemon = setup.start();
    anyhow::ensure!(daemon.terminate().success(), "the daemon does not end in order: {}", daemon.log());
    drain(&socket)?;
    for (name, cold) in [("warm-s", false), ("cold-s", true)] {
        let mut runs = Vec::new();
        for _ in 0..repeat {
            if cold {
                machine::forget(&database)?;
            }
            let begun = Instant::now();
            daemon.respawn();
            wait_ready(&socket)?;
            runs.push(begun.elapsed().as_secs_f64());
            anyhow::ensure!(daemon.terminate().success(), "the daemon does not end in order: {}", daemon.log());
            drain(&socket)?;
        }
        record(&format!("start.{millions}m.{name}"), "s", &runs)?;
    }
    Ok(())
}

fn wait_ready(socket: &UnixDatagram) -> anyhow::Result<()> {
    let mut buffer = [0; 4_096];
    loop {
        let len = socket.recv(&mut buffer).context("no READY=1 in time")?;
        let text = String::from_utf8_lossy(&buffer[..len]);
        if text.lines().any(|l| l == "READY=1") {
            return Ok(());
        }
        if text.lines().any(|l| l == "STOPPING=1") {
            bail!("the daemon stops instead of being ready");
        }
    }
}

/// Forgets what an ended daemon has said.
fn drain(socket: &UnixDatagram) -> anyhow::Result<()> {
    let mut buffer = [0; 4_096];
    socket.set_nonblocking(true)?;
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false)?;
    Ok(())
}
