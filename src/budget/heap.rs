//! The C library's heap, which Rust and DuckDB both allocate from. Only glibc has these calls; elsewhere they do nothing.
//! `docs/decisions/0008-memory-allocator.md` has what was measured.

/// Heaps ("arenas") that threads share.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;
/// What is larger than this is mapped by itself and unmapped when it is freed, in bytes. Set once, or glibc would raise it to
/// the largest block that was ever freed, up to 32 MB, and keep such blocks in the heap. The size of the database's blocks
/// (`BLOCK_SIZE` of the store): which thread has read one and which frees it changes all the time, and in the heaps they
/// leave holes.
#[cfg(target_env = "gnu")]
const MAP_FROM: libc::c_int = 64 * 1024;
/// Free bytes at the end of a heap above which they go back to the kernel at once.
#[cfg(target_env = "gnu")]
const TRIM_FROM: libc::c_int = 128 * 1024;

/// Sets the heap up. Call it before there is a second thread.
pub fn tame() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, MAP_FROM), (libc::M_TRIM_THRESHOLD, TRIM_FROM)]
    {
        // SAFETY: it takes two numbers and may be called at any time; what it does not know it refuses.
        if unsafe { libc::mallopt(parameter, value) } != 1 {
            tracing::warn!(parameter, value, "the C library did not take a setting of its heap");
        }
    }
}

/// Gives what is free in the heap back to the kernel. Holds up other threads that allocate, for some milliseconds.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_between_blocks_in_use_goes_back_to_the_kernel() {
        // Of each block of four pages, three lie within it as a whole: 25 MB. What other tests of this process take meanwhile
        // counts against it, so it is tried again.
        if cfg!(target_env = "gnu") {
            assert!((0..20).any(|_| (16_000_000..40_000_000).contains(&given_back())));
        }
    }

    /// Bytes that a trim gives back of 64 MB in blocks that no heap maps by themselves, every second of them freed.
    fn given_back() -> u64 {
        let mut blocks: Vec<Option<Box<[u8]>>> =
            (0..4_096).map(|_| Some(vec![1_u8; 16 * 1024].into_boxed_slice())).collect();
        let anon = || crate::budget::memory::anonymous().expect("/proc/self/status");
        // Before they are freed: another test may trim at any moment.
        let before = anon();
        for block in blocks.iter_mut().step_by(2) {
            *block = None;
        }
        trim();
        let after = anon();
        assert_eq!(blocks.iter().flatten().map(|block| u64::from(block[0])).sum::<u64>(), 2_048);
        before.saturating_sub(after)
    }
}
