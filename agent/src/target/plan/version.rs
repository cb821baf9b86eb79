//! Which Kubernetes release an executable is.

use crate::gobin::{BuildInfo, Executable, Function};

use super::machine::Machine;

/// Functions that read `k8s.io/component-base/version.gitVersion`, the variable that `-ldflags -X` sets.
const READERS: [&str; 2] = ["k8s.io/component-base/version.init.0", "k8s.io/component-base/version.Get"];

/// Whether a function of that name tells the version.
pub(super) fn tells(name: &str) -> bool {
    READERS.contains(&name)
}

/// The string that such a function reads, or the version of the module `k8s.io/kubernetes`: it names a plan, and decides nothing.
pub(super) fn read(
    executable: &Executable<'_>,
    machine: &dyn Machine,
    functions: &[Function<'_>],
    build: &BuildInfo<'_>,
) -> Option<String> {
    let addresses = functions.iter().filter(|f| tells(f.name)).flat_map(|f| machine.addresses(f));
    let read = addresses.filter_map(|address| executable.string(address).ok()).find(|text| is_release(text)).map(str::to_owned);
    let module = build.main_module.filter(|(path, version)| *path == "k8s.io/kubernetes" && is_release(version));
    read.or_else(|| module.map(|(_, version)| version.to_owned()))
}

/// `v1.36.3`, with or without something after it.
fn is_release(text: &str) -> bool {
    let mut numbers = text.strip_prefix('v').unwrap_or_default().splitn(3, '.');
    let mut number = || numbers.next().is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    text.len() <= 128 && super::is_printable(text) && number() && number() && number()
}
