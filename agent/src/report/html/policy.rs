//! What the page may do: run its own script, apply its own style, and nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};

/// The Content-Security-Policy (<https://www.w3.org/TR/CSP3/>) of a page with this style and this script. Both are told by their hashes, so that
/// whatever else might come to be in the page is neither run nor applied. Attributes `style` and `on…` have no hash, hence the page has none.
/// No text is ever made into markup by the script (`require-trusted-types-for`).
pub(super) fn of(style: &str, script: &str) -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'",
        hash(script),
        hash(style)
    )
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        // CSP3, section 8.3.
        assert_eq!(hash("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }
}
