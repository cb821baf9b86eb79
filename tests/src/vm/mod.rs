//! Virtual machines: a kernel of Debian's, a file system in memory with the programs that it is given, a script, and what that left.
//!
//! qemu translates every instruction (TCG), so this needs no virtualization by the machine, runs other processors too, and is slow: a boot
//! takes seconds. Output comes over the serial console.

mod archive;
mod debian;
pub mod scene;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use archive::Archive;
use debian::Wanted;

const INIT: &str = include_str!("init.sh");

/// A processor that machines are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Processor {
    /// Debian's name for it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The emulator, the package that has it, and how it is called for this processor.
    fn emulator(self) -> (&'static str, &'static str, &'static [&'static str], &'static str) {
        match self {
            // Five levels of page tables would only make the emulation slower.
            Self::Amd64 => ("qemu-system-x86_64", "qemu-system-x86", &["-machine", "pc", "-cpu", "max,la57=off"], "ttyS0"),
            // The real algorithm of pointer authentication takes most of the time of an emulated machine.
            Self::Arm64 => ("qemu-system-aarch64", "qemu-system-arm", &["-machine", "virt", "-cpu", "max,pauth-impdef=on"], "ttyAMA0"),
        }
    }
}

/// A series of kernels, of which the newest that Debian has is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// 6.1, of Debian 12.
    V6_1,
    /// 6.12, of Debian 13.
    V6_12,
    /// 7, of Debian's unstable suite.
    V7,
}

impl Series {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7];

    /// How releases of it begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7 => "7",
        }
    }

    /// The kernel, fetched if it is not there.
    pub fn fetch(self, processor: Processor) -> Result<PathBuf, VmError> {
        let (suite, begins): (_, &[_]) = match self {
            Self::V6_1 => ("bookworm", &["linux-image-6.1."]),
            Self::V6_12 => ("trixie", &["linux-image-6.12."]),
            // Since 7.0 the kernel itself is in a package of its own.
            Self::V7 => ("sid", &["linux-binary-7.", "linux-image-7."]),
        };
        let end = format!("-cloud-{}", processor.debian());
        let wanted = Wanted { suite, processor, begins, end, file: "vmlinuz*" };
        wanted.fetch(&format!("linux-{}-{}", self.name(), processor.debian()))
    }
}

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The processor.
    pub processor: Processor,
    /// The kernel, as [`Series::fetch`] gives it.
    pub kernel: PathBuf,
    /// What is added to the kernel's command line.
    pub kernel_arguments: String,
    /// Memory in MiB; the files lie in it twice for a moment.
    pub memory: u32,
    /// Files of this machine by their paths in that one, such as `bin/agent`. Programs have to be static.
    pub files: Vec<(String, PathBuf)>,
    /// A script for busybox' `sh`, run as root with all its commands in the path. What it writes to `/out` is handed out in the end, and
    /// its own output as `stdout`.
    pub script: String,
    /// It is ended after this time.
    pub limit: Duration,
}

/// What a machine did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The kernel's release, `uname -r`.
    pub release: String,
    /// The script's exit status.
    pub status: i32,
    /// The files in `/out` by their names.
    pub files: BTreeMap<String, String>,
    /// From the start to the end.
    pub took: Duration,
}

/// Why a machine did not run.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// This is not Debian.
    #[error(
        "kernels come from Debian's archive, and this machine's apt knows none: run this on Debian, or put its archive into the sources"
    )]
    NotDebian,
    /// Debian has no such package.
    #[error("Debian's suite {suite} has no package {what}: it was renamed, so tests/src/vm must follow")]
    NoPackage {
        /// The suite.
        suite: &'static str,
        /// The package.
        what: String,
    },
    /// A command failed.
    #[error("{command}: {why}")]
    Command {
        /// The command.
        command: String,
        /// Its own words.
        why: String,
    },
    /// There is no emulator.
    #[error("{emulator} is missing: install the package {package}")]
    NoEmulator {
        /// The program.
        emulator: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A file could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end by itself.
    #[error("the machine was ended after {limit:?}; its console ends with:\n{console}")]
    Late {
        /// How long it had.
        limit: Duration,
        /// The end of what it said.
        console: String,
    },
    /// It ended without handing out everything.
    #[error("the machine ended early; its console ends with:\n{console}")]
    Cut {
        /// The end of what it said.
        console: String,
    },
}

