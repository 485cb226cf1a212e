//! Blocks that a checkpoint writes over in place, and what a cut in the middle leaves of them.
//!
//! DuckDB keeps what describes the tables in metadata blocks of 64 parts. A checkpoint puts new parts where none is in use and
//! then writes the whole block over, 64 KiB at once, before the header says that the new parts count. A kill or a power cut
//! in between leaves a block of which some sectors are new and others old: its checksum is neither's, and DuckDB refuses the
//! file. But the parts that the header still speaks of are the same in both, so nothing is lost: the block only lacks a
//! checksum of what is in it.
//!
//! Which blocks those are stands in the list of free blocks, at whose end is the list of metadata blocks
//! (`SingleFileBlockManager::LoadFreeList` and `MetadataManager::Read` of DuckDB's storage).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::blocks::{HEADER_SIZE, HEADERS, checksum};
use crate::store::open::BLOCK_SIZE;

/// Bytes of a block's checksum.
const CHECKSUM: usize = 8;
/// Parts of a metadata block.
const PARTS: usize = 64;
/// Bytes of a part: those of a block without its checksum, evenly and in whole words.
const PART: usize = (BLOCK_SIZE as usize - CHECKSUM) / PARTS / 8 * 8;
/// Where a pointer leads nowhere.
const NOWHERE: u64 = u64::MAX;

/// A block that is neither what it was nor what it was to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// Where it is in the file.
    pub at: u64,
    /// The checksum that stands there.
    pub stored: u64,
    /// The checksum of what it holds.
    pub computed: u64,
}

/// What the header that counts says.
struct Header {
    iteration: u64,
    meta_block: u64,
    free_list: u64,
    blocks: u64,
}

/// The metadata blocks of `database` that do not have their checksum, if a checkpoint may have been cut short: its WAL `wal`
/// still belongs to the state before. Empty where the lists that tell which blocks these are cannot be read.
///
/// # Errors
/// That of reading the database.
pub fn half_written(database: &Path, wal: &Path) -> io::Result<Vec<Half>> {
    let file = File::open(database)?;
    let Some(header) = header(&file)? else { return Ok(Vec::new()) };
    if super::wal::iteration(wal).ok().flatten() != Some(header.iteration) {
        return Ok(Vec::new());
    }
    let mut half = Vec::new();
    let mut block = vec![0; BLOCK_SIZE as usize];
    for id in metadata_blocks(&file, &header)? {
        let at = location(id);
        file.read_exact_at(&mut block, at)?;
        let (stored, computed) = (word(&block, 0), checksum(&block));
        if stored != computed {
            half.push(Half { at, stored, computed });
        }
    }
    Ok(half)
}

/// Gives each block the checksum of what it holds.
///
/// # Errors
/// That of writing the file.
pub fn put_right(database: &Path, half: &[Half]) -> io::Result<()> {
    let file = File::options().write(true).open(database)?;
    for block in half {
        file.write_all_at(&block.computed.to_le_bytes(), block.at)?;
    }
    file.sync_all()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn location(block: u64) -> u64 {
    HEADERS * HEADER_SIZE as u64 + block * u64::from(BLOCK_SIZE)
}

/// The newer of the two headers that are written in turn; `None` where one has not its checksum, or none was written yet.
fn header(file: &File) -> io::Result<Option<Header>> {
    let mut newest: Option<Header> = None;
    for turn in 1..HEADERS {
        let mut bytes = vec![0; HEADER_SIZE];
        file.read_exact_at(&mut bytes, turn * HEADER_SIZE as u64)?;
        if word(&bytes, 0) != checksum(&bytes) {
            return Ok(None);
        }
        let field = |i: usize| word(&bytes, i * 8);
        if newest.as_ref().is_none_or(|header| header.iteration < field(1)) {
            newest = Some(Header { iteration: field(1), meta_block: field(2), free_list: field(3), blocks: field(4) });
        }
    }
    Ok(newest.filter(|header| header.meta_block != NOWHERE))
}

/// The metadata blocks; none where the lists are not what they should be.
fn metadata_blocks(file: &File, header: &Header) -> io::Result<Vec<u64>> {
    let first = |pointer: u64| pointer & (NOWHERE >> 8);
    let mut ids = vec![first(header.meta_block)];
    if header.free_list != NOWHERE {
        ids.push(first(header.free_list));
        let Some(listed) = listed(&chain(file, header)?, header.blocks) else { return Ok(Vec::new()) };
        ids.extend(listed);
    }
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| *id < header.blocks);
    Ok(ids)
}

/// The parts of the list of free blocks, one behind the other, without their pointers.
fn chain(file: &File, header: &Header) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = [0; PART];
    let mut next = header.free_list;
    // No list is longer than all blocks have parts: one that is goes round.
    let mut left = header.blocks.saturating_mul(PARTS as u64);
    while next != NOWHERE && left > 0 {
        let (block, index) = (next & (NOWHERE >> 8), next >> 56);
        if block >= header.blocks || index >= PARTS as u64 {
            return Ok(Vec::new());
        }
        file.read_exact_at(&mut part, location(block) + CHECKSUM as u64 + index * PART as u64)?;
        all.extend_from_slice(&part[8..]);
        next = word(&part, 0);
        left -= 1;
    }
    Ok(all)
}

/// The metadata blocks that the list names behind the free blocks and those of several uses.
fn listed(list: &[u8], blocks: u64) -> Option<Vec<u64>> {
    let mut at = 0_usize;
    let mut next = |size: usize| {
        let bytes = list.get(at..at.checked_add(size)?)?;
        at += size;
        Some(bytes)
    };
    for size in [8, 12] {
        let count = word(next(8)?, 0);
        if count > blocks {
            return None;
        }
        next(size * usize::try_from(count).ok()?)?;
    }
    let count = word(next(8)?, 0);
    if count > blocks {
        return None;
    }
    (0..count).map(|_| next(16).map(|entry| word(entry, 0))).collect()
}
