//! Text that callers chose, made harmless for whatever shows it: terminals, editors, log viewers, YAML.

use std::fmt::{self, Write as _};

/// Whether a terminal, an editor or a log viewer obeys the character instead of showing it: controls, also those of C1, line separators
/// and direction marks. All of them are in the basic plane.
pub(crate) fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text in which those characters are escaped. For people: a backslash in the text stays as it is.
pub(crate) struct Inert<'a>(pub(crate) &'a str);

impl fmt::Display for Inert<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if obeyed(character) {
                write!(f, "\\u{:04x}", u32::from(character))?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// A text in double quotes, which JSON and YAML read back as it was: what JSON escapes, what is obeyed, and what YAML does not count as
/// printable (YAML 1.2.2, section 5.1).
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{fffe}' | '\u{ffff}' => quoted.extend(character.escape_unicode().filter(|part| !matches!(part, '{' | '}'))),
            _ if obeyed(character) => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let hostile = "a\n\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\"\\é✓";
        assert_eq!(Inert(hostile).to_string(), r#"a\u000a\u001b[2J\u009b31m\u202e\u2028"\é✓"#);
        assert_eq!(quoted(hostile), r#""a\u000a\u001b[2J\u009b31m\u202e\u2028\"\\é✓""#);
    }

    proptest! {
        #[test]
        fn json_and_yaml_read_back_what_was_quoted(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.contains(obeyed));
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert_eq!(&serde_saphyr::from_str::<String>(&quoted).unwrap(), &text);
        }
    }
}
