//! `--version`: which source it was built from, what is inside, and which kubelets it is for.

use std::sync::LazyLock;

use crate::report::Release;

/// Stands before the commit in [`STAMP`].
const MARK: &[u8] = b"kubewitness-commit=";
/// What it is until somebody writes over it.
const UNTOLD: &[u8] = b"unknown";

/// `cargo xtask build` writes the commit into this place of the binary that it has built, with `-dirty` behind it if the tree held more. So a
/// commit that changes nothing here compiles nothing anew. 96 bytes have room for the mark and a hash of SHA-256 as git writes it.
static STAMP: [u8; 96] = stamp();

const fn stamp() -> [u8; 96] {
    let mut stamp = [b' '; 96];
    stamp.split_at_mut(MARK.len()).0.copy_from_slice(MARK);
    stamp.split_at_mut(MARK.len()).1.split_at_mut(UNTOLD.len()).0.copy_from_slice(UNTOLD);
    stamp
}

/// The commit. Whoever builds with cargo alone can say it too, in `KUBEWITNESS_COMMIT`.
fn commit() -> &'static str {
    // What the compiler knows of a static it may put in its place.
    let stamp = std::hint::black_box(&STAMP);
    let stamped = str::from_utf8(&stamp[MARK.len()..]).unwrap_or_default().trim_ascii();
    option_env!("KUBEWITNESS_COMMIT").unwrap_or(stamped)
}

/// What stands behind the name. The short form is the number alone.
pub(super) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(written);
    &LONG
}

fn written() -> String {
    let (oldest, newest) = (Release::OLDEST, Release::NEWEST);
    format!(
        "{version}
commit           {commit}
kernel programs  {programs}
Kubernetes       {oldest} to {newest}, as tested; `kubewitness doctor` tells of the one that you have",
        version = env!("CARGO_PKG_VERSION"),
        commit = told(commit()),
        programs = programs(),
    )
}

/// A tree with changes has no name, and says so.
fn told(commit: &str) -> String {
    match commit.strip_suffix("-dirty") {
        Some(commit) => format!("{commit}, and changes that were not committed"),
        None => commit.to_owned(),
    }
}

#[cfg(target_os = "linux")]
fn programs() -> String {
    format!("sha256:{}, for {}", crate::probe::programs_digest(), std::env::consts::ARCH)
}

#[cfg(not(target_os = "linux"))]
fn programs() -> String {
    format!("none: they are for Linux, and this is {}", std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn changes_that_were_not_committed_are_told() {
        assert_eq!(told("83a2496fe"), "83a2496fe");
        assert_eq!(told("83a2496fe-dirty"), "83a2496fe, and changes that were not committed");
    }

    #[test]
    fn the_long_form_has_everything_and_the_short_one_the_number() {
        let long = long();
        let digest = long.lines().find_map(|line| line.strip_prefix("kernel programs  sha256:")).expect("the programs are inside");
        let (digest, arch) = digest.split_once(", for ").expect("for a machine");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
        assert_eq!(arch, std::env::consts::ARCH);
        assert!(long.contains("\ncommit           ") && long.contains("\nKubernetes       1."), "{long}");
        assert!(long.lines().all(|line| line.len() <= 110), "{long}");

        let command = Cli::command();
        assert_eq!(command.render_version(), concat!("kubewitness ", env!("CARGO_PKG_VERSION"), "\n"));
        assert_eq!(command.render_long_version(), format!("kubewitness {long}\n"));
    }
}
