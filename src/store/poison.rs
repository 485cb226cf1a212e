//! Messages that end the process: after three unclean exits within ten minutes what is being committed is noted beside the
//! database. What was in progress at a crash is committed on its own from then on, and what was in progress at three
//! crashes is put aside. So a message is found without making every commit small: crashes have other causes, too.
//!
//! Only exits of the running boot count. A power cut or a reset is not the doing of a message, and for what is left
//! the files need no sync: a process that dies leaves its writes with the kernel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::reading::{Envelope, Timestamp, When};

/// The starts of the daemon, and what is suspected to have ended it.
const STARTS: &str = "gadwall.starts";
/// The envelopes that are being committed.
const IN_PROGRESS: &str = "gadwall.inprogress";
/// Unclean exits within [`WINDOW`] after which it is noted what is in progress.
const UNCLEAN: usize = 3;
/// Microseconds that an unclean exit counts.
const WINDOW: i64 = 600_000_000;
/// Envelopes that are committed together while it is noted what is in progress.
pub const GROUP: usize = 64;
/// Crashes that an envelope was in progress at, before it is put aside.
const CRASHES: u32 = 3;
/// Starts that are remembered.
const LIVES: usize = 8;
/// Suspects that are remembered.
const SUSPECTS: usize = 256;
/// Suspects that are forgotten before the file is written again: it need not be exact.
const FORGOTTEN: usize = 16;
/// Longest file that is read.
const MAX_FILE: u64 = 32_768;
const FIRST_LINE: &str = "gadwall starts 1";
const LAST_LINE: &str = "end";

/// Names an envelope over restarts, whenever it arrives.
pub type Name = [u8; 16];

/// One run of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    boot: String,
    /// CLOCK_BOOTTIME of its start.
    began: i64,
    /// CLOCK_REALTIME of its start, for a person who reads the file.
    at: i64,
    /// It came to its end by its own decision.
    ended: bool,
}

/// What `gadwall.starts` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    lives: Vec<Life>,
    /// Envelopes that were in progress at a crash, and at how many.
    suspects: Vec<(Name, u32)>,
}

/// What is known about crashes, and the files that it is kept in.
#[derive(Debug)]
pub struct Poison {
    starts: PathBuf,
    in_progress: PathBuf,
    record: Record,
    boot: String,
    wary: bool,
    forgotten: usize,
}

/// Names of those of a group that are to be noted as in progress: what holds nothing cannot end the process, and the ends of
/// a hub's batches, which all have one name, would be in progress at any three crashes.
pub fn worth_noting<'a>(group: impl IntoIterator<Item = (&'a Name, &'a Envelope)>) -> Vec<Name> {
    group.into_iter().filter(|(_, envelope)| !envelope.content.is_empty()).map(|(name, _)| *name).collect()
}