impl Machine {
    /// Boots the machine, lets it do its work, and gives what it left. `folder` is emptied first; the console's text stays in it.
    pub fn run(&self, folder: &Path) -> Result<Report, VmError> {
        let begun = Instant::now();
        let _left = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(at(folder))?;
        let (files, console) = (folder.join("files.cpio"), folder.join("console"));
        self.pack(&files)?;
        let (emulator, package, arguments, serial) = self.processor.emulator();
        let mut command = Command::new(emulator);
        command.args(arguments).args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", &self.memory.to_string()]);
        command.args(["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&files);
        // On a busy machine the emulated timer is late, and old kernels then take it for broken.
        command.args(["-append", &format!("console={serial} rdinit=/init panic=-1 no_timer_check {}", self.kernel_arguments)]);
        let mut emulator = match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Emulator(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(VmError::NoEmulator { emulator, package }),
            Err(error) => return Err(VmError::Command { command: format!("{command:?}"), why: error.to_string() }),
        };
        let ended = emulator.wait(self.limit);
        // It holds all programs and nobody looks at it again.
        let _left = fs::remove_file(&files);
        let said = fs::read(&console).map_err(at(&console))?;
        if !ended.map_err(at(&console))? {
            return Err(VmError::Late { limit: self.limit, console: end_of(&said) });
        }
        let (release, status, files) = handed_out(&said).ok_or_else(|| VmError::Cut { console: end_of(&said) })?;
        Ok(Report { release, status, files, took: begun.elapsed() })
    }

    fn pack(&self, to: &Path) -> Result<(), VmError> {
        let busybox =
            Wanted { suite: "bookworm", processor: self.processor, begins: &["busybox-static"], end: String::new(), file: "bin/busybox" };
        let busybox = busybox.fetch(&format!("busybox-{}", self.processor.debian()))?;
        // The machine turns itself off too, should nobody be there to end it.
        let limit = self.limit.as_secs().to_string();
        let pack = || -> io::Result<()> {
            let mut archive = Archive::new(BufWriter::new(File::create(to)?))?;
            archive.folder("bin")?;
            archive.copy("bin/busybox", &busybox)?;
            archive.file("init", INIT.as_bytes())?;
            archive.file("script", self.script.as_bytes())?;
            archive.file("limit", limit.as_bytes())?;
            for (name, path) in &self.files {
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                archive.copy(name, path).map_err(named)?;
            }
            archive.finish()
        };
        pack().map_err(at(to))
    }
}

/// A running emulator; it is ended when this is dropped.
struct Emulator(Child);

impl Emulator {
    /// Whether it ended by itself.
    fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It is gone already where all went well.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Release, status and files, as `init.sh` writes them; `None` where something is missing.
fn handed_out(console: &[u8]) -> Option<(String, i32, BTreeMap<String, String>)> {
    const MARK: &[u8] = b"@@@ ";
    let (mut files, mut release) = (BTreeMap::new(), None);
    let mut rest = console;
    loop {
        let begin = rest.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
        let end = begin + rest[begin..].iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[begin..end]).ok()?.trim_end();
        rest = &rest[end + 1..];
        let (what, value) = line.split_once(' ')?;
        match what {
            "file" => {
                let (size, name) = value.split_once(' ')?;
                let content = rest.get(..size.parse().ok()?)?;
                files.insert(name.to_owned(), String::from_utf8_lossy(content).into_owned());
                rest = &rest[content.len()..];
            }
            "release" => release = Some(value.to_owned()),
            "status" => return Some((release?, value.parse().ok()?, files)),
            _ => return None,
        }
    }
}

/// The last lines of a console.
fn end_of(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn at(path: &Path) -> impl Fn(io::Error) -> VmError + '_ {
    |source| VmError::File { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_is_read_byte_by_byte_and_a_cut_is_noticed() {
        let console = b"boot\r\n@@@ file 9 a b\none\n@@@ t\n@@@ file 0 empty\n@@@ release 6.1.0\n@@@ status 3\nlast";
        let (release, status, files) = handed_out(console).unwrap();
        assert_eq!((release.as_str(), status), ("6.1.0", 3));
        assert_eq!(files, [("a b", "one\n@@@ t"), ("empty", "")].map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        let whole = console.len() - b"\nlast".len();
        for end in 0..whole {
            assert_eq!(handed_out(&console[..end]), None, "cut at {end}");
        }
    }
}
