//! A port that does not come back from a call, and a slow disk: a small library that is preloaded into the daemon.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The positions of the numbers in the control file, as in shim.c.
const NUMBERS: [&str; 7] = ["hangs_in", "hung", "sync_us", "bytes_per_second", "syncs", "bytes", "delayed_us"];

/// A system call that can hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open = 1,
    Read,
    Write,
    Close,
}

/// What a slow disk has done.
#[derive(Clone, Copy, Debug)]
pub struct DiskWork {
    /// Syncs that were delayed.
    pub syncs: u64,
    /// Bytes that the daemon's files were given.
    pub bytes: u64,
    /// Seconds that the daemon waited for it.
    pub seconds: f64,
}

/// The library and its control file.
pub struct Shim {
    dir: TempDir,
    control: File,
    port: Option<PathBuf>,
    disk: Option<PathBuf>,
}

impl Shim {
    /// Compiles it. The compiler is the one that DuckDB needs, too.
    #[track_caller]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("shim.c");
        std::fs::write(&source, include_str!("shim.c")).expect("writing the source");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(dir.path().join("shim.so"))
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("cc is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let control = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(dir.path().join("control"))
            .expect("the control file");
        control.set_len(8 * NUMBERS.len() as u64).expect("the control file");
        Self { dir, control, port: None, disk: None }
    }

    /// The calls of this port may hang.
    pub fn port(mut self, path: &Path) -> Self {
        self.port = Some(path.to_owned());
        self
    }

    /// Files whose paths begin like this are on a disk that takes `sync_ms` for each sync and writes at this speed.
    pub fn disk(mut self, path: &Path, sync_ms: u64, bytes_per_second: u64) -> Self {
        self.disk = Some(path.to_owned());
        self.set("sync_us", sync_ms * 1_000);
        self.set("bytes_per_second", bytes_per_second);
        self
    }

    /// What the daemon's environment needs.
    pub fn env(&self) -> Vec<(String, OsString)> {
        let mut env = vec![
            ("LD_PRELOAD".to_owned(), self.dir.path().join("shim.so").into()),
            ("SHIM_CONTROL".to_owned(), self.dir.path().join("control").into()),
        ];
        env.extend(self.port.iter().map(|p| ("SHIM_PORT".to_owned(), p.clone().into())));
        env.extend(self.disk.iter().map(|p| ("SHIM_DISK".to_owned(), p.clone().into())));
        env
    }

    /// From now on the port hangs in this call; with `None` it comes back.
    pub fn hang(&self, call: Option<Call>) {
        self.set("hangs_in", call.map_or(0, |call| call as u64));
    }

    /// How often a call has hung.
    pub fn hung(&self) -> u64 {
        self.get("hung")
    }

    /// What the slow disk has done so far.
    pub fn disk_work(&self) -> DiskWork {
        DiskWork {
            syncs: self.get("syncs"),
            bytes: self.get("bytes"),
            seconds: self.get("delayed_us") as f64 / 1_000_000.0,
        }
    }

    fn set(&self, name: &str, value: u64) {
        self.control.write_all_at(&value.to_ne_bytes(), position(name)).expect("writing the control file");
    }

    fn get(&self, name: &str) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, position(name)).expect("reading the control file");
        u64::from_ne_bytes(bytes)
    }
}

fn position(name: &str) -> u64 {
    8 * NUMBERS.iter().position(|n| *n == name).expect("a number of the list") as u64
}
