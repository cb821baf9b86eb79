//! The kubelet's server on 127.0.0.1 of this machine, in an executable of its own: probes sit on files.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use kubewitness::target::plan::{Plan, plan};
use kubewitness_tests::build::{OwnProgram, ServerProgram};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A running server; it ends, and its executable goes, when it is dropped.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) executable: PathBuf,
    pub(crate) plan: &'static Plan,
}

/// All copies are alike.
static PLAN: OnceLock<Plan> = OnceLock::new();

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slots").join(name);
        let _left = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let executable = folder.join("kubeletserver");
        let program = ServerProgram::KubeletServer.recipe().build().unwrap();
        fs::copy(&program, &executable).unwrap();
        let plan = PLAN.get_or_init(|| plan(&fs::read(program).unwrap()).unwrap());
        let port = free_port();
        let child = Command::new(&executable).args(["--port", &port.to_string()]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let this = Self { child: child.unwrap(), folder, port, executable, plan };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(begun.elapsed() < STARTS_WITHIN, "the server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        this
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder that goes with the server.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends requests, each of which is allowed by its first check, and sees all of them answered.
    pub(crate) fn call(&self, count: u32) {
        let mut command = Command::new(OwnProgram::KubeletCall.recipe().build().unwrap());
        command.args(["--url", &format!("https://127.0.0.1:{}/pods", self.port), "--count", &count.to_string(), "--concurrency", "2"]);
        let output = command.args(["--header", "Authorization: Bearer reader"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.lines().any(|line| line == format!("200 {count}")) && output.status.success(), "{said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to do where it is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// A port of 127.0.0.1 that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}
