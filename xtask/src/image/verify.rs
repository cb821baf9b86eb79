//! Whether the image depends on where it was built: everything again, from a copy of the source in another folder, with nothing that was
//! fetched or compiled before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Made, read};
use crate::{build, project};

/// Builds elsewhere and compares binaries: of one binary there is one archive, which a test holds.
pub(super) fn elsewhere(made: &Made) -> Result<()> {
    let folder = Folder::new()?;
    let copy = folder.0.join("a folder of another name");
    copy_source(&copy)?;
    let other = build::elsewhere(&build::Place::of(copy, &folder.0.join("cargo"))?)?;
    let (here, there) = (read(&project::root().join("target/release/kubewitness"))?, read(&other)?);
    if here == there {
        return Ok(());
    }
    // What differs can be looked at after the folder is gone.
    let kept = made.archive.with_file_name("kubewitness-elsewhere");
    fs::write(&kept, there).with_context(|| format!("cannot write {}", kept.display()))?;
    ensure!(here == fs::read(&kept)?, "the second build differs; it is {}: compare it with target/release/kubewitness", kept.display());
    Ok(())
}

/// The files that git knows or would take, as they are in the working tree.
fn copy_source(to: &Path) -> Result<()> {
    let root = project::root();
    let mut list = Command::new("git");
    let files = project::answer(list.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(root))?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (root.join(file), to.join(file));
        // A file that is deleted in the working tree is still in the list, and a link to a file becomes that file.
        if !from.is_file() {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(Path::new("/"))).with_context(|| format!("cannot make the folder of {}", to.display()))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kubewitness-verify-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the folder for temporary files; what cannot be removed now the system removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}
