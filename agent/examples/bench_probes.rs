//! Other probes on a kubelet than the agent's, for `cargo xtask bench` to compare with; x86-64 only.
//!
//! `bench_probes floor|sniffer|ring|array OBJECT PID` puts the programs of `agent-ebpf/src/bench.rs` on the process's executable; `bench_probes stepped - PID`
//! puts the agent's own programs one instruction beside the agent's sites, where nothing differs but that the kernel cannot emulate the
//! instruction and steps it. It says `attached` on standard output, works until standard input ends, and then prints what it counted.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use kubewitness::daemon::now;
use kubewitness::exchange::Place;
use kubewitness::export::Clock;
use kubewitness::export::audit::{Auditor, Commands};
use kubewitness::gobin::{Executable, Function};
use kubewitness::judge::Policy;
use kubewitness::observation::Timestamp;
use kubewitness::probe::{Probes, Way};
use kubewitness::target::plan::{Plan, PlannedSite, SiteKind, plan};
use kubewitness::target::{ExecutableFile, netns};
use kubewitness::witness::{Outcome, Witness};
use uuid::Uuid;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, object, pid] = arguments.as_slice() else {
        bail!("which probes, which object, on which process? see the head of this file")
    };
    let pid: u32 = pid.parse()?;
    let path = PathBuf::from(format!("/proc/{pid}/exe"));
    let executable = ExecutableFile::open(&path)?;
    match what.as_str() {
        "floor" => attached(Path::new(object), "floor", &path, &sites(&executable)?, |_| Ok(())),
        "ring" | "array" => handed_on(Path::new(object), what, &path, &sites(&executable)?),
        "sniffer" => sniffer(Path::new(object), &path, &executable),
        "stepped" => stepped(pid, &path, &executable),
        other => bail!("`{other}` is not one of floor, sniffer, ring, array and stepped"),
    }
}

fn sites(executable: &ExecutableFile) -> Result<Vec<u64>> {
    Ok(plan(executable)?.sites.iter().map(|site| site.file_offset).collect())
}

/// Loads a program, puts it on instructions, and works until standard input ends.
fn attached(object: &Path, program: &str, path: &Path, offsets: &[u64], work: impl FnOnce(&mut Ebpf) -> Result<()>) -> Result<()> {
    let mut ebpf = Ebpf::load(&fs::read(object).with_context(|| format!("{} cannot be read", object.display()))?)?;
    let probe: &mut UProbe = ebpf.program_mut(program).context("there is no such program")?.try_into()?;
    probe.load()?;
    let points = offsets.iter().map(|offset| UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(*offset), cookie: None });
    probe.attach(points.collect::<Vec<_>>(), path, UProbeScope::AllProcesses)?;
    said(&format!("attached {}", offsets.len()))?;
    work(&mut ebpf)?;
    let mut nothing = Vec::new();
    io::stdin().read_to_end(&mut nothing)?;
    Ok(())
}

fn said(what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}

/// Reads what the program copied, as often as the agent reads its rings, and counts it.
fn sniffer(object: &Path, path: &Path, executable: &ExecutableFile) -> Result<()> {
    const FUNCTIONS: [&str; 2] = ["crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"];
    let functions = Executable::parse(executable)?.functions(|name| FUNCTIONS.contains(&name))?;
    ensure!(functions.len() == FUNCTIONS.len(), "the kubelet has not both functions");
    let returns = functions.iter().flat_map(|function| {
        let is_return = |instruction: &Instruction| instruction.code() == Code::Retnq;
        instructions(function).filter(is_return).map(|instruction| offset(function, instruction.ip())).collect::<Vec<_>>()
    });
    attached(object, "sniffer", path, &returns.collect::<Vec<_>>(), |ebpf| {
        let mut copies: RingBuf<MapData> = ebpf.take_map("COPIES").context("no ring")?.try_into()?;
        let counts: PerCpuArray<MapData, u64> = ebpf.take_map("COUNTS").context("no counts")?.try_into()?;
        let stop = until_told();
        let (mut records, mut bytes) = (0_u64, 0_u64);
        while !stop.load(Ordering::Relaxed) {
            while let Some(copy) = copies.next() {
                records += 1;
                bytes += u64::from_ne_bytes(copy[..8].try_into()?);
            }
            thread::sleep(Duration::from_millis(100));
        }
        let [hits, taken] = [0, 1].map(|index| counts.get(&index, 0).map(|all| all.iter().sum::<u64>()));
        Ok(said(&format!("{} hits, {} bytes copied; {records} records with {bytes} bytes read", hits?, taken?))?)
    })
}

/// Words of a record, and the records that each processor has room for: `agent-ebpf/src/bench.rs`.
const RECORD: usize = 32;
const WAITING: u32 = 8192;

