//! Site *answer*: the `b.eq` after the comparison of the container runtime's HTTP status with 101.
//!
//! `tryUpgrade` reads the backend's answer and asks `if status != 101 && status < 400`
//! (`k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`): both comparisons, in this order and of one register, are the proof.

use super::{
    super::Doubt,
    body::Body,
    instruction::{Branch, Condition, Instruction, X},
};

/// `http.StatusSwitchingProtocols`, `http.StatusBadRequest`
const SWITCHING_PROTOCOLS: u64 = 101;
const BAD_REQUEST: u64 = 400;

/// The index of the branch, and the register that holds the status.
pub(super) fn find(body: &Body) -> Result<(usize, X), Doubt> {
    let all = body.instructions();
    let compares = |index: usize, with: u64| match all[index] {
        Instruction::Compare { register, value } if value == with && register != X::SP => Some(register),
        _ => None,
    };
    let is_site = |index: usize| {
        let register = compares(index, SWITCHING_PROTOCOLS)?;
        let is_equal = |branch: &usize| matches!(all[*branch], Instruction::Branch(Branch::If(Condition::EQ), _));
        let branch = body.skip_nops(index + 1).filter(is_equal)?;
        let next = body.skip_nops(branch + 1)?;
        (compares(next, BAD_REQUEST) == Some(register) && !body.is_entered(index + 1..=next)).then_some((branch, register))
    };
    let mut sites = (0..all.len()).filter_map(is_site);
    let site = sites.next().ok_or(Doubt::at("no comparison of the runtime's status with 101 and then 400", body.address()))?;
    match sites.next() {
        Some((other, _)) => Err(Doubt::at("a second comparison that may be the runtime's status", body.address_of(other))),
        None => Ok(site),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::arm64::listing::{BASE, assemble};

    /// As in 1.36.3, with the later comparison that is not it.
    const UPGRADE: &str = "
        f9400805 ldr x5, [x0, #0x10]
        f10194bf cmp x5, #0x65
        54000080 b.eq
        f10640bf cmp x5, #0x190
        5400004a b.ge
        f101947f cmp x3, #0x65
        54000040 b.eq
        d503201f nop
        d65f03c0 br";

    fn found(listing: &str) -> Result<(u64, X), String> {
        let body = Body::decode(BASE, &assemble(listing)).map_err(|doubt| doubt.to_string())?;
        find(&body).map(|(branch, register)| (body.address_of(branch), register)).map_err(|doubt| doubt.to_string())
    }

    #[test]
    fn the_branch_after_the_status_is_found() {
        assert_eq!(found(UPGRADE), Ok((BASE + 8, X(5))));
        let other = UPGRADE.replace("f10194bf cmp x5", "f101953f cmp x9").replace("f10640bf cmp x5", "f106413f cmp x9");
        assert_eq!(found(&other), Ok((BASE + 8, X(9))));
    }

    #[test]
    fn doubt_is_named() {
        let none = "no comparison of the runtime's status";
        for (what, from, to, doubt) in [
            ("another status", "f10194bf cmp x5, #0x65", "f10190bf cmp x5, #0x64", none),
            ("the opposite branch", "54000080 b.eq", "54000081 b.ne", none),
            ("another register in the second", "f10640bf cmp x5, #0x190", "f106407f cmp x3, #0x190", none),
            ("no second", "f10640bf cmp x5, #0x190", "f107d0bf cmp x5, #0x1f4", none),
            ("the stack pointer", "f10194bf cmp x5, #0x65", "f10197ff cmp sp, #0x65", none),
            ("a branch past the first", "d503201f nop", "17fffffb b", none),
            ("two candidates", "d503201f nop", UPGRADE, "a second comparison that may be the runtime's status at 0x1024"),
        ] {
            let result = found(&UPGRADE.replace(from, to));
            assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}");
        }
    }
}
