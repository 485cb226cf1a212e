//! A memory cgroup for one process, where this machine lets us make one.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows its hierarchies: version 2, version 1.
const V2: &str = "/sys/fs/cgroup";
const V1: &str = "/sys/fs/cgroup/memory";

/// The group; it goes with this, once its process has ended.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a group whose processes may use `limit` bytes; `None` where that is not allowed.
    pub fn new(limit: u64) -> Option<Self> {
        let name = format!("gadwall-bench-{}", std::process::id());
        let two = fs::read_to_string(Path::new(V2).join("cgroup.controllers"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|c| c == "memory"));
        let (root, key) = if two { (V2, "memory.max") } else { (V1, "memory.limit_in_bytes") };
        let group = Self(Path::new(root).join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(key), limit.to_string()).ok()?;
        Some(group)
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) -> std::io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }

    /// How often the kernel had to take pages away because the limit was reached.
    pub fn pressed(&self) -> u64 {
        let number = |file: &str| fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok();
        let event = || {
            let text = fs::read_to_string(self.0.join("memory.events")).ok()?;
            text.lines().find_map(|l| l.strip_prefix("max "))?.parse().ok()
        };
        number("memory.failcnt").or_else(event).unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty by now, or the kernel keeps it until it is.
        let _ = fs::remove_dir(&self.0);
    }
}
