//! Requests to a kubelet, from the node or from inside a pod; `kubeletcall` of `tests/go` sends them.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    build::OwnProgram,
    cluster::{CONTAINER, Cluster, Token},
};

/// One request, or many of the same.
#[derive(Clone, Debug)]
pub struct Call {
    path: String,
    /// Another server than the kubelet.
    server: Option<String>,
    read_only: bool,
    token: Option<Token>,
    arguments: Vec<String>,
}

/// How the kubelet answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How often each HTTP status came.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// The bodies, one after the other, if they were asked for.
    pub body: String,
    /// What `kubeletcall` wrote to stderr: why the first request failed.
    pub problem: String,
}

impl Answers {
    /// The status, where there is only one and no request failed.
    pub fn only(&self) -> Option<u16> {
        let mut statuses = self.statuses.keys().copied();
        statuses.next().filter(|_| statuses.next().is_none() && self.failed == 0)
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }
}

impl Call {
    /// `GET` of a path, on port 10250.
    pub fn get(path: &str) -> Self {
        Self { path: path.to_owned(), server: None, read_only: false, token: None, arguments: Vec::new() }
    }

    /// `POST` to a path.
    pub fn post(path: &str) -> Self {
        Self::get(path).with("--method", "POST")
    }

    /// A bare WebSocket upgrade with these subprotocols.
    pub fn websocket(path: &str, subprotocols: &str) -> Self {
        Self::get(path)
            .header("Connection: Upgrade")
            .header("Upgrade: websocket")
            .header("Sec-WebSocket-Version: 13")
            .header("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
            .header(&format!("Sec-WebSocket-Protocol: {subprotocols}"))
    }

    /// To the port without authentication, 10255, in plain HTTP.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// To another server than the kubelet, `https://ADDRESS:PORT`.
    #[must_use]
    pub fn to(self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), ..self }
    }

    /// With a bearer token. It goes over standard input, so no command line and no file holds it.
    #[must_use]
    pub fn token(self, token: &Token) -> Self {
        Self { token: Some(token.clone()), ..self }.with("--token-file", "-")
    }

    /// With the token that is mounted into the pod that it is sent from.
    #[must_use]
    pub fn own_token(self) -> Self {
        self.with("--token-file", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    }

    /// With a header, `NAME: VALUE`.
    #[must_use]
    pub fn header(self, header: &str) -> Self {
        self.with("--header", header)
    }

    /// With a user agent, by which a test finds its own events.
    #[must_use]
    pub fn user_agent(self, name: &str) -> Self {
        self.header(&format!("User-Agent: {name}"))
    }

    /// So many times, one after the other; 0 goes on until it is stopped.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.with("--count", &count.to_string())
    }

    /// Over so many connections at once.
    #[must_use]
    pub fn workers(self, workers: u32) -> Self {
        self.with("--concurrency", &workers.to_string())
    }

    /// With a rest after each request of a worker.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.with("--pause", &format!("{}us", pause.as_micros()))
    }

    /// Tries again while nothing listens yet, for at most this long.
    #[must_use]
    pub fn while_refused(self, patience: Duration) -> Self {
        self.with("--while-refused", &format!("{}ms", patience.as_millis()))
    }

    /// Keeps the bodies, and what comes over a WebSocket.
    #[must_use]
    pub fn body(self) -> Self {
        self.with("--body=true", "")
    }

    /// Sends it from the node, outside of all pods.
    pub fn from_node(&self, cluster: &Cluster) -> io::Result<Answers> {
        self.start(cluster)?.wait()
    }

    /// Sends it from inside a pod, whose image must hold `kubeletcall` ([`crate::cluster::Options::image_files`]).
    pub fn from_pod(&self, cluster: &Cluster, pod: &str) -> io::Result<Answers> {
        let inside = ["exec", "--stdin", pod, "--container", CONTAINER, "--", "/bin/kubeletcall"];
        self.spawn(cluster, cluster.kubectl(inside))?.wait()
    }

    /// Starts it from the node and does not wait.
    pub fn start(&self, cluster: &Cluster) -> io::Result<Running> {
        let program = OwnProgram::KubeletCall.recipe().build().map_err(io::Error::other)?;
        self.spawn(cluster, cluster.command(program))
    }

    /// Sends it by a command that will run `kubeletcall`.
    pub fn by(&self, cluster: &Cluster, command: Command) -> io::Result<Answers> {
        self.spawn(cluster, command)?.wait()
    }

    fn spawn(&self, cluster: &Cluster, mut command: Command) -> io::Result<Running> {
        let (scheme, port) = if self.read_only { ("http", 10255) } else { ("https", 10250) };
        let server = self.server.clone().unwrap_or_else(|| format!("{scheme}://{}:{port}", cluster.address()));
        command.arg("--url").arg(server + &self.path).args(&self.arguments);
        Running::spawn(command, self.token.as_ref())
    }

    fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self.arguments.extend(Some(value).filter(|value| !value.is_empty()).map(str::to_owned));
        self
    }
}

