//! Files out of Debian's packages, of any of its suites and for any processor, by the machine's own `apt`.
//!
//! The suites and processors of this machine are left as they are: `apt` is given a configuration of its own, in a folder that goes
//! away afterwards. What was taken out of a package is kept in the testbed's cache, and nothing is asked a second time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Processor, VmError, at};

/// The keys of Debian's archives, from the package `debian-archive-keyring`.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A file in a package.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The suite, such as `bookworm`.
    pub(super) suite: &'static str,
    /// For which processor.
    pub(super) processor: Processor,
    /// How the names of packages begin that have the file, the best kind first.
    pub(super) begins: &'static [&'static str],
    /// How they end.
    pub(super) end: String,
    /// The end of its path in the package; `*` stands for anything.
    pub(super) file: &'static str,
}

impl Wanted {
    /// The file, fetched once and then kept as `CACHE/vm/NAME` beside `NAME.package`, which says what it is from.
    pub(super) fn fetch(&self, name: &str) -> Result<PathBuf, VmError> {
        let folder = crate::build::cache().join("vm");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let kept = folder.join(name);
        let lock = File::open(&folder).map_err(at(&folder))?;
        lock.lock().map_err(at(&folder))?;
        if !kept.is_file() {
            let temporary = folder.join(format!(".{name}.apt"));
            let fetched = self.fetch_to(&temporary, &kept);
            // What an interrupted run leaves is removed by the next one.
            let _left = fs::remove_dir_all(&temporary);
            fetched?;
        }
        Ok(kept)
    }

    fn fetch_to(&self, temporary: &Path, kept: &Path) -> Result<(), VmError> {
        let apt = Apt::new(temporary, self.suite, self.processor)?;
        let package = self.newest(&apt.run("apt-cache", &["pkgnames", "linux-"])?, &apt.run("apt-cache", &["pkgnames", "busybox"])?)?;
        eprintln!("fetching {package} of Debian {} for {} …", self.suite, self.processor.debian());
        apt.run("apt-get", &["download", &format!("{package}:{}", self.processor.debian())])?;
        let mut files = fs::read_dir(temporary).map_err(at(temporary))?.flatten().map(|entry| entry.path());
        let archive = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let archive = archive.ok_or(VmError::NoPackage { suite: self.suite, what: package })?;
        let file = apt.unpack(&archive, self.file)?;
        fs::write(kept.with_extension("package"), archive.file_name().unwrap_or_default().as_encoded_bytes()).map_err(at(kept))?;
        fs::rename(&file, kept).map_err(at(kept))
    }

    /// The newest package among those names, of the first kind that is there at all.
    fn newest(&self, kernels: &str, others: &str) -> Result<String, VmError> {
        let of_kind = |begin: &&str| {
            let names = kernels.lines().chain(others.lines());
            names.filter(|name| name.starts_with(begin) && name.ends_with(&self.end)).max_by_key(|name| numbers(name))
        };
        let newest = self.begins.iter().find_map(of_kind).map(str::to_owned);
        newest.ok_or_else(|| VmError::NoPackage { suite: self.suite, what: format!("{}…{}", self.begins.join("… or "), self.end) })
    }
}

/// The numbers in a name, in their order: 6.1.0-9 is older than 6.1.0-50.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// `apt` with lists, sources and packages in a folder of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path, suite: &str, processor: Processor) -> Result<Self, VmError> {
        let _left = fs::remove_dir_all(folder);
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(at(&part))?;
        }
        let this = Self { folder: folder.to_path_buf() };
        let write = |name: &str, text: String| fs::write(this.folder.join(name), text).map_err(at(&this.folder));
        let (place, processor) = (folder.display(), processor.debian());
        let source = format!("deb [arch={processor} signed-by={KEYS}] {} {suite} main\n", archive_address()?);
        write("sources.list", source)?;
        write(
            "apt.conf",
            format!(
                "Dir::State::lists \"{place}/lists\";\nDir::Cache::archives \"{place}/archives\";\nDir::Cache::pkgcache \"\";\n\
                 Dir::Cache::srcpkgcache \"\";\nDir::Etc::sourcelist \"{place}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
                 APT::Architectures {{ \"{processor}\"; }};\nAcquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        this.run("apt-get", &["update"])?;
        Ok(this)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, VmError> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env("APT_CONFIG", self.folder.join("apt.conf"));
        output(&mut command)
    }

    /// Takes the files whose names match out of a package; gives the first one's path.
    fn unpack(&self, package: &Path, file: &str) -> Result<PathBuf, VmError> {
        let content = self.folder.join("content.tar");
        let to = File::create(&content).map_err(at(&content))?;
        let mut command = Command::new("dpkg-deb");
        command.arg("--fsys-tarfile").arg(package).stdout(to).stderr(Stdio::piped());
        output(&mut command)?;
        let mut command = Command::new("tar");
        command.args(["--extract", "--wildcards", "--transform", "s,.*/,file.,", "--file"]).arg(&content);
        output(command.arg(format!("*/{file}")).current_dir(&self.folder))?;
        let mut files = fs::read_dir(&self.folder).map_err(at(&self.folder))?.flatten().map(|entry| entry.path());
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("file."));
        files.find(is_it).ok_or_else(|| at(package)(io::Error::other(format!("it holds no {file}"))))
    }
}

/// Where this machine gets Debian's packages from, as its `apt` is configured; that knows the origin of a list only once it has it.
fn archive_address() -> Result<String, VmError> {
    let ask = || {
        let mut command = Command::new("apt-get");
        output(command.args(["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]))
    };
    let address = |lists: &str| {
        let debian = lists.lines().filter_map(|line| line.strip_prefix("Debian ")?.split_once(' '));
        // Updates and security fixes are archives of their own.
        debian.filter(|(suite, _)| !suite.contains('-')).map(|(_, address)| address.trim().to_owned()).next()
    };
    if let Some(address) = address(&ask()?) {
        return Ok(address);
    }
    output(Command::new("apt-get").arg("update"))?;
    address(&ask()?).ok_or(VmError::NotDebian)
}

fn output(command: &mut Command) -> Result<String, VmError> {
    let why = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => error.to_string(),
    };
    Err(VmError::Command { command: format!("{command:?}"), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_the_first_kind_is_taken() {
        let begins = &["linux-binary-7.", "linux-image-7."];
        let kernel = Wanted { suite: "sid", processor: Processor::Amd64, begins, end: "-cloud-amd64".to_owned(), file: "vmlinuz*" };
        let names = |text: &str| text.replace(' ', "\n");
        for (packages, expected) in [
            ("linux-image-7.2.9+deb14-cloud-amd64 linux-image-7.2.13+deb14-cloud-amd64", "linux-image-7.2.13+deb14-cloud-amd64"),
            ("linux-image-7.2.13+deb14-cloud-amd64 linux-binary-7.1.2+deb14-cloud-amd64", "linux-binary-7.1.2+deb14-cloud-amd64"),
            ("linux-image-7.2.13+deb14-cloud-amd64-dbg linux-image-7.2.9+deb14-cloud-amd64", "linux-image-7.2.9+deb14-cloud-amd64"),
        ] {
            assert_eq!(kernel.newest(&names(packages), "").unwrap(), expected);
        }
        let error = kernel.newest("linux-image-6.1.0-50-cloud-amd64", "busybox").unwrap_err().to_string();
        assert!(error.contains("linux-image-7.…-cloud-amd64"), "{error}");
    }
}
