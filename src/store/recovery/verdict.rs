//! What became of an attempt to open the file: what is damage and what is not, told from DuckDB's words.

use serde::{Deserialize, Serialize};

use super::salvage::Report;

/// What the file holds, as a successful attempt found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of the schema; 0 for a file without tables.
    pub schema: i64,
    /// Rows in `readings`.
    pub readings: i64,
    /// Known nodes.
    pub nodes: i64,
    /// Known series.
    pub series: i64,
    /// Number of the last batch; 0 before the first.
    pub batch: i64,
    /// Time of the last commit, UTC, where there was one.
    pub last_commit: Option<String>,
    /// Bytes of its blocks, the free ones included.
    pub bytes: u64,
    /// Bytes of the blocks that are free for what comes.
    pub free: u64,
}

/// How an attempt to open the file ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The WAL was replayed and everything read that a start reads.
    Sound(Summary),
    /// DuckDB names corruption.
    Corrupt {
        /// DuckDB's words.
        text: String,
        /// The byte of the WAL that it names.
        at: Option<u64>,
        /// The WAL is `.wal.checkpoint`.
        checkpoint_wal: bool,
        /// The file could be opened and its WAL replayed: what is damaged is in a block of the database.
        attached: bool,
    },
    /// What can be read is in a new database.
    Salvaged(Report),
    /// It ended in a way that damage explains, and other things too: an abort, an internal error of DuckDB, a sector that
    /// cannot be read. The same twice in a row is damage.
    Broke(String),
    /// The memory limit did not suffice.
    Memory(String),
    /// The file is of a newer version.
    Newer(String),
    /// Something else than the file is in the way: a lock, a permission, no space, a signal from outside.
    Outside(String),
}

const NEWER: &[&str] = &["storage version number", "newer version of DuckDB", "newer version of gadwall"];
// A commit of the replay wraps the error, and leaves its name out.
const MEMORY: &[&str] = &[
    "Out of Memory",
    "failed to pin block",
    "could not allocate block",
    "SET memory_limit",
    "Cannot allocate memory",
    "bad_alloc",
    "llocation failure",
];
const OUTSIDE: &[&str] = &[
    "Could not set lock",
    "Conflicting lock",
    "file handle conflict",
    "No space left",
    "quota exceeded",
    "File too large",
    "Permission denied",
    "Operation not permitted",
    "Read-only file system",
    "Too many open files",
    "Is a directory",
];
const BROKE: &[&str] = &["Input/output error", "INTERNAL Error", "FATAL Error", "has been invalidated"];
const CORRUPT: &[&str] = &[
    "orrupt",
    "not a valid DuckDB database file",
    "Could not read enough bytes",
    "Could not read all bytes",
    "Serialization Error",
    "replaying WAL",
    "Failed to read WAL",
    "This WAL was created for",
    "WAL does not match",
    "Metadata block",
    "metadata pointer",
    "MetadataReader",
    "vector size",
    "Storage Version",
    "Serialization Version",
];
/// Longest text that is kept, in bytes: DuckDB adds a stack trace to some.
const MAX_TEXT: usize = 1_000;
/// Longest text for `/healthz` and `/stats`, in bytes.
const MAX_GIST: usize = 300;

impl Verdict {
    /// Sorts DuckDB's words. What is not known is no damage: a file is put aside only for what names itself.
    pub fn of(text: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        let short = shortened(text);
        if has(NEWER) {
            Self::Newer(short)
        } else if has(MEMORY) {
            Self::Memory(short)
        } else if has(OUTSIDE) {
            Self::Outside(short)
        } else if text.contains("orrupt") {
            let at = number_behind(text, "byte position ");
            Self::Corrupt { text: short, at, checkpoint_wal: text.contains(".wal.checkpoint"), attached: false }
        } else if has(BROKE) {
            Self::Broke(short)
        } else if has(CORRUPT) {
            Self::Corrupt { text: short, at: None, checkpoint_wal: false, attached: false }
        } else {
            Self::Outside(short)
        }
    }
}

/// Whether an error of a statement, a commit or a checkpoint says that what is stored is damaged: DuckDB names corruption, or
/// the medium cannot read what was written to it.
pub fn is_damage(text: &str) -> bool {
    let unreadable = || text.contains("Input/output error") && text.contains("read");
    matches!(Verdict::of(text), Verdict::Corrupt { .. }) || unreadable()
}

