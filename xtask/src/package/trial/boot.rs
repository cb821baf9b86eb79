//! A Debian that boots with the package, in a container of systemd-nspawn: the unit as it is, with all its restrictions, and the agent watching the
//! kubelet's server (`tests/go-server`) there.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kubewitness_tests::build::{OwnProgram, ServerProgram};

use super::root::Root;
use crate::project;

/// Booting takes seconds, unless the machine is busy.
const WITHIN: Duration = Duration::from_secs(90);

/// The kubelet's server, in the place where a node has its kubelet.
const KUBELET: &str = "\
[Service]
ExecStart=/usr/local/bin/kubeletserver

[Install]
WantedBy=multi-user.target
";

/// `CAP_BPF`, `CAP_PERFMON` and `CAP_SYS_PTRACE`, as `/proc/PID/status` has them (`include/uapi/linux/capability.h`).
const THREE: &str = "000000c000080000";

/// `GET /readyz` with what every Debian has.
const READY: &str = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464; printf \"GET /readyz HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'";

/// The agent's main process.
const MAIN: &str = "$(systemctl show --property MainPID --value kubewitness)";

pub(super) fn watch(package: &Path) -> Result<()> {
    let root = Root::fresh()?;
    root.copy(package, "root/package.deb")?;
    root.copy(&ServerProgram::KubeletServer.recipe().build()?, "usr/local/bin/kubeletserver")?;
    root.copy(&OwnProgram::KubeletCall.recipe().build()?, "usr/local/bin/kubeletcall")?;
    root.write("etc/systemd/system/kubelet.service", KUBELET)?;
    root.write("root/token", "fallback")?;
    root.run("systemctl enable kubelet && dpkg --install /root/package.deb")?;
    root.unplug()?;
    let machine = Machine::boot(&root)?;
    let result = tried(&machine);
    let ended = machine.power_off();
    result.and(ended)
}

fn tried(machine: &Machine) -> Result<()> {
    machine.wait(READY, "attached to kubelet v1.")?;
    let status = machine.ask(&format!("cat /proc/{MAIN}/status"))?;
    for line in [format!("CapEff:\t{THREE}"), format!("CapBnd:\t{THREE}"), "NoNewPrivs:\t1".into(), "Seccomp:\t2".into()] {
        ensure!(status.lines().any(|said| said == line), "the agent's process has not `{line}`: {status}");
    }
    // The unit as it is in force, not as a file.
    machine.ask("systemd-analyze security --no-pager --threshold=25 kubewitness.service")?;

    machine.ask("kubeletcall -url https://127.0.0.1:10250/pods -token-file /root/token -while-refused 20s")?;
    machine.wait("cat /var/log/kubewitness/events.jsonl", "\"kubewitness.dev/access\":\"fallback\"")?;
    machine.says(
        "stat --format '%a %U' /var/log/kubewitness /var/log/kubewitness/events.jsonl /run/kubewitness",
        "700 root\n600 root\n700 root",
    )?;
    machine.says("kubewitness report /var/log/kubewitness", "sa test/fallback")?;

    machine.ask("logrotate --force /etc/logrotate.d/kubewitness")?;
    machine.ask("kubeletcall -url https://127.0.0.1:10250/configz -token-file /root/token")?;
    machine.wait("cat /var/log/kubewitness/events.jsonl", "/configz")?;
    machine.says("grep --count /pods /var/log/kubewitness/events.jsonl.1", "1")?;

    machine.ask("systemctl reload kubewitness && systemctl restart kubewitness")?;
    machine.wait(READY, "attached to kubelet v1.")?;
    machine.ask(&format!("kill -KILL {MAIN}"))?;
    machine.wait(READY, "attached to kubelet v1.")?;

    machine.ask("dpkg --purge kubewitness")?;
    let left = machine.ask("find / -xdev -name '*kubewitness*'; pgrep -x kubewitness || true")?;
    ensure!(left.is_empty(), "purged, it leaves behind {left}");
    Ok(())
}

/// A container with its own init.
struct Machine {
    nspawn: Child,
    /// Its process 1, as this machine knows it.
    first: String,
}

impl Machine {
    fn boot(root: &Root) -> Result<Self> {
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args(["--boot", "--quiet", "--machine=kubewitness-try", "--private-network", "--console=pipe"]);
        // What a container may not do otherwise, and the agent of a real machine may.
        nspawn.args(["--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf perf_event_open"]).arg("--directory").arg(root.path(""));
        if !Path::new("/run/systemd/system").exists() {
            nspawn.args(["--register=no", "--keep-unit"]);
        }
        let nspawn = nspawn.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut machine = Self { nspawn: nspawn.context("systemd-nspawn cannot be started")?, first: String::new() };
        let begun = Instant::now();
        while machine.first.is_empty() {
            ensure!(begun.elapsed() < WITHIN, "the container has not started within {WITHIN:?}");
            ensure!(machine.nspawn.try_wait()?.is_none(), "systemd-nspawn ended; run it by hand on {}", root.path("").display());
            thread::sleep(Duration::from_millis(200));
            let parent = machine.nspawn.id().to_string();
            machine.first = project::answer(Command::new("pgrep").args(["--parent", &parent, "--exact", "systemd"])).unwrap_or_default();
            machine.first.truncate(machine.first.trim_end().len());
        }
        Ok(machine)
    }

    /// What a line of shell in it says; it must succeed.
    fn ask(&self, line: &str) -> Result<String> {
        let mut nsenter = Command::new("nsenter");
        nsenter
            .args(["--target", &self.first, "--all", "--", "sh", "-c", line])
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        project::answer(&mut nsenter)
    }

    fn says(&self, line: &str, expected: &str) -> Result<()> {
        let said = self.ask(line)?;
        ensure!(said.contains(expected), "`{line}` does not say `{expected}`: {said}");
        Ok(())
    }

    /// Asks until it says so.
    fn wait(&self, line: &str, expected: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let said = match self.ask(line) {
                Ok(said) if said.contains(expected) => return Ok(()),
                Ok(said) => said,
                Err(error) => format!("{error:#}"),
            };
            if begun.elapsed() > WITHIN {
                let log = self.ask("journalctl --unit kubewitness --no-pager | tail -n 20").unwrap_or_default();
                bail!("`{line}` does not say `{expected}` within {WITHIN:?}, but: {said}\n{log}");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn power_off(mut self) -> Result<()> {
        self.ask("systemctl poweroff")?;
        let begun = Instant::now();
        while self.nspawn.try_wait()?.is_none() {
            ensure!(begun.elapsed() < WITHIN, "the container has not ended within {WITHIN:?}");
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended, mostly; if not, its process 1 ends with nspawn.
        let _ended = self.nspawn.kill();
        let _waited = self.nspawn.wait();
    }
}
