//! What somebody does who has just installed it.

use anyhow::{Context as _, Result, ensure};

use super::super::Format;
use super::root::Root;
use crate::project;

/// What is typed, how it ends, and what is among what it says.
struct Use {
    line: &'static str,
    status: i32,
    says: &'static [&'static str],
}

const fn fine(line: &'static str, says: &'static [&'static str]) -> Use {
    Use { line, status: 0, says }
}

const USES: [Use; 15] = [
    fine("kubewitness -V", &["kubewitness 0."]),
    fine("kubewitness --version", &["commit  ", "kernel programs  sha256:", "Kubernetes  "]),
    Use { line: "kubewitness doctor", status: 1, says: &["Rights of the agent", "network namespace", " in the way"] },
    fine("kubewitness report /tmp/events.jsonl", &["Who used what", "monitoring/agent-17"]),
    fine("kubewitness rbac /tmp/rbac.yaml", &["nodes/proxy"]),
    fine("kubectl-kubewitness --help", &["Usage: kubectl kubewitness", "report", "rbac"]),
    fine("kubectl-kubewitness rbac --help", &["Usage: kubectl kubewitness rbac", "kubectl kubewitness rbac -o sarif"]),
    Use { line: "kubectl-kubewitness run", status: 2, says: &["run"] },
    // A page without a warning.
    fine("man kubewitness-report | cat; man --warnings kubewitness-report 2>&1 >/dev/null | wc -l", &["SYNOPSIS", "--prometheus", "\n0\n"]),
    fine("man kubewitness | cat; man kubectl-kubewitness | cat", &["kubewitness-run(1)", "kubectl kubewitness"]),
    fine(
        "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader kubewitness; COMP_WORDS=(kubewitness rep) COMP_CWORD=1; \
         _kubewitness kubewitness rep kubewitness; echo ${COMPREPLY[@]}'",
        &["report"],
    ),
    fine("fish -c 'complete -C \"kubewitness rep\"'", &["report"]),
    fine("logrotate --debug /etc/logrotate.d/kubewitness 2>&1", &["/var/log/kubewitness/events.jsonl"]),
    fine("systemd-analyze verify --man=yes kubewitness.service 2>&1 && echo verified", &["verified"]),
    fine("systemd-analyze security --offline=true --threshold=25 /usr/lib/systemd/system/kubewitness.service", &["Overall exposure level"]),
];

pub(super) fn check(root: &Root, format: Format) -> Result<()> {
    let from = |path: &str| project::root().join(path);
    root.copy(&from("fuzz/seeds/events/lines"), "tmp/events.jsonl")?;
    root.copy(&from("agent/tests/manifests/node-agent.yaml"), "tmp/rbac.yaml")?;
    for tried in &USES {
        one(root, tried)?;
    }
    let commit = project::commit();
    let said = project::answer(&mut root.command("kubewitness --version"))?;
    ensure!(said.contains(commit.trim_end_matches("-dirty")), "it is not of the commit {commit}: {said}");
    // Each distribution has its folder: Debian's zsh does not look where others do.
    let folder = if format == Format::Deb { "" } else { "fpath+=/usr/share/zsh/site-functions; " };
    let zsh = format!("zsh -c '{folder}autoload -Uz compinit; compinit -u -d /tmp/zcompdump; print -- $_comps[kubewitness]'");
    let said = project::answer(&mut root.command(&zsh))?;
    ensure!(said.trim() == "_kubewitness", "zsh completes with `{}`", said.trim());
    root.run("rm -f /tmp/zcompdump /tmp/events.jsonl /tmp/rbac.yaml")
}

fn one(root: &Root, Use { line, status, says }: &Use) -> Result<()> {
    let output = root.command(line).output().context("chroot cannot be started")?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.code() == Some(*status), "`{line}` ended with {} and said: {said}", output.status);
    for word in *says {
        ensure!(said.contains(word), "`{line}` does not say `{word}`: {said}");
    }
    Ok(())
}
