//! Site *answer*: the `je` after the comparison of the container runtime's HTTP status with 101.
//!
//! `tryUpgrade` reads the backend's answer and asks `if status != 101 && status < 400`
//! (`k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`): both comparisons, in this order and of one register, are the proof.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::{Doubt, body::Body};

/// `http.StatusSwitchingProtocols`, `http.StatusBadRequest`
const SWITCHING_PROTOCOLS: u64 = 101;
const BAD_REQUEST: u64 = 400;

/// The index of the jump, and the register that holds the status.
pub(super) fn find(body: &Body<'_>) -> Result<(usize, Register), Doubt> {
    let all = body.instructions();
    let compares = |index: usize, value: u64| compared(&all[index], value);
    let is_site = |index: usize| {
        let register = compares(index, SWITCHING_PROTOCOLS)?;
        let jump = body.skip_nops(index + 1).filter(|jump| all[*jump].mnemonic() == Mnemonic::Je)?;
        let next = body.skip_nops(jump + 1)?;
        (compares(next, BAD_REQUEST) == Some(register) && !body.is_entered(index + 1..=next)).then_some((jump, register))
    };
    let mut sites = (0..all.len()).filter_map(is_site);
    let site = sites.next().ok_or(Doubt::at("no comparison of the runtime's status with 101 and then 400", body.address()))?;
    match sites.next() {
        Some((other, _)) => Err(Doubt::at("a second comparison that may be the runtime's status", all[other].ip())),
        None => Ok(site),
    }
}

/// `cmp register, value`: the whole register.
fn compared(instruction: &Instruction, value: u64) -> Option<Register> {
    let is_it = instruction.mnemonic() == Mnemonic::Cmp
        && instruction.op0_kind() == OpKind::Register
        && (instruction.op0_register().is_gpr64() || instruction.op0_register().is_gpr32())
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate8to32 | OpKind::Immediate32
        )
        && instruction.immediate(1) == value;
    is_it.then(|| instruction.op0_register().full_register())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::x86::listing::{BASE, assemble};

    /// As in 1.36.3, with the later comparison in memory that is not it.
    const UPGRADE: &str = "
        4883fa65 cmp rdx, 0x65
        7413 je
        0f1f00 nop
        4881fa90010000 cmp rdx, 0x190
        7d07 jge
        4883791065 cmp qword [rcx+0x10], 0x65
        7400 je
        c3 ret";

    fn found(listing: &str) -> Result<(u64, Register), String> {
        let bytes = assemble(listing);
        let body = Body::decode(BASE, &bytes).map_err(|doubt| doubt.to_string())?;
        find(&body).map(|(jump, register)| (body.instructions()[jump].ip(), register)).map_err(|doubt| doubt.to_string())
    }

    #[test]
    fn the_jump_after_the_status_is_found() {
        assert_eq!(found(UPGRADE), Ok((BASE + 4, Register::RDX)));
        let other = UPGRADE.replace("4883fa65 cmp rdx", "4983f965 cmp r9").replace("4881fa90010000 cmp rdx", "4981f990010000 cmp r9");
        assert_eq!(found(&other), Ok((BASE + 4, Register::R9)));
    }

    #[test]
    fn doubt_is_named() {
        let none = "no comparison of the runtime's status";
        for (what, from, to, doubt) in [
            ("another status", "4883fa65 cmp rdx, 0x65", "4883fa64 cmp rdx, 0x64", none),
            ("the opposite jump", "7413 je", "7513 jne", none),
            ("another register in the second", "4881fa90010000 cmp rdx, 0x190", "4881fb90010000 cmp rbx, 0x190", none),
            ("no second", "4881fa90010000 cmp rdx, 0x190", "4881faf4010000 cmp rdx, 0x1f4", none),
            ("half of the register", "4883fa65 cmp rdx, 0x65", "80fa65 cmp dl, 0x65\n90 nop", none),
            ("a branch past the first", "c3 ret", "ebe9 jmp", none),
            ("two candidates", "c3 ret", UPGRADE, "a second comparison that may be the runtime's status at 0x101d"),
        ] {
            let result = found(&UPGRADE.replace(from, to));
            assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}");
        }
    }
}
