//! The frames of a WAL, read without DuckDB. DuckDB takes a frame whose length reaches beyond the end of the file for the
//! torn end of a write and drops what is behind it without a word; the commit marks behind it tell that it was damage.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Length and checksum in front of each frame's payload.
const FRAME_HEADER: u64 = 16;
/// The payload of the frame that ends a transaction.
const COMMIT: &[u8] = &[0x64, 0x00, 0x64, 0xff, 0xff];
/// The whole frame: the payload's length, its checksum, the payload. The same for every transaction.
const COMMIT_FRAME: &[u8] =
    &[0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0xfe, 0x7d, 0x72, 0x2f, 0xed, 0x3d, 0x5e, 0x64, 0x00, 0x64, 0xff, 0xff];
/// A file shorter than this may be a header whose writing was cut short.
const SHORTEST: u64 = 64;

/// What the frames of a WAL tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes of the file.
    pub len: u64,
    /// End of the last whole transaction that can be reached from the beginning; 0 where the header cannot be read.
    pub good: u64,
    /// Transactions up to there.
    pub commits: u64,
    /// Transactions behind it, which a replay would drop silently.
    pub behind: u64,
    /// The rest is not the torn end of a write: it holds whole transactions, or there is no header.
    pub damaged: bool,
}

/// Reads the frames of `path`. Checksums are not verified: that is DuckDB's part.
///
/// # Errors
/// When the file cannot be read.
pub fn scan(path: &Path) -> io::Result<Scan> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut scan = Scan { len, ..Scan::default() };
    let Some(header) = header_len(&mut reader)? else {
        scan.behind = marks_from(path, 0)?;
        scan.damaged = scan.behind > 0 || len >= SHORTEST;
        return Ok(scan);
    };
    let mut at = header;
    scan.good = header;
    reader.seek(SeekFrom::Start(at))?;
    let mut whole = true;
    while at < len {
        let mut frame = [0; 16];
        if len - at < FRAME_HEADER {
            whole = false;
            break;
        }
        reader.read_exact(&mut frame)?;
        let size = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
        if size == 0 || size > len - at - FRAME_HEADER {
            whole = false;
            break;
        }
        let mut commit = false;
        if size == COMMIT.len() as u64 {
            let mut payload = [0; COMMIT.len()];
            reader.read_exact(&mut payload)?;
            commit = payload == COMMIT;
        } else {
            reader.seek_relative(i64::try_from(size).map_err(io::Error::other)?)?;
        }
        at += FRAME_HEADER + size;
        if commit {
            scan.good = at;
            scan.commits += 1;
        }
    }
    if !whole {
        scan.behind = marks_from(path, at)?;
        // A flip in the length of the last mark leaves its payload at the very end.
        let last_mark = scan.behind == 0 && len > scan.good && ends_with_commit(&mut reader, len)?;
        scan.behind += u64::from(last_mark);
        scan.damaged = scan.behind > 0;
    }
    Ok(scan)
}

/// Number of commit marks from byte `from` to the end.
///
/// # Errors
/// When the file cannot be read.
pub fn marks_from(path: &Path, from: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut window = Vec::with_capacity(1 << 17);
    let mut found = 0;
    loop {
        if (&mut file).take(1 << 16).read_to_end(&mut window)? == 0 {
            return Ok(found);
        }
        let mut at = 0;
        while let Some(rest) = window.get(at..at + COMMIT_FRAME.len()) {
            if rest == COMMIT_FRAME {
                found += 1;
                at += COMMIT_FRAME.len();
            } else {
                at += 1;
            }
        }
        window.drain(..at);
    }
}

fn ends_with_commit(reader: &mut (impl Read + Seek), len: u64) -> io::Result<bool> {
    let mut end = [0; COMMIT.len()];
    if len < COMMIT.len() as u64 {
        return Ok(false);
    }
    reader.seek(SeekFrom::Start(len - COMMIT.len() as u64))?;
    reader.read_exact(&mut end)?;
    Ok(end == COMMIT)
}

/// Length of the header, the one entry that has no frame: type, version, the database's identifier, the checkpoint that
/// it follows. `None` where it is not one, or of a version whose frames are others.
fn header_len(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let mut head = Vec::new();
    reader.take(256).read_to_end(&mut head)?;
    Ok(parse_header(&head).map(|(rest, _)| (head.len() - rest.len()) as u64))
}

/// The checkpoint that the WAL follows: it belongs to a database of this iteration. `None` without a header.
///
/// # Errors
/// When the file cannot be read.
pub fn iteration(path: &Path) -> io::Result<Option<u64>> {
    let mut head = Vec::new();
    File::open(path)?.take(256).read_to_end(&mut head)?;
    Ok(parse_header(&head).map(|(_, iteration)| iteration))
}

