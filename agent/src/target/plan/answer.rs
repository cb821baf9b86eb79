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
