//! A short cut for lines as the agent writes them: JSON without white space in printable ASCII, at twice the speed of `serde_json`.
//!
//! Whatever is unusual in a line (an escape in a text that is wanted, white space, `null`, a field that comes twice) ends the short cut, and
//! `serde_json` reads the line. A property holds the two together: what is read here is what `serde_json` reads.

use std::borrow::Cow;

use memchr::memchr2;

use super::line::{Annotations, Event, ObjectRef, ResponseStatus, User, Word, Words};

/// Reads a line, if it is plain.
pub(super) fn read(line: &[u8]) -> Option<Event<'_>> {
    // Without a way out in the middle this is done 32 bytes at a time.
    let printable = line.iter().fold(true, |all, byte| all & matches!(byte, 0x20..=0x7e));
    let mut scan = Scan { rest: str::from_utf8(line).ok().filter(|_| printable)? };
    let mut event = Event::default();
    scan.object(|scan, key| match key {
        "kind" => scan.word(&mut event.kind),
        "apiVersion" => scan.word(&mut event.api_version),
        "auditID" => scan.word(&mut event.audit_id),
        "stage" => scan.word(&mut event.stage),
        "requestURI" => scan.word(&mut event.request_uri),
        "verb" => scan.word(&mut event.verb),
        "user" => once(&mut event.user, scan.user()?),
        "impersonatedUser" => once(&mut event.impersonated_user, scan.user()?),
        "sourceIPs" => once(&mut event.source_ips, scan.words()?),
        "objectRef" => once(&mut event.object_ref, scan.object_ref()?),
        "responseStatus" => once(&mut event.response_status, scan.response_status()?),
        "requestReceivedTimestamp" => scan.word(&mut event.request_received_timestamp),
        "stageTimestamp" => scan.word(&mut event.stage_timestamp),
        "annotations" => once(&mut event.annotations, scan.annotations()?),
        _ => scan.skip(DEPTH),
    })?;
    scan.rest.is_empty().then_some(event)
}

/// How deep what is skipped may be nested.
const DEPTH: usize = 16;

/// What is left of a line. Each method takes one thing from its head, and gives `None` where that is not plain.
struct Scan<'a> {
    rest: &'a str,
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

impl<'a> Scan<'a> {
    fn take(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// The first byte, if there is one.
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let text = self.rest.strip_prefix('"')?;
        let end = memchr2(b'"', b'\\', text.as_bytes())?;
        let (text, rest) = text.split_at(end);
        self.rest = rest.strip_prefix('"')?;
        Some(text)
    }

