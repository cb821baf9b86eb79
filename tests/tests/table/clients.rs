//! Real clients beside the exact one: kubectl through the API server, and client-go's own SPDY executor straight to the kubelet.

use std::fs;
use std::path::Path;
use std::process::Command;

use kubewitness_tests::build::OwnProgram;
use kubewitness_tests::cluster::{CONTAINER, Cluster, POD};
use serde_json::{Value, json};

use crate::people::{Caller, GET_PROXY, People};

/// What a client did, and what must be told of it. The rest of the event is the client's own choice.
pub(crate) struct Deed {
    /// The request's target holds this, and no other's does.
    pub(crate) marker: &'static str,
    /// The fields of its `ResponseComplete`, by JSON pointer.
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// The end of the caller's description.
    pub(crate) program: &'static str,
}

const USER: &str = "/user/username";
const CODE: &str = "/responseStatus/code";
const FINDINGS: &str = "/annotations/kubewitness.dev~1findings";
const TRANSPORT: &str = "/annotations/kubewitness.dev~1transport";
const ACCESS: &str = "/annotations/kubewitness.dev~1access";
const OBJECT: &str = "/objectRef/subresource";

/// Each of them makes one request over one connection of its own.
pub(crate) fn act(cluster: &Cluster, people: &People, folder: &Path) -> Vec<Deed> {
    run(&mut cluster.kubectl(["exec", POD, "--", "echo", "through-the-api-server"]));
    run(&mut cluster.kubectl(["logs", POD, "--since=3601s", "--tail=1"]));
    let token = folder.join("token");
    fs::write(&token, people.token(Caller::With(GET_PROXY)).expect("the reader has a token")).expect("a file can be written");
    let program = OwnProgram::SpdyExec.recipe();
    program.build().expect("spdyexec can be built");
    let spdy = |mode: &str, more: &[&str]| {
        let mut command = cluster.command(program.path());
        command.args(["--mode", mode, "--method", "GET", "--insecure", "--pod", POD, "--token-file"]).arg(&token);
        command.arg("--server").arg(format!("https://{}:10250", cluster.address())).args(more);
        run(&mut command);
    };
    spdy("exec", &["--container", CONTAINER, "--", "echo", "straight-over-spdy"]);
    // The kubelet's other port: whatever answers there, it is not what is counted.
    spdy("portforward", &["--port", "10248"]);
    let deed = |marker, user: &str, object, transport, code, findings: Value, program| Deed {
        marker,
        fields: vec![
            (USER, json!(user)),
            (OBJECT, json!(object)),
            (ACCESS, json!("proxy-only")),
            (TRANSPORT, json!(transport)),
            (CODE, json!(code)),
            (FINDINGS, findings),
        ],
        program,
    };
    let api_server = "kube-apiserver-kubelet-client";
    // The API server hands a WebSocket on to kubelets that say they understand it, and speaks SPDY to older ones.
    let handed_on = if cluster.release().minor() >= 36 { "websocket" } else { "spdy" };
    let reader = "system:serviceaccount:default:get-proxy";
    vec![
        deed("through-the-api-server", api_server, "exec", handed_on, 101, Value::Null, "kube-apiserver"),
        deed("sinceSeconds=3601", api_server, "log", "plain", 200, Value::Null, "kube-apiserver"),
        deed("straight-over-spdy", reader, "exec", "spdy", 101, json!("unlogged-exec,verb-bypass"), "spdyexec"),
        deed("port=10248", reader, "portforward", "spdy", 101, json!("unlogged-exec,verb-bypass"), "spdyexec"),
    ]
}

fn run(command: &mut Command) {
    let output = command.output().expect("the client can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Deed {
    /// What is wrong with what was told of it.
    pub(crate) fn compare(&self, events: &[Value]) -> Vec<String> {
        let mine = |event: &&Value| {
            event["stage"] == "ResponseComplete" && event["requestURI"].as_str().is_some_and(|uri| uri.contains(self.marker))
        };
        let told: Vec<_> = events.iter().filter(mine).collect();
        let [event] = told.as_slice() else { return vec![format!("{}: {} requests, not one", self.marker, told.len())] };
        let field = |pointer| event.pointer(pointer).cloned().unwrap_or(Value::Null);
        let caller = field("/annotations/kubewitness.dev~1caller");
        let differ = self.fields.iter().filter(|(pointer, expected)| field(pointer) != *expected);
        let mut wrong: Vec<_> =
            differ.map(|(pointer, expected)| format!("{}: {pointer} is {}, not {expected}", self.marker, field(pointer))).collect();
        if !caller.as_str().is_some_and(|caller| caller.starts_with("process ") && caller.ends_with(self.program)) {
            wrong.push(format!("{}: the caller is {caller}, not {}", self.marker, self.program));
        }
        wrong
    }
}
