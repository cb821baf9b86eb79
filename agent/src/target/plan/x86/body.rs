//! One function, disassembled from its first byte to its last. Sites are found in it, and always on an instruction.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory, Mnemonic, NasmFormatter, OpAccess, OpKind,
    Register,
};

use super::Doubt;

/// The instructions of a function.
pub(super) struct Body<'a> {
    address: u64,
    bytes: &'a [u8],
    instructions: Vec<Instruction>,
    /// Addresses that branches of the function itself lead to, sorted.
    targets: Vec<u64>,
}

/// The longest function that is disassembled, in bytes. The longest of those that are probed has 6,112.
const MAX_BODY: usize = 1 << 16;

impl<'a> Body<'a> {
    /// Disassembles all of a function; any byte that is not code, or a branch into the middle of an instruction, is a reason not to
    /// believe any of it.
    pub(super) fn decode(address: u64, bytes: &'a [u8]) -> Result<Self, Doubt> {
        if bytes.len() > MAX_BODY {
            return Err(Doubt::at("the function is too long to be what it seems", address));
        }
        let mut instructions = Vec::new();
        for instruction in &mut Decoder::with_ip(64, bytes, address, DecoderOptions::NONE) {
            if instruction.is_invalid() {
                return Err(Doubt::at("a byte that is no instruction", instruction.ip()));
            }
            instructions.push(instruction);
        }
        let end = address.wrapping_add(bytes.len() as u64);
        let branches = instructions.iter().filter(|i| i.is_jcc_short_or_near() || i.is_jmp_short_or_near());
        let inside = branches.map(Instruction::near_branch_target).filter(|target| (address..end).contains(target));
        let mut targets: Vec<u64> = inside.collect();
        targets.sort_unstable();
        let body = Self { address, bytes, instructions, targets };
        match body.targets.iter().find(|target| body.index_of(**target).is_none()) {
            Some(target) => Err(Doubt::at("a branch into the middle of an instruction", *target)),
            None => Ok(body),
        }
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Where the instruction is among the others; `None` for an address that is not the beginning of one.
    pub(super) fn index_of(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// Whether a branch of the function leads to one of these instructions.
    pub(super) fn is_entered(&self, mut range: std::ops::RangeInclusive<usize>) -> bool {
        range.any(|index| self.instructions.get(index).is_some_and(|i| self.targets.binary_search(&i.ip()).is_ok()))
    }

    /// The next instruction at or after an index that does something.
    pub(super) fn skip_nops(&self, mut index: usize) -> Option<usize> {
        while is_nop(self.instructions.get(index)?) {
            index += 1;
        }
        Some(index)
    }

    /// The bytes of an instruction.
    pub(super) fn bytes_of(&self, instruction: &Instruction) -> &'a [u8] {
        let start = usize::try_from(instruction.ip().wrapping_sub(self.address)).unwrap_or(usize::MAX);
        self.bytes.get(start..).and_then(|rest| rest.get(..instruction.len())).unwrap_or_default()
    }

    /// The instruction that last wrote a register before `index`, where nothing but straight code lies between; the index and it.
    pub(super) fn last_write(&self, register: Register, index: usize) -> Option<(usize, &Instruction)> {
        for (at, instruction) in self.instructions.get(..index)?.iter().enumerate().rev() {
            if instruction.flow_control() != FlowControl::Next || self.is_entered(at + 1..=at + 1) {
                return None;
            }
            if writes(instruction, register) {
                return Some((at, instruction));
            }
        }
        None
    }
}

/// Intel syntax, as the proof shows it.
pub(super) fn text(instruction: &Instruction) -> String {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_space_after_operand_separator(true);
    options.set_show_branch_size(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// Whether an instruction changes any part of a register.
pub(super) fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers();
    used.iter().any(|u| {
        let changed = matches!(u.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite);
        changed && u.register().full_register() == register
    })
}

/// `mov to, from` between 64-bit registers.
pub(super) fn copy(instruction: &Instruction) -> Option<(Register, Register)> {
    let is_copy = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register().is_gpr64();
    is_copy.then(|| (instruction.op0_register(), instruction.op1_register()))
}

/// `mov register, [base + displacement]`: the base and the displacement.
pub(super) fn load(instruction: &Instruction) -> Option<(Register, i64)> {
    (instruction.code() == Code::Mov_r64_rm64 && instruction.op1_kind() == OpKind::Memory).then(|| plain_memory(instruction))?
}

/// `mov [base + displacement], register`: the base, the displacement, the register.
pub(super) fn store(instruction: &Instruction) -> Option<(Register, i64, Register)> {
    if instruction.code() != Code::Mov_rm64_r64 || instruction.op0_kind() != OpKind::Memory {
        return None;
    }
    plain_memory(instruction).map(|(base, displacement)| (base, displacement, instruction.op1_register()))
}

/// The base and the displacement of a memory operand that has no index and no segment.
pub(super) fn plain_memory(instruction: &Instruction) -> Option<(Register, i64)> {
    let plain = instruction.memory_index() == Register::None && instruction.segment_prefix() == Register::None;
    plain.then(|| (instruction.memory_base(), instruction.memory_displacement64().cast_signed()))
}

fn is_nop(instruction: &Instruction) -> bool {
    // `xchg ax,ax` is what iced calls the two-byte nop of Go's alignment.
    instruction.mnemonic() == Mnemonic::Nop
        || (instruction.mnemonic() == Mnemonic::Xchg
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register())
}
