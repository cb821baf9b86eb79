//! The events of a source one by one, for who shows them as they come.

use super::chunks::{Chunks, Piece};
use super::line::{self, Event, Line};
use super::pieces::pieces;

/// The lines of one source.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    chunks: Chunks,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// An event of kubewitness, with the JSON that it was read from.
    Event(&'a Event<'a>, &'a [u8]),
    /// JSON, and no such event.
    Other(&'a [u8]),
    /// A line that cannot be read.
    Unreadable,
}

impl Lines {
    /// Takes the next bytes, cut anywhere, and hands on what the lines say that are complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut hand_on: impl FnMut(Heard)) {
        self.chunks.feed(bytes, |piece| read(piece, &mut hand_on));
    }

    /// The source is over: what has begun is its last line.
    pub(crate) fn end(&mut self, mut hand_on: impl FnMut(Heard)) {
        self.chunks.end(|piece| read(piece, &mut hand_on));
    }
}

fn read(piece: Piece, hand_on: &mut impl FnMut(Heard)) {
    match piece {
        Piece::TooLong => hand_on(Heard::Unreadable),
        Piece::Line(line) => match line::read(line) {
            Line::Cut | Line::NotJson => pieces(line, |read, line| hear(read, line, hand_on)),
            read => hear(&read, line, hand_on),
        },
    }
}

fn hear(read: &Line, line: &[u8], hand_on: &mut impl FnMut(Heard)) {
    let json = || line::without_prefix(line.trim_ascii());
    match read {
        Line::Blank => (),
        Line::Event(event) if event.access().is_some() => hand_on(Heard::Event(event, json())),
        // An event of the API server's own log is one too.
        Line::Event(_) | Line::OtherJson => hand_on(Heard::Other(json())),
        Line::Cut | Line::NotJson => hand_on(Heard::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_handed_on_with_their_json_and_the_rest_is_told_apart() {
        let event = |user: &str| {
            format!(
                r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","user":{{"username":"{user}"}},"annotations":{{"kubewitness.dev/access":"single"}}}}"#
            )
        };
        let text = [
            event("a"),
            String::new(),
            format!("2026-03-04T05:06:07.000000000Z stdout F {}", event("b")),
            // One writer was killed, and another went on behind it.
            format!("{}{}", &event("cut")[..60], event("c")),
            r#"{"apiVersion":"watch.kubewitness.dev/v1"}"#.to_owned(),
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1"}"#.to_owned(),
            "no JSON".to_owned(),
            event("d"),
        ];
        let text = text.join("\n");
        for size in [1, 7, text.len()] {
            let mut heard = Vec::new();
            let mut note = |what: Heard| {
                heard.push(match what {
                    Heard::Event(read, json) => {
                        assert_eq!(json, event(read.user_name()).as_bytes());
                        read.user_name().to_owned()
                    }
                    Heard::Other(_) => "other".to_owned(),
                    Heard::Unreadable => "unreadable".to_owned(),
                });
            };
            let mut lines = Lines::default();
            text.as_bytes().chunks(size).for_each(|chunk| lines.feed(chunk, &mut note));
            lines.end(&mut note);
            assert_eq!(heard, ["a", "b", "unreadable", "c", "other", "other", "unreadable", "d"], "{size}");
        }
    }
}