/// What is behind the header, and the iteration that it names.
fn parse_header(head: &[u8]) -> Option<(&[u8], u64)> {
    const VERSION: &[u8] = &[0x64, 0x00, 0x62, 0x65, 0x00, 0x02];
    let mut rest = head.strip_prefix(VERSION)?;
    if let Some(list) = rest.strip_prefix(&[0x66, 0x00]) {
        let (&count, list) = list.split_first()?;
        rest = list;
        for _ in 0..count {
            (rest, _) = varint(rest)?;
        }
    }
    let mut iteration = 0;
    if let Some(number) = rest.strip_prefix(&[0x67, 0x00]) {
        (rest, iteration) = varint(number)?;
    }
    Some((rest.strip_prefix(&[0xff, 0xff])?, iteration))
}

/// A number of seven bits a byte, the low ones first, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let end = bytes.iter().take(10).position(|b| b & 0x80 == 0)?;
    let number = bytes[..=end].iter().rev().fold(0_u64, |n, b| n << 7 | u64::from(b & 0x7f));
    Some((&bytes[end + 1..], number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u64).to_le_bytes(), [9; 8].as_slice(), payload].concat()
    }

    const HEADER: &[u8] = &[0x64, 0, 0x62, 0x65, 0, 2, 0x66, 0, 2, 0x7c, 0xed, 1, 0x67, 0, 0, 0xff, 0xff];

    #[test]
    fn transactions_are_counted_and_a_torn_end_is_no_damage() {
        let one = [frame(&[1; 300]), COMMIT_FRAME.to_vec()].concat();
        let wal = [HEADER, &one, &one].concat();
        let good = wal.len() as u64;
        let scan_of = |bytes: &[u8]| scan(write(bytes).path()).unwrap();
        assert_eq!(scan_of(&wal), Scan { len: good, good, commits: 2, behind: 0, damaged: false });
        for cut in [1, 10, 200, 310] {
            let torn = scan_of(&[&wal[..], &one[..cut]].concat());
            assert_eq!(torn, Scan { len: good + cut as u64, good, commits: 2, behind: 0, damaged: false });
        }
        let zeros = scan_of(&[&wal[..], &[0; 4096]].concat());
        assert_eq!(zeros, Scan { len: good + 4096, good, commits: 2, behind: 0, damaged: false });
        assert!(!scan_of(&HEADER[..9]).damaged);
        assert_eq!(scan_of(&[]), Scan::default());
    }

    #[test]
    fn a_wrong_length_with_commits_behind_it_is_damage() {
        let one = [frame(&[1; 300]), COMMIT_FRAME.to_vec()].concat();
        let mut wal = [HEADER, &one, &one, &one].concat();
        let second = HEADER.len() + one.len();
        wal[second + 7] ^= 1;
        let found = scan(write(&wal).path()).unwrap();
        let expected = Scan { len: wal.len() as u64, good: second as u64, commits: 1, behind: 2, damaged: true };
        assert_eq!(found, expected);
        // Only the length of the last mark.
        let mut wal = [HEADER, &one, &one].concat();
        let mark = wal.len() - COMMIT_FRAME.len();
        wal[mark + 3] ^= 0x40;
        let found = scan(write(&wal).path()).unwrap();
        assert_eq!((found.good, found.commits, found.behind, found.damaged), (second as u64, 1, 1, true));
    }

    #[test]
    fn the_header_names_the_checkpoint_that_it_follows() {
        assert_eq!(iteration(write(HEADER).path()).unwrap(), Some(0));
        let later = [&HEADER[..14], &[0xad, 0x82, 0x01, 0xff, 0xff], &[1, 2, 3]].concat();
        assert_eq!(iteration(write(&later).path()).unwrap(), Some(1 << 14 | 2 << 7 | 0x2d));
        assert_eq!(scan(write(&later).path()).unwrap().good, 19);
        assert_eq!(iteration(write(&HEADER[..10]).path()).unwrap(), None);
    }

    #[test]
    fn without_a_header_it_is_damage() {
        let one = [frame(&[1; 300]), COMMIT_FRAME.to_vec()].concat();
        let mut wal = [HEADER, &one].concat();
        wal[2] ^= 4;
        let found = scan(write(&wal).path()).unwrap();
        assert_eq!(found, Scan { len: wal.len() as u64, good: 0, commits: 0, behind: 1, damaged: true });
        assert!(scan(write(&[0xa5; 5_000]).path()).unwrap().damaged);
    }

    #[test]
    fn marks_are_found_over_the_edges_of_the_window() {
        for pad in [65_526, 65_535, 65_536, 131_062] {
            let file = write(&[&vec![7; pad][..], COMMIT_FRAME, &[1, 2], COMMIT_FRAME].concat());
            assert_eq!(marks_from(file.path(), 0).unwrap(), 2, "{pad}");
            assert_eq!(marks_from(file.path(), pad as u64 + 1).unwrap(), 1, "{pad}");
        }
    }
}