impl Poison {
    /// Of the files in `dir`; reads nothing yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            starts: dir.join(STARTS),
            in_progress: dir.join(IN_PROGRESS),
            record: Record::default(),
            boot: String::new(),
            wary: false,
            forgotten: 0,
        }
    }

    /// Reads the files, works out whether care is needed, and notes this start. `boottime` is CLOCK_BOOTTIME, `at`
    /// CLOCK_REALTIME. A file that is damaged or cannot be written is no reason not to start: the journal tells.
    pub fn begin(&mut self, boot: &str, boottime: i64, at: Timestamp) {
        let file = self.starts.display();
        let mut record = match read(&self.starts).map(|text| Record::parse(&text)) {
            Ok(Some(record)) => record,
            Ok(None) => {
                tracing::warn!(%file, "it is damaged and begun anew");
                Record::default()
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, %file, "it cannot be read and is begun anew");
                }
                Record::default()
            }
        };
        if let Ok(text) = read(&self.in_progress) {
            // The equal messages of a stuck sensor have one name: together they were in progress at one crash.
            let names: BTreeSet<Name> = noted(&text, boot).into_iter().collect();
            for name in names {
                record.suspect(name);
            }
        }
        let _ = std::fs::remove_file(&self.in_progress);
        let unclean = record.unclean(boot, boottime);
        self.wary = unclean >= UNCLEAN;
        if self.wary {
            tracing::warn!(
                unclean,
                "the process ended badly several times in ten minutes: it is noted what is being stored"
            );
        }
        record.lives.push(Life { boot: boot.to_owned(), began: boottime, at: at.micros(), ended: false });
        let surplus = record.lives.len().saturating_sub(LIVES);
        record.lives.drain(..surplus);
        self.record = record;
        boot.clone_into(&mut self.boot);
        self.save();
    }

    /// Whether it has to be noted what is in progress.
    pub fn is_wary(&self) -> bool {
        self.wary
    }

    /// Whether it was in progress at a crash: it is to be committed on its own.
    pub fn is_suspect(&self, name: &Name) -> bool {
        self.crashes(name) > 0
    }

    /// Whether it was in progress at so many crashes that it is to be put aside.
    pub fn is_poison(&self, name: &Name) -> bool {
        self.crashes(name) >= CRASHES
    }

    fn crashes(&self, name: &Name) -> u32 {
        self.record.suspects.iter().find(|(known, _)| known == name).map_or(0, |(_, crashes)| *crashes)
    }

    /// Notes what is about to be committed, at most [`GROUP`].
    pub fn note(&self, names: &[Name]) {
        let names: Vec<String> = names.iter().map(hex).collect();
        if let Err(error) = std::fs::write(&self.in_progress, format!("{} {}\n", self.boot, names.join(" "))) {
            tracing::debug!(%error, file = %self.in_progress.display(), "what is in progress was not noted");
        }
    }

    /// They were committed or put aside: nothing is in progress, and they are no suspects any more.
    pub fn passed(&mut self, names: &[Name]) {
        let _ = std::fs::remove_file(&self.in_progress);
        let before = self.record.suspects.len();
        self.record.suspects.retain(|(known, _)| !names.contains(known));
        self.forgotten += before - self.record.suspects.len();
        if self.forgotten >= FORGOTTEN || (self.forgotten > 0 && self.record.suspects.is_empty()) {
            self.save();
            self.forgotten = 0;
        }
    }

    /// The process ends by its own decision.
    pub fn end(&mut self) {
        if let Some(life) = self.record.lives.last_mut() {
            life.ended = true;
        }
        let _ = std::fs::remove_file(&self.in_progress);
        self.save();
    }

    fn save(&self) {
        let new = self.starts.with_extension("starts.new");
        let written = std::fs::write(&new, self.record.text()).and_then(|()| std::fs::rename(&new, &self.starts));
        if let Err(error) = written {
            tracing::warn!(%error, file = %self.starts.display(), "this start or stop was not noted");
        }
    }
}

impl Record {
    fn suspect(&mut self, name: Name) {
        let crashes =
            self.suspects.iter().position(|(known, _)| *known == name).map_or(0, |at| self.suspects.remove(at).1);
        self.suspects.push((name, crashes.saturating_add(1)));
        let surplus = self.suspects.len().saturating_sub(SUSPECTS);
        self.suspects.drain(..surplus);
    }

    /// Unclean exits of this boot within the last [`WINDOW`]. An exit is as late as the start after it at the latest.
    fn unclean(&self, boot: &str, boottime: i64) -> usize {
        let next = self.lives.iter().skip(1).map(Some).chain([None]);
        let recent = |next: Option<&Life>| {
            let ended_by = next.filter(|n| n.boot == boot).map_or(boottime, |n| n.began);
            boottime.saturating_sub(ended_by) < WINDOW
        };
        self.lives.iter().zip(next).filter(|(life, next)| !life.ended && life.boot == boot && recent(*next)).count()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for life in &self.lives {
            let state = if life.ended { "ended" } else { "running" };
            text += &format!("life {} {} {} {state}\n", life.boot, life.began, life.at);
        }
        for (name, crashes) in &self.suspects {
            text += &format!("suspect {} {crashes}\n", hex(name));
        }
        text + LAST_LINE + "\n"
    }

