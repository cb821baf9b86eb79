//! Loading the kernel programs and attaching them to executables.

use std::{collections::BTreeSet, io, os::unix::fs::MetadataExt as _, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray},
    programs::{
        ProgramError, RawTracePoint, UProbe,
        raw_trace_point::RawTracePointLink,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use bytes::Bytes;
use kubewitness_wire as wire;
use ring::digest::{SHA256, digest};
use thiserror::Error;

use crate::causes::in_one_line;
use crate::gobin::Architecture;
use crate::target::plan::Plan;

use super::{BtfError, NoWay, Rings, Way, in_flight::in_flight, kernel_log, kernel_log::KernelLog, kernel_offsets};

/// The object that `cargo xtask build` made of `agent-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kubewitness.bpf.o"));

/// SHA-256 of that object, in hex.
pub fn programs_digest() -> String {
    digest(&SHA256, OBJECT).as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

const BTF: &str = "/sys/kernel/btf/vmlinux";
const INITIAL_PIDNS: u64 = 0xefff_fffc;

/// Why nothing is watched.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The kernel does not describe its types.
    #[error("cannot read {BTF}: {0}; kubewitness needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF) and, in a container, the host's /sys")]
    NoBtf(#[source] io::Error),
    /// The kernel's types were not understood.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// `/proc` does not tell the agent's own PID namespace.
    #[error("cannot read /proc/self/ns/pid: {0}; kubewitness needs /proc")]
    NoPidNamespace(#[source] io::Error),
    /// The kernel has no way to put programs on instructions, or not for this process.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// The kernel did not put a program on its instructions.
    #[error(
        "the kernel did not attach the program `{program}` by {way}: {}; where the rights are there, another tool may have a probe with a \
         counter (a USDT semaphore) on the same instruction, of which the kernel's log tells: take that off first",
        in_one_line(.source)
    )]
    Attach {
        /// The program.
        program: &'static str,
        /// How it was tried.
        way: Way,
        /// The kernel's words.
        source: ProgramError,
    },
    /// The kernel did not take the programs or maps.
    #[error("the kernel refused the programs: {}; they need CAP_BPF and CAP_PERFMON (or root) and Linux 6.1 or newer", in_one_line(.0))]
    Load(#[source] EbpfError),
    /// The kernel did not take one program.
    #[error("the kernel refused the program `{program}`: {}; it needs CAP_BPF and CAP_PERFMON (or root) and Linux 6.1 or newer", brief(.error))]
    Program {
        /// The program.
        program: &'static str,
        /// The kernel's words. Not a `source`: the verifier's log would be told whole.
        error: ProgramError,
    },
    /// The kernel lets no program read its memory.
    #[error(
        "the kernel lets no program read its memory, so no socket and no namespace: it is locked down in mode `confidentiality` \
         (/sys/kernel/security/lockdown); start the node with lockdown=integrity or without"
    )]
    LockedDown,
    /// A map of the programs could not be used.
    #[error("a map of the kernel programs cannot be used: {}", in_one_line(.0))]
    Map(#[from] MapError),
    /// The plan is of a kubelet that this machine cannot run.
    #[error("the kubelet was compiled for {}, and this agent for {}, so nothing is attached", .0.name(), Architecture::OWN.name())]
    Architecture(Architecture),
    /// There are too many sites.
    #[error("more than {} sites are probed already; detach another kubelet first", wire::SITES)]
    TooManySites,
}

/// The programs that sit on instructions of a kubelet, called like the kind of their site. The last one of a request comes first: an
/// instruction must not be hit before those that follow it can be, else a request is seen half.
const PROGRAMS: [&str; 4] = ["end", "answer", "check", "request"];

/// The program on the tracepoint of connections.
const SOCKET: &str = "socket";

/// The loaded programs.
pub struct Probes {
    ebpf: Ebpf,
    way: Way,
    connections: Option<RawTracePointLink>,
    sites: Array<MapData, Plain<wire::Site>>,
    free: BTreeSet<u32>,
    counters: PerCpuArray<MapData, u64>,
    owners: HashMap<MapData, u32, Plain<wire::Owner>>,
    netns: HashMap<MapData, u32, u8>,
    pids: HashMap<MapData, u32, u8>,
    disbelieved: HashMap<MapData, u32, u8>,
    gathered: Array<MapData, Plain<wire::Gathered>>,
    log: KernelLog,
    /// The number of the next attachment.
    next: u32,
}

/// Probes on one executable; they go when it is given to [`Probes::detach`] or dropped.
#[derive(Default)]
pub struct Attachment {
    /// No other one has or had it.
    number: u32,
    links: Vec<UProbeLink>,
    sites: Vec<u32>,
}

/// What the kernel programs counted since they were loaded, by [`wire::Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; wire::Counter::COUNT as usize]);

impl Counts {
    /// One counter.
    pub const fn of(&self, counter: wire::Counter) -> u64 {
        self.0[counter as usize]
    }
}

impl Probes {
    /// Loads the programs, to be put on instructions in this way, and starts to watch connections on `ports`.
    pub fn load(ports: &[u16], way: Way) -> Result<(Self, Rings), ProbeError> {
        let (mut this, rings) = Self::loaded(ports, way)?;
        this.watch_sockets()?;
        Ok((this, rings))
    }

    /// Whether the kernel takes the programs and their maps. Nothing is attached, and nothing of it stays.
    pub fn try_out(ports: &[u16], way: Way) -> Result<(), ProbeError> {
        Self::loaded(ports, way).map(drop)
    }

    fn loaded(ports: &[u16], way: Way) -> Result<(Self, Rings), ProbeError> {
        let btf = std::fs::read(BTF).map_err(ProbeError::NoBtf)?;
        let mut kernel = kernel_offsets(&btf)?;
        for (slot, port) in kernel.ports.iter_mut().zip(ports) {
            *slot = *port;
        }
        let (device, inode) = pid_namespace().map_err(ProbeError::NoPidNamespace)?;
        let (kernel, pid_namespace) = (Plain(kernel), Plain(wire::PidNamespace { device, inode }));
        let mut loader = EbpfLoader::new();
        loader.override_global("KERNEL", &kernel, true);
        loader.override_global("PID_NAMESPACE", &pid_namespace, true);
        let level = kernel_log::level();
        loader.override_global(aya_log::LEVEL, &level, true);
        let mut ebpf = loader.load(&way.object(OBJECT)).map_err(ProbeError::Load)?;
        for program in PROGRAMS {
            uprobe(&mut ebpf, program)?.load().map_err(|source| refused(program, source))?;
        }
        let this = Self {
            sites: Array::try_from(take(&mut ebpf, "SITES")?)?,
            free: (0..wire::SITES).collect(),
            counters: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?,
            owners: HashMap::try_from(take(&mut ebpf, "OWNERS")?)?,
            netns: HashMap::try_from(take(&mut ebpf, "BELIEVED_NETNS")?)?,
            pids: HashMap::try_from(take(&mut ebpf, "BELIEVED_PIDS")?)?,
            disbelieved: HashMap::try_from(take(&mut ebpf, "DISBELIEVED_PIDS")?)?,
            gathered: Array::try_from(take(&mut ebpf, "GATHERED")?)?,
            log: KernelLog::new(&mut ebpf),
            connections: None,
            next: 1,
            ebpf,
            way,
        };
        Self::finish(this)
    }

    fn finish(mut self) -> Result<(Self, Rings), ProbeError> {
        let rings = Rings::new(
            take(&mut self.ebpf, "PRIORITY")?.try_into()?,
            take(&mut self.ebpf, "ROUTINE")?.try_into()?,
            take(&mut self.ebpf, "SOCKETS")?.try_into()?,
        );
        self.socket()?.load().map_err(|source| refused(SOCKET, source))?;
        Ok((self, rings))
    }

    /// How the programs are put on instructions.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Attaches to the tracepoint of connections, once more if it was attached already.
    pub fn watch_sockets(&mut self) -> Result<(), ProbeError> {
        // The old one goes first: both at once would report each connection twice.
        self.connections = None;
        let program = self.socket()?;
        let id = program.attach("inet_sock_set_state").map_err(socket_error)?;
        self.connections = Some(program.take_link(id).map_err(socket_error)?);
        Ok(())
    }

    fn socket(&mut self) -> Result<&mut RawTracePoint, ProbeError> {
        let program = self.ebpf.program_mut(SOCKET).ok_or(ProbeError::Map(missing(SOCKET)))?;
        program.try_into().map_err(socket_error)
    }

    /// Believes every process in a network namespace, by the namespace's inode.
    pub fn believe_netns(&mut self, inode: u32) -> Result<(), ProbeError> {
        Ok(self.netns.insert(&inode, &wire::belief::PROCESSES, 0)?)
    }

    /// Believes one process, which lives in the network namespace `inode`.
    pub fn believe_process(&mut self, pid: u32, inode: u32) -> Result<(), ProbeError> {
        self.pids.insert(&pid, &1, 0)?;
        match self.netns.get(&inode, 0) {
            Ok(_) => Ok(()),
            Err(_) => Ok(self.netns.insert(&inode, &wire::belief::CONNECTIONS, 0)?),
        }
    }

    /// No longer believes a process; its id may be another's soon.
    pub fn forget_process(&mut self, pid: u32) {
        // It was there unless it was never believed, or never asked.
        let _absent = self.pids.remove(&pid);
        let _absent = self.owners.remove(&pid);
    }

    /// Takes what is kept of the requests in flight in these processes, where no program runs any more, and makes room for others.
    pub fn take_in_flight(&mut self, is_over: impl Fn(u32) -> bool) -> Result<Vec<Bytes>, ProbeError> {
        let mut records = Vec::new();
        for place in 0..wire::GATHERED {
            let Plain(gathered) = self.gathered.get(&place, 0)?;
            if gathered.taken != 0 && is_over(gathered.whole.header.tgid) {
                records.extend(in_flight(&gathered));
                self.gathered.set(place, &Plain(wire::Gathered::EMPTY), 0)?;
            }
        }
        Ok(records)
    }

    /// Ignores a process, although it lives in a network namespace that is believed; to be undone when it ends.
    pub fn ignore_process(&mut self, pid: u32) -> Result<(), ProbeError> {
        Ok(self.disbelieved.insert(&pid, &1, 0)?)
    }

    /// No longer ignores a process.
    pub fn heed_process(&mut self, pid: u32) {
        // It was there unless it was never ignored.
        let _absent = self.disbelieved.remove(&pid);
    }

    /// Attaches to an executable as planned: to the file, so every process that runs it is covered from its first request.
    pub fn attach(&mut self, file: &Path, plan: &Plan) -> Result<Attachment, ProbeError> {
        if plan.architecture != Architecture::OWN {
            return Err(ProbeError::Architecture(plan.architecture));
        }
        let mut attachment = Attachment { number: self.next, links: Vec::new(), sites: Vec::new() };
        self.next += 1;
        match self.attach_all(file, plan, &mut attachment) {
            Ok(()) => Ok(attachment),
            Err(error) => {
                self.detach(attachment);
                Err(error)
            }
        }
    }

    fn attach_all(&mut self, file: &Path, plan: &Plan, attachment: &mut Attachment) -> Result<(), ProbeError> {
        for program in PROGRAMS {
            let mut points = Vec::new();
            for site in plan.sites.iter().filter(|site| site.kind.label() == program) {
                let index = self.free.pop_first().ok_or(ProbeError::TooManySites)?;
                attachment.sites.push(index);
                let site_of_this = wire::Site { attachment: attachment.number, ..site.wire(&plan.layout) };
                self.sites.set(index, &Plain(site_of_this), 0)?;
                let location = UProbeAttachLocation::AbsoluteOffset(site.file_offset);
                points.push(UProbeAttachPoint { location, cookie: Some(index.into()) });
            }
            let probe = uprobe(&mut self.ebpf, program)?;
            let link = probe.attach(points, file, UProbeScope::AllProcesses).and_then(|id| probe.take_link(id));
            attachment.links.push(link.map_err(|source| ProbeError::Attach { program, way: self.way, source })?);
        }
        Ok(())
    }

    /// Lets this attachment, and no other, speak for a process that is believed and lives in the network namespace `netns`: where its file lies
    /// on an overlay, the probes of others may be on the same file below. To be undone by [`Self::forget_process`] when the
    /// process ends.
    pub fn assign(&mut self, pid: u32, netns: u32, attachment: &Attachment) -> Result<(), ProbeError> {
        Ok(self.owners.insert(&pid, &Plain(wire::Owner { attachment: attachment.number, netns }), 0)?)
    }

    /// Takes the probes off an executable.
    pub fn detach(&mut self, attachment: Attachment) {
        // Nobody speaks for its processes any more: whoever else is on the same file shall.
        let orphans: Vec<u32> = self
            .owners
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, owner)| owner.0.attachment == attachment.number)
            .map(|(pid, _)| pid)
            .collect();
        for pid in orphans {
            let _absent = self.owners.remove(&pid);
        }
        drop(attachment.links);
        self.free.extend(attachment.sites);
    }

    /// Logs what the kernel programs said about themselves.
    pub fn log(&mut self) {
        self.log.flush();
    }

    /// What was counted in the kernel, over all CPUs.
    pub fn counts(&self) -> Result<Counts, ProbeError> {
        let mut counts = Counts::default();
        for (index, count) in (0..).zip(&mut counts.0) {
            *count = self.counters.get(&index, 0)?.iter().sum();
        }
        Ok(counts)
    }
}

