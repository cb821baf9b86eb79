//! `cargo xtask package`: the agent for machines without a cluster, as packages of Debian and of RPM and as a tarball.

mod contents;
mod nfpm;
mod tarball;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::step;
use crate::{build, image, project, setup};
use contents::{Parts, contents};

const HELP: &str = "\
Usage: cargo xtask package [deb|rpm|tar] [--arch amd64|arm64] [--try]

Builds the static binary and writes into target/package
  kubewitness_VERSION_ARCH.deb, kubewitness-VERSION-1.ARCH.rpm, kubewitness-VERSION-linux-ARCH.tar.gz
with a unit of systemd, settings, man pages, completions and what logrotate is told. All three if none is named. The same source and toolchain
give the same bytes: times are SOURCE_DATE_EPOCH, or that of the commit. KUBEWITNESS_MAINTAINER is whom the packages name. nfpm, which makes
deb and rpm, is built with Go.

Options:
  --arch ARCH  the machine that it is for, amd64 if not given
  --try        install them in a clean Debian (debootstrap, needs root and its mirror), use everything, boot it with systemd-nspawn, let the
               agent watch the kubelet's server there, and remove them again: nothing may be left. For amd64

Examples:
  cargo xtask package
  cargo xtask package deb --arch arm64
  cargo xtask package --try
";

const OWN_HELP: &str = "cargo xtask package --help";

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Deb,
    Rpm,
    Tar,
}

impl Format {
    const ALL: [Self; 3] = [Self::Deb, Self::Rpm, Self::Tar];

    const fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Tar => "tar",
        }
    }

    /// As each kind is called where it comes from.
    fn file(self, version: &str, arch: Arch) -> String {
        let machine = match arch {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        };
        match self {
            Self::Deb => format!("kubewitness_{version}_{}.deb", arch.name()),
            Self::Rpm => format!("kubewitness-{version}-1.{machine}.rpm"),
            Self::Tar => format!("{}.tar.gz", folder(version, arch)),
        }
    }
}

/// The folder in a tarball.
fn folder(version: &str, arch: Arch) -> String {
    format!("kubewitness-{version}-linux-{}", arch.name())
}

/// What packages say of where they come from.
struct Release {
    version: &'static str,
    maintainer: String,
    /// Of every file: seconds since 1970, and the same in the form of RFC 3339.
    epoch: u64,
    date: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    formats: Vec<Format>,
    arch: Arch,
    trial: bool,
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let options = parse(args)?;
    let release = Release::this()?;
    setup::for_build(&[Arch::Amd64, options.arch])?;
    // The binary for this machine writes man pages and completions for the other one too.
    build::all(Arch::Amd64)?;
    if options.arch != Arch::Amd64 {
        build::all(options.arch)?;
    }
    let parts = step("package: man pages, completions, licences", || gather(options.arch, &release))?;
    let folder = project::root().join("target/package");
    for format in &options.formats {
        step(&format!("package: {}", format.file(release.version, options.arch)), || write(*format, &options, &release, &parts, &folder))?;
    }
    if options.trial {
        // Made again elsewhere, it is the same.
        for format in &options.formats {
            step(&format!("try: {} again", format.name()), || again(*format, &options, &release, &parts, &folder))?;
        }
        trial::all(&options.formats, &|format| folder.join(format.file(release.version, options.arch)))?;
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let wrong = |what: String| Usage::error(what, OWN_HELP);
    let mut options = Options { formats: Vec::new(), arch: Arch::Amd64, trial: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--try" => options.trial = true,
            "--arch" => {
                let name = args.next().ok_or_else(|| wrong("`--arch` needs a machine".into()))?;
                options.arch = Arch::named(name, OWN_HELP)?;
            }
            other => {
                let format = Format::ALL.into_iter().find(|format| format.name() == other);
                options.formats.push(format.ok_or_else(|| wrong(format!("`{other}` is not understood")))?);
            }
        }
    }
    if options.trial && options.arch != Arch::Amd64 {
        return Err(wrong("`--try` runs what is for amd64".into()));
    }
    if options.formats.is_empty() {
        options.formats = Format::ALL.to_vec();
    }
    Ok(options)
}

impl Release {
    fn this() -> Result<Self> {
        let epoch = project::epoch()?;
        let seconds = i64::try_from(epoch).context("SOURCE_DATE_EPOCH is no date")?;
        let date = jiff::Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is no date")?.to_string();
        Ok(Self { version: env!("CARGO_PKG_VERSION"), maintainer: nfpm::maintainer()?, epoch, date })
    }

    /// Debian's changelog (deb-changelog(5)): one entry, for what changed is told in the project's own.
    fn changelog(&self) -> Result<String> {
        let date: jiff::Timestamp = self.date.parse().context("the date of the release cannot be read")?;
        let date = jiff::fmt::rfc2822::to_string(&date.to_zoned_datetime(jiff::tz::TimeZone::UTC))
            .context("the date of the release has no year of four digits")?;
        let Self { version, maintainer, .. } = self;
        Ok(format!(
            "kubewitness ({version}-1) unstable; urgency=medium\n\n  * See CHANGELOG.md of the project.\n\n -- {maintainer}  {date}\n"
        ))
    }
}

