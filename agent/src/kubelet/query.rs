//! The query of a request target, parsed as Go's `net/url` does: what Go ignores the kubelet never saw.

/// A query: names and values in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<Pair>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// As sent.
    raw: String,
    /// Name and value, decoded; `None` if Go drops the pair: a bad escape, or a `;`.
    decoded: Option<(String, String)>,
}

impl Query {
    /// The query of a request target as sent (`req.RequestURI`, `url.parseQuery`).
    pub fn parse(uri: &str) -> Self {
        let (_, query) = uri.split_once('?').unwrap_or((uri, ""));
        Self(query.split('&').filter(|pair| !pair.is_empty()).map(Pair::parse).collect())
    }

    /// The values of a parameter: `command` (exec), `cmd` (run), `port` (portForward), ….
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |pair| pair.decoded.as_ref().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()))
    }
}

impl Pair {
    fn parse(raw: &str) -> Self {
        let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
        let decoded = if raw.contains(';') { None } else { unescape(name).zip(unescape(value)) };
        Self { raw: raw.to_owned(), decoded }
    }
}

/// `url.QueryUnescape`; bytes that are not UTF-8 become U+FFFD. `None` for a `%` without two hex digits.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The request target with the commands' words replaced by their number: `command=sh&command=-c&command=id` becomes `command=3`,
/// and `cmd=ls+-l` becomes `cmd=2`, for the kubelet splits `cmd` at spaces. A pair that Go would drop becomes `malformed`, since nobody
/// can say what it holds. The rest stays as it was sent.
pub fn redact_commands(uri: &str) -> String {
    const COMMANDS: [&str; 2] = ["command", "cmd"];
    let Some((path, _)) = uri.split_once('?') else { return uri.to_owned() };
    let query = Query::parse(uri);
    let words = |name| match name {
        "cmd" => query.values("cmd").map(|command| command.split(' ').count()).sum(),
        _ => query.values(name).count(),
    };
    let mut told = Vec::new();
    let mut pairs = Vec::new();
    for pair in &query.0 {
        match pair.decoded.as_ref().map(|(name, _)| name.as_str()) {
            None => pairs.push("malformed".to_owned()),
            Some(name) if COMMANDS.contains(&name) => {
                if !told.contains(&name) {
                    told.push(name);
                    pairs.push(format!("{name}={}", words(name)));
                }
            }
            Some(_) => pairs.push(pair.raw.clone()),
        }
    }
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn queries_are_parsed_as_go_does() {
        for (uri, name, values) in [
            ("/exec/a/b/c?command=sh&command=-c&command=id", "command", vec!["sh", "-c", "id"]),
            ("/exec/a/b/c?%63ommand=id", "command", vec!["id"]),
            ("/exec/a/b/c?command=echo+a%20b", "command", vec!["echo a b"]),
            ("/exec/a/b/c?command=a%2Bb%26c%3Dd", "command", vec!["a+b&c=d"]),
            ("/exec/a/b/c?command", "command", vec![""]),
            ("/exec/a/b/c?command=a=b", "command", vec!["a=b"]),
            // Go drops a pair with a semicolon or a bad escape, and keeps the others.
            ("/exec/a/b/c?command=a;command=b&command=c", "command", vec!["c"]),
            ("/exec/a/b/c?command=%zz&command=c", "command", vec!["c"]),
            ("/exec/a/b/c?command=%6", "command", vec![]),
            ("/exec/a/b/c?command=%+1", "command", vec![]),
            ("/exec/a/b/c?&&command=c&", "command", vec!["c"]),
            ("/exec/a/b/c?Command=c", "command", vec![]),
            ("/exec/a/b/c?x=?command=c", "command", vec![]),
            ("http://x/exec/a/b/c?command=c", "command", vec!["c"]),
            ("/run/a/b/c?cmd=ls%20-l", "cmd", vec!["ls -l"]),
            ("/portForward/a/b?port=80&port=443", "port", vec!["80", "443"]),
            ("/exec/a/b/c", "command", vec![]),
            ("", "command", vec![]),
        ] {
            assert_eq!(Query::parse(uri).values(name).collect::<Vec<_>>(), values, "{uri}");
        }
    }

    #[test]
    fn commands_become_their_number() {
        for (uri, redacted) in [
            ("/exec/a/b/c?command=sh&command=-c&output=1&command=secret", "/exec/a/b/c?command=3&output=1"),
            ("/exec/a/b/c?%63ommand=secret&tty=1", "/exec/a/b/c?command=1&tty=1"),
            ("/run/a/b/c?cmd=cat%20/secret", "/run/a/b/c?cmd=2"),
            ("/exec/a/b/c?command=a;secret&output=1", "/exec/a/b/c?malformed&output=1"),
            ("/exec/a/b/c?command=secret%", "/exec/a/b/c?malformed"),
            ("/containerLogs/a/b/c?tailLines=5", "/containerLogs/a/b/c?tailLines=5"),
            ("/pods", "/pods"),
            ("/pods?", "/pods?"),
        ] {
            assert_eq!(redact_commands(uri), redacted);
        }
    }

    proptest! {
        #[test]
        fn no_word_of_a_command_survives(words in prop::collection::vec("[ -~]{0,6}", 1..5), noise in "[&;=%+a-z0-9]{0,20}") {
            let query: Vec<String> = words.iter().map(|word| format!("command=SECRET{}", word.replace('&', "%26"))).collect();
            let uri = format!("/exec/a/b/c?{}&{noise}", query.join("&"));
            prop_assert!(!redact_commands(&uri).contains("SECRET"));
        }
    }
}