    /// `None` for a text that is damaged in any way: a count that is made up would put a sound message aside.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(FIRST_LINE) || lines.next_back() != Some(LAST_LINE) {
            return None;
        }
        let mut record = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["life", boot, began, at, state @ ("ended" | "running")] => record.lives.push(Life {
                    boot: boot.to_owned(),
                    began: began.parse().ok()?,
                    at: at.parse().ok()?,
                    ended: state == "ended",
                }),
                ["suspect", name, crashes] => record.suspects.push((unhex(name)?, crashes.parse().ok()?)),
                _ => return None,
            }
        }
        (record.lives.len() <= LIVES && record.suspects.len() <= SUSPECTS).then_some(record)
    }
}

/// The names that were noted in this boot; none where the file is damaged.
pub fn noted(text: &str, boot: &str) -> Vec<Name> {
    let Some((then, names)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { return Vec::new() };
    let names: Option<Vec<Name>> = names.split(' ').map(unhex).collect();
    names.filter(|names| then == boot && names.len() <= GROUP).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn hex(name: &Name) -> String {
    name.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Name> {
    let mut name = Name::default();
    if text.len() != 2 * name.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in name.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(name)
}

/// The name of an envelope: the same whenever and however often its sender sends it.
pub fn name(envelope: &Envelope) -> Name {
    let mut hash = Sha256::new();
    let mut text = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    text(envelope.source.as_bytes());
    if let Some(delivery) = envelope.delivery {
        text(&delivery.digest);
        text(&delivery.part.to_le_bytes());
    } else {
        for r in &envelope.content.readings {
            text(r.node.as_bytes());
            text(r.metric.as_bytes());
            text(&time(r.when));
            text(&r.value.to_bits().to_le_bytes());
        }
        for e in &envelope.content.events {
            text(e.node.as_bytes());
            text(e.kind.as_bytes());
            text(&time(e.when));
            text(e.data.as_bytes());
        }
        for d in &envelope.content.dead {
            text(d.detail.as_bytes());
            text(&d.excerpt);
        }
    }
    let mut name = Name::default();
    name.copy_from_slice(&hash.finalize()[..size_of::<Name>()]);
    name
}

fn time(when: When) -> Vec<u8> {
    match when {
        When::Arrival => Vec::new(),
        When::Live(ts) | When::Stored(ts) => ts.micros().to_le_bytes().to_vec(),
    }
}

/// What an envelope holds, as a text for the excerpt of its dead letter; what is longer than the excerpt is left out.
pub fn excerpt(envelope: &Envelope) -> String {
    let most = crate::reading::MAX_EXCERPT;
    let shown = |when| match when {
        When::Arrival => String::new(),
        When::Live(ts) | When::Stored(ts) => format!(" at {ts}"),
    };
    let content = &envelope.content;
    let readings = content.readings.iter().map(|r| format!("{} {}={}{}", r.node, r.metric, r.value, shown(r.when)));
    let events = content.events.iter().map(|e| format!("{} {}: {}{}", e.node, e.kind, e.data, shown(e.when)));
    let dead = content.dead.iter().map(|d| String::from_utf8_lossy(&d.excerpt).into_owned());
    let mut text = String::new();
    for part in readings.chain(events).chain(dead) {
        if text.len() > most {
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&part);
    }
    text
}

/// The kernel's id of this boot; `unknown` where it cannot be read, which then counts as one boot.
pub fn boot_id() -> Arc<str> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| "unknown".into(), |id| id.trim().into())
}

#[cfg(test)]
mod tests;