/// Requests that are on their way; they are ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `kubeletcall` or `kubeflood`. The token, if there is one, goes over standard input.
    pub(crate) fn spawn(mut command: Command, token: Option<&Token>) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let (Some(mut stdin), Some(token)) = (child.stdin.take(), token) {
            stdin.write_all(token.expose().as_bytes())?;
        }
        let output = child.stdout.take().map(BufReader::new).ok_or_else(|| io::Error::other("the client has no output"))?;
        Ok(Self { child, output })
    }

    /// Waits until the kubelet answered an upgrade with 101; an error if it answered otherwise.
    pub fn upgraded(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim_end() == "upgraded" { Ok(()) } else { Err(io::Error::other(format!("no upgrade: {line}{}", self.rest()?.problem))) }
    }

    /// Lets the requests that were begun end, and no others begin.
    pub fn stop(mut self) -> io::Result<Answers> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.rest()
    }

    /// Waits until all requests are answered.
    pub fn wait(mut self) -> io::Result<Answers> {
        self.rest()
    }

    fn rest(&mut self) -> io::Result<Answers> {
        let (mut text, mut problem) = (String::new(), String::new());
        self.output.read_to_string(&mut text)?;
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut problem)?;
        }
        self.child.wait()?;
        parse(&text, &problem).ok_or_else(|| io::Error::other(format!("the client wrote no answers: {text}{problem}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already where it was waited for.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// What `kubeletcall` and `kubeflood` write at their end.
fn parse(text: &str, problem: &str) -> Option<Answers> {
    let (body, lines) = text.rsplit_once("\nanswers\n")?;
    let mut answers = Answers { body: body.to_owned(), problem: problem.trim().to_owned(), ..Answers::default() };
    for line in lines.lines() {
        let (status, count) = line.split_once(' ')?;
        let count = count.parse().ok()?;
        if status == "failed" {
            answers.failed = count;
        } else {
            answers.statuses.insert(status.parse().ok()?, count);
        }
    }
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_told_from_the_bodies() {
        let answers = |statuses: &[(u16, u64)], failed, body: &str| {
            Some(Answers { statuses: statuses.iter().copied().collect(), failed, body: body.to_owned(), problem: String::new() })
        };
        for (text, expected) in [
            ("\nanswers\n200 500\n403 2\n", answers(&[(200, 500), (403, 2)], 0, "")),
            ("ok\nanswers\n200 1\n", answers(&[(200, 1)], 0, "ok")),
            ("\nanswers\n200 9\n\nanswers\n500 1\nfailed 3\n", answers(&[(500, 1)], 3, "\nanswers\n200 9\n")),
            ("\nanswers\n", answers(&[], 0, "")),
            ("", None),
            ("\nanswers\nx\n", None),
        ] {
            assert_eq!(parse(text, ""), expected, "{text:?}");
        }
        assert_eq!(parse("\nanswers\n200 5\n", "").unwrap().only(), Some(200));
        assert_eq!(parse("\nanswers\n200 5\nfailed 1\n", "").unwrap().only(), None);
        assert_eq!(parse("\nanswers\n200 5\n401 1\n", "").unwrap().only(), None);
    }
}