/// Device (as the kernel's `dev_t`, 20 bits of it the minor number) and inode of the agent's PID namespace; zeros in the initial one
/// (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`). Elsewhere, as on a node that is itself a container, the ids that the kernel's
/// programs see are not those of `/proc`.
fn pid_namespace() -> io::Result<(u64, u64)> {
    let namespace = std::fs::metadata("/proc/self/ns/pid")?;
    if namespace.ino() == INITIAL_PIDNS {
        return Ok((0, 0));
    }
    let (major, minor) = (rustix::fs::major(namespace.dev()), rustix::fs::minor(namespace.dev()));
    Ok((u64::from(major) << 20 | u64::from(minor), namespace.ino()))
}

fn socket_error(source: ProgramError) -> ProbeError {
    ProbeError::Program { program: SOCKET, error: source }
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, program: &'static str) -> Result<&'a mut UProbe, ProbeError> {
    let found = ebpf.program_mut(program).ok_or(ProbeError::Map(missing(program)))?;
    found.try_into().map_err(|source| ProbeError::Program { program, error: source })
}

/// A kernel that is locked down has the helper that reads its memory no more, and says so in the verifier's words. (aya tries the helper, and
/// calls its older name where that is refused.)
fn refused(program: &'static str, source: ProgramError) -> ProbeError {
    match &source {
        ProgramError::LoadError { verifier_log, .. } if last_word(&verifier_log.to_string()).contains("bpf_probe_read") => {
            ProbeError::LockedDown
        }
        _ => ProbeError::Program { program, error: source },
    }
}

/// The error, and of the verifier's log, which is long, what it says last.
fn brief(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => match last_word(&verifier_log.to_string()) {
            "" => io_error.to_string(),
            said => format!("{io_error}: {said}"),
        },
        other => in_one_line(other),
    }
}

