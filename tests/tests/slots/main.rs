//! Other probes on the same instructions: the agent's are put beside them and both see their hits, or the reason is said. Needs root, and no
//! cluster.

mod server;
mod tracefs;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kubewitness::{
    exchange::Again,
    observation::Observation,
    probe::{Attachment, ProbeError, Probes, Rings, Told, Users, Way, decode},
    target::{own_netns, plan::SiteKind},
};
use kubewitness_tests::scenarios::Bed;

use server::{Server, free_port};
use tracefs::Tracefs;

const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Probes as the agent has them.
struct Witness {
    probes: Probes,
    rings: Rings,
    attachment: Attachment,
}

/// How many records of one process came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: u32,
    checks: u32,
    ends: u32,
}

impl Seen {
    fn add(&mut self, observation: &Observation, pid: u32) {
        match observation {
            Observation::Request(id, _) if id.tgid == pid => self.requests += 1,
            Observation::Check(id, _) if id.tgid == pid => self.checks += 1,
            Observation::End(id, _) if id.tgid == pid => self.ends += 1,
            _ => {}
        }
    }

    /// A begin, checks and an end.
    fn add_again(&mut self, again: &Again, pid: u32) {
        if again.id.tgid == pid {
            self.requests += 1;
            self.checks += u32::try_from(again.times.len() - 2).unwrap();
            self.ends += 1;
        }
    }
}

impl Witness {
    fn attach(server: &Server, way: Way) -> Self {
        let (mut probes, rings) = Probes::load(&[server.port], way).unwrap();
        probes.believe_netns(own_netns().unwrap()).unwrap();
        let attachment = probes.attach(&server.executable, server.plan).unwrap();
        Self { probes, rings, attachment }
    }

    /// Waits until `count` requests ended, and a moment more for what should not come.
    fn until(&mut self, server: &Server, count: u32) -> Seen {
        let (mut seen, mut users, begun) = (Seen::default(), Users::default(), Instant::now());
        let mut after = 0;
        while after < 5 && begun.elapsed() < SEEN_WITHIN {
            self.rings.drain(4096, |record| match decode(&record, &mut users).unwrap() {
                Told::One(one) => seen.add(&one.observation, server.pid()),
                Told::Whole(whole) => whole.parts.iter().for_each(|part| seen.add(&part.observation, server.pid())),
                Told::Again(again) => seen.add_again(&again, server.pid()),
            });
            after += u32::from(seen.ends >= count);
            thread::sleep(Duration::from_millis(20));
        }
        seen
    }

    fn detach(mut self) {
        self.probes.detach(self.attachment);
    }
}

fn all(count: u32) -> Seen {
    Seen { requests: count, checks: count, ends: count }
}

#[test]
fn two_agents_attached_in_either_way_see_every_hit_beside_many_probes_of_another_tool() {
    const COUNT: u32 = 60;
    const MANY: usize = 24;
    let server = Server::start("beside");
    let mut others = Tracefs::new(server.folder(), "kk_slots_beside");
    for (index, site) in server.plan.sites.iter().enumerate() {
        for number in 0..MANY {
            others.add('p', &format!("site{index}_{number}"), &server.executable, &format!("{:#x}", site.file_offset));
        }
    }
    others.enable();
    let (mut multi, mut events) = (Witness::attach(&server, Way::Multi), Witness::attach(&server, Way::Events));
    server.call(COUNT);
    assert_eq!(multi.until(&server, COUNT), all(COUNT));
    assert_eq!(events.until(&server, COUNT), all(COUNT));
    let hits = others.hits();
    for (index, site) in server.plan.sites.iter().enumerate() {
        let expected = match site.kind {
            SiteKind::Request | SiteKind::End { .. } => Some(COUNT),
            // Some clones of the check never run.
            SiteKind::Check(_) | SiteKind::Answer(_) => None,
        };
        let its = hits.iter().filter(|(name, _)| name.starts_with(&format!("site{index}_")));
        let counts: Vec<u64> = its.map(|(_, count)| *count).collect();
        assert_eq!(counts.len(), MANY);
        assert!(expected.is_none_or(|expected| counts.iter().all(|count| *count == u64::from(expected))), "{counts:?} at {site:?}");
    }

    // Neither misses the others when they go.
    others.clear();
    multi.detach();
    server.call(COUNT);
    assert_eq!(events.until(&server, COUNT), all(COUNT));
    events.detach();
}

