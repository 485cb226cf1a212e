//! Cuts a stream of bytes into lines. It never fails: a line that is too long is skipped and told, and the next one is
//! whole again.

/// Most bytes of an over-long line that are shown.
const HEAD: usize = 1024;

/// A line, without its `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the limit, without the blanks and `\r` at its end; never empty.
    Whole(&'a [u8]),
    /// A line over the limit has ended.
    TooLong {
        /// Its first bytes, at most 1 KiB.
        head: &'a [u8],
        /// Its whole length in bytes.
        len: usize,
    },
}

/// The splitter. It holds at most `max` bytes, however long a line becomes.
#[derive(Clone, Debug)]
pub struct Lines {
    max: usize,
    partial: Vec<u8>,
    // Length of the line that is being skipped, `partial` being its head; 0 while none is.
    skipping: usize,
}

impl Lines {
    /// Lines up to `max` bytes, what is trimmed from their end included; at least 1.
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), partial: Vec::new(), skipping: 0 }
    }

    /// Takes the next bytes and calls `each` for every line that ends in them. What `each` sees does not depend on how
    /// the bytes are cut into calls.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.partial.is_empty() && self.skipping == 0 && line.len() <= self.max {
                // The usual case needs no copy.
                whole(line, each);
                continue;
            }
            self.keep(line);
            if self.skipping > 0 {
                each(Line::TooLong { head: &self.partial, len: self.skipping });
            } else {
                whole(&self.partial, each);
            }
            self.forget();
        }
        self.keep(rest);
    }

    /// Bytes of the line that has not ended yet.
    pub fn pending(&self) -> usize {
        if self.skipping > 0 { self.skipping } else { self.partial.len() }
    }

    /// Forgets the line that has not ended: the stream was interrupted.
    pub fn forget(&mut self) {
        self.partial.clear();
        self.skipping = 0;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping > 0 {
            self.skipping = self.skipping.saturating_add(bytes.len());
            return;
        }
        let len = self.partial.len() + bytes.len();
        if len <= self.max {
            if len > self.partial.capacity() {
                // Doubling, but never over the limit.
                let capacity = len.max(self.partial.capacity() * 2).min(self.max);
                self.partial.reserve_exact(capacity - self.partial.len());
            }
            self.partial.extend_from_slice(bytes);
            return;
        }
        let head = HEAD.min(self.max);
        if self.partial.len() < head {
            let missing = (head - self.partial.len()).min(bytes.len());
            self.partial.reserve_exact(missing);
            self.partial.extend_from_slice(&bytes[..missing]);
        }
        self.partial.truncate(head);
        self.skipping = len;
    }
}

fn whole(line: &[u8], each: &mut impl FnMut(Line<'_>)) {
    let line = line.trim_ascii_end();
    if !line.is_empty() {
        each(Line::Whole(line));
    }
}

/// A line of text without the bytes before it that are none: what a microcontroller sends while it starts has no end of a
/// line. Where such bytes stand in the middle it is left as it is.
pub fn behind_noise(line: &[u8]) -> &[u8] {
    let mut rest = line;
    while let Some(first) = rest.first() {
        // A letter of several bytes begins with one of these.
        let letter = matches!(first, 0xC2..=0xF4)
            && (2..=4).any(|len| rest.get(..len).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok()));
        if letter || matches!(first, b'\t' | b' '..=b'~') {
            break;
        }
        rest = &rest[1..];
    }
    if rest.is_empty() { line } else { rest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Whole(Vec<u8>),
        TooLong(Vec<u8>, usize),
    }

    fn seen(line: Line<'_>) -> Seen {
        match line {
            Line::Whole(line) => Seen::Whole(line.to_vec()),
            Line::TooLong { head, len } => Seen::TooLong(head.to_vec(), len),
        }
    }

    fn split<'a>(max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut lines = Lines::new(max);
        let mut all = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, &mut |line| all.push(seen(line)));
            assert!(lines.partial.capacity() <= max, "{} bytes held of {max}", lines.partial.capacity());
        }
        all
    }

    fn whole_of(text: &str) -> Seen {
        Seen::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn ends_are_trimmed_and_empty_lines_skipped() {
        let got = split(16, [b"one\r\n\n  \t\r\n two  \n".as_slice(), b"thr", b"ee\nfour"]);
        assert_eq!(got, [whole_of("one"), whole_of(" two"), whole_of("three")]);
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_one_byte_more_is_not() {
        let got = split(4, [b"abcd\nabcde\nabc\n".as_slice()]);
        assert_eq!(got, [whole_of("abcd"), Seen::TooLong(b"abcd".to_vec(), 5), whole_of("abc")]);
    }

    #[test]
    fn an_over_long_line_is_told_once_with_at_most_a_kibibyte() {
        let long = vec![b'x'; 10_000];
        let got = split(4_096, [long.as_slice(), b"yy\nnext\n"]);
        assert_eq!(got, [Seen::TooLong(vec![b'x'; 1024], 10_002), whole_of("next")]);
    }

    #[test]
    fn a_forgotten_line_leaves_nothing_behind() {
        let mut lines = Lines::new(8);
        lines.feed(b"0123456789", &mut |_| panic!("no line has ended"));
        assert_eq!(lines.pending(), 10);
        lines.forget();
        assert_eq!(lines.pending(), 0);
        let mut all = Vec::new();
        lines.feed(b"ok\n", &mut |line| all.push(seen(line)));
        assert_eq!(all, [whole_of("ok")]);
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), any::<u8>()], 0..200),
            max in 1_usize..40,
            cut in 1_usize..50,
        ) {
            let at_once = split(max, [bytes.as_slice()]);
            prop_assert_eq!(&split(max, bytes.chunks(1)), &at_once);
            prop_assert_eq!(&split(max, bytes.chunks(cut)), &at_once);
            for line in at_once {
                match line {
                    Seen::Whole(line) => prop_assert!(!line.is_empty() && line.len() <= max),
                    Seen::TooLong(head, len) => prop_assert!(len > max && head.len() == max.min(HEAD)),
                }
            }
        }
    }
}
