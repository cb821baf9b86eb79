//! `cargo xtask build`: the kernel programs, then the agent around them, as one static binary.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::project::TOOLCHAIN;
use crate::{auditable, project, setup, stamp};

const HELP: &str = "\
Usage: cargo xtask build [--arch amd64|arm64]

Builds the kernel programs, and around them target/release/kubewitness: one static binary for any Linux on x86-64; or, with
`--arch arm64`, target/release/kubewitness-arm64. Sets up what is missing first; what has not changed is not built again.

Options:
  --arch ARCH   the machine that it is for, amd64 if not given; arm64 wants aarch64-linux-gnu-gcc

Examples:
  cargo xtask build
  cargo xtask build && target/release/kubewitness --help
  cargo xtask build --arch arm64
";

const OWN_HELP: &str = "cargo xtask build --help";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let arch = match args {
        [] => Arch::Amd64,
        [option, name] if option == "--arch" => Arch::named(name, OWN_HELP)?,
        [other, ..] => return Err(Usage::error(format!("`{other}` is not understood, or has no value"), OWN_HELP)),
    };
    setup::for_build(&[arch])?;
    all(arch)
}

/// The kernel programs and the agent for a machine; the tools must be there.
pub(crate) fn all(arch: Arch) -> Result<()> {
    let place = Place::here()?;
    let of = if arch == Arch::Amd64 { String::new() } else { format!(" for {}", arch.name()) };
    let object = step(&format!("build: the kernel programs{of}"), || kernel_programs(&place, arch))?;
    let binary = step(&format!("build: the agent{of}"), || agent(&place, &object, arch))?;
    note(&format!("{} is ready", binary.strip_prefix(project::root()).unwrap_or(&binary).display()));
    Ok(())
}

/// The kernel programs alone, without which the agent's crate does not compile.
pub(crate) fn programs() -> Result<()> {
    let place = Place::here()?;
    step("build: the kernel programs", || kernel_programs(&place, Arch::Amd64)).map(drop)
}

/// Where a build happens: what is built shows none of it.
pub(crate) struct Place {
    /// The workspace.
    root: PathBuf,
    /// Where cargo keeps the sources of crates.
    cargo_home: PathBuf,
    /// The toolchain's own folder.
    sysroot: PathBuf,
}

impl Place {
    /// This workspace.
    pub(crate) fn here() -> Result<Self> {
        let home = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("cargo has no home: set HOME or CARGO_HOME")?;
        Self::of(project::root().to_path_buf(), &home)
    }

    /// A copy of this workspace, which fetches the sources of crates anew.
    pub(crate) fn of(root: PathBuf, cargo_home: &Path) -> Result<Self> {
        let sysroot = project::answer(Command::new("rustup").args(["run", TOOLCHAIN, "rustc", "--print", "sysroot"]))?;
        Ok(Self { root, cargo_home: std::path::absolute(cargo_home)?, sysroot: sysroot.trim().into() })
    }

    /// The folders, one for each registry, in which cargo unpacks the sources of crates.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.cargo_home.join("registry/src")).into_iter().flatten().filter_map(Result::ok);
        let mut folders: Vec<PathBuf> = folders.map(|folder| folder.path()).collect();
        folders.sort();
        folders
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = project::cargo(args);
        command.current_dir(&self.root).env("CARGO_HOME", &self.cargo_home);
        command
    }

    /// Flags that put other names for folders into panics and debug information, so that a binary is the same wherever it was built. The
    /// later ones win. A folder of a registry's sources has a name that depends on where the registry is.
    ///
    /// The workspace itself is not among them: the compiler is given its files by their paths from the root. So copies of this workspace
    /// share what cargo has built.
    fn flags(&self) -> Vec<String> {
        let sources = self.sources().into_iter().map(|folder| (folder, "/crates"));
        let folders = [(self.cargo_home.clone(), "/cargo"), (self.sysroot.join("lib/rustlib/src/rust"), "/rust")];
        folders.into_iter().chain(sources).map(|(from, to)| renamed(&from, to)).collect()
    }
}