/// Takes the records of the program `ring` or `array`, twenty times a second; then says what a hit cost in the kernel and what a record cost here,
/// in nanoseconds of processor time.
fn handed_on(object: &Path, how: &str, path: &Path, sites: &[u64]) -> Result<()> {
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
    attached(object, how, path, sites, |ebpf| {
        let mut ring: RingBuf<MapData> = ebpf.take_map("RECORDS").context("no ring")?.try_into()?;
        let slots: PerCpuArray<MapData, [u64; RECORD]> = ebpf.take_map("SLOTS").context("no slots")?.try_into()?;
        let counts: PerCpuArray<MapData, u64> = ebpf.take_map("COUNTS").context("no counts")?.try_into()?;
        let mut taken = vec![0; counts.get(&0, 0)?.len()];
        let (mut records, mut lost, mut sum) = (0_u64, 0_u64, 0_u64);
        let stop = until_told();
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
            if how == "ring" {
                while let Some(record) = ring.next() {
                    records += 1;
                    sum += u64::from_ne_bytes(record[..8].try_into()?);
                }
                continue;
            }
            for (processor, written) in counts.get(&0, 0)?.iter().enumerate() {
                let from = taken[processor].max(written.saturating_sub(u64::from(WAITING)));
                lost += from - taken[processor];
                for number in from..*written {
                    sum += slots.get(&u32::try_from(number % u64::from(WAITING))?, 0)?[processor][0];
                }
                records += written - from;
                taken[processor] = *written;
            }
        }
        let here = fs::read_to_string("/proc/thread-self/schedstat")?;
        let here: f64 = here.split_whitespace().next().context("no processor time")?.parse()?;
        let probe: &UProbe = ebpf.program(how).context("there is no such program")?.try_into()?;
        let info = probe.info()?;
        let hits = counts.get(&0, 0)?.iter().sum::<u64>();
        ensure!(sum == records, "records are not as they were written");
        if how == "ring" {
            lost = hits - records;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let each = (info.run_time().as_nanos() as f64 / info.run_count() as f64, here / records as f64);
        Ok(said(&format!("{{\"hits\":{hits},\"lost\":{lost},\"kernel_ns\":{:.1},\"reader_ns\":{:.1}}}", each.0, each.1))?)
    })
}

/// True once standard input ended.
fn until_told() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    thread::spawn(move || {
        let _end = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    stop
}

/// The agent's programs, and what the agent does with their records, events to a file in memory.
fn stepped(pid: u32, path: &Path, executable: &ExecutableFile) -> Result<()> {
    const PORT: u16 = 10250;
    let planned = plan(executable)?;
    let names: Vec<String> = planned.sites.iter().map(|site| site.symbol.clone()).collect();
    let parsed = Executable::parse(executable)?;
    let functions = parsed.functions(|name| names.iter().any(|symbol| symbol == name))?;
    let sites: Result<Vec<_>> = planned.sites.iter().map(|site| beside(site, &functions)).collect();
    let plan = Plan { sites: sites?, ..planned };
    let (mut probes, mut rings) = Probes::load(&[PORT, 0], Way::of_this_kernel()?)?;
    probes.believe_process(pid, netns(pid)?)?;
    let attachment = probes.attach(path, &plan)?;
    probes.assign(pid, netns(pid)?, &attachment)?;
    said(&format!("attached {}", plan.sites.len()))?;
    let stop = until_told();
    let mut witness = Witness::new(Policy::new("node1".to_owned()), 16_384, PORT, 0);
    let auditor = Auditor::new(Uuid::nil(), "node1", Commands::Full);
    let mut out = io::BufWriter::new(io::sink());
    let (mut events, mut records) = (0_u64, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        rings.wait(&[], Duration::from_millis(100))?;
        rings.drain(usize::MAX, |record| records.push(record));
        for record in records.drain(..) {
            let clock = Clock::new(now(), jiff::Timestamp::now());
            for outcome in witness.take(&record, |_| Place::Unknown)? {
                if let Outcome::Verdict(verdict) = outcome {
                    events += 1;
                    out.write_all(&auditor.event(&verdict, clock).to_line())?;
                }
            }
        }
        witness.lasting(Timestamp(now().0));
    }
    probes.detach(attachment);
    Ok(said(&format!("{events} events"))?)
}

/// A site on the instruction where the same is known, but which the kernel steps: the stack check of a function, the comparison before a
/// conditional jump.
fn beside(site: &PlannedSite, functions: &[Function<'_>]) -> Result<PlannedSite> {
    let inside = |function: &&Function<'_>| (function.address..function.address + function.bytes.len() as u64).contains(&site.address);
    let function = functions.iter().find(inside).context("a site is in no function")?;
    let address = match site.kind {
        SiteKind::Request | SiteKind::End { .. } => function.address,
        SiteKind::Check(_) | SiteKind::Answer(_) => {
            let before = instructions(function).take_while(|instruction| instruction.ip() < site.address).last();
            before.context("a site is the first instruction of its function")?.ip()
        }
    };
    Ok(PlannedSite { address, file_offset: offset(function, address), ..site.clone() })
}

fn instructions<'a>(function: &'a Function<'_>) -> impl Iterator<Item = Instruction> + 'a {
    Decoder::with_ip(64, function.bytes, function.address, DecoderOptions::NONE).into_iter().collect::<Vec<_>>().into_iter()
}

fn offset(function: &Function<'_>, address: u64) -> u64 {
    function.file_offset + (address - function.address)
}
