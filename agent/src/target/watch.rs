//! The kubelets that are watched: each executable is planned and probed once, each process of it is followed to its end.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use super::{
    executable,
    file::ExecutableFile,
    find::netns,
    identity::FileId,
    plan::{Plan, PlanError, plan},
    presence::bare_sites,
};
use crate::probe::{Attachment, Lease, ProbeError, Probes};

/// Executables that stay attached after their last process ended, so that a restart has no gap.
const IDLE_FILES: usize = 4;

/// Executables that are remembered as no kubelets: whoever listens again and again must not keep the agent busy with reading files.
const OTHER_FILES: usize = 64;

/// Processes that ended and are remembered.
const DEPARTED: usize = 64;

/// Why a process is not watched.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// It is gone, or its executable cannot be read.
    #[error(
        "the executable of process {pid} cannot be read: {source}; the agent needs the host's PID namespace and the right to read it (CAP_SYS_PTRACE)"
    )]
    Executable {
        /// The process.
        pid: u32,
        /// The system's words.
        source: io::Error,
    },
    /// Its executable cannot be planned.
    #[error("process {pid}: {source}")]
    Plan {
        /// The process.
        pid: u32,
        /// Why.
        source: PlanError,
    },
    /// The probes could not be attached.
    #[error("process {pid}: {source}")]
    Probe {
        /// The process.
        pid: u32,
        /// Why.
        source: ProbeError,
    },
}

/// What is watched, for health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The plans of the executables that are attached and run.
    pub attached: Vec<Plan>,
    /// How many processes run them.
    pub processes: usize,
    /// Why the last process that should have been watched is not.
    pub refused: Option<String>,
}

struct Target {
    file: FileId,
    plan: Plan,
    attachment: Attachment,
    processes: Vec<(u32, OwnedFd)>,
    /// Makes writers wait until the probes are off. `None` where that cannot be had: then it is not probed for longer than it runs.
    lease: Option<Lease>,
}

impl Target {
    /// The functions whose probes are gone from the memory of one of its processes.
    fn bare(&self) -> io::Result<Vec<String>> {
        let mut bare = Vec::new();
        for (pid, _) in &self.processes {
            bare.extend(bare_sites(*pid, &self.plan.sites)?.into_iter().map(|site| site.symbol.clone()));
        }
        Ok(bare)
    }

    fn attach_anew(&mut self, probes: &mut Probes) -> Result<(), String> {
        let Some((pid, _)) = self.processes.first() else { return Ok(()) };
        // The new ones come after the old ones are gone: both at once would report each request twice.
        probes.detach(mem::take(&mut self.attachment));
        self.attachment = probe(probes, &executable(*pid), &self.plan, &self.processes).map_err(|error| error.to_string())?;
        match self.bare().unwrap_or_default().first() {
            Some(symbol) => Err(format!("the probe in {symbol} is gone from the kubelet's memory, and cannot be put back")),
            None => Ok(()),
        }
    }
}

/// Whether the probes are where they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Functions whose probes were gone, and are back.
    pub mended: Vec<String>,
    /// Why that could not be seen.
    pub unknown: Option<String>,
}

/// The kubelets of this node.
#[derive(Default)]
pub struct Kubelets {
    targets: Vec<Target>,
    refused: Option<String>,
    others: VecDeque<(FileId, PlanError)>,
    /// Processes that ended last: what they did may still be on its way.
    departed: VecDeque<u32>,
    /// The files that were found in the places of those that run, when that was last looked at.
    successors: Vec<FileId>,
}

impl Kubelets {
    /// Watches a process: plans and probes its executable unless that is done already. Returns the plan if that is new.
    pub fn adopt(&mut self, pid: u32, probes: &mut Probes) -> Result<Option<&Plan>, AdoptError> {
        if self.watches(pid) {
            return Ok(None);
        }
        let result = self.try_adopt(pid, probes);
        self.refused = match &result {
            Ok(_) => None,
            // Other programs may use the port; that is no failure to watch a kubelet.
            Err(AdoptError::Plan { source: PlanError::NotGo(_) | PlanError::NotAKubelet, .. }) => self.refused.take(),
            Err(error) => Some(error.to_string()),
        };
        result.map(|new| new.map(|index| &self.targets[index].plan))
    }

