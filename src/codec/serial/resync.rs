//! Finds frames that begin with known bytes or carry a checksum, in a stream that may hold anything else as well: where
//! there is no frame, one byte is passed over and the next is tried, so that no damage hides the frame behind it.

/// What the bytes from here on are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<E> {
    /// Perhaps a frame; its end has not come.
    More,
    /// A frame of so many bytes.
    Whole(usize),
    /// No frame begins here.
    Not,
    /// What looks like a frame of so many bytes, and is damaged.
    Bad(E, usize),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a, E> {
    /// A frame.
    Whole(&'a [u8]),
    /// A damaged one.
    Bad(E, &'a [u8]),
}

/// The bytes of which it is not yet known what they are, at most those of the longest frame that the judge knows.
#[derive(Clone, Debug, Default)]
pub struct Resync {
    held: Vec<u8>,
    skipped: u64,
}

impl Resync {
    /// Takes bytes; `judge` is asked for every beginning. A damaged frame is passed over byte by byte: there may be a
    /// whole one in it.
    pub fn feed<E>(
        &mut self,
        bytes: &[u8],
        judge: &mut impl FnMut(&[u8]) -> Verdict<E>,
        each: &mut impl FnMut(Piece<'_, E>),
    ) {
        for byte in bytes {
            self.held.push(*byte);
            self.settle(false, judge, each);
        }
    }

    /// Nothing comes behind what is held: what waits for more is no frame.
    pub fn idle<E>(&mut self, judge: &mut impl FnMut(&[u8]) -> Verdict<E>, each: &mut impl FnMut(Piece<'_, E>)) {
        self.settle(true, judge, each);
    }

    fn settle<E>(
        &mut self,
        ended: bool,
        judge: &mut impl FnMut(&[u8]) -> Verdict<E>,
        each: &mut impl FnMut(Piece<'_, E>),
    ) {
        let mut at = 0;
        while at < self.held.len() {
            match judge(&self.held[at..]) {
                Verdict::More if !ended => break,
                Verdict::Whole(len) => {
                    each(Piece::Whole(&self.held[at..at + len]));
                    at += len;
                }
                Verdict::Bad(why, len) => {
                    each(Piece::Bad(why, &self.held[at..at + len]));
                    at += 1;
                    self.skipped += 1;
                }
                Verdict::Not | Verdict::More => {
                    at += 1;
                    self.skipped += 1;
                }
            }
        }
        self.held.drain(..at);
    }

    /// Bytes that are held.
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    /// Bytes that were passed over so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Forgets what is held, without counting it.
    pub fn forget(&mut self) {
        self.held.clear();
    }
}
