//! What a machine must have, each as one check whose error says what is missing and what to do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::arch::Arch;
use crate::project;

/// rustup, with which all the rest can be fetched.
pub(crate) fn rustup() -> Result<()> {
    let there = project::answer(Command::new("rustup").arg("--version"));
    there.map(drop).map_err(|error| anyhow!("{error}: install it from https://rustup.rs"))
}

/// Where everything is built, also what runs elsewhere.
pub(crate) fn architecture() -> Result<()> {
    let here = std::env::consts::ARCH;
    ensure!(here == "x86_64", "kubewitness is built on x86_64, for arm64 too, and this machine is {here}: use another one");
    Ok(())
}

/// A C compiler for arm64: a crate of the agent holds C and assembly.
pub(crate) fn compiler_for_arm64() -> Result<()> {
    let (variable, compiler) = Arch::Arm64.c_compiler();
    let compiler = std::env::var(variable).unwrap_or(compiler.to_owned());
    let there = project::answer(Command::new(&compiler).arg("--version"));
    let advice = format!("install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross, or name a C compiler for arm64 in {variable}");
    there.map(drop).map_err(|error| anyhow!("{error}: {advice}"))
}

/// At least `wanted` MiB free where `folder` is or will be.
pub(crate) fn free_space(folder: &Path, wanted: u64) -> Result<()> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let free = free_mib(&project::answer(Command::new("df").arg("-Pk").arg(there))?).context("`df -Pk` printed no table")?;
    ensure!(free >= wanted, "{} has {free} MiB free and {wanted} are needed: make room there", there.display());
    Ok(())
}

/// The `Available` column of `df -Pk FILE`, in MiB.
fn free_mib(table: &str) -> Option<u64> {
    let kib: u64 = table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib / 1024)
}

/// Root: namespaces, cgroups, mounts and probes need it.
pub(crate) fn root() -> Result<()> {
    let uid = fs::metadata("/proc/self").context("/proc is not mounted")?.uid();
    ensure!(uid == 0, "root is needed, and this is uid {uid}: use `sudo -E env PATH=\"$PATH\" cargo xtask …`");
    Ok(())
}

/// A Go that fetches the compiler that a module asks for: 1.21 was the first.
pub(crate) fn go() -> Result<()> {
    let advice = "install Go 1.21 or newer from https://go.dev/dl";
    let said = project::answer(Command::new("go").arg("version")).map_err(|error| anyhow!("{error}: {advice}"))?;
    let release = said.split_whitespace().find_map(|word| word.strip_prefix("go1.").map(|rest| format!("1.{rest}")));
    ensure!(release.as_deref().and_then(major_minor).is_some_and(|found| found >= (1, 21)), "`{}` is too old: {advice}", said.trim());
    Ok(())
}

/// A kernel on which the agent runs: 6.1 is the oldest that was tried, and the type information tells where its fields are.
pub(crate) fn kernel() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc is not mounted")?;
    match major_minor(&release) {
        Some(found) if found >= (6, 1) => {}
        _ => bail!("Linux 6.1 or newer is needed, and this is {}: use a newer kernel", release.trim()),
    }
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "the kernel has no type information in /sys/kernel/btf/vmlinux: use one built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys"
    );
    Ok(())
}

/// `6.18.44-fc` and `1.26.8` → (6, 18) and (1, 26).
fn major_minor(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_kernels_and_compilers() {
        let table = [
            ("6.18.44-fc-v669\n", Some((6, 18))),
            ("6.6.0", Some((6, 6))),
            ("5.4.0-150-generic", Some((5, 4))),
            ("6.1-rc3", Some((6, 1))),
            ("1.27rc1", Some((1, 27))),
            ("7", None),
            ("devel", None),
            ("", None),
        ];
        for (release, expected) in table {
            assert_eq!(major_minor(release), expected, "{release:?}");
        }
        assert!(major_minor("6.12") > Some((6, 1)), "6.12 is newer than 6.1");
    }

    #[test]
    fn df_tables() {
        let table =
            "Filesystem     1024-blocks     Used Available Capacity Mounted on\n/dev/vda         264156596 24969384  71303168      26% /\n";
        assert_eq!(free_mib(table), Some(69632));
        assert_eq!(free_mib("df: no such file\n"), None);
    }

    #[test]
    fn no_disk_has_an_exbibyte_free() {
        let error = free_space(Path::new("/no/such/folder"), 1 << 40).expect_err("no disk has that");
        assert!(format!("{error:#}").starts_with("/ has "), "the nearest folder that exists is looked at: {error:#}");
    }
}
