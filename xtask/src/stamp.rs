//! The commit, written into a binary that is built already: `agent/src/cli/version.rs` has the place for it.

use anyhow::{Context as _, Result, ensure};

/// What the place holds when the linker is done, and how long it is.
const UNTOLD: &[u8] = b"kubewitness-commit=unknown ";
const MARK: usize = b"kubewitness-commit=".len();
const ROOM: usize = 96;

/// The binary, telling of this commit.
pub(crate) fn with_commit(mut binary: Vec<u8>, commit: &str) -> Result<Vec<u8>> {
    let mut places = binary.windows(UNTOLD.len()).enumerate().filter(|(_, bytes)| *bytes == UNTOLD).map(|(at, _)| at);
    let at = places.next().context("the binary has no place for its commit")?;
    ensure!(places.next().is_none(), "the binary has more than one place for its commit");
    let room = binary.get_mut(at + MARK..at + ROOM).context("the place for the commit is cut short")?;
    ensure!(commit.is_ascii() && commit.len() <= room.len(), "`{commit}` is no commit: it does not fit into the binary");
    room.fill(b' ');
    room[..commit.len()].copy_from_slice(commit.as_bytes());
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary() -> Vec<u8> {
        let place = format!("{:<ROOM$}", "kubewitness-commit=unknown");
        [b"ELF".as_slice(), place.as_bytes(), b"rest"].concat()
    }

    #[test]
    fn the_commit_stands_in_the_place_and_nothing_else_moves() {
        let commit = format!("{}-dirty", "0".repeat(64));
        let made = with_commit(binary(), &commit).expect("there is a place");
        assert_eq!(made.len(), binary().len());
        assert_eq!(made, [b"ELF".as_slice(), format!("{:<ROOM$}", format!("kubewitness-commit={commit}")).as_bytes(), b"rest"].concat());
    }

    #[test]
    fn what_has_no_place_or_two_or_no_room_is_refused() {
        assert!(with_commit(b"ELF".to_vec(), "1").is_err());
        assert!(with_commit([binary(), binary()].concat(), "1").is_err());
        assert!(with_commit(binary(), &"0".repeat(78)).is_err());
        assert!(with_commit(binary()[..60].to_vec(), "1").is_err());
        let told = with_commit(binary(), "1").expect("there is a place");
        assert!(with_commit(told, "2").is_err(), "one that tells already is not written over");
    }
}
