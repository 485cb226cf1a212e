//! The checksums of the database's blocks, computed without DuckDB. Each block begins with the checksum of its rest, which
//! not only tells that something is wrong: where it is a bit or three of one word it tells which, and they are put right.
//!
//! The layout is that of DuckDB's storage since 0.10: three headers of 4096 bytes, then blocks of one size. The checksum is
//! 5381, xor each word of eight bytes (little-endian) times [`FACTOR`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{Stopped, Watch};
use crate::store::open::BLOCK_SIZE;

const HEADERS: u64 = 3;
const HEADER_SIZE: usize = 4_096;
const WORD: usize = 8;
const SEED: u64 = 5_381;
const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
/// Wrong bits of one word that are put right. Each block has 8,191 words: that another change of so few bits in any of them
/// happens to have the same checksum has a chance below 1 to 10^10.
const MAX_BITS: u32 = 3;
/// Blocks between two looks at the watch.
const LOOK_EVERY: u64 = 256;

/// Wrong bits of one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Where the word is in the file.
    pub at: u64,
    /// The bits that are wrong, as a little-endian word.
    pub bits: u64,
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
        if let Some(fault) = fault(block) {
            survey.wrong += 1;
            survey.flips.extend(fault.map(|flip| Flip { at: at + flip.at, ..flip }));
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

/// Puts `flips` right, in place. The same again undoes it.
///
/// # Errors
/// That of writing the file.
pub fn put_right(path: &Path, flips: &[Flip]) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    for flip in flips {
        let mut word = [0; WORD];
        file.read_exact_at(&mut word, flip.at)?;
        file.write_all_at(&(u64::from_le_bytes(word) ^ flip.bits).to_le_bytes(), flip.at)?;
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

/// `None` where the checksum is right. Otherwise the one change of few bits that makes it so, if there is one.
fn fault(block: &[u8]) -> Option<Option<Flip>> {
    let mut all = words(block);
    let stored = all.next()?;
    let computed = all.fold(SEED, |sum, word| sum ^ word.wrapping_mul(FACTOR));
    let difference = stored ^ computed;
    if difference == 0 {
        return None;
    }
    let few = |bits: u64| (1..=MAX_BITS).contains(&bits.count_ones());
    let inverse = inverse(FACTOR);
    // The stored checksum itself, or the word that would have given it.
    let first = few(difference).then_some(Flip { at: 0, bits: difference });
    let others = words(block).enumerate().skip(1).filter_map(|(i, word)| {
        let bits = word ^ (word.wrapping_mul(FACTOR) ^ difference).wrapping_mul(inverse);
        few(bits).then_some(Flip { at: (i * WORD) as u64, bits })
    });
    let mut found = first.into_iter().chain(others);
    Some(found.next().filter(|_| found.next().is_none()))
}

/// `x` times `odd` is 1, modulo 2^64: each step doubles the bits that are right, and three are to begin with.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut bits = 3;
    while bits < u64::BITS {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        bits *= 2;
    }
    x
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

    #[test]
    fn up_to_three_bits_of_a_word_are_found_and_put_right_wherever_they_are() {
        let (_dir, path) = database();
        let good = std::fs::read(&path).unwrap();
        for (at, bits) in [
            // The magic bytes of the file; the checksum of a header; the catalog; blocks in the middle, one of them in its
            // checksum; the last word.
            (8, 1 << 5),
            (4_096, 1 << 63),
            (12_288 + 80, 0b101),
            (12_288 + 65_536 * 3, 1),
            (12_288 + 65_536 * 5 + 30_000, 1 << 7 | 1 << 40 | 1 << 41),
            (good.len() as u64 - 8, 1 << 33),
        ] {
            put_right(&path, &[Flip { at, bits }]).unwrap();
            let survey = survey_of(&path);
            assert_eq!((survey.wrong, survey.flips.as_slice()), (1, [Flip { at, bits }].as_slice()));
            put_right(&path, &survey.flips).unwrap();
            assert!(std::fs::read(&path).unwrap() == good);
        }
    }

    #[test]
    fn what_is_more_than_that_is_left_as_it_is() {
        let (_dir, path) = database();
        let at = 12_288 + 65_536 * 4 + 1_000;
        put_right(&path, &[Flip { at, bits: 0b1111 }]).unwrap();
        let survey = survey_of(&path);
        assert_eq!((survey.wrong, survey.flips), (1, vec![]));
        // Two words of one block, and another block with one.
        put_right(&path, &[Flip { at, bits: 0b1110 }, Flip { at: at + 8, bits: 1 }]).unwrap();
        let other = Flip { at: at + 65_536, bits: 1 };
        put_right(&path, &[other]).unwrap();
        let survey = survey_of(&path);
        assert_eq!((survey.wrong, survey.flips), (2, vec![other]));
    }

    #[test]
    fn a_file_of_another_layout_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noise");
        let noise: Vec<u8> = (0..400_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(&path, noise).unwrap();
        let survey = survey_of(&path);
        assert_eq!((survey.blocks, survey.wrong, survey.flips), (8, 8, vec![]));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(survey_of(&path), Survey::default());
    }

    #[test]
    fn the_inverse_is_one() {
        assert_eq!(FACTOR.wrapping_mul(inverse(FACTOR)), 1);
    }
}
