//! Releases of Kubernetes, the compilers that they are built with, and the shapes that a build can have.

use std::fmt;
use std::str::FromStr;

use super::catalogue::tests_folder;
use super::{KubernetesProgram, Recipe};

/// A Kubernetes release that the testbed can build, with the Go that it is built by and the shape of its executables: the compiler, more
/// than the release, decides what an agent meets in the executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Release {
    version: &'static str,
    toolchain: &'static str,
    shape: Shape,
}

/// How executables are compiled and linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As the official builds are: static, at a fixed address, without symbols and debug information.
    Official,
    /// With symbols and debug information. Up to Go 1.26 it still has `.typelink`; Go 1.27 writes none into any executable.
    Symbols,
    /// Position independent, linked by Go itself.
    Pie,
    /// Position independent, linked by the C compiler's linker.
    PieExternal,
    /// For processors of the level x86-64-v3, as some distributions build.
    Amd64V3,
    /// Without optimizations and without inlining, as for a debugger.
    Unoptimized,
    /// For arm64. It does not run on this machine's own processor.
    Arm64,
}

impl Release {
    /// Kubernetes 1.30.14, built with Go 1.23.
    pub const V1_30: Self = official("1.30.14", "go1.23.12");
    /// Kubernetes 1.36.3, built with Go 1.26: the default.
    pub const V1_36: Self = official("1.36.3", "go1.26.8");
    /// Kubernetes 1.37.2, built with Go 1.27.
    pub const V1_37: Self = official("1.37.2", "go1.27.3");
    /// The releases of the ordinary test run, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_30, Self::V1_36, Self::V1_37];
    /// Every supported release, oldest first, with the Go that its file `.go-version` names; the last two also with the Go that comes next. The
    /// builds of the ordinary test run are among them.
    pub const MATRIX: [Self; 13] = [
        official("1.29.6", "go1.21.11"),
        official("1.30.14", "go1.23.10"),
        Self::V1_30,
        official("1.31.14", "go1.24.9"),
        official("1.32.13", "go1.24.13"),
        official("1.33.13", "go1.25.11"),
        official("1.34.4", "go1.24.12"),
        official("1.35.4", "go1.25.9"),
        official("1.36.3", "go1.26.5"),
        Self::V1_36,
        official("1.36.3", "go1.27.3"),
        official("1.37.2", "go1.26.10"),
        Self::V1_37,
    ];
    /// The same release in every other shape that runs here, and the one that has symbols and yet no `.typelink`.
    pub const SHAPES: [Self; 6] = [
        Self::V1_36.shaped(Shape::Symbols),
        official("1.36.3", "go1.27.3").shaped(Shape::Symbols),
        Self::V1_36.shaped(Shape::Pie),
        Self::V1_36.shaped(Shape::PieExternal),
        Self::V1_36.shaped(Shape::Amd64V3),
        Self::V1_36.shaped(Shape::Unoptimized),
    ];
    /// The releases of the ordinary test run, for arm64.
    pub const ARM64: [Self; 3] = [Self::V1_30.shaped(Shape::Arm64), Self::V1_36.shaped(Shape::Arm64), Self::V1_37.shaped(Shape::Arm64)];

    /// The same, compiled otherwise.
    #[must_use]
    pub const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The version without a `v`, such as `1.36.3`.
    pub fn version(self) -> &'static str {
        self.version
    }

    /// What compiles it, such as `go1.26.8`.
    pub fn toolchain(self) -> &'static str {
        self.toolchain
    }

    /// How it is compiled.
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// The minor number, 36 for 1.36.3.
    pub fn minor(self) -> u32 {
        self.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
    }

    /// The API server for a kubelet of this release: not older than it, and at most three minor releases newer, as upstream's policy on
    /// version skew wants it. Four of them serve all.
    #[must_use]
    pub fn api_server(self) -> Self {
        match self.minor() {
            ..=30 => Self::V1_30,
            31..=34 => official("1.34.4", "go1.24.12"),
            35..=36 => Self::V1_36,
            _ => official("1.37.2", "go1.26.10"),
        }
    }

    /// How one of its programs is made, with the version set as the official builds do.
    pub fn program(self, program: KubernetesProgram) -> Recipe {
        let name = program.name();
        Recipe {
            name,
            package: format!("k8s.io/kubernetes/cmd/{name}"),
            module: tests_folder().join("kubernetes").join(self.version),
            toolchain: self.toolchain,
            tags: self.shape.tags(),
            linker_flags: self.linker_flags(),
            environment: self.shape.environment(),
            arguments: self.shape.arguments(),
            folder: format!("kubernetes/{self}"),
        }
    }

    pub(super) fn linker_flags(self) -> String {
        let (version, minor, set) = (self.version, self.minor(), "-X k8s.io/component-base/version");
        let shape = self.shape.linker_flags();
        format!("{shape}{set}.gitVersion=v{version} {set}.gitMajor=1 {set}.gitMinor={minor}")
    }

    /// All that can be named.
    fn known() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::MATRIX).chain(Self::SHAPES).chain(Self::ARM64)
    }
}