    fn word(&mut self, place: &mut Option<Word<'a>>) -> Option<()> {
        once(place, Word(Cow::Borrowed(self.string()?)))
    }

    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.take("{")?;
        if self.take("}").is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.take(":")?;
            field(self, key)?;
            if self.take(",").is_none() {
                return self.take("}");
            }
        }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take("[")?;
        if self.take("]").is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(",").is_none() {
                return self.take("]");
            }
        }
    }

    fn user(&mut self) -> Option<User<'a>> {
        let mut user = User::default();
        self.object(|scan, key| match key {
            "username" => scan.word(&mut user.username),
            "groups" => once(&mut user.groups, scan.words()?),
            _ => scan.skip(DEPTH),
        })?;
        Some(user)
    }

    fn words(&mut self) -> Option<Words<'a>> {
        let before = self.rest;
        self.array(|scan| scan.string().map(drop))?;
        Some(Words::Plain(&before[..before.len() - self.rest.len()]))
    }

    fn object_ref(&mut self) -> Option<ObjectRef<'a>> {
        let mut object = ObjectRef::default();
        self.object(|scan, key| match key {
            "resource" => scan.word(&mut object.resource),
            "namespace" => scan.word(&mut object.namespace),
            "name" => scan.word(&mut object.name),
            "subresource" => scan.word(&mut object.subresource),
            _ => scan.skip(DEPTH),
        })?;
        Some(object)
    }

    fn response_status(&mut self) -> Option<ResponseStatus> {
        let mut status = ResponseStatus::default();
        self.object(|scan, key| match key {
            "code" => once(&mut status.code, scan.number()?),
            _ => scan.skip(DEPTH),
        })?;
        Some(status)
    }

    fn annotations(&mut self) -> Option<Annotations<'a>> {
        let mut annotations = Annotations::default();
        self.object(|scan, key| match key {
            "kubewitness.dev/access" => scan.word(&mut annotations.access),
            "kubewitness.dev/endpoint" => scan.word(&mut annotations.endpoint),
            "kubewitness.dev/node" => scan.word(&mut annotations.node),
            "kubewitness.dev/findings" => scan.word(&mut annotations.findings),
            "kubewitness.dev/granted-by" => scan.word(&mut annotations.granted_by),
            "kubewitness.dev/completeness" => scan.word(&mut annotations.completeness),
            "kubewitness.dev/audit-policy" => scan.word(&mut annotations.audit_policy),
            _ => scan.skip(DEPTH),
        })?;
        Some(annotations)
    }

    /// Any value.
    fn skip(&mut self, depth: usize) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' => self.object(|scan, _| scan.skip(deeper)),
            b'[' => self.array(|scan| scan.skip(deeper)),
            b't' => self.take("true"),
            b'f' => self.take("false"),
            b'1'..=b'9' => self.digits().map(drop),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    fn number(&mut self) -> Option<u32> {
        matches!(self.peek()?, b'1'..=b'9').then(|| self.digits())??.parse().ok()
    }

    fn digits(&mut self) -> Option<&'a str> {
        let after = self.rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let digits = &self.rest[..self.rest.len() - after.len()];
        self.rest = after;
        // A fraction or an exponent is not plain.
        matches!(self.peek(), Some(b',' | b'}' | b']')).then_some(digits)
    }

    /// A string in which quotation marks and backslashes may be escaped, as they are in the authorizer's reasons.
    fn skip_string(&mut self) -> Option<()> {
        let mut rest = self.rest.strip_prefix('"')?;
        loop {
            let end = memchr2(b'"', b'\\', rest.as_bytes())?;
            let escapes = rest.as_bytes()[end] == b'\\';
            rest = &rest[end + 1..];
            if !escapes {
                self.rest = rest;
                return Some(());
            }
            rest = rest.strip_prefix(['"', '\\'])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plain_is_read() {
        for (line, plain) in [
            (r"{}", true),
            (r#"{"kind":"Event"}"#, true),
            (r#"{"x":"a\"b\\c","kind":"Event"}"#, true),
            (r#"{"x":[1,20,true,false,{"y":[]},{}],"verb":""}"#, true),
            (r#"{"user":{"username":"a","groups":["b","c"],"extra":{"k":["v"]}},"sourceIPs":[]}"#, true),
            (r#"{"responseStatus":{"metadata":{},"code":200}}"#, true),
            (r#"{"responseStatus":{"metadata":{}}}"#, true),
            (r#"{"responseStatus":{"code":0}}"#, false),
            (r#"{"responseStatus":{"code":4294967296}}"#, false),
            (r#"{"responseStatus":{"code":"200"}}"#, false),
            (r#"{"kind":"a\"b"}"#, false),
            (r#"{"x":"\n"}"#, false),
            (r#"{"kind":null}"#, false),
            (r#"{"kind":1}"#, false),
            (r#"{"kind":"a","kind":"b"}"#, false),
            (r#"{"kind": "Event"}"#, false),
            (r#"{"x":1.5}"#, false),
            (r#"{"x":01}"#, false),
            (r#"{"x":1,}"#, false),
            (r#"{"x":1"#, false),
            (r#"{"x"}"#, false),
            (r#"{"x":1}}"#, false),
            (r#"{"x":1}{}"#, false),
            ("{\"x\":\"\u{e9}\"}", false),
            ("{\"x\":\"\u{7f}\"}", false),
            ("{\"x\":\"\n\"}", false),
            ("", false),
        ] {
            assert_eq!(read(line.as_bytes()).is_some(), plain, "{line}");
            if plain {
                let slow: Event = serde_json::from_str(line).expect("it is JSON");
                assert_eq!(read(line.as_bytes()), Some(slow), "{line}");
            }
        }
        let nested = |depth: usize| format!("{{\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(DEPTH - 1).as_bytes()).is_some());
        assert!(read(nested(DEPTH).as_bytes()).is_none());
        assert!(read(nested(1_000_000).as_bytes()).is_none());
    }
}
