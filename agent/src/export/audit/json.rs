//! One line of JSON in which nothing is left that a terminal, an editor or a log viewer obeys: callers choose much of what it says.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::value::RawValue;

use crate::inert::obeyed;

/// A value that is written once and goes into many lines.
pub(super) fn inert(value: &impl Serialize) -> Option<Box<RawValue>> {
    let mut text = Vec::new();
    write(value, &mut text)?;
    RawValue::from_string(String::from_utf8(text).ok()?).ok()
}

/// For a value of [`inert`] that is shared.
#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn shared<S: serde::Serializer>(value: &Option<Arc<RawValue>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

/// Writes a line in the place of what is in `line`, newline included.
pub(super) fn write_line(value: &impl Serialize, line: &mut Vec<u8>) {
    line.clear();
    // Writing to memory does not fail, and the event has only string keys; were it otherwise, half a line must not leave.
    if write(value, line).is_none() {
        line.clear();
    }
    line.push(b'\n');
}

fn write(value: &impl Serialize, text: &mut Vec<u8>) -> Option<()> {
    value.serialize(&mut Serializer::with_formatter(text, Inert)).ok()
}

/// Compact JSON; escapes also what `serde_json` leaves as it is: DEL and the C1 controls, line separators, direction marks.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Nearly every text is plain, and this is told of many bytes at once.
        if fragment.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(obeyed) {
            let character = rest[at..].chars().next().unwrap_or_default();
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(character))?;
            rest = &rest[at + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(value: &impl Serialize) -> Vec<u8> {
        let mut line = b"of before".to_vec();
        write_line(value, &mut line);
        line
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let hostile = "a\n\r\t\0\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2028}\"\\é✓";
        let expected = r#""a\n\r\t\u0000\u001b[2J\u007f\u009b31m\u202e\u2028\"\\é✓""#;
        assert_eq!(String::from_utf8(line(&hostile)).unwrap(), format!("{expected}\n"));
    }

    proptest! {
        #[test]
        fn any_text_survives_on_one_line(text in any::<String>()) {
            let line = line(&text);
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
            let line = String::from_utf8(line).unwrap();
            prop_assert!(line.strip_suffix('\n').is_some_and(|line| !line.contains(obeyed)));
        }
    }
}
