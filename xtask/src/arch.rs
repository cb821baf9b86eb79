//! The machines that the agent is built for. It is built *on* x86-64.

use crate::args::Usage;

/// A machine that runs the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As Go, Kubernetes and image indexes call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target of the static binary.
    pub(crate) const fn musl(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// What the kernel programs' target does not tell: the machine whose registers they read.
    pub(crate) const fn bpf_flag(self) -> &'static str {
        match self {
            Self::Amd64 => "--cfg=bpf_target_arch=\"x86_64\"",
            Self::Arm64 => "--cfg=bpf_target_arch=\"aarch64\"",
        }
    }

    /// Where its kernel programs are built, below `target`; `agent/build.rs` knows it too.
    pub(crate) const fn bpf_folder(self) -> &'static str {
        match self {
            Self::Amd64 => "bpf",
            Self::Arm64 => "bpf-arm64",
        }
    }

    /// The binary's name in `target/release`.
    pub(crate) const fn binary(self) -> &'static str {
        match self {
            Self::Amd64 => "kubewitness",
            Self::Arm64 => "kubewitness-arm64",
        }
    }

    /// What compiles the C and assembly of crates for the static binary, if the environment's variable of that name does not say: they need
    /// nothing of a C library but what every one has, so it need not be musl's.
    pub(crate) const fn c_compiler(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("CC_x86_64_unknown_linux_musl", "cc"),
            Self::Arm64 => ("CC_aarch64_unknown_linux_musl", "aarch64-linux-gnu-gcc"),
        }
    }

    /// The variable with the flags of that compiler.
    pub(crate) const fn c_flags(self) -> &'static str {
        match self {
            Self::Amd64 => "CFLAGS_x86_64_unknown_linux_musl",
            Self::Arm64 => "CFLAGS_aarch64_unknown_linux_musl",
        }
    }

    /// The variable that names its linker, where the toolchain's own does what a C compiler's would do: Rust brings musl along.
    pub(crate) const fn linker(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some(("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")),
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str, help: &'static str) -> anyhow::Result<Self> {
        let known = Self::ALL.into_iter().find(|arch| arch.name() == name);
        known.ok_or_else(|| Usage::error(format!("`{name}` is neither amd64 nor arm64"), help))
    }
}
