//! The clients of the demo, each run to its end in the cluster's network namespace.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use kubewitness_tests::cluster::{CONTAINER, Cluster, POD};

/// Seconds that a client may take.
const PATIENCE: &str = "20";

/// The clients that are no part of the cluster.
pub(super) struct Clients {
    pub(super) websocat: PathBuf,
    pub(super) spdyexec: PathBuf,
    pub(super) kubeletcall: PathBuf,
}

/// What the clients need.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) clients: &'a Clients,
    /// Folder with the token of each identity.
    pub(super) tokens: &'a Path,
}

impl Stage<'_> {
    fn address(&self) -> Ipv4Addr {
        self.cluster.address()
    }

    fn client(&self, program: &Path) -> Command {
        let mut command = self.cluster.command("timeout");
        command.arg(PATIENCE).arg(program);
        command
    }

    /// A scraper or another agent reads pages of the kubelet.
    pub(super) fn read(&self, who: &str, paths: &[&str]) -> Result<String> {
        let calls = paths.iter().map(|path| {
            let mut client = self.client(&self.clients.kubeletcall);
            client.args(["--url", &format!("https://{}:10250{path}", self.address()), "--token-file"]).arg(self.tokens.join(who));
            output("kubeletcall", client)
        });
        calls.collect()
    }

    /// Through the API server.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output("kubectl", self.cluster.kubectl(arguments))
    }

    /// The announcement's command, word for word but for the names of the pod and of its container.
    pub(super) fn websocat(&self) -> Result<String> {
        let token = fs::read_to_string(self.tokens.join("intruder")).context("the intruder's token cannot be read")?;
        let mut client = self.client(&self.clients.websocat);
        client.args(["--insecure", "--header", &format!("Authorization: Bearer {token}"), "--protocol", "v4.channel.k8s.io"]);
        client.arg(format!("wss://{}:10250/exec/default/{POD}/{CONTAINER}?output=1&error=1&command=id", self.address()));
        output("websocat", client)
    }

    /// With `GET`, as WebSocket has it: `POST` would ask for `create`, which the intruder has not.
    pub(super) fn spdyexec(&self) -> Result<String> {
        let mut client = self.client(&self.clients.spdyexec);
        client.args(["--server", &format!("https://{}:10250", self.address()), "--insecure", "--method", "GET"]);
        client.arg("--token-file").arg(self.tokens.join("intruder")).args(["--pod", POD, "--container", CONTAINER, "--", "id"]);
        output("spdyexec", client)
    }
}

/// What a client printed. An error names the program alone: its arguments can hold a token.
fn output(name: &str, mut client: Command) -> Result<String> {
    let piped = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("{name} cannot be started"))?;
    // At the end of its stdin websocat closes the connection, and before that it does not end: as with a terminal, stdin ends when the
    // command has. The last line of an exec in this protocol is its status; other clients have no such line, and end by themselves.
    let stdin = child.stdin.take();
    let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut printed = Vec::new();
    while stdout.read_until(b'\n', &mut printed)? > 0 && !printed.ends_with(b"\"status\":\"Success\"}\n") {}
    drop(stdin);
    stdout.read_to_end(&mut printed)?;
    let output = child.wait_with_output().with_context(|| format!("{name} cannot be waited for"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}