fn renamed(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// A cargo command on the kernel programs' crate, for its own target.
///
/// `core` is compiled along, which the compiler calls unstable. Flags and target folder are apart from those of the host, so that
/// neither build throws the other's work away.
pub(crate) fn bpf_cargo(place: &Place, subcommand: &str, arch: Arch) -> Result<Command> {
    let mut command = place.cargo(&[subcommand, "--release", "-p", "kubewitness-ebpf", "-Z", "build-std=core"]);
    // The compiler notes the folder that it runs in beside the paths of the lines.
    let own = renamed(&place.root, "/kubewitness");
    let flags: Vec<String> = [arch.bpf_flag()].into_iter().chain(BPF_FLAGS).map(str::to_owned).chain([own]).chain(place.flags()).collect();
    command
        .args(["--target", BPF, "--target-dir", &format!("target/{}", arch.bpf_folder())])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", project::tool("bpf-linker")?)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(command)
}

const BPF: &str = "bpfel-unknown-none";

/// The kernel wants BTF, and bpf-linker makes it from debug information. What else it says on stderr is that it cannot open one of
/// the two files which the toolchain calls libLLVM, each time: the other one it can.
const BPF_FLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Clink-arg=--btf", "-Alinker_messages"];

fn kernel_programs(place: &Place, arch: Arch) -> Result<PathBuf> {
    // The folders that the flags name are there only once the sources are.
    project::run(&mut place.cargo(&["fetch", "--quiet", "--locked"]))?;
    project::run(&mut bpf_cargo(place, "build", arch)?)?;
    Ok(place.root.join("target").join(arch.bpf_folder()).join(BPF).join("release/kubewitness"))
}

/// The binary from nothing, in a place where nobody has built: kernel programs and agent.
pub(crate) fn elsewhere(place: &Place, arch: Arch) -> Result<PathBuf> {
    let object = kernel_programs(place, arch)?;
    agent(place, &object, arch)
}

fn agent(place: &Place, object: &Path, arch: Arch) -> Result<PathBuf> {
    project::run(&mut agent_cargo(place, object, arch))?;
    let target = place.root.join("target");
    let built = target.join(arch.musl()).join("release/kubewitness");
    let elf = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    ensure!(
        needs_interpreter(&elf) == Some(false),
        "{} is not a static binary: see that no dependency links a shared library",
        built.display()
    );
    ensure!(!tells_a_time(&elf), "{} tells when it was compiled: see which dependency in C says `__TIME__`", built.display());
    let binary = target.join("release").join(arch.binary());
    let elf = stamp::with_commit(auditable::with_dependencies(&elf, arch)?, &project::commit())?;
    replace(&binary, &elf).with_context(|| format!("cannot write {}", binary.display()))?;
    Ok(binary)
}

/// The programs that `cargo xtask bench` compares the agent's with, and the folder of who attaches them.
pub(crate) fn comparison() -> Result<(PathBuf, PathBuf)> {
    let place = Place::here()?;
    step("build: the programs to compare with", || {
        project::run(bpf_cargo(&place, "build", Arch::Amd64)?.args(["--features", "bench", "--bin", "bench"]))
    })?;
    let object = place.root.join("target").join(Arch::Amd64.bpf_folder()).join(BPF).join("release/bench");
    Ok((object, step("build: who attaches them", examples)?))
}

/// The agent's examples, built as the agent is; the folder where they are.
pub(crate) fn examples() -> Result<PathBuf> {
    let place = Place::here()?;
    let arch = Arch::Amd64;
    project::run(agent_cargo(&place, &kernel_programs(&place, arch)?, arch).arg("--examples"))?;
    Ok(project::root().join("target").join(arch.musl()).join("release/examples"))
}

/// What runs the agent's benches, built as the agent is.
pub(crate) fn benches() -> Result<Command> {
    let place = Place::here()?;
    let object = kernel_programs(&place, Arch::Amd64)?;
    Ok(agent_command(&place, "bench", &object, Arch::Amd64))
}

fn agent_cargo(place: &Place, object: &Path, arch: Arch) -> Command {
    let mut command = agent_command(place, "build", object, arch);
    command.arg("--release");
    command
}

fn agent_command(place: &Place, what: &str, object: &Path, arch: Arch) -> Command {
    let mut command = place.cargo(&[what, "-p", "kubewitness", "--target", arch.musl()]);
    // Without it a `musl-gcc` is looked for, which few have.
    let (variable, compiler) = arch.c_compiler();
    command
        .env("KUBEWITNESS_EBPF", object)
        // It is written into what cargo has built.
        .env_remove("KUBEWITNESS_COMMIT")
        .env(variable, env::var_os(variable).unwrap_or(compiler.into()))
        .env(arch.c_flags(), [env::var(arch.c_flags()).unwrap_or_default().as_str(), TIMELESS].join(" "))
        .envs(arch.linker())
        .env("CARGO_ENCODED_RUSTFLAGS", place.flags().join("\x1f"));
    command
}

/// For the C compiler: mimalloc writes down when it was compiled, and the same source shall give the same binary. No word of it may have a space.
const TIMELESS: &str = "-Wno-builtin-macro-redefined -D__DATE__=\"untold\" -D__TIME__=\"untold\"";

/// Puts a program where `binary` is. A binary that runs cannot be written to, but its name can be given
/// to another file; one that is the same keeps its time, so that nothing that depends on it is made again.
fn replace(binary: &Path, content: &[u8]) -> std::io::Result<()> {
    if fs::read(binary).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let fresh = binary.with_extension("fresh");
    fs::create_dir_all(binary.parent().unwrap_or(Path::new("/")))?;
    fs::write(&fresh, content)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(fresh, binary)
}

/// Whether a 64-bit little-endian ELF file asks for a dynamic loader, by a `PT_INTERP` program header (gABI, chapter 5); `None` if
/// `elf` is no such file.
fn needs_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at.checked_add(2)?)?.try_into().ok()?)));
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(elf.get(0x20..0x28)?.try_into().ok()?)).ok()?;
    let (size, count) = (half(0x36)?, half(0x38)?);
    let kinds: Option<Vec<u32>> = (0..count)
        .map(|n| table.checked_add(n * size))
        .map(|at| Some(u32::from_le_bytes(elf.get(at?..at?.checked_add(4)?)?.try_into().ok()?)))
        .collect();
    Some(kinds?.contains(&PT_INTERP))
}

