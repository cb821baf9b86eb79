//! Builds of Go programs, each done once for the same inputs.
//!
//! A program is kept as `CACHE/<folder>/<name>` beside `<name>.inputs`, the text that it was built from: toolchain, flags and
//! the hash of every file in its module's folder. Same text, no build. A build goes to a temporary name and is renamed, so an
//! interrupted one hurts nothing, and a lock on the folder makes a second run wait for the first instead of building too.

mod catalogue;
mod inputs;
mod release;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub use catalogue::{
    AlertmanagerProgram, CniPlugin, ContainerdProgram, KubernetesProgram, OwnProgram, PrometheusProgram, ServerProgram, audit_policy, etcd,
    flood, helm, kube_proxy, multicall, nfpm,
};
pub use release::{Release, Shape};

/// Bytes that must be free in the cache's file system before a build starts: the module and build caches of one kubelet take about 4 GB.
const FREE_BYTES: u64 = 5 << 30;

/// How one program is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Name of the executable.
    pub name: &'static str,
    /// Go import path of its `main` package.
    pub package: String,
    /// Folder of the module that pins it, with `go.mod` and `go.sum`.
    pub module: PathBuf,
    /// What `GOTOOLCHAIN` is set to, such as `go1.26.8`.
    pub toolchain: &'static str,
    /// What `-tags` is set to, empty for none.
    pub tags: &'static str,
    /// What `-ldflags` is set to.
    pub linker_flags: String,
    /// What is set in the environment of `go build` over what every build gets, such as `GOARCH=arm64`.
    pub environment: &'static [(&'static str, &'static str)],
    /// Further arguments of `go build`, such as `-buildmode=pie`.
    pub arguments: &'static [&'static str],
    /// Folder below the cache that keeps the executable.
    pub folder: String,
}

/// Why a program could not be built. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no `go` command.
    #[error(
        "building {program} needs Go and there is no `go` on PATH: install Go 1.21 or later (the packages golang or golang-go), it fetches {toolchain} by itself"
    )]
    NoGo {
        /// The program that was to be built.
        program: &'static str,
        /// The toolchain that Go will fetch.
        toolchain: &'static str,
    },
    /// The disk is too full to start.
    #[error(
        "building {program} needs {need_mib} MiB free at {path} and there are {free_mib}: free some space or set KUBEWITNESS_CACHE to another disk"
    )]
    NoSpace {
        /// The program that was to be built.
        program: &'static str,
        /// Mebibytes wanted.
        need_mib: u64,
        /// Mebibytes that are free.
        free_mib: u64,
        /// Where they are wanted.
        path: PathBuf,
    },
    /// The compiler, or the download of a module, failed; its own messages were printed.
    #[error("`go build {package}` with {toolchain} in {module} failed: its messages are above; where a download failed, run it again")]
    Failed {
        /// Go import path.
        package: String,
        /// The toolchain asked for.
        toolchain: &'static str,
        /// The folder it ran in.
        module: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}; the cache must be a writable folder, see KUBEWITNESS_CACHE")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The cache: `$KUBEWITNESS_CACHE`, or `~/.cache/kubewitness`.
pub fn cache() -> PathBuf {
    std::env::var_os("KUBEWITNESS_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/var".into())).join(".cache/kubewitness"), PathBuf::from)
}

impl Recipe {
    /// Where the executable is kept, whether or not it has been built.
    pub fn path(&self) -> PathBuf {
        cache().join(&self.folder).join(self.name)
    }

    /// Builds the program unless it is there, made from the same inputs; gives the path of the executable.
    ///
    /// Prints one line to stderr before a build and one after it, with the seconds it took.
    pub fn build(&self) -> Result<PathBuf, BuildError> {
        let (output, inputs) = (self.path(), self.inputs()?);
        if self.is_current(&inputs) {
            return Ok(output);
        }
        let folder = cache().join(&self.folder);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let _lock = lock(&folder)?;
        if !self.is_current(&inputs) {
            self.compile(&folder, &inputs)?;
        }
        Ok(output)
    }

    fn is_current(&self, inputs: &str) -> bool {
        self.path().is_file() && fs::read_to_string(self.stamp()).is_ok_and(|made_from| made_from == inputs)
    }

    fn stamp(&self) -> PathBuf {
        cache().join(&self.folder).join(format!("{}.inputs", self.name))
    }

    fn compile(&self, folder: &Path, inputs: &str) -> Result<(), BuildError> {
        self.check_space(folder)?;
        eprintln!("building {} in {} with {} …", self.name, self.folder, self.toolchain);
        let begun = Instant::now();
        let unfinished = folder.join(format!(".{}.unfinished", self.name));
        let done = Command::new("go")
            .args(["build", "-trimpath", "-tags", self.tags, "-ldflags", &self.linker_flags, "-o"])
            .arg(&unfinished)
            .args(self.arguments)
            .arg(&self.package)
            .current_dir(&self.module)
            .envs([("GOTOOLCHAIN", self.toolchain), ("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=readonly -buildvcs=false")])
            .envs(self.environment.iter().copied())
            .status();
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BuildError::NoGo { program: self.name, toolchain: self.toolchain });
            }
            Ok(status) if status.success() => {}
            _ => return Err(BuildError::Failed { package: self.package.clone(), toolchain: self.toolchain, module: self.module.clone() }),
        }
        // The old stamp goes first: a crash between the renames must never leave it beside the new program, or the reverse.
        let stamp = self.stamp();
        fs::remove_file(&stamp)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(at(&stamp))?;
        fs::rename(&unfinished, self.path()).map_err(at(&unfinished))?;
        fs::write(&stamp, inputs).map_err(at(&stamp))?;
        eprintln!("built {} in {:.1} s", self.name, begun.elapsed().as_secs_f32());
        Ok(())
    }

    fn check_space(&self, folder: &Path) -> Result<(), BuildError> {
        let disk = rustix::fs::statvfs(folder).map_err(|error| at(folder)(error.into()))?;
        let free = disk.f_bavail * disk.f_frsize;
        if free >= FREE_BYTES {
            return Ok(());
        }
        Err(BuildError::NoSpace { program: self.name, need_mib: FREE_BYTES >> 20, free_mib: free >> 20, path: folder.to_path_buf() })
    }

    fn inputs(&self) -> Result<String, BuildError> {
        inputs::describe(self).map_err(at(&self.module))
    }
}

/// Takes the lock of a folder; it ends with the returned file, or with the process.
fn lock(folder: &Path) -> Result<File, BuildError> {
    let file = File::open(folder).map_err(at(folder))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another run that builds in {} …", folder.display());
        file.lock().map_err(at(folder))?;
    }
    Ok(file)
}

fn at(path: &Path) -> impl Fn(io::Error) -> BuildError + '_ {
    |source| BuildError::File { path: path.to_path_buf(), source }
}
