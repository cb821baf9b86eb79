//! The kubelets that are watched: each executable is planned and probed once, each process of it is followed to its end.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

use super::{
    executable,
    find::FileId,
    plan::{Plan, PlanError, plan},
};
use crate::probe::{Attachment, Mapped, ProbeError, Probes};

/// Executables that stay attached after their last process ended, so that a restart has no gap.
const IDLE_FILES: usize = 4;

/// Executables that are remembered as no kubelets: whoever listens again and again must not keep the agent busy with reading files.
const OTHER_FILES: usize = 64;

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
    /// Why the last process that should have been watched is not.
    pub refused: Option<String>,
}

struct Target {
    file: FileId,
    plan: Plan,
    attachment: Attachment,
    processes: Vec<(u32, OwnedFd)>,
}

/// The kubelets of this node.
#[derive(Default)]
pub struct Kubelets {
    targets: Vec<Target>,
    refused: Option<String>,
    others: VecDeque<(FileId, PlanError)>,
}

impl Kubelets {
    /// Watches a process: plans and probes its executable unless that is done already. Returns the plan if that is new.
    pub fn adopt(&mut self, pid: u32, probes: &mut Probes) -> Result<Option<&Plan>, AdoptError> {
        let known = self.targets.iter().any(|target| target.processes.iter().any(|(its, _)| *its == pid));
        if known {
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
            probes.assign(pid, &target.attachment).map_err(|source| AdoptError::Probe { pid, source })?;
            target.processes.push((pid, life));
            return Ok(None);
        }
        let plan = self.plan(&path, file).map_err(unreadable)?.map_err(|source| AdoptError::Plan { pid, source })?;
        self.make_room(probes);
        let attachment = probes.attach(&path, &plan).map_err(|source| AdoptError::Probe { pid, source })?;
        if let Err(source) = probes.assign(pid, &attachment) {
            probes.detach(attachment);
            return Err(AdoptError::Probe { pid, source });
        }
        self.targets.push(Target { file, plan, attachment, processes: vec![(pid, life)] });
        Ok(Some(self.targets.len() - 1))
    }

    fn plan(&mut self, path: &Path, file: FileId) -> io::Result<Result<Plan, PlanError>> {
        if let Some((_, error)) = self.others.iter().find(|(other, _)| *other == file) {
            return Ok(Err(error.clone()));
        }
        let planned = plan(&Mapped::open(path)?);
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
            probes.detach(self.targets.remove(index).attachment);
        }
    }

    /// Takes the probes off all executables: no program runs any more when this returns.
    pub fn release(&mut self, probes: &mut Probes) {
        for target in self.targets.drain(..) {
            probes.detach(target.attachment);
        }
    }

    /// Descriptors that become readable when a watched process ends, with its id.
    pub fn lives(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.targets.iter().flat_map(|target| &target.processes).map(|(pid, life)| (*pid, life.as_fd()))
    }

    /// A process ended. Its executable stays probed: the next process of it is covered from its first request.
    pub fn gone(&mut self, pid: u32) {
        for index in 0..self.targets.len() {
            let target = &mut self.targets[index];
            let before = target.processes.len();
            target.processes.retain(|(its, _)| *its != pid);
            if target.processes.is_empty() && before > 0 {
                // The one that went idle last is the last to lose its probes.
                let target = self.targets.remove(index);
                self.targets.push(target);
                return;
            }
        }
    }

    /// What is watched now.
    pub fn status(&self) -> Status {
        let attached = self.targets.iter().filter(|target| !target.processes.is_empty()).map(|target| target.plan.clone()).collect();
        Status { attached, refused: self.refused.clone() }
    }
}