    fn try_adopt(&mut self, pid: u32, probes: &mut Probes) -> Result<Option<usize>, AdoptError> {
        let unreadable = |source| AdoptError::Executable { pid, source };
        let path = executable(pid);
        // Opened first: should the process end and its id be reused meanwhile, this descriptor tells.
        let process = Pid::from_raw(pid.cast_signed()).ok_or_else(|| unreadable(io::Error::other("process 0 has none")))?;
        let life = pidfd_open(process, PidfdFlags::empty()).map_err(|error| unreadable(error.into()))?;
        let file = FileId::of(&path).map_err(unreadable)?;
        if let Some(target) = self.targets.iter_mut().find(|target| target.file == file) {
            probes.assign(pid, home(pid), &target.attachment).map_err(|source| AdoptError::Probe { pid, source })?;
            target.processes.push((pid, life));
            return Ok(None);
        }
        self.attach(pid, &path, file, vec![(pid, life)], probes).map(Some)
    }

    /// Plans and probes a file, and returns the index of its target.
    fn attach(
        &mut self,
        pid: u32,
        path: &Path,
        file: FileId,
        processes: Vec<(u32, OwnedFd)>,
        probes: &mut Probes,
    ) -> Result<usize, AdoptError> {
        // Before it is read: nobody changes it from here on.
        let lease = Lease::take(path).ok();
        if processes.is_empty() && lease.is_none() {
            let source = io::Error::other("somebody may be writing to it, and it is not run yet");
            return Err(AdoptError::Executable { pid, source });
        }
        let plan = self.plan(path, file).map_err(|source| AdoptError::Executable { pid, source })?;
        let plan = plan.map_err(|source| AdoptError::Plan { pid, source })?;
        self.make_room(probes);
        let attachment = probe(probes, path, &plan, &processes).map_err(|source| AdoptError::Probe { pid, source })?;
        self.targets.push(Target { file, plan, attachment, processes, lease });
        Ok(self.targets.len() - 1)
    }

    /// Looks at whether another file lies in the place of one that runs, as after an upgrade: it will be run at the next start, and is probed
    /// before, so that its first request is seen. To be called every second or so; a file that is the same at two looks is whole. Returns the
    /// plan of a new one.
    pub fn prepare(&mut self, probes: &mut Probes) -> Option<Result<&Plan, AdoptError>> {
        let places: Vec<_> = self.targets.iter().filter_map(|target| Some((target.processes.first()?.0, target.file))).collect();
        let found: Vec<_> =
            places.into_iter().filter_map(|(pid, file)| successor(pid, file).map(|(open, next)| (pid, open, next))).collect();
        let before = mem::replace(&mut self.successors, found.iter().map(|(_, _, file)| *file).collect());
        let is_new = |file: &FileId| {
            before.contains(file)
                && !self.targets.iter().any(|target| target.file == *file)
                && !self.others.iter().any(|(other, _)| other == file)
        };
        let (pid, open, file) = found.into_iter().find(|(_, _, file)| is_new(file))?;
        // By its descriptor: what is planned and what is probed is one file, whatever its name leads to by then.
        let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let attached = self.attach(pid, &path, file, Vec::new(), probes);
        Some(attached.map(|index| &self.targets[index].plan))
    }

    /// Takes the probes off the files that somebody waits to write to; how many these were. To be called about once a second at least: the
    /// kernel lets no writer wait for longer than 45 s.
    pub fn give_way(&mut self, probes: &mut Probes) -> usize {
        let is_wanted = |target: &mut Target| target.lease.as_ref().is_some_and(Lease::is_wanted);
        let gone: Vec<Target> = self.targets.extract_if(.., is_wanted).collect();
        gone.into_iter().map(|target| detach(target, probes)).count()
    }

    fn plan(&mut self, path: &Path, file: FileId) -> io::Result<Result<Plan, PlanError>> {
        if let Some((_, error)) = self.others.iter().find(|(other, _)| *other == file) {
            return Ok(Err(error.clone()));
        }
        let executable = ExecutableFile::open(path)?;
        let planned = plan(&executable);
        if executable.id() != file || !executable.is_unchanged() {
            return Err(io::Error::other("it changed while it was read; it is looked at again when it listens again"));
        }
        if let Err(error) = &planned {
            self.others.truncate(OTHER_FILES - 1);
            self.others.push_front((file, error.clone()));
        }
        Ok(planned)
    }