/// What a verifier says before its statistics.
fn last_word(log: &str) -> &str {
    let statistics = ["verification time", "stack depth", "processed ", "mark_read", "insns ", "subprog"];
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty() && !statistics.iter().any(|begin| line.starts_with(begin)));
    lines.next_back().unwrap_or_default()
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, ProbeError> {
    ebpf.take_map(name).ok_or(ProbeError::Map(missing(name)))
}

fn missing(name: &str) -> MapError {
    MapError::InvalidName { name: name.to_owned() }
}

/// A struct of the wire contract, as aya wants to see it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

#[expect(unsafe_code, reason = "aya copies the struct's bytes into a map")]
// SAFETY: `Site` is `repr(C)`, of integers only, and has no padding: 8 + 6 × 4 bytes, then `Layout` with 7 × 8 + 36 × 4.
unsafe impl Pod for Plain<wire::Site> {}

#[expect(unsafe_code, reason = "aya copies the struct's bytes into a map")]
// SAFETY: `Owner` is `repr(C)`, of two integers, and has no padding.
unsafe impl Pod for Plain<wire::Owner> {}

#[expect(unsafe_code, reason = "aya copies the struct's bytes into the programs' constants")]
// SAFETY: `Kernel` is `repr(C)`, of integers only, and has no padding: 12 × 4 + 4 × 2 bytes.
unsafe impl Pod for Plain<wire::Kernel> {}

