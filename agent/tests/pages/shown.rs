//! Output as a page shows it: `…` alone in a line stands for any lines, within one for any text.

/// Compares what a page shows with what was printed. A page that shows nothing is content with anything.
pub(super) fn is(shown: &[String], printed: &str) -> Result<(), String> {
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
    if shown.iter().all(|line| line.is_empty()) {
        return Ok(());
    }
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let mut at = 0;
    let mut anywhere = false;
    for line in shown {
        if line.trim() == "…" {
            anywhere = true;
            continue;
        }
        let rest = &printed[at..];
        let found = if anywhere {
            rest.iter().position(|have| matches(line, "…", have))
        } else {
            rest.first().filter(|have| matches(line, "…", have)).map(|_| 0)
        };
        let Some(skipped) = found else {
            return Err(format!("the page has   {line}\nwhere it says  {}", rest.first().copied().unwrap_or("nothing more")));
        };
        at += skipped + 1;
        anywhere = false;
    }
    if !anywhere && printed[at..].iter().any(|line| !line.is_empty()) {
        return Err(format!("it goes on, and the page has no … behind its end: {}", printed[at]));
    }
    Ok(())
}

/// Whether a text is the pattern, in which `any` stands for anything.
pub(super) fn matches(pattern: &str, any: &str, text: &str) -> bool {
    let mut parts = pattern.split(any);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("rbac", "rbac", true),
        ("rbac", "rbac -", false),
        ("run *", "run --events -", true),
        ("run *", "runner", false),
        ("report * --rbac cluster *", "report a --rbac cluster -o yaml", true),
        ("report * --rbac cluster", "report a --rbac cluster -o yaml", false),
        ("a*a", "a", false),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern, "*", text), expected, "{pattern} {text}");
    }
}

#[test]
fn what_is_shown_is_what_is_printed_but_for_what_is_left_out() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(is(&shown("a\n…\nc"), "a\nb\nb\nc\n").is_ok());
    assert!(is(&shown("a … c\nd"), "a b c\nd\n\n").is_ok());
    assert!(is(&shown(""), "anything").is_ok());
    assert!(is(&shown("a"), "a\nb\n").is_err());
    assert!(is(&shown("a\n…"), "a\nb\n").is_ok());
    assert!(is(&shown("a\nc"), "a\nb\nc\n").is_err());
    assert!(is(&shown("a\n…\nd"), "a\nb\nc\n").is_err());
}
