//! What needs no API server. What does is tried on a real one, in `tests/tests/front.rs`.

use std::path::PathBuf;

use axum::http::header::AUTHORIZATION;

use super::*;

const ALLOW_FOR: Duration = Duration::from_secs(60);

/// A guard that has nobody to ask.
fn guard() -> Guard {
    let options = ConnectOptions { kubeconfig: Some(PathBuf::from("/nonexistent/kubeconfig")), context: None };
    Guard::new(options, ALLOW_FOR).unwrap()
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

fn admit(guard: &Guard, headers: &HeaderMap) -> Result<(), Refusal> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(guard.admit(headers))
}

impl Guard {
    fn learn(&self, token: &str, review: Review) {
        let headers = bearer(token);
        let fingerprint = self.fingerprints.of(&Bearer::of(&headers).unwrap());
        lock(&self.memory).learn(fingerprint, review, Instant::now());
    }
}

#[test]
fn what_is_known_needs_no_api_server() {
    let guard = guard();
    guard.learn("good", Review::Allowed);
    guard.learn("poor", Review::Forbidden("somebody".into()));
    guard.learn("bad", Review::Unknown);
    for (headers, expected) in [
        (HeaderMap::new(), Err(Refusal::Unauthenticated)),
        (bearer("good"), Ok(())),
        (bearer("poor"), Err(Refusal::Forbidden("somebody".into()))),
        (bearer("bad"), Err(Refusal::Unauthenticated)),
        (bearer("new"), Err(Refusal::Away("no way to it is configured"))),
        // What failed is no answer: it is asked again.
        (bearer("new"), Err(Refusal::Away("no way to it is configured"))),
    ] {
        assert_eq!(admit(&guard, &headers), expected, "{headers:?}");
    }
}

#[test]
fn made_up_tokens_are_asked_about_so_often_and_familiar_ones_all_the_same() {
    let guard = guard();
    let refusals: Vec<_> = (0..50).map(|n| admit(&guard, &bearer(&format!("made-up-{n}"))).unwrap_err()).collect();
    let asked = refusals.iter().filter(|refusal| matches!(refusal, Refusal::Away(_))).count();
    // One more each half second.
    assert!((20..25).contains(&asked), "{asked}");
    assert_eq!(refusals.last(), Some(&Refusal::TooMany));
    // Allowed a while ago: nothing of it is good any more, but it was.
    let headers = bearer("scraper");
    let fingerprint = guard.fingerprints.of(&Bearer::of(&headers).unwrap());
    lock(&guard.memory).learn(fingerprint, Review::Allowed, Instant::now().checked_sub(ALLOW_FOR).unwrap());
    assert!(matches!(admit(&guard, &headers), Err(Refusal::Away(_))));
}

#[test]
fn a_refusal_says_what_to_do_and_nothing_that_a_terminal_obeys() {
    for (refusal, status, text) in [
        (Refusal::Unauthenticated, 401, "needs a bearer token"),
        (Refusal::Forbidden("a\u{1b}[2Jb".into()), 403, "a\\u001b[2Jb may not get /metrics: bind a ClusterRole"),
        (Refusal::TooMany, 429, "come again"),
        (Refusal::Away("it cannot be reached"), 503, "it cannot be reached"),
        (Refusal::NotEntitled, 500, "create on tokenreviews.authentication.k8s.io and on subjectaccessreviews.authorization.k8s.io"),
    ] {
        assert!(refusal.to_string().contains(text), "{refusal}");
        assert_eq!(refusal.clone().into_response().status().as_u16(), status, "{refusal}");
    }
    assert!(Refusal::Unauthenticated.into_response().headers().contains_key(header::WWW_AUTHENTICATE));
}