#[test]
fn probes_are_attached_beside_a_uretprobe_that_was_there_before() {
    let server = Server::start("uretprobe");
    let mut others = Tracefs::new(server.folder(), "kk_slots_return");
    let offset = |wanted: fn(SiteKind) -> bool| server.plan.sites.iter().find(|site| wanted(site.kind)).map(|site| site.file_offset);
    let begin = offset(|kind| kind == SiteKind::Request).unwrap();
    others.add('r', "begin", &server.executable, &format!("{begin:#x}"));
    others.enable();
    let mut witnesses = [Way::Multi, Way::Events].map(|way| Witness::attach(&server, way));
    // A uretprobe that is hit breaks Go's stacks, whoever put it there: the kubelet would end by that alone.
    others.clear();
    server.call(20);
    for witness in &mut witnesses {
        assert_eq!(witness.until(&server, 20), all(20));
    }
}

#[test]
fn when_all_sites_are_taken_it_is_said_and_one_that_goes_makes_room() {
    let server = Server::start("exhausted");
    let mut witness = Witness::attach(&server, Way::Multi);
    let mut more = Vec::new();
    let refused = loop {
        match witness.probes.attach(&server.executable, server.plan) {
            Ok(attachment) => more.push(attachment),
            Err(error) => break error,
        }
        assert!(more.len() < 256);
    };
    assert!(matches!(refused, ProbeError::TooManySites), "{refused}");
    assert!(refused.to_string().contains("more than 256 sites are probed already"), "{refused}");
    // What was refused left nothing behind, and the rest goes on. All are on one file: one of them speaks for the process.
    server.call(2);
    assert_eq!(witness.until(&server, 2), all(2));
    let freed = more.pop().unwrap();
    witness.probes.detach(freed);
    let again = witness.probes.attach(&server.executable, server.plan).unwrap();
    more.push(again);
    for attachment in more {
        witness.probes.detach(attachment);
    }
    server.call(5);
    assert_eq!(witness.until(&server, 5), all(5));
}

#[test]
fn an_instruction_that_another_tool_has_for_itself_is_told_as_the_reason() {
    let server = Server::start("counter");
    let mut others = Tracefs::new(server.folder(), "kk_slots_counter");
    let end = server.plan.sites.iter().find(|site| matches!(site.kind, SiteKind::End { .. })).unwrap();
    // The kernel keeps one counter for an instruction, and takes nobody there who has another or none. It has to lie in memory that can be
    // written, or the probe waits for such memory, which is enough here.
    others.add('p', "counted", &server.executable, &format!("{:#x}(0x10)", end.file_offset));
    others.enable();
    let mut agent = Agent::start(&server);
    let said = agent.until_ready("503");
    assert!(said.contains("did not attach the program `end`") && said.contains("another tool"), "{said}");
    agent.stop();
    others.clear();
    let mut agent = Agent::start(&server);
    agent.until_ready("200");
    agent.stop();
}

/// The agent as shipped, beside the server.
struct Agent {
    child: Child,
    port: u16,
}

impl Agent {
    fn start(server: &Server) -> Self {
        let port = free_port();
        let log = fs::File::create(server.folder().join("agent.log")).unwrap();
        let mut command = Command::new(Bed::binary());
        command.args(["run", "--rbac", "off", "--events", "/dev/null", "--read-only-port", "1"]);
        command.args(["--kubelet-port", &server.port.to_string(), "--metrics-listen", &format!("127.0.0.1:{port}")]);
        Self { child: command.stdin(Stdio::null()).stderr(log).spawn().unwrap(), port }
    }

    /// Waits until it answers with this status when it is asked whether it is ready.
    fn until_ready(&mut self, status: &str) -> String {
        let (begun, mut said) = (Instant::now(), String::new());
        while begun.elapsed() < SEEN_WITHIN {
            assert_eq!(self.child.try_wait().unwrap(), None, "the agent ended: {said}");
            said = self.ready().unwrap_or_default();
            if said.starts_with(&format!("HTTP/1.1 {status}")) && !said.contains("starting") {
                return said;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the agent does not answer {status}: {said}");
    }

    fn ready(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It is gone already after `stop`.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
