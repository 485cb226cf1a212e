//! A mosquitto of the demo's own, on a loopback port that nobody uses.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::child::Child;

/// Ports that are tried: another program may take one between its finding and mosquitto's start.
const ATTEMPTS: u32 = 5;
/// How long mosquitto may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where Debian puts it; not on the path of every user.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A running mosquitto.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    port: u16,
}

/// The mosquitto that a shell with this `PATH` would start, or else the system's.
pub(super) fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = path.map(|p| std::env::split_paths(p).collect::<Vec<_>>()).unwrap_or_default();
    let folders = folders.into_iter().filter(|f| f.is_absolute()).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join("mosquitto"))
        .find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

impl Broker {
    /// Starts `program` with its configuration and log in `folder`.
    pub(super) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("mosquitto.conf");
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            std::fs::write(&file, configuration(port)).with_context(|| format!("cannot write {}", file.display()))?;
            let mut command = Command::new(program);
            command.arg("-c").arg(&file);
            let child = Child::spawn("broker", command, folder.join("mosquitto.log"))?;
            let mut broker = Self { child, port };
            match broker.wait_until_open() {
                Ok(()) => return Ok(broker),
                Err(e) if attempt == ATTEMPTS => return Err(e),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Its port on the loopback address.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Fails when it is no longer running.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.child.check()
    }

    fn wait_until_open(&mut self) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.child.check()?;
            if TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("mosquitto does not accept connections within {} s; {}", PATIENCE.as_secs(), self.child.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port for mosquitto")?;
    Ok(listener.local_addr()?.port())
}

/// Started by root, mosquitto would become another user, and the kernel then forgets that it shall end with the demo.
fn configuration(port: u16) -> String {
    format!(
        "listener {port} 127.0.0.1\n\
         allow_anonymous true\n\
         persistence false\n\
         max_queued_messages 10000\n\
         user root\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n\
         log_type notice\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_comes_first_and_only_programs_count() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for (folder, mode) in [(&first, 0o644), (&second, 0o755)] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("mosquitto"), "").unwrap();
            std::fs::set_permissions(folder.join("mosquitto"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(find(Some(&path)), Some(second.join("mosquitto")));
    }

    #[test]
    fn the_configuration_keeps_to_loopback() {
        assert!(
            configuration(40_123).starts_with("listener 40123 127.0.0.1\nallow_anonymous true\npersistence false\n")
        );
    }

    #[test]
    fn the_real_one_starts_and_its_end_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let program = find(std::env::var_os("PATH").as_deref()).expect("this test needs mosquitto");
        let mut broker = Broker::start(&program, dir.path()).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).unwrap();
        broker.check().unwrap();
        broker.child.stop(Duration::from_secs(30)).unwrap();
        assert!(
            broker.check().unwrap_err().to_string().starts_with("the broker has ended by itself (exit status: 0); ")
        );
    }

    #[test]
    fn one_that_does_not_start_is_an_error_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("mosquitto");
        std::fs::write(&program, "#!/bin/sh\necho no luck with $1 >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let error = Broker::start(&program, dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("the broker has ended by itself (exit status: 1); "), "{error}");
        assert!(error.ends_with("\n  no luck with -c"), "{error}");
    }
}