/// What is built, what the binary writes of itself, and what is read from the repository.
fn gather(arch: Arch, release: &Release) -> Result<Parts> {
    let target = project::root().join("target");
    let deploy = |name: &str| read(&project::root().join("deploy/packages").join(name));
    let here = target.join("release").join(Arch::Amd64.binary());
    let completion = |shell: &str| project::answer(Command::new(&here).args(["completions", shell])).map(String::into_bytes);
    let pages = fresh(&target.join("package/man"))?;
    project::run(Command::new(&here).arg("man").arg(&pages))?;
    Ok(Parts {
        binary: read(&target.join("release").join(arch.binary()))?,
        pages: files(&pages)?,
        completions: [completion("bash")?, completion("zsh")?, completion("fish")?],
        licences: image::licences(arch)?,
        unit: deploy("kubewitness.service")?,
        settings: deploy("kubewitness.env")?,
        logrotate: deploy("logrotate")?,
        copyright: deploy("copyright")?,
        overrides: deploy("lintian-overrides")?,
        changelog: release.changelog()?.into_bytes(),
    })
}

fn write(format: Format, options: &Options, release: &Release, parts: &Parts, to: &Path) -> Result<PathBuf> {
    let items = contents(format, parts)?;
    let package = to.join(format.file(release.version, options.arch));
    match format {
        Format::Tar => {
            let bytes = tarball::tarball(&folder(release.version, options.arch), &items, release.epoch)?;
            fs::write(&package, bytes).with_context(|| format!("cannot write {}", package.display()))?;
        }
        Format::Deb | Format::Rpm => {
            let staging = fresh(&to.join(format!("{}-{}", format.name(), options.arch.name())))?;
            nfpm::package(format, options.arch, release, &items, &staging, &package)?;
        }
    }
    Ok(package)
}

fn again(format: Format, options: &Options, release: &Release, parts: &Parts, folder: &Path) -> Result<()> {
    let first = read(&folder.join(format.file(release.version, options.arch)))?;
    let second = read(&write(format, options, release, parts, &fresh(&folder.join("again"))?)?)?;
    ensure!(first == second, "it is another one when it is made again");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The files of a folder by their names, in order.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), read(&entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// An empty folder of that name.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &[&str]) -> Result<Options> {
        parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn all_formats_unless_one_is_named() {
        assert_eq!(parsed(&[]).expect("none is needed").formats, Format::ALL);
        let options = parsed(&["rpm", "--arch", "arm64"]).expect("both are known");
        assert_eq!(options, Options { formats: vec![Format::Rpm], arch: Arch::Arm64, trial: false });
        assert!(parsed(&["--try", "--arch", "arm64"]).is_err());
        assert!(parsed(&["apk"]).is_err());
    }

    #[test]
    fn debian_is_told_of_a_release() {
        let (maintainer, date) = ("Kim <kim@example.invalid>".to_owned(), "2026-11-26T12:00:00Z".to_owned());
        let release = Release { version: "0.1.0", maintainer, epoch: 0, date };
        let told = release.changelog().expect("it has a date");
        assert!(told.starts_with("kubewitness (0.1.0-1) unstable; urgency=medium\n\n  * "), "{told}");
        assert!(told.ends_with("\n\n -- Kim <kim@example.invalid>  Thu, 26 Nov 2026 12:00:00 +0000\n"), "{told}");
    }

    #[test]
    fn names_are_those_of_each_world() {
        let names = Format::ALL.map(|format| format.file("0.1.0", Arch::Arm64));
        assert_eq!(names, ["kubewitness_0.1.0_arm64.deb", "kubewitness-0.1.0-1.aarch64.rpm", "kubewitness-0.1.0-linux-arm64.tar.gz"]);
    }

    /// What the unit grants is what the chart grants: docs/permissions.md explains one list.
    #[test]
    fn the_unit_has_the_capabilities_of_the_chart() {
        let read = |path: &str| fs::read_to_string(project::root().join(path)).expect("it can be read");
        let unit = read("deploy/packages/kubewitness.service");
        let granted = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("the unit bounds them");
        let mut granted: Vec<&str> = granted.split(' ').filter_map(|name| name.strip_prefix("CAP_")).collect();
        let manifests = read("deploy/manifests/kubewitness.yaml");
        let (_, capabilities) = manifests.split_once("capabilities:").expect("the pod has some");
        let (_, added) = capabilities.split_once("add:").expect("some are added");
        let mut asked: Vec<&str> = match added.trim_start().strip_prefix('[') {
            Some(inline) => inline.split(']').next().expect("a list").split(", ").collect(),
            None => added.lines().skip(1).map_while(|line| line.trim().strip_prefix("- ")).collect(),
        };
        granted.sort_unstable();
        asked.sort_unstable();
        assert_eq!(granted, asked);
        assert!(unit.contains("\nMemoryMax=64M\n") && manifests.contains("memory: 64Mi"), "the limit of memory is one too");
    }

    /// Each setting is a variable that the agent knows.
    #[test]
    fn the_settings_are_known() {
        let settings = fs::read_to_string(project::root().join("deploy/packages/kubewitness.env")).expect("it can be read");
        let code: String = ["run", "outputs", "metrics", "webhook", "cluster"]
            .iter()
            .map(|file| fs::read_to_string(project::root().join(format!("agent/src/cli/{file}.rs"))).expect("it can be read"))
            .collect();
        let names = settings.lines().filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0));
        let names: Vec<&str> = names.filter(|name| name.starts_with("KUBEWITNESS_")).collect();
        assert!(names.len() > 8, "{names:?}");
        for name in names {
            assert!(code.contains(&format!("env = \"{name}\"")), "{name}");
        }
    }
}
