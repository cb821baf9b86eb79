//! Events that are kept as they were written, in bounded memory.

use jiff::Timestamp;

use super::line;
use crate::report::Written;

/// The longest event that is kept: a request with a target of 8 KiB, and what else an event has.
const LONGEST: usize = 16 << 10;

/// Bytes of all that are kept. It is enough for some 8,000 usual ones.
const MOST: usize = 8 << 20;

/// How much is kept so far.
#[derive(Debug, Default)]
pub(super) struct Writing {
    bytes: usize,
}

impl Writing {
    /// The event of a line, if there is room.
    pub(super) fn keep(&mut self, line: &[u8], at: Option<Timestamp>) -> Option<Written> {
        let json = line::json(line, LONGEST.min(MOST - self.bytes))?;
        self.bytes += json.len();
        Some(Written { at, json })
    }

    /// The event of a line instead of the one that was kept, if it tells of a later stage.
    pub(super) fn keep_later(&mut self, kept: &mut Option<Written>, line: &[u8], at: Option<Timestamp>) {
        let Some(new) = line::json(line, LONGEST).map(|json| Written { at, json }) else { return };
        let Some(old) = kept.as_mut().filter(|old| **old < new) else { return };
        if self.bytes - old.json.len() + new.json.len() <= MOST {
            self.bytes = self.bytes - old.json.len() + new.json.len();
            *old = new;
        }
    }

    /// It is kept no more.
    pub(super) fn drop(&mut self, written: Option<&Written>) {
        self.bytes -= written.map_or(0, |written| written.json.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut writing = Writing::default();
        let event = format!(r#"{{"requestURI":"{}"}}"#, "x".repeat(LONGEST - 20));
        let kept: Vec<Option<Written>> = (0..1000).map(|second| writing.keep(event.as_bytes(), at(second))).collect();
        let some = kept.iter().flatten().count();
        assert!((512..=513).contains(&some) && writing.bytes <= MOST, "{some}");
        assert_eq!(writing.keep(" ".repeat(LONGEST + 1).as_bytes(), None), None);
        for written in &kept {
            writing.drop(written.as_ref());
        }
        assert_eq!(writing.bytes, 0);
        assert!(writing.keep(event.as_bytes(), None).is_some());
    }

    #[test]
    fn a_later_stage_takes_the_place() {
        let mut writing = Writing::default();
        let mut kept = writing.keep(b"2026-03-04T05:06:07.0Z stdout F { \"stage\" :\t\"a\" }", at(2));
        assert_eq!(kept.as_ref().map(|kept| kept.json.as_str()), Some(r#"{"stage":"a"}"#));
        writing.keep_later(&mut kept, br#"{"stage":"earlier"}"#, at(1));
        assert_eq!(kept.as_ref().and_then(|kept| kept.at), at(2));
        writing.keep_later(&mut kept, br#"{"stage":"later"}"#, at(3));
        assert_eq!(kept.as_ref().map(|kept| kept.json.as_str()), Some(r#"{"stage":"later"}"#));
        assert_eq!(writing.bytes, r#"{"stage":"later"}"#.len());
        let mut none = None;
        writing.keep_later(&mut none, br#"{"stage":"later"}"#, at(3));
        assert_eq!(none, None);
    }
}
