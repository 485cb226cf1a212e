//! What the kernel counts of a process, and which machine this is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::time::{ClockId, clock_gettime};

/// Bytes that a process has written to the disk so far (`write_bytes`): pages, counted when they become dirty.
pub fn written(pid: Option<u32>) -> anyhow::Result<u64> {
    number(&proc(pid, "io"), "write_bytes:")
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident: anonymous, mapped files and shared.
    pub rss: u64,
    /// Of it anonymous.
    pub anon: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// The memory of a process.
pub fn memory(pid: Option<u32>) -> anyhow::Result<Memory> {
    let file = proc(pid, "status");
    let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    let kib = |key: &str| find(&text, key).map(|n| n * 1_024).with_context(|| format!("no {key} in {file}"));
    Ok(Memory { rss: kib("VmRSS:")?, anon: kib("RssAnon:")?, peak: kib("VmHWM:")? })
}

/// Processor time of this process so far, all threads.
pub fn cpu() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// The load average of the last minute: how busy the machine was with this and everything else.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

/// Pages of a file that are in memory are dropped, as after a boot. What is dirty is written first.
pub fn forget(file: &Path) -> anyhow::Result<()> {
    let open = std::fs::File::open(file)?;
    open.sync_all()?;
    rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// One line about the machine: processor, cores, memory, system, file system of `folder`.
pub fn describe(folder: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let value = |text: &str, key: &str, by: char| {
        text.lines()
            .find_map(|l| l.strip_prefix(key)?.split_once(by).map(|(_, v)| v.trim().trim_matches('"').to_owned()))
    };
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = value(&cpuinfo, "model name", ':').or_else(|| value(&cpuinfo, "Model", ':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = find(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) as f64 * 1_024.0 / 1e9;
    let system = value(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {}, {cores} cores, {memory:.0} GB memory, {system}, Linux {}, {}",
        cpu.unwrap_or_else(|| "unknown processor".into()),
        std::env::consts::ARCH,
        kernel.trim(),
        file_system(folder)
    )
}

fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then(|| (point.len(), kind.to_owned()))
    };
    mounts.lines().filter_map(of).max_by_key(|(len, _)| *len).map_or_else(|| "unknown file system".into(), |(_, k)| k)
}

fn proc(pid: Option<u32>, what: &str) -> String {
    pid.map_or_else(|| format!("/proc/self/{what}"), |pid| format!("/proc/{pid}/{what}"))
}

fn number(file: &str, key: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    find(&text, key).ok_or_else(|| anyhow!("no {key} in {file}"))
}

fn find(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}
