//! `gadwall doctor`: how a database is, what a repair would lose, and the repair, with the code of the daemon's start.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::config;
use crate::status::size;
use crate::store::compact::leftovers;
use crate::store::recovery::{
    Damage, Examiner, Files, Finding, Repair, Summary, Unwatched, folder_of, scan, sets, transactions,
};
use crate::store::{Lock, LockError};

/// More steps than a repair can have.
const MAX_STEPS: u32 = 12;

/// Whether a repair is allowed.
pub enum Ask {
    /// It is.
    Yes,
    /// It is not: nobody can be asked.
    No,
    /// A person is asked, once.
    Person(Box<dyn BufRead>),
}

/// Explains the database `file` on `out`, and repairs it if it is damaged and `ask` allows it. `true` when it is sound in
/// the end. Blocks for as long as it takes to open it.
///
/// # Errors
/// When there is no such file, when a running daemon has it, or when `out` cannot be written.
pub fn run(file: &Path, ask: Ask, out: &mut impl Write) -> anyhow::Result<bool> {
    // A name without a folder has an empty parent.
    let file = &std::path::absolute(file).context("the current folder")?;
    let files = Files::new(file);
    let present = files.present();
    if present.is_empty() {
        bail!("{} is not there, and no WAL of it", file.display());
    }
    show_files(&files, out)?;
    let _lock = match Lock::take(file.parent().unwrap_or(Path::new("/"))) {
        Ok(lock) => lock,
        Err(LockError::Held { pid, .. }) => {
            writeln!(out, "lock     held by process {pid}: a running gadwall has it")?;
            bail!("stop the daemon first: nothing was opened or changed (ask it with `gadwall status`)");
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(out, "lock     free")?;
    for set in sets(&folder_of(file)) {
        writeln!(out, "aside    {}", set.display())?;
    }
    let config = config::Store { path: file.clone(), ..config::Store::default() };
    // A person has the time that a start has not.
    let mut examiner = Examiner::new(&config).thoroughly();
    let mut repair = Repair::new(&config);
    let mut allowed = None;
    let mut ask = Some(ask);
    for _ in 0..MAX_STEPS {
        let Ok(finding) = examiner.examine(&mut Unwatched) else { bail!("stopped") };
        let damage = match finding {
            Finding::Sound(summary) => {
                show_summary(&summary, out)?;
                return Ok(true);
            }
            Finding::Damaged(damage) => damage,
            Finding::Newer(text) => {
                writeln!(out, "state    of a newer version, not damaged: {text}")?;
                return Ok(false);
            }
            Finding::Outside(text) => {
                writeln!(out, "state    cannot be opened at present, which is no damage: {text}")?;
                return Ok(false);
            }
            Finding::Unknown => bail!("no child process can be made"),
        };
        show_damage(&damage, out)?;
        let Ok(step) = repair.next(&damage, &mut Unwatched) else { bail!("stopped") };
        if allowed.is_none() {
            writeln!(out, "repair   would keep what it loses in {}, and", folder_of(file).display())?;
        }
        writeln!(out, "         {}", step.describe())?;
        let allowed = *allowed.get_or_insert_with(|| permitted(ask.take().unwrap_or(Ask::No), out));
        if !allowed {
            writeln!(out, "         nothing was changed; --yes repairs it, and so does the next start of the daemon")?;
            return Ok(false);
        }
        let done = repair.take(&step, &damage, &mut Unwatched)?;
        writeln!(out, "done     {done}")?;
    }
    bail!("it is still damaged after {MAX_STEPS} steps: the medium does not keep what is written to it");
}

fn permitted(ask: Ask, out: &mut impl Write) -> bool {
    match ask {
        Ask::Yes => true,
        Ask::No => false,
        Ask::Person(mut input) => {
            let mut line = String::new();
            let asked = write!(out, "Repair it, this step and those that turn out to be needed behind it? [y/N] ")
                .and_then(|()| out.flush());
            asked.is_ok()
                && input.read_line(&mut line).is_ok()
                && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
        }
    }
}

fn show_files(files: &Files, out: &mut impl Write) -> std::io::Result<()> {
    for (path, bytes) in files.present() {
        writeln!(out, "file     {} {bytes} bytes", path.display())?;
        if path == files.database() {
            continue;
        }
        match scan(&path) {
            Ok(scan) if scan.damaged => writeln!(
                out,
                "         {} in {} bytes, then damage, and {} in or behind it",
                transactions(scan.commits),
                scan.good,
                transactions(scan.behind)
            )?,
            Ok(scan) => writeln!(
                out,
                "         {} in {} bytes, and {} bytes of one that was not finished",
                transactions(scan.commits),
                scan.good,
                scan.len - scan.good
            )?,
            Err(error) => writeln!(out, "         it cannot be read: {error}")?,
        }
    }
    for (path, bytes) in leftovers(files.database()) {
        writeln!(
            out,
            "left     {} {bytes} bytes of an unfinished compaction: the next start removes it",
            path.display()
        )?;
    }
    Ok(())
}

fn show_summary(summary: &Summary, out: &mut impl Write) -> std::io::Result<()> {
    if summary.schema == 0 {
        return writeln!(out, "state    sound, without tables: the next start makes them");
    }
    writeln!(
        out,
        "state    sound: schema {}, {} readings, {} series, {} nodes; last commit {} (batch {})",
        summary.schema,
        summary.readings,
        summary.series,
        summary.nodes,
        summary.last_commit.as_deref().unwrap_or("never"),
        summary.batch
    )?;
    let hint = if worth_compacting(summary.bytes, summary.free) {
        "; `gadwall compact` gives it back to the disk"
    } else {
        ""
    };
    writeln!(out, "size     {}, of it {} free for new readings{hint}", size(summary.bytes), size(summary.free))
}

/// A quarter of the file, and more than a few row groups.
const fn worth_compacting(bytes: u64, free: u64) -> bool {
    free >= 8_000_000 && free >= bytes / 4
}

fn show_damage(damage: &Damage, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "state    DAMAGED: {}", damage.text)
}

#[cfg(test)]
mod tests {
    use super::worth_compacting;

    #[test]
    fn a_quarter_of_the_file_is_worth_it() {
        assert!(worth_compacting(40_000_000, 10_000_000));
        assert!(!worth_compacting(40_000_000, 9_999_999));
        assert!(!worth_compacting(9_000_000, 7_000_000), "little is not");
    }
}
