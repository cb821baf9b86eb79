//! The token of whoever asks. It is looked at while it is asked about, and nothing of it is kept but a fingerprint that nobody else can make.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use ring::{digest, hmac, rand::SystemRandom};

/// A bearer token as it came. It has neither `Debug` nor `Display`.
pub(super) struct Bearer<'a>(&'a str);

impl<'a> Bearer<'a> {
    /// The token in the headers of a request; `None` where there is none, or more than one thing that could be it.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let mut words = value.to_str().ok()?.split_ascii_whitespace();
        let scheme = words.next()?;
        let token = words.next()?;
        (scheme.eq_ignore_ascii_case("Bearer") && words.next().is_none()).then_some(Self(token))
    }

    /// The token, for the API server alone.
    pub(super) const fn reveal(&self) -> &str {
        self.0
    }
}

/// What a token is known by: HMAC-SHA256 under a key of this process, as the API server's own cache of tokens does it
/// (`k8s.io/apiserver/pkg/authentication/token/cache`). Whoever reads it cannot try tokens against it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; digest::SHA256_OUTPUT_LEN]);

/// Makes fingerprints.
pub(super) struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// With a random key; `None` if the system gives no random bytes.
    pub(super) fn new() -> Option<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok().map(Self)
    }

    pub(super) fn of(&self, token: &Bearer<'_>) -> Fingerprint {
        let tag = hmac::sign(&self.0, token.0.as_bytes());
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(tag.as_ref());
        Fingerprint(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_or_none() {
        let of = |values: &[&'static str]| {
            let headers: HeaderMap = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            Bearer::of(&headers).map(|token| token.reveal().to_owned())
        };
        for (values, token) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&[""], None),
            (&["abc"], None),
            (&["Basic abc"], None),
            (&["Bearer abc def"], None),
            (&["Bearer abc", "Bearer def"], None),
            (&["Bearer abc", "Basic def"], None),
            (&[], None),
        ] {
            assert_eq!(of(values).as_deref(), token, "{values:?}");
        }
    }

    #[test]
    fn a_fingerprint_tells_tokens_apart_and_belongs_to_one_process() {
        let (here, elsewhere) = (Fingerprints::new().unwrap(), Fingerprints::new().unwrap());
        let of = |by: &Fingerprints, token| by.of(&Bearer(token)).0;
        assert_eq!(of(&here, "abc"), of(&here, "abc"));
        assert_ne!(of(&here, "abc"), of(&here, "abd"));
        assert_ne!(of(&here, "abc"), of(&elsewhere, "abc"));
    }
}
