//! Releases of the kubelet, and which of them honour a finer right than `nodes/proxy`.

use std::fmt;

use crate::kubelet::Endpoint;

/// A release of Kubernetes, without its patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

impl Release {
    /// The oldest release whose kubelet is watched in the tests.
    pub const OLDEST: Self = Self::new(1, 29);
    /// The newest one.
    pub const NEWEST: Self = Self::new(1, 37);
    /// Since this release `KubeletFineGrainedAuthz` is on unless it is turned off (KEP-2862).
    pub const FINE_GRAINED: Self = Self::new(1, 33);
    /// In this release `KubeletFineGrainedAuthz` can be turned on.
    pub const WITH_GATE: Self = Self::new(1, 32);

    const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The release of a version such as `v1.36.3`, `1.32.4-eks-1` or `v1.31.2+k3s1`.
    pub fn parse(version: &str) -> Option<Self> {
        let mut numbers = version.trim().trim_start_matches('v').splitn(3, '.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|character: char| !character.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self { major, minor: minor[..digits].parse().ok()? })
    }

    /// The first release whose kubelet lets an endpoint be used without `nodes/proxy`; `None` if every supported one does, or none
    /// (`pkg/kubelet/server/auth.go`, 1.29 to 1.37).
    pub const fn first_with_right_for(endpoint: &Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Checkpoint(_) => Some(Self::new(1, 30)),
            Endpoint::Pods | Endpoint::RunningPods | Endpoint::Healthz | Endpoint::Configz | Endpoint::Statusz | Endpoint::Flagz => {
                Some(Self::FINE_GRAINED)
            }
            Endpoint::AllocatedPods(_) => Some(Self::new(1, 37)),
            _ => None,
        }
    }

    /// Whether [`Release::WITH_GATE`] is enough too, where the gate is turned on.
    pub const fn gate_is_enough_for(endpoint: &Endpoint) -> bool {
        matches!(endpoint, Endpoint::Pods | Endpoint::RunningPods | Endpoint::Healthz | Endpoint::Configz)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_releases_that_are_named_are_those_of_the_testbed() {
        let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/kubernetes")).unwrap();
        let releases = folders.filter_map(|folder| Release::parse(folder.unwrap().file_name().to_str()?));
        let releases: std::collections::BTreeSet<_> = releases.collect();
        assert_eq!((releases.first(), releases.last()), (Some(&Release::OLDEST), Some(&Release::NEWEST)));
    }

    #[test]
    fn versions_of_distributions() {
        for (version, release) in [
            ("v1.36.3", Some((1, 36))),
            ("1.32.4-eks-1", Some((1, 32))),
            ("v1.31.2+k3s1", Some((1, 31))),
            ("v1.33", Some((1, 33))),
            ("v1.33+", Some((1, 33))),
            ("v1", None),
            ("", None),
            ("unknown", None),
            ("v1.x", None),
        ] {
            assert_eq!(Release::parse(version), release.map(|(major, minor)| Release { major, minor }), "{version}");
        }
    }
}
