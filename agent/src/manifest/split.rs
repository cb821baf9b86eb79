//! A text as its YAML documents, so that what is wrong with one of them is not wrong with the others.

/// A document as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    /// The line of the input that it begins on, from 1.
    pub(super) line: u32,
}

impl<'a> Part<'a> {
    /// The documents of a text. A line that begins with `---` parts them wherever it is, block scalars too (YAML 1.2.2, 9.1.2,
    /// `c-forbidden`), and so does the line behind `...`.
    pub(super) fn all(text: &'a str) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut part = Self { text: "", line: 1 };
        let (mut begin, mut at) = (0, 0);
        let mut has_content = false;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            if has_content && is_marker(line, "---") {
                parts.push(Self { text: &text[begin..at], ..part });
                (begin, part.line, has_content) = (at, number, false);
            }
            // Comments and directives before the first marker belong to the document behind it.
            has_content |= !is_blank(line) && !line.starts_with('%');
            at += line.len();
            if is_marker(line, "...") {
                parts.push(Self { text: &text[begin..at], ..part });
                (begin, part.line, has_content) = (at, number + 1, false);
            }
        }
        if begin < text.len() || parts.is_empty() {
            parts.push(Self { text: &text[begin..], ..part });
        }
        parts
    }

    /// Whether there is nothing but comments and markers in it.
    pub(super) fn is_empty(&self) -> bool {
        let content = |line: &str| line.strip_prefix("---").or_else(|| line.strip_prefix("...")).is_none_or(|rest| !is_blank(rest));
        !self.text.lines().any(|line| !is_blank(line) && content(line))
    }

    /// The template that Helm says it comes from: `# Source: chart/templates/x.yaml`.
    pub(super) fn template(&self) -> Option<&'a str> {
        let comments = self.text.lines().take_while(|line| is_blank(line) || line.starts_with("---"));
        comments.filter_map(|line| line.strip_prefix("# Source:")).map(str::trim).find(|path| !path.is_empty())
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<(u32, &str)> {
        Part::all(text).into_iter().map(|part| (part.line, part.text)).collect()
    }

    #[test]
    fn markers_part_documents() {
        assert_eq!(parts(""), [(1, "")]);
        assert_eq!(parts("a: 1"), [(1, "a: 1")]);
        assert_eq!(parts("a: 1\n---\nb: 2\n"), [(1, "a: 1\n"), (2, "---\nb: 2\n")]);
        assert_eq!(parts("---\r\na: 1\r\n--- # b\r\nb: 2"), [(1, "---\r\na: 1\r\n"), (3, "--- # b\r\nb: 2")]);
        assert_eq!(parts("%YAML 1.2\n# c\n---\na: 1\n...\nb: 2\n"), [(1, "%YAML 1.2\n# c\n---\na: 1\n...\n"), (6, "b: 2\n")]);
        assert_eq!(parts("a: |\n  x\n---x\n ---\n---\ty\n"), [(1, "a: |\n  x\n---x\n ---\n"), (5, "---\ty\n")]);
    }

    #[test]
    fn a_document_of_comments_is_empty() {
        for text in ["", "\n", "---\n", "---\n# Source: a/b.yaml\n\n", "---  # c\r\n...\r\n", "# c\n---\n"] {
            assert!(Part::all(text).iter().all(Part::is_empty), "{text:?}");
        }
        for text in ["a", "--- a", "---\n- \n", "---a"] {
            assert!(!Part::all(text).iter().all(Part::is_empty), "{text:?}");
        }
    }

    #[test]
    fn helm_says_where_a_document_comes_from() {
        let of = |text| Part::all(text).last().and_then(Part::template);
        assert_eq!(of("---\n# Source: agent/templates/role.yaml\nkind: ClusterRole\n"), Some("agent/templates/role.yaml"));
        assert_eq!(of("# Source: a.yaml \r\nkind: X\r\n"), Some("a.yaml"));
        assert_eq!(of("kind: X\n# Source: a.yaml\n"), None);
        assert_eq!(of("# Source:\nkind: X\n"), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_lines_are_right(text in "([a-]{0,3}(---|\\.\\.\\.|%|#)?[ x]?\r?\n?){0,12}") {
            let parts = Part::all(&text);
            prop_assert_eq!(parts.iter().map(|part| part.text).collect::<String>(), text.as_str());
            let mut line = 1;
            for part in parts {
                prop_assert_eq!(part.line, line);
                line += u32::try_from(part.text.matches('\n').count()).unwrap();
            }
        }
    }
}
