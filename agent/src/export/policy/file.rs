//! The file that a policy is read from, and read again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use thiserror::Error;
use tracing::{error, info, warn};

use super::{Attributes, Invalid, Policy};
use crate::export::audit::AuditStage;

/// The largest file, in bytes: no policy that people write comes near it.
const LARGEST: u64 = 1 << 20;

/// A policy that can be read anew while it is asked.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    policy: RwLock<Policy>,
}

/// A file that holds no policy.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PolicyError {
    #[error("cannot read the audit policy {}: {source}; name a file that the agent may read with --audit-policy", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the audit policy {} is no regular file of at most {LARGEST} bytes: name another one with --audit-policy", path.display())]
    NoPolicy { path: PathBuf },
    #[error("the audit policy {place}: {text}")]
    Invalid { place: String, text: String },
}

impl PolicyFile {
    /// Reads it, and tells in the log what its author may not know.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        Ok(Self { path: path.to_owned(), policy: RwLock::new(read(path)?) })
    }

    /// Reads it again. If that fails the policy stays as it was, and the log says why.
    pub fn reload(&self) {
        match read(&self.path) {
            Ok(policy) => {
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
                info!("the audit policy {} was read again", self.path.display());
            }
            Err(reason) => error!("the audit policy stays as it was: {reason}"),
        }
    }

    /// Whether this stage of a request becomes an event.
    pub fn records(&self, request: &Attributes<'_>, stage: AuditStage) -> bool {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).records(request, stage)
    }
}

fn read(path: &Path) -> Result<Policy, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(PolicyError::NoPolicy { path: path.to_owned() });
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text)).map_err(unreadable)?;
    let policy = Policy::parse(&text).map_err(|Invalid { line, text }| {
        let place = line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()));
        PolicyError::Invalid { place, text }
    })?;
    for warning in policy.warnings() {
        warn!("the audit policy {}: {warning}", path.display());
    }
    Ok(policy)
}
