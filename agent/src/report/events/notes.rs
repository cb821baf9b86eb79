//! What was odd about the input, each kind counted, with the place where it was first seen.

use crate::report::Note;

/// A line of a source; line 0 is the source as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) line: u64,
}

/// What can be odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Odd {
    CutLine,
    LongLine,
    NotJson,
    OtherJson,
    OtherAuditEvent,
    Duplicate,
    DuplicatesForgotten,
    Unfinished,
    ClockJump,
    TimeOutside,
    TimeUnreadable,
    UnknownWord,
    UnknownNode,
    TooMany,
    DamagedFile,
    UnreadFile,
}

/// Counts of what was odd.
#[derive(Debug, Default)]
pub(super) struct Notes {
    counts: [Option<(u64, Place)>; Odd::ALL.len()],
}

impl Notes {
    pub(super) fn count(&mut self, odd: Odd, place: Place) {
        self.add(odd, 1, place);
    }

    /// Counts several at once; `place` is the first of them.
    pub(super) fn add(&mut self, odd: Odd, times: u64, place: Place) {
        let (count, _) = self.counts[odd as usize].get_or_insert((0, place));
        *count += times;
    }

    /// The notes, of sources with these names.
    pub(super) fn told(&self, sources: &[String]) -> Vec<Note> {
        let told = |odd: Odd| {
            let (count, place) = self.counts[odd as usize]?;
            let source = sources.get(place.source).map_or("?", String::as_str);
            let first = if place.line == 0 { source.to_owned() } else { format!("{source}:{}", place.line) };
            Some(Note { id: odd.id(), count, text: format!("{}; first: {first}", odd.text(count)) })
        };
        Odd::ALL.into_iter().filter_map(told).collect()
    }
}

impl Odd {
    /// In the order of the declaration, which is that of the notes.
    const ALL: [Self; 16] = [
        Self::CutLine,
        Self::LongLine,
        Self::NotJson,
        Self::OtherJson,
        Self::OtherAuditEvent,
        Self::Duplicate,
        Self::DuplicatesForgotten,
        Self::Unfinished,
        Self::ClockJump,
        Self::TimeOutside,
        Self::TimeUnreadable,
        Self::UnknownWord,
        Self::UnknownNode,
        Self::TooMany,
        Self::DamagedFile,
        Self::UnreadFile,
    ];

    const fn id(self) -> &'static str {
        match self {
            Self::CutLine => "cut-line",
            Self::LongLine => "long-line",
            Self::NotJson => "not-json",
            Self::OtherJson => "other-json",
            Self::OtherAuditEvent => "other-audit-event",
            Self::Duplicate => "duplicate",
            Self::DuplicatesForgotten => "duplicates-forgotten",
            Self::Unfinished => "unfinished",
            Self::ClockJump => "clock-jump",
            Self::TimeOutside => "time-outside",
            Self::TimeUnreadable => "time-unreadable",
            Self::UnknownWord => "unknown-word",
            Self::UnknownNode => "unknown-node",
            Self::TooMany => "too-many",
            Self::DamagedFile => "damaged-file",
            Self::UnreadFile => "unread-file",
        }
    }

    fn text(self, count: u64) -> String {
        let of = |one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
        match self {
            Self::CutLine => of("line is cut: what it said is missing", "lines are cut: what they said is missing"),
            Self::LongLine => of("line of more than 1 MiB was not read", "lines of more than 1 MiB were not read"),
            Self::NotJson => of("line is not JSON", "lines are not JSON"),
            Self::OtherJson => of("line is JSON but no audit event", "lines are JSON but no audit events"),
            Self::OtherAuditEvent => of("audit event is not of kubewitness", "audit events are not of kubewitness"),
            Self::Duplicate => of("event came again and was not counted twice", "events came again and were not counted twice"),
            Self::DuplicatesForgotten => {
                "there are more requests than can be remembered: one that comes again after millions of others counts twice".into()
            }
            Self::Unfinished => of(
                "request has no end: it still runs, or its end was lost",
                "requests have no end: they still run, or their ends were lost",
            ),
            Self::ClockJump => of("time a node's clock went back", "times a node's clock went back"),
            Self::TimeOutside => of(
                "time is more than a week away from the others and not in the window, though what happened then is counted",
                "times are more than a week away from the others and not in the window, though what happened then is counted",
            ),
            Self::TimeUnreadable => of("event has no time that can be read", "events have no time that can be read"),
            Self::UnknownWord => of(
                "word of an event is not known, perhaps of a newer agent: it counts as unknown",
                "words of events are not known, perhaps of a newer agent: they count as unknown",
            ),
            Self::UnknownNode => of("event does not tell its node", "events do not tell their node"),
            Self::TooMany => of(
                "name of an identity, node, group or binding is beyond what is kept",
                "names of identities, nodes, groups or bindings are beyond what is kept",
            ),
            Self::DamagedFile => {
                of("compressed file is damaged or cut: its end is missing", "compressed files are damaged or cut: their ends are missing")
            }
            Self::UnreadFile => of("file could not be read to its end", "files could not be read to their end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_place_and_word() {
        for (index, odd) in Odd::ALL.into_iter().enumerate() {
            assert_eq!(odd as usize, index);
        }
        assert_eq!(Odd::ALL.map(Odd::id).into_iter().collect::<BTreeSet<_>>().len(), Odd::ALL.len());
    }

    #[test]
    fn a_note_names_the_first_place() {
        let mut notes = Notes::default();
        notes.count(Odd::CutLine, Place { source: 1, line: 7 });
        notes.count(Odd::CutLine, Place { source: 0, line: 9 });
        notes.count(Odd::DamagedFile, Place { source: 0, line: 0 });
        let told = notes.told(&["a.gz".into(), "b".into()]);
        let told: Vec<_> = told.iter().map(|note| (note.id, note.count, note.text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("cut-line", 2, "2 lines are cut: what they said is missing; first: b:7"),
                ("damaged-file", 1, "1 compressed file is damaged or cut: its end is missing; first: a.gz"),
            ]
        );
    }
}