impl Shape {
    /// What is added to a release's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Official => "",
            Self::Symbols => "-symbols",
            Self::Pie => "-pie",
            Self::PieExternal => "-pie-external",
            Self::Amd64V3 => "-v3",
            Self::Unoptimized => "-unoptimized",
            Self::Arm64 => "-arm64",
        }
    }

    /// External linking needs cgo; these two keep Go's own resolver and user lookup all the same, so that what is compiled stays what the
    /// other shapes are.
    fn tags(self) -> &'static str {
        if self == Self::PieExternal { "netgo,osusergo" } else { "" }
    }

    fn linker_flags(self) -> &'static str {
        match self {
            Self::Symbols => "",
            Self::PieExternal => "-s -w -linkmode=external ",
            _ => "-s -w ",
        }
    }

    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::PieExternal => &[("CGO_ENABLED", "1")],
            Self::Amd64V3 => &[("GOAMD64", "v3")],
            Self::Arm64 => &[("GOARCH", "arm64")],
            _ => &[],
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Pie | Self::PieExternal => &["-buildmode=pie"],
            Self::Unoptimized => &["-gcflags=all=-N -l"],
            _ => &[],
        }
    }
}

const fn official(version: &'static str, toolchain: &'static str) -> Release {
    Release { version, toolchain, shape: Shape::Official }
}

/// The name by which a build is told from all others, such as `1.36.3-go1.26.8` or `1.36.3-go1.26.8-pie`.
impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}{}", self.version, self.toolchain, self.shape.suffix())
    }
}

/// Names a release by its version, with or without the patch number: `1.36` and `1.36.3` are the same one. Where several builds have that
/// version it is the one of the ordinary test run; the others are named in full, as they are displayed.
impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.strip_prefix('v').unwrap_or(text);
        let in_full = |release: &Self| release.to_string() == wanted;
        let by_version = |release: &Self| {
            release.version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && wanted.contains('.'))
        };
        Self::known().find(in_full).or_else(|| Self::known().find(by_version)).ok_or_else(|| {
            let known: Vec<_> = Self::known().map(|release| release.to_string()).collect();
            format!("Kubernetes {text} is not pinned in tests/kubernetes: use one of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use super::*;

    #[test]
    fn a_release_is_named_by_its_version_or_in_full() {
        for (text, expected) in [
            ("1.36.3", Some(Release::V1_36)),
            ("v1.36.3", Some(Release::V1_36)),
            ("1.36", Some(Release::V1_36)),
            ("1.30", Some(Release::V1_30)),
            ("1.37.2", Some(Release::V1_37)),
            ("1.29", Some(official("1.29.6", "go1.21.11"))),
            ("1.30.14-go1.23.10", Some(official("1.30.14", "go1.23.10"))),
            ("1.36.3-go1.26.8-pie", Some(Release::V1_36.shaped(Shape::Pie))),
            ("1.3", None),
            ("1.36.", None),
            ("1", None),
            ("", None),
            ("1.36.3-go1.26", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn no_two_builds_share_a_folder() {
        let all: HashSet<_> = Release::known().collect();
        let folders: HashSet<_> = all.iter().map(|release| release.program(KubernetesProgram::Kubelet).folder).collect();
        assert_eq!(folders.len(), all.len());
    }

    #[test]
    fn every_release_is_the_version_that_its_module_pins() {
        for release in Release::known() {
            let recipe = release.program(KubernetesProgram::Kubelet);
            let pinned = fs::read_to_string(recipe.module.join("go.mod")).unwrap();
            let pin = format!("k8s.io/kubernetes v{}\n", release.version());
            assert!(pinned.contains(&pin), "{} does not pin {pin}", recipe.module.display());
        }
    }

    #[test]
    fn an_api_server_is_never_older_than_its_kubelet_nor_more_than_three_releases_newer() {
        for release in Release::known() {
            let skew = i64::from(release.api_server().minor()) - i64::from(release.minor());
            assert!((0..=3).contains(&skew), "{release} with {}", release.api_server());
        }
    }
}
