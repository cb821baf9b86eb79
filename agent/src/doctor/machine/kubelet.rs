//! A kubelet that runs: whether it can be watched, what that costs, and how it is set up.

use std::{collections::BTreeSet, path::Path};

use super::{Wanted, cost};
use crate::{
    doctor::{Finding, Fix, Group, Kubelet},
    probe::Lease,
    target::{Disbelief, ExecutableFile, Setting, bare_sites, blindness, executable, listeners, netns, settings},
};

const GROUP: Group = Group::Kubelet;

/// Who was found.
pub(super) fn found(ports: &[u16], pids: &BTreeSet<u32>) -> Finding {
    const WHAT: &str = "kubelet";
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(" or ");
    if pids.is_empty()
        && let Some(why) = blindness()
    {
        return Finding::warn(GROUP, WHAT, format!("cannot be told: {why}"), "mend the rights first");
    }
    if pids.is_empty() {
        return Finding::fail(
            GROUP,
            WHAT,
            format!("no process listens on port {ports} in this or process 1's network namespace"),
            "start the kubelet, or say where it is; run waits until there is one",
        )
        .fix(Fix::Flag("--kubelet-port PORT, --kubelet-pid PID".to_owned()));
    }
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    Finding::ok(GROUP, WHAT, format!("process {} on port {ports}", pids.join(", ")))
}

/// Who listens where a kubelet does, and is not believed.
pub(super) fn impostors(impostors: &[(u32, Disbelief)]) -> Option<Finding> {
    let named: Vec<_> = impostors.iter().map(|(pid, why)| format!("process {pid} {why}")).collect();
    (!named.is_empty()).then(|| {
        let detail = format!("{}, and listens on a watched port: not believed", named.join("; "));
        let advice = "find out who started it; if it is the node's kubelet after all, name it";
        Finding::warn(GROUP, "impostors", detail, advice).fix(Fix::Flag("--kubelet-pid PID".to_owned()))
    })
}

impl Kubelet {
    /// A process.
    pub(super) fn running(pid: u32, wanted: &Wanted) -> Self {
        let path = executable(pid);
        let mut kubelet = Self::new(Some(pid), std::fs::read_link(&path).unwrap_or_else(|_| path.clone()));
        match ExecutableFile::open(&path) {
            Ok(file) => kubelet.plan(&file),
            Err(error) => kubelet.refused(format!("its executable cannot be read: {error}")),
        }
        if kubelet.plan.is_some() {
            kubelet.findings.push(Finding::ok(GROUP, "expected cost", cost::sentence()));
            kubelet.findings.extend(kubelet.code(pid));
            kubelet.findings.push(lease(&path));
            kubelet.set_up(pid, wanted);
        }
        kubelet
    }

    /// Whether it can be told that probes are still in its code, which somebody may write over.
    fn code(&self, pid: u32) -> Option<Finding> {
        const WHAT: &str = "its code";
        let sites = &self.plan.as_ref()?.sites;
        Some(match bare_sites(pid, sites) {
            Ok(bare) if bare.is_empty() => Finding::ok(GROUP, WHAT, "an agent's probes are in all sites"),
            Ok(bare) if bare.len() == sites.len() => Finding::ok(GROUP, WHAT, "it can be looked at, and nobody's probes are in it"),
            Ok(bare) => Finding::warn(
                GROUP,
                WHAT,
                format!("probes are in {} of {} sites only", sites.len() - bare.len(), sites.len()),
                "an agent that runs puts them back within ten seconds; find out who took them off, or has some of their own",
            ),
            Err(error) => Finding::warn(
                GROUP,
                WHAT,
                format!("cannot be looked at: {error}; whether the probes are still there will not be known"),
                "give CAP_SYS_PTRACE, and keep kernel.yama.ptrace_scope below 3",
            )
            .fix(Fix::Pod("securityContext.capabilities.add: [SYS_PTRACE]".to_owned())),
        })
    }

    fn set_up(&mut self, pid: u32, wanted: &Wanted) {
        match settings(pid, self.minor()) {
            Ok(settings) => {
                self.findings.extend(settings.iter().map(finding));
                self.settings = settings;
            }
            Err(why) => {
                let advice = "look at the configuration of what starts it: authorization mode, anonymous access, read-only port";
                self.findings.push(Finding::warn(GROUP, "settings", format!("not known: {why}"), advice));
                self.findings.push(read_only_port(pid, wanted.ports[1]));
                self.settings_unknown = Some(why);
            }
        }
    }
}

fn finding(setting: &Setting) -> Finding {
    match setting.advice {
        None => Finding::ok(GROUP, setting.what, setting.value.clone()),
        Some(advice) => {
            let finding = Finding::warn(GROUP, setting.what, setting.value.clone(), advice);
            match setting.fix {
                Some(fix) => finding.fix(Fix::Kubelet(fix.to_owned())),
                None => finding,
            }
        }
    }
}

/// Whether it listens there now, whatever its settings are.
fn read_only_port(pid: u32, port: u16) -> Finding {
    const WHAT: &str = "read-only port";
    let listens = netns(pid).is_ok_and(|netns| listeners(&[port], &BTreeSet::from([netns])).contains(&pid));
    if listens {
        Finding::warn(GROUP, WHAT, format!("it listens on {port}"), "nobody is asked who they are there: set readOnlyPort to 0")
            .fix(Fix::Kubelet("readOnlyPort: 0".to_owned()))
    } else {
        Finding::ok(GROUP, WHAT, format!("it does not listen on {port}"))
    }
}

/// What keeps writers from a file with probes in it that nobody runs any more.
fn lease(path: &Path) -> Finding {
    const WHAT: &str = "lease";
    match Lease::take(path) {
        Ok(_given_back) => Finding::ok(GROUP, WHAT, "whoever writes to its file waits until the probes are off"),
        Err(error) => Finding::warn(
            GROUP,
            WHAT,
            format!("none on its file: {error}; probes are taken off when its last process ends, so its next start has a gap"),
            "let root own the file, or give CAP_LEASE; file systems such as NFS have none",
        )
        .fix(Fix::Pod("securityContext.capabilities.add: [LEASE]".to_owned()))
        .fix(Fix::Systemd("AmbientCapabilities=CAP_LEASE".to_owned())),
    }
}
