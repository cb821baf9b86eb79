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
    let plain = WRAPPERS.iter().fold(text, |text, wrapper| text.replace(wrapper, ""));
    let plain = PARTS.iter().fold(plain, |text, (part, word)| text.replace(part, word));
    plain.replace(['\n', '\r'], " ")
}

/// What kube, hyper and reqwest put around the reason why there is no connection: names of their own parts.
const WRAPPERS: [&str; 5] =
    ["ServiceError: ", "error sending request: ", "client error (Connect): ", "client error (SendRequest): ", "tcp connect error: "];
/// Names of values in rustls, which has no words for them.
const PARTS: [(&str, &str); 2] =
    [("Other(OtherError(CaUsedAsEndEntity))", "it is that of a CA, not of a server"), ("UnknownIssuer", "its issuer is not known")];

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
    fn a_refused_connection_is_told_without_the_parts_of_libraries() {
        let refused = || Failure { text: "Connection refused (os error 111)", source: None };
        let caused = |text, source| Failure { text, source: Some(Box::new(source)) };
        let all = caused(
            "no connection",
            caused("error sending request", caused("client error (Connect)", caused("tcp connect error", refused()))),
        );
        assert_eq!(in_one_line(&all), "no connection: Connection refused (os error 111)");
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
