//! Whether the image depends on where it was built: everything again, from a copy of the source in another folder, with nothing that was
//! fetched or compiled before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::read;
use crate::arch::Arch;
use crate::{build, project};

/// Builds elsewhere and compares binaries: of one binary there is one layer, which a test holds.
pub(super) fn elsewhere(archs: &[Arch]) -> Result<()> {
    let folder = Folder::new()?;
    let copy = folder.0.join("a folder of another name");
    copy_source(&copy)?;
    let place = build::Place::of(copy, &folder.0.join("cargo"))?;
    archs.iter().try_for_each(|arch| compare(&read(&build::elsewhere(&place, *arch)?)?, *arch))
}

fn compare(there: &[u8], arch: Arch) -> Result<()> {
    let (target, name) = (project::root().join("target"), arch.binary());
    if read(&target.join("release").join(name))? == there {
        return Ok(());
    }
    // What differs can be looked at after the folder is gone.
    let kept = target.join(format!("image/{name}-elsewhere"));
    fs::write(&kept, there).with_context(|| format!("cannot write {}", kept.display()))?;
    bail!("the second build differs; it is {}: compare it with target/release/{name}", kept.display());
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