    /// Takes the probes off the executables that have had no process for longest.
    fn make_room(&mut self, probes: &mut Probes) {
        while self.targets.iter().filter(|target| target.processes.is_empty()).count() >= IDLE_FILES {
            let Some(index) = self.targets.iter().position(|target| target.processes.is_empty()) else { return };
            let target = self.targets.remove(index);
            detach(target, probes);
        }
    }

    /// Takes the probes off all executables: no program runs any more when this returns. What they told of their processes is still heeded.
    pub fn release(&mut self, probes: &mut Probes) {
        let watched: Vec<u32> = self.lives().map(|(pid, _)| pid).collect();
        self.departed.extend(watched);
        for target in mem::take(&mut self.targets) {
            detach(target, probes);
        }
    }

    /// Looks whether the probes are in the memory of each kubelet, and puts back those that are gone.
    ///
    /// # Errors
    /// If they cannot be put back, with the reason.
    pub fn mend(&mut self, probes: &mut Probes) -> Result<Presence, String> {
        let mut presence = Presence::default();
        for target in self.targets.iter_mut().filter(|target| !target.processes.is_empty()) {
            match target.bare() {
                Err(error) => presence.unknown = Some(error.to_string()),
                Ok(bare) if bare.is_empty() => {}
                Ok(bare) => {
                    target.attach_anew(probes)?;
                    presence.mended.extend(bare);
                }
            }
        }
        Ok(presence)
    }

    /// Descriptors that become readable when a watched process ends, with its id.
    pub fn lives(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.targets.iter().flat_map(|target| &target.processes).map(|(pid, life)| (*pid, life.as_fd()))
    }

    /// Whether a process is watched, or was a moment ago.
    pub fn knows(&self, pid: u32) -> bool {
        self.watches(pid) || self.departed.contains(&pid)
    }

    fn watches(&self, pid: u32) -> bool {
        self.lives().any(|(its, _)| its == pid)
    }

    /// A process ended. Its executable stays probed, so that the next process of it is covered from its first request, unless it could
    /// be written to meanwhile.
    pub fn gone(&mut self, pid: u32, probes: &mut Probes) {
        self.departed.truncate(DEPARTED - 1);
        self.departed.push_front(pid);
        for index in 0..self.targets.len() {
            let target = &mut self.targets[index];
            let before = target.processes.len();
            target.processes.retain(|(its, _)| *its != pid);
            if target.processes.is_empty() && before > 0 {
                // The one that went idle last is the last to lose its probes.
                let target = self.targets.remove(index);
                match target.lease {
                    Some(_) => self.targets.push(target),
                    None => detach(target, probes),
                }
                return;
            }
        }
    }

    /// What is watched now.
    pub fn status(&self) -> Status {
        let attached = self.targets.iter().filter(|target| !target.processes.is_empty()).map(|target| target.plan.clone()).collect();
        let processes = self.targets.iter().map(|target| target.processes.len()).sum();
        Status { attached, processes, refused: self.refused.clone() }
    }
}

/// Puts the probes on a file, and lets them speak for its processes; all of it or nothing.
fn probe(probes: &mut Probes, file: &Path, plan: &Plan, processes: &[(u32, OwnedFd)]) -> Result<Attachment, ProbeError> {
    let attachment = probes.attach(file, plan)?;
    match processes.iter().find_map(|(pid, _)| probes.assign(*pid, home(*pid), &attachment).err()) {
        None => Ok(attachment),
        Some(error) => {
            probes.detach(attachment);
            Err(error)
        }
    }
}

/// The network namespace of a process, by its inode; 0 if that cannot be told, and then the kernel programs look at each hit.
fn home(pid: u32) -> u32 {
    netns(pid).unwrap_or(0)
}

/// Takes the probes off, and only then lets go of the file.
fn detach(target: Target, probes: &mut Probes) {
    probes.detach(target.attachment);
    drop(target.lease);
}

/// The file that lies where the executable of a process was, opened, if it is another one.
fn successor(pid: u32, file: FileId) -> Option<(File, FileId)> {
    let place = fs::read_link(executable(pid)).ok()?;
    // Of a file that was replaced the kernel says so (`d_path`), behind its name.
    let place = place.to_str()?;
    let place = place.strip_suffix(" (deleted)").unwrap_or(place);
    let open = File::open(format!("/proc/{pid}/root{place}")).ok()?;
    let next = FileId::of_open(&open).ok()?;
    (next != file).then_some((open, next))
}