/// The first line of DuckDB's words, without the reasons that it gives for a failed checkpoint before the one that says what
/// is wrong.
pub fn gist(text: &str) -> &str {
    let text = text.lines().next().unwrap_or_default();
    let text = text.rsplit("Original error: ").next().unwrap_or(text);
    &text[..shorter(text, MAX_GIST)]
}

fn shorter(text: &str, most: usize) -> usize {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

fn shortened(text: &str) -> String {
    let text = text.split("\n\nStack Trace").next().unwrap_or_default().trim();
    text[..shorter(text, MAX_TEXT)].to_owned()
}

fn number_behind(text: &str, words: &str) -> Option<u64> {
    let digits = text.split_once(words)?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_what_is_not() {
        let text = "Data Corruption Error: Failure while replaying WAL file \"/x/g.duckdb.wal\": Corrupt WAL file: entry \
                    at byte position 4711 computed checksum 1 does not match stored checksum 2\n\nStack Trace:\n0x1";
        let Verdict::Corrupt { at, checkpoint_wal, text, .. } = Verdict::of(text) else { panic!("corrupt") };
        assert_eq!((at, checkpoint_wal), (Some(4711), false));
        assert!(text.ends_with("stored checksum 2"), "{text}");
        assert!(matches!(
            Verdict::of("Corrupt WAL file \"/x/g.duckdb.wal.checkpoint\""),
            Verdict::Corrupt { at: None, checkpoint_wal: true, .. }
        ));
        for text in [
            "IO Error: The file \"x\" exists, but it is not a valid DuckDB database file!",
            "IO Error: Could not read enough bytes from file \"x\": attempted to read 4096 bytes from location 0",
            "IO Error: This WAL was created for this database file, but the WAL checkpoint iteration does not match the \
             database file. That means the WAL was created for a newer version of this database.",
        ] {
            assert!(matches!(Verdict::of(text), Verdict::Corrupt { at: None, .. }), "{text}");
        }
        for text in [
            "IO Error: Could not set lock on file \"x\": Conflicting lock is held in gadwall (PID 5)",
            "IO Error: Cannot open file \"x\": Permission denied",
            "IO Error: Failure while replaying WAL file \"x\": Could not write file \"x\": No space left on device",
            "IO Error: Could not read from file \"x\": Is a directory",
            "Catalog Error: Table with name nodes already exists!",
            "Invalid Input Error: block size parameter does not match the file's block size, got 65536, expected 262144",
        ] {
            assert!(matches!(Verdict::of(text), Verdict::Outside(_)), "{text}");
        }
        assert!(matches!(
            Verdict::of(
                "Failure while replaying WAL file: Out of Memory Error: failed to pin block (24 MB/24 MB used)"
            ),
            Verdict::Memory(_)
        ));
        assert!(matches!(
            Verdict::of(
                "IO Error: Trying to read a database file with storage version number 99, but we can only read"
            ),
            Verdict::Newer(_)
        ));
        assert!(matches!(Verdict::of("INTERNAL Error: Failed to load metadata pointer"), Verdict::Broke(_)));
        assert!(matches!(Verdict::of("IO Error: Could not read from file: Input/output error"), Verdict::Broke(_)));
    }

    #[test]
    fn damage_that_is_met_at_run_time_is_told_from_other_failures() {
        let block = "Corrupt database file: computed checksum 18146006598050828903 does not match stored checksum \
                     17334871395865165855 in block at location 602112";
        let checkpoint = format!(
            "IO Error: Database \"g\" has been invalidated because checkpointing failed. Detach and reattach it before using \
             it again. Original error: {block}\n\nStack Trace:\n0x1"
        );
        assert!(is_damage(block) && is_damage(&checkpoint));
        assert_eq!((gist(block), gist(&checkpoint)), (block, block));
        assert!(is_damage("IO Error: Could not read from file \"x\": Input/output error"));
        assert_eq!(gist(&"ä".repeat(400)), "ä".repeat(150));
        for other in [
            "IO Error: Could not write file \"x\": Input/output error",
            "IO Error: Could not write file \"g.duckdb.wal\": No space left on device",
            "FATAL Error: Failed: database has been invalidated because of INTERNAL Error",
            "Out of Memory Error: could not allocate block of size 64.0 KiB",
            "INTERNAL Error: checkpoint failed",
            "INTERRUPT Error: Interrupted!",
            "Conversion Error: Could not convert string 'x' to INT32",
        ] {
            assert!(!is_damage(other), "{other}");
        }
    }
}
