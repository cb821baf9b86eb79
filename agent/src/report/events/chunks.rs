//! From chunks of bytes, cut anywhere, to lines, in bounded memory.

use memchr::memchr;

/// A line that is longer than this is not read: events of kubewitness have at most 50 KB, those of an API server that logs whole
/// objects 1.5 MB each way, but then nothing that is told here.
pub const LONGEST_LINE: usize = 1 << 20;

/// The lines of one source.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// The line that has begun is too long, and its rest is thrown away.
    too_long: bool,
}

/// A line, or that there was one too long to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Without its line feed.
    Line(&'a [u8]),
    /// It had more than [`LONGEST_LINE`] bytes.
    TooLong,
}

impl Chunks {
    /// Takes the next bytes, and hands on each line that is complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut hand_on: impl FnMut(Piece)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.begun.is_empty() && !self.too_long {
                hand_on(if line.len() > LONGEST_LINE { Piece::TooLong } else { Piece::Line(line) });
            } else {
                self.keep(line);
                self.end(&mut hand_on);
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    /// The source is over: what has begun is its last line.
    pub(super) fn end(&mut self, mut hand_on: impl FnMut(Piece)) {
        if self.too_long {
            hand_on(Piece::TooLong);
        } else if !self.begun.is_empty() {
            hand_on(Piece::Line(&self.begun));
        }
        self.begun.clear();
        self.too_long = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.begun.len() + bytes.len() > LONGEST_LINE {
            self.too_long = true;
            self.begun = Vec::new();
        }
        if !self.too_long {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::new();
        let mut take = |piece: Piece| match piece {
            Piece::Line(line) => found.push(Some(line.to_vec())),
            Piece::TooLong => found.push(None),
        };
        let mut reader = Chunks::default();
        for chunk in chunks {
            reader.feed(chunk, &mut take);
        }
        reader.end(&mut take);
        found
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let fits = vec![b'a'; LONGEST_LINE];
        let long = vec![b'b'; LONGEST_LINE + 1];
        let text = [&fits[..], b"\n", &long, b"\n", b"c\n", &long].concat();
        let expected = vec![Some(fits.clone()), None, Some(b"c".to_vec()), None];
        assert_eq!(lines(&[&text]), expected);
        assert_eq!(lines(&text.chunks(100_000).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn memory_stays_bounded_in_a_file_without_line_ends() {
        let mut reader = Chunks::default();
        for _ in 0..100 {
            reader.feed(&vec![b'x'; 100_000], |piece| panic!("{piece:?}"));
            assert!(reader.begun.capacity() <= 2 * LONGEST_LINE);
        }
        let mut pieces = 0;
        reader.end(|piece| {
            assert_eq!(piece, Piece::TooLong);
            pieces += 1;
        });
        assert_eq!(pieces, 1);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(text in "[ab\n]{0,40}", cuts in prop::collection::vec(0usize..41, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let whole: Vec<Option<Vec<u8>>> = {
                let mut all: Vec<&str> = text.split('\n').collect();
                if all.last() == Some(&"") { all.pop(); }
                all.into_iter().map(|line| Some(line.as_bytes().to_vec())).collect()
            };
            prop_assert_eq!(lines(&chunks), whole);
        }
    }
}
