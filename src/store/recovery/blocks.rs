//! The checksums of the database's blocks, computed without DuckDB. Each block begins with the checksum of its rest. Where one
//! bit of a block is wrong, the difference of what is stored and what is computed often tells which, and it is put right.
//!
//! The layout is that of DuckDB's storage since 0.10: three headers of 4096 bytes, then blocks of one size. The checksum is
//! 5381, xor each word of eight bytes (little-endian) times [`FACTOR`]. The factor is odd: the lowest bit of a difference is the
//! bit of the word that is wrong, and the bits above it are left to tell which word. Words that are alike cannot be told apart.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{Stopped, Watch};
use crate::store::open::BLOCK_SIZE;

/// Headers at the beginning of a file.
pub const HEADERS: u64 = 3;
/// Bytes of each.
pub const HEADER_SIZE: usize = 4_096;
const WORD: usize = 8;
const SEED: u64 = 5_381;
const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
/// The highest bit of a word that is put right. The 27 bits above it are what tells the word: that another change of the block
/// than of one bit is taken for one of these has a chance below 1 to 10,000 where all of it is in such high bits, and next to
/// none otherwise.
const MAX_BIT: u32 = 36;
/// Blocks between two looks at the watch.
const LOOK_EVERY: u64 = 256;

/// One wrong bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The byte of the file.
    pub at: u64,
    /// The bit of it, 0 to 7.
    pub bit: u8,
}

/// What the checksums of a database tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Headers and blocks.
    pub blocks: u64,
    /// Those that do not have their checksum. A block that is not in use may be among them.
    pub wrong: u64,
    /// What is wrong with those that can be put right.
    pub flips: Vec<Flip>,
}

/// Reads the whole file `path`.
///
/// # Errors
/// [`Stopped`] when `watch` says so; the inner error is that of reading the file.
pub fn survey(path: &Path, watch: &mut dyn Watch) -> Result<io::Result<Survey>, Stopped> {
    let mut survey = Survey::default();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut block = vec![0; BLOCK_SIZE as usize];
    let mut at = 0;
    loop {
        let size = if survey.blocks < HEADERS { HEADER_SIZE } else { block.len() };
        let block = &mut block[..size];
        match read_whole(&mut file, block) {
            // A block that is cut short is none.
            Ok(read) if read < size => break,
            Ok(_) => {}
            // A sector that cannot be read takes no other block with it.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                survey.wrong += 1;
                if let Err(error) = io::Seek::seek(&mut file, io::SeekFrom::Start(at + size as u64)) {
                    return Ok(Err(error));
                }
                (at, survey.blocks) = (at + size as u64, survey.blocks + 1);
                continue;
            }
            Err(error) => return Ok(Err(error)),
        }
        if let Err(flip) = check(block) {
            survey.wrong += 1;
            survey.flips.extend(flip.map(|flip| Flip { at: at + flip.at, ..flip }));
        }
        (at, survey.blocks) = (at + size as u64, survey.blocks + 1);
        if survey.blocks.is_multiple_of(LOOK_EVERY)
            && !watch.go_on("reading the checksums of the database", Duration::ZERO)
        {
            return Err(Stopped);
        }
    }
    // Then it is of another layout, or of noise, and nothing is known about it.
    if survey.wrong * 2 > survey.blocks {
        survey.flips.clear();
    }
    Ok(Ok(survey))
}

/// Where the header is that has to be replaced by the other one, if exactly one of the two that checkpoints write in turn is
/// damaged and nothing is lost by it: the checkpoint that wrote it was cut short, and the WAL `wal` still belongs to the one
/// before, or it is the older of the two. DuckDB refuses a database with one of them damaged, whichever it is.
///
/// # Errors
/// That of reading the database.
pub fn spare_header(database: &Path, wal: &Path) -> io::Result<Option<u64>> {
    let mut head = [0; 3 * HEADER_SIZE];
    File::open(database)?.read_exact_at(&mut head, 0)?;
    let headers: Vec<&[u8]> = head.chunks_exact(HEADER_SIZE).collect();
    let sound = |i: usize| check(headers[i]).is_ok();
    let (good, bad) = match (sound(0), sound(1), sound(2)) {
        (true, true, false) => (1, 2),
        (true, false, true) => (2, 1),
        _ => return Ok(None),
    };
    let iteration = |i: usize| words(headers[i]).nth(1).unwrap_or_default();
    let follows = super::wal::iteration(wal).ok().flatten() == Some(iteration(good));
    let is_older = iteration(bad).checked_add(1) == Some(iteration(good));
    Ok((follows || is_older).then_some((bad * HEADER_SIZE) as u64))
}