#[expect(unsafe_code, reason = "aya copies the struct's bytes into the programs' constants")]
// SAFETY: `PidNamespace` is `repr(C)`, of two integers, and has no padding.
unsafe impl Pod for Plain<wire::PidNamespace> {}

#[expect(unsafe_code, reason = "aya copies the struct's bytes out of a map")]
// SAFETY: `Gathered` is `repr(C)`, of integers only, and has no padding: what is in it is as large as all of it, see below.
unsafe impl Pod for Plain<wire::Gathered> {}

const _: () = assert!(size_of::<wire::Site>() == 8 + 6 * 4 + 7 * 8 + 34 * 4);
const _: () = assert!(size_of::<wire::Kernel>() == 12 * 4 + 4 * 2);
const _: () = assert!(size_of::<wire::Whole>() == size_of::<wire::Header>() + 8 + 2 * 4 + 8 * wire::PARTS);
const _: () =
    assert!(size_of::<wire::Gathered>() == 2 * 8 + size_of::<wire::Whole>() + wire::PARTS_ROOM + wire::LONGEST_PART + 8 * wire::NOTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_word_is_found_before_its_statistics() {
        let log = "0: R1=ctx() R10=fp0\n255: (79) r9 = *(u64 *)(r10 -120)\ninvalid read from stack R10 off=-120 size=8\n\
                   verification time 2683 usec\nstack depth 112+0\nprocessed 156 insns (limit 1000000) mark_read 8\n\n";
        assert_eq!(last_word(log), "invalid read from stack R10 off=-120 size=8");
        assert_eq!(last_word(""), "");
    }
}
