//! A token that goes through a kubelet under watch is nowhere in the agent.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, Options, POD},
    scenarios::{Bed, completed, play},
};
use memchr::memmem;

/// In the agent's arguments, so it must be found in its memory.
const ARGUMENT: &str = "kubewitness-positive-control-argument";
/// In a request that carried the token, so what the agent keeps of that request must be found.
const REQUEST: &str = "positive-control-request";
const BAD_TOKEN: &str = "kubewitness-test-bad-token-4f1c9a";

#[test]
fn secrets() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("secrets");
    play(&Options::named("t-secrets"), &folder, &[("a token appears nowhere", a_token_appears_nowhere)]);
}

fn a_token_appears_nowhere(bed: &Bed) {
    let token = bed.identity("secret", &["get"], &["nodes/proxy"]);
    let encoded = URL_SAFE_NO_PAD.encode(token.expose());
    let mut agent = bed.agent(&["--log", "trace", "--apiserver-user", ARGUMENT]);
    let cluster = &bed.cluster;

    let statuses = [
        Call::get(&format!("/healthz?{REQUEST}")).token(&token).user_agent("secret").times(50),
        Call::get("/healthz").header(&format!("Authorization: Bearer {BAD_TOKEN}")).user_agent("secret"),
        Call::websocket("/exec/default/web/nothing?command=id&output=1", "v4.channel.k8s.io").token(&token).user_agent("secret"),
    ]
    .map(|call| call.from_node(cluster).unwrap().only());
    assert_eq!(statuses, [Some(200), Some(401), Some(500)]);
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=sleep&command=60&output=1");
    let protocols = format!("base64url.bearer.authorization.k8s.io.{encoded}, v5.channel.k8s.io");
    let mut exec = Call::websocket(&path, &protocols).user_agent("secret").start(cluster).unwrap();
    exec.upgraded().unwrap();
    let seen = |agent: &mut kubewitness_tests::agent::Agent, count| {
        agent
            .until("the requests are seen", Duration::from_secs(5), |agent| {
                Ok((completed(&agent.events()?, "secret").len() == count).then_some(()))
            })
            .unwrap();
    };
    seen(&mut agent, 52);
    // While the exec is open.
    let open = Memory::of(agent.pid());
    assert_eq!(exec.stop().unwrap().only(), Some(101));
    seen(&mut agent, 53);
    let closed = Memory::of(agent.pid());

    let texts = [
        ("events", fs::read(agent.events_file()).unwrap()),
        ("log", agent.log().into_bytes()),
        ("metrics", agent.fetch("/metrics").unwrap().into_bytes()),
    ];
    assert!(texts.iter().all(|(_, text)| !text.is_empty()));
    let signature = token.expose().rsplit('.').next().unwrap();
    for (secret, text) in [("token", token.expose()), ("signature", signature), ("encoded token", &encoded), ("bad token", BAD_TOKEN)] {
        assert!(text.len() > 30, "too short to be found only where it is: {secret}");
        // A part is as good as the whole; no test may print it.
        let part = &text.as_bytes()[text.len() - 30..];
        for (place, bytes) in &texts {
            assert!(memmem::find(bytes, part).is_none(), "the {secret} is in the agent's {place}");
        }
        for (when, memory) in [("while the exec was open", &open), ("after it", &closed)] {
            assert_eq!(memory.find(part), None, "the {secret} is in the agent's memory, {when}");
        }
    }
    for memory in [&open, &closed] {
        for control in [ARGUMENT, REQUEST] {
            assert!(memory.find(control.as_bytes()).is_some(), "the search does not find {control}, so it proves nothing");
        }
    }
}

/// All that a process can read of its own memory.
struct Memory {
    regions: Vec<(String, Vec<u8>)>,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let regions = maps.lines().filter_map(|line| Some((line.to_owned(), read(&memory, line)?)));
        Self { regions: regions.collect() }
    }

    /// The region that holds these bytes.
    fn find(&self, needle: &[u8]) -> Option<&str> {
        self.regions.iter().find(|(_, bytes)| memmem::find(bytes, needle).is_some()).map(|(region, _)| region.as_str())
    }
}

/// A region of `/proc/PID/maps`, `start-end rwxp …`; the kernel's own pages (`[vvar]`) cannot be read by anyone else.
fn read(memory: &File, line: &str) -> Option<Vec<u8>> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vvar_vclock]") || line.ends_with("[vsyscall]") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    memory.read_exact_at(&mut bytes, start).unwrap_or_else(|error| panic!("{line} cannot be read: {error}"));
    Some(bytes)
}