/// Whether a constant of C is a time of day, as `__TIME__` is: `hh:mm:ss`, between zeroes.
fn tells_a_time(binary: &[u8]) -> bool {
    const TIME: &[u8; 10] = b"\0##:##:##\0";
    let is_as = |(wanted, byte): (&u8, &u8)| if *wanted == b'#' { byte.is_ascii_digit() } else { wanted == byte };
    binary.windows(TIME.len()).any(|bytes| TIME.iter().zip(bytes).all(is_as))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_found() {
        assert!(tells_a_time(b"text\x0014:25:41\x00more"));
        for other in [&b"text\0untold\0more"[..], b"at 14:25:41\0", b"\0hh:mm:ss\0", b"\x0014:25:41", b""] {
            assert!(!tells_a_time(other), "{other:?}");
        }
    }

    /// An ELF header with program headers of these kinds right behind it.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 0x40];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x20] = 0x40;
        file[0x36] = 0x38;
        file[0x38] = u8::try_from(kinds.len()).expect("few");
        for kind in kinds {
            file.extend_from_slice(&kind.to_le_bytes());
            file.resize(file.len() + 0x34, 0);
        }
        file
    }

    #[test]
    fn a_static_binary_has_no_interpreter() {
        assert_eq!(needs_interpreter(&elf(&[1, 1, 6])), Some(false));
        assert_eq!(needs_interpreter(&elf(&[6, 3, 1])), Some(true));
        assert_eq!(needs_interpreter(&elf(&[1, 1, 3])), Some(true));
    }

    #[test]
    fn what_is_no_whole_elf_file_is_not_judged() {
        let whole = elf(&[1, 6]);
        for cut in 0..whole.len() - 0x34 {
            assert_eq!(needs_interpreter(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(needs_interpreter(b"#!/bin/sh\n"), None);
        let mut wild = whole;
        wild[0x20..0x28].fill(0xff);
        assert_eq!(needs_interpreter(&wild), None);
    }

    #[test]
    fn the_test_program_itself_is_dynamic() {
        let own = fs::read("/proc/self/exe").expect("it runs");
        assert_eq!(needs_interpreter(&own), Some(true));
    }

    #[test]
    fn the_same_binary_is_not_written_again() {
        let folder = std::env::temp_dir().join(format!("kubewitness-xtask-{}", std::process::id()));
        let binary = folder.join("release/binary");
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("it is there"));

        replace(&binary, b"one").expect("written");
        let first = inode(&binary);
        replace(&binary, b"one").expect("left alone");
        assert_eq!(inode(&binary), first);

        replace(&binary, b"two").expect("replaced");
        assert_eq!(fs::read(&binary).expect("read"), b"two");
        assert_ne!(inode(&binary), first, "the old file is not written to: it may be running");
        fs::remove_dir_all(folder).expect("removed");
    }
}
