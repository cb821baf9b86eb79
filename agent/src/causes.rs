//! Errors in one line.

use std::error::Error;

/// An error and what caused it, as far as it does not say so itself, in one line. Of each cause the first line counts: what follows is for
/// those who mend it, such as a verifier's log.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        let first = more.lines().next().unwrap_or_default();
        if !text.contains(first) {
            text = format!("{text}: {first}");
        }
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Failure>>,
    }

    #[test]
    fn each_cause_is_told_once() {
        let caused = |text, source| Failure { text, source: Some(Box::new(source)) };
        let refused = || Failure { text: "connection refused\nand a long log", source: None };
        assert_eq!(in_one_line(&caused("no answer", caused("connect", refused()))), "no answer: connect: connection refused");
        assert_eq!(
            in_one_line(&caused("no\nanswer: connection refused; try again", refused())),
            "no answer: connection refused; try again"
        );
    }
}