/// Replaces the header at `at` by the other one.
///
/// # Errors
/// That of reading or writing the file.
pub fn replace_header(database: &Path, at: u64) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(database)?;
    let other = HEADERS * HEADER_SIZE as u64 - at;
    let mut header = vec![0; HEADER_SIZE];
    file.read_exact_at(&mut header, other)?;
    file.write_all_at(&header, at)?;
    file.sync_all()
}

/// Puts `flips` right, in place. The same again undoes it.
///
/// # Errors
/// That of writing the file.
pub fn put_right(path: &Path, flips: &[Flip]) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    for flip in flips {
        let mut byte = [0];
        file.read_exact_at(&mut byte, flip.at)?;
        file.write_all_at(&[byte[0] ^ 1 << flip.bit], flip.at)?;
    }
    file.sync_all()
}

fn read_whole(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < block.len() {
        match file.read(&mut block[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn words(block: &[u8]) -> impl Iterator<Item = u64> {
    block.chunks_exact(WORD).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
}

/// The checksum of a header or block, of which the first word is where it is stored.
pub fn checksum(block: &[u8]) -> u64 {
    words(block).skip(1).fold(SEED, |sum, word| sum ^ word.wrapping_mul(FACTOR))
}

/// Whether the checksum is right. The error has the one bit whose change makes it so, if there is exactly one.
fn check(block: &[u8]) -> Result<(), Option<Flip>> {
    let Some(stored) = words(block).next() else { return Ok(()) };
    let difference = stored ^ checksum(block);
    if difference == 0 {
        return Ok(());
    }
    let bit = difference.trailing_zeros();
    if bit > MAX_BIT {
        return Err(None);
    }
    let changes = |word: u64| word.wrapping_mul(FACTOR) ^ (word ^ 1 << bit).wrapping_mul(FACTOR) == difference;
    // The stored checksum itself, or the word that would have given it.
    let first = (difference == 1 << bit).then_some(0);
    let others = words(block).enumerate().skip(1).filter_map(|(i, word)| changes(word).then_some(i * WORD));
    let mut found = first.into_iter().chain(others);
    let only = found.next().filter(|_| found.next().is_none());
    let (byte, of_byte) = ((bit / 8) as usize, (bit % 8) as u8);
    Err(only.map(|word| Flip { at: (word + byte) as u64, bit: of_byte }))
}

#[cfg(test)]
mod tests {
    use super::super::Unwatched;
    use super::*;
    use crate::config;
    use crate::store::open::Root;

    /// A database as DuckDB writes it.
    fn database() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.duckdb");
        let root =
            Root::open(&config::Store { path: path.clone(), memory_limit: 24_000_000, ..config::Store::default() });
        let root = root.unwrap();
        root.migrate().unwrap();
        root.connection
            .execute_batch(
                "INSERT INTO g.readings SELECT i % 7, make_timestamp(i * 977), i * 0.37, i % 3 FROM range(200000) t(i); \
                 CHECKPOINT g",
            )
            .unwrap();
        root.detach().unwrap();
        (dir, path)
    }

    fn survey_of(path: &Path) -> Survey {
        survey(path, &mut Unwatched).unwrap().unwrap()
    }

    #[test]
    fn the_checksums_are_those_of_duckdb() {
        let (_dir, path) = database();
        let survey = survey_of(&path);
        assert!(survey.blocks > 8, "{survey:?}");
        assert_eq!((survey.wrong, survey.flips), (0, vec![]));
    }

    /// A place in block `block` where this bit of a word is put right: no other word would change the checksum in the same way.
    fn unambiguous(file: &[u8], block: usize, bit: u32) -> Flip {
        let from = 3 * HEADER_SIZE + block * BLOCK_SIZE as usize;
        let all: Vec<u64> = words(&file[from..from + BLOCK_SIZE as usize]).collect();
        let change = |word: u64| word.wrapping_mul(FACTOR) ^ (word ^ 1 << bit).wrapping_mul(FACTOR);
        let alike = |i: &usize| all[1..].iter().filter(|w| change(**w) == change(all[*i])).count();
        let word = (1..all.len()).find(|i| alike(i) == 1).unwrap();
        Flip { at: (from + word * WORD) as u64 + u64::from(bit / 8), bit: (bit % 8) as u8 }
    }

    #[test]
    fn one_wrong_bit_is_found_and_put_right_wherever_it_is() {
        let (_dir, path) = database();
        let good = std::fs::read(&path).unwrap();
        let mut places = vec![
            // The magic bytes of the file; the checksum of a header; that of a block.
            Flip { at: 8, bit: 5 },
            Flip { at: 4_097, bit: 2 },
            Flip { at: 12_288 + 65_536 * 3, bit: 0 },
        ];
        // The catalog, and blocks with data.
        for (block, bit) in [(0, 3), (0, 30), (2, 0), (3, 36), (4, 17), (5, 31)] {
            places.push(unambiguous(&good, block, bit));
        }
        for flip in places {
            put_right(&path, &[flip]).unwrap();
            let survey = survey_of(&path);
            assert_eq!((survey.wrong, survey.flips.as_slice()), (1, [flip].as_slice()));
            put_right(&path, &survey.flips).unwrap();
            assert!(std::fs::read(&path).unwrap() == good);
        }
    }

    #[test]
    fn what_cannot_be_told_is_left_as_it_is() {
        let (_dir, path) = database();
        let good = std::fs::read(&path).unwrap();
        let one = unambiguous(&good, 2, 4);
        // The highest bit of a word, of which every word could be the one; two bits; a word that is there often.
        let highest = Flip { at: one.at + 7, bit: 7 };
        let catalog: Vec<u64> = words(&good[12_288..12_288 + 65_536]).collect();
        let word = (1..catalog.len()).find(|i| catalog.iter().filter(|w| **w == catalog[*i]).count() > 1).unwrap();
        let often = Flip { at: 12_288 + (word * WORD) as u64, bit: 0 };
        for flips in [vec![highest], vec![one, Flip { at: one.at + 8, ..one }], vec![often]] {
            put_right(&path, &flips).unwrap();
            let survey = survey_of(&path);
            assert_eq!((survey.wrong, survey.flips), (1, vec![]), "{flips:?}");
            put_right(&path, &flips).unwrap();
        }
        // One block is not put right, another is.
        let other = unambiguous(&good, 3, 4);
        put_right(&path, &[highest, other]).unwrap();
        let survey = survey_of(&path);
        assert_eq!((survey.wrong, survey.flips), (2, vec![other]));
    }

    #[test]
    fn a_header_is_replaced_only_where_nothing_is_lost_by_it() {
        let (dir, path) = database();
        let wal = dir.path().join("g.duckdb.wal");
        let good = std::fs::read(&path).unwrap();
        let iteration = |at: usize| u64::from_le_bytes(good[at + 8..at + 16].try_into().unwrap());
        let (newer, older) = if iteration(4_096) > iteration(8_192) { (4_096, 8_192) } else { (8_192, 4_096) };
        let spare = |at: usize, from: usize| {
            let mut bad = good.clone();
            bad[at + from..at + 200].iter_mut().zip(1..).for_each(|(b, n)| *b ^= n);
            std::fs::write(&path, bad).unwrap();
            spare_header(&path, &wal).unwrap()
        };
        assert_eq!(spare(older, 20), Some(older as u64), "the older one, which says so");
        assert_eq!(spare(older, 0), None, "it may have been the newer one");
        assert_eq!(spare(newer, 20), None);
        // Cut short while it was written: the WAL still belongs to the other.
        let number = u8::try_from(iteration(newer)).unwrap();
        std::fs::write(&wal, [0x64, 0, 0x62, 0x65, 0, 2, 0x66, 0, 0, 0x67, 0, number, 0xff, 0xff]).unwrap();
        assert_eq!(spare(newer, 0), None, "nothing of the WAL belongs to the older one");
        assert_eq!(spare(older, 0), Some(older as u64));
        replace_header(&path, older as u64).unwrap();
        let repaired = std::fs::read(&path).unwrap();
        assert!(repaired[older..older + 4_096] == good[newer..newer + 4_096]);
        assert_eq!(survey_of(&path).wrong, 0);
        assert_eq!(spare_header(&path, &wal).unwrap(), None);
    }

    #[test]
    fn a_file_of_another_layout_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noise");
        let noise: Vec<u8> = (0..100_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(&path, noise).unwrap();
        let survey = survey_of(&path);
        assert_eq!((survey.blocks, survey.wrong, survey.flips), (8, 8, vec![]));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(survey_of(&path), Survey::default());
    }
}
