//! Names with stars in them.

use std::convert::Infallible;
use std::str::FromStr;

/// A name in which each `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    /// Whether a name is one of those that are meant.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut left) = name.strip_prefix(head) else { return false };
        // The first place for each part is as good as any later one, as long as the last part is at the end.
        let mut parts = rest.split('*');
        let Some(tail) = parts.next_back() else { return true };
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(tail)
    }

    /// Whether it names a namespace too.
    pub(super) fn has_slash(&self) -> bool {
        self.0.contains('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("web", "a web", false),
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("web-*", "web-1", true),
            ("web-*", "web", false),
            ("*-1", "web-1", true),
            ("*-1", "web-12", false),
            ("w*b*1", "web-b-1", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("*ab*", "xaab", true),
            ("**", "x", true),
            ("*ab", "abab", true),
            ("é*", "été", true),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(name), expected, "{pattern} {name}");
        }
    }
}
