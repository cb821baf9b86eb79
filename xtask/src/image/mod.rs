//! `cargo xtask image`: the static binaries as an OCI image for each machine, with bills of materials beside it.

pub(crate) mod inventory;
mod notices;
mod sbom;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use kubewitness_oci::{Archive, Entry, Image, Layer, sha256};
use serde_json::{Value, json};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask image [--arch amd64|arm64] [--name REPOSITORY:TAG] [--verify]

Builds the static binaries and writes
  target/image/kubewitness.tar              an OCI image archive: an index with an image for linux/amd64 and one for linux/arm64,
                                            with nothing in them but the binary and its licences
  target/image/kubewitness-ARCH.cdx.json    the bill of materials of each (CycloneDX 1.6)
The same source and toolchain give the same bytes. SOURCE_DATE_EPOCH sets the date in the images, which is otherwise 1970. Fails if what
a node has to fetch is larger than 12 MB.

Options:
  --arch ARCH            for one machine alone
  --name REPOSITORY:TAG  the image's name, localhost/kubewitness and the version if not given
  --verify               build everything again elsewhere, from nothing, and compare: takes minutes

Examples:
  cargo xtask image
  cargo xtask image --arch amd64
  ctr --namespace k8s.io images import target/image/kubewitness.tar
  docker load --input target/image/kubewitness.tar
  skopeo copy oci-archive:target/image/kubewitness.tar docker://registry.example/kubewitness:0.1.0
";

/// What a node has to fetch, at most: 12 MB.
const LIMIT: usize = 12_000_000;

/// The version of everything in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The uid of nobody in particular: who runs the image gets no root that was not asked for. The chart asks.
const USER: &str = "65532:65532";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    archs: Vec<Arch>,
    name: String,
    verify: bool,
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let options = parse(args)?;
    setup::for_build(&options.archs)?;
    options.archs.iter().try_for_each(|arch| build::all(*arch))?;
    let made = step("image: the archive and its bills of materials", || write(&options.name, &options.archs))?;
    args::print(&made.told());
    if options.verify {
        step("image: everything again, elsewhere", || verify::elsewhere(&options.archs))?;
        note("the second build gave the same bytes");
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    const OWN_HELP: &str = "cargo xtask image --help";
    let wrong = |what: String| Usage::error(what, OWN_HELP);
    let mut options = Options { archs: Arch::ALL.to_vec(), name: default_name(), verify: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--verify" => options.verify = true,
            "--arch" => {
                let name = args.next().ok_or_else(|| wrong("`--arch` needs a machine".into()))?;
                options.archs = vec![Arch::named(name, OWN_HELP)?];
            }
            "--name" => {
                let name = args.next().ok_or_else(|| wrong("`--name` needs a repository and a tag".into()))?;
                let tagged = name.rsplit_once(':').is_some_and(|(repository, tag)| !repository.is_empty() && !tag.contains('/'));
                if !tagged || name.contains('@') {
                    return Err(wrong(format!("`{name}` is not a repository with a tag")));
                }
                options.name.clone_from(name);
            }
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    Ok(options)
}

fn default_name() -> String {
    format!("localhost/kubewitness:{VERSION}")
}

/// What was written.
struct Made {
    name: String,
    /// Of the index: what a registry shows and a pod can be pinned to.
    digest: String,
    archive: PathBuf,
    images: Vec<Written>,
}

/// The part of it for one machine.
struct Written {
    arch: Arch,
    /// What a node has to fetch.
    bytes: usize,
    sbom: PathBuf,
}

impl Made {
    fn told(&self) -> String {
        let shown = |path: &Path| path.strip_prefix(project::root()).unwrap_or(path).display().to_string();
        let images = self.images.iter().map(|image| {
            let (name, bytes, sbom) = (image.arch.name(), image.bytes, shown(&image.sbom));
            format!("{name}    {bytes} bytes, {sbom}\n")
        });
        let images: String = images.collect();
        format!("image    {}\ndigest   {}\narchive  {}\n{images}", self.name, self.digest, shown(&self.archive))
    }
}

/// Writes archive and bill of the binary that is there, under the image's usual name: the one for this machine alone.
pub(crate) fn of_what_is_built() -> Result<()> {
    step("image: the archive and its bill of materials", || write(&default_name(), &[Arch::Amd64])).map(drop)
}

fn write(name: &str, archs: &[Arch]) -> Result<Made> {
    let target = project::root().join("target");
    let date = date()?;
    let (mut archive, mut descriptors, mut images) = (Archive::default(), Vec::new(), Vec::new());
    // A Docker that knows no index takes the last one, and most of those are amd64.
    for arch in archs.iter().rev() {
        let binary = read(&target.join("release").join(arch.binary()))?;
        let crates = inventory::linked(*arch)?;
        let licences = licences(*arch)?;
        let layer = layer(&binary, &licences)?;
        let bytes = layer.blob().len();
        ensure!(
            bytes <= LIMIT,
            "the image for {} would have {bytes} bytes and {LIMIT} is the limit: see with `cargo bloat --release -p kubewitness` what the \
             binary holds",
            arch.name()
        );
        let image = archive.image(&Image { architecture: arch.name(), layer: &layer, config: config(), created: &date });
        let subject = sbom::Subject { architecture: arch.name(), version: VERSION, digest: image.digest(), binary: &sha256(&binary) };
        let sbom = target.join(format!("image/kubewitness-{}.cdx.json", arch.name()));
        put(&sbom, &serde_json::to_vec_pretty(&sbom::bill(&crates, &subject))?)?;
        images.push(Written { arch: *arch, bytes, sbom });
        descriptors.push(image);
    }
    let index = archive.index(&descriptors, &labels());
    archive.name(&index, name);
    let path = target.join("image/kubewitness.tar");
    put(&path, &archive.into_tar()?)?;
    Ok(Made { name: name.to_owned(), digest: index.digest().to_owned(), archive: path, images })
}

/// The project's licences and those of the crates that are linked, by the names of their files.
pub(crate) fn licences(arch: Arch) -> Result<Vec<(String, Vec<u8>)>> {
    let own = |file: &str| Ok::<_, anyhow::Error>((file.to_owned(), read(&project::root().join(file))?));
    let others = notices::notices(inventory::linked(arch)?.values(), &build::Place::here()?.sources())?;
    Ok(vec![own("LICENSE-APACHE")?, own("LICENSE-MIT")?, ("THIRD-PARTY".to_owned(), others.into_bytes())])
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The files of an image.
fn layer(binary: &[u8], licences: &[(String, Vec<u8>)]) -> Result<Layer> {
    let licences: Vec<(String, &[u8])> =
        licences.iter().map(|(name, text)| (format!("usr/share/licenses/kubewitness/{name}"), &text[..])).collect();
    let mut entries = vec![
        Entry::Folder("usr"),
        Entry::Folder("usr/local"),
        Entry::Folder("usr/local/bin"),
        Entry::Program("usr/local/bin/kubewitness", binary),
        Entry::Folder("usr/share"),
        Entry::Folder("usr/share/licenses"),
        Entry::Folder("usr/share/licenses/kubewitness"),
    ];
    entries.extend(licences.iter().map(|(path, text)| Entry::File(path, text)));
    Ok(Layer::compressed(&entries)?)
}

/// How an image is run.
fn config() -> Value {
    json!({
        "Entrypoint": ["/usr/local/bin/kubewitness"],
        "Cmd": ["--help"],
        "Env": ["PATH=/usr/local/bin"],
        "User": USER,
        "WorkingDir": "/",
        "Labels": labels(),
    })
}

/// Annotations of the OCI image specification, the keys that are true wherever it was built.
fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "kubewitness",
        "org.opencontainers.image.description": "The audit log the kubelet never had",
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    })
}

/// `SOURCE_DATE_EPOCH` (seconds since 1970) in the form of RFC 3339.
fn date() -> Result<String> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => 0,
        Ok(text) => match text.parse() {
            Ok(seconds) => seconds,
            Err(_) => bail!("SOURCE_DATE_EPOCH is `{text}`: it must be seconds since 1970"),
        },
    };
    Ok(jiff::Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is no date")?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &[&str]) -> Result<Options> {
        parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        assert_eq!(parsed(&[]).expect("none is needed"), Options { archs: Arch::ALL.to_vec(), name: default_name(), verify: false });
        let options = parsed(&["--name", "registry.example:5000/a/b:1", "--verify", "--arch", "arm64"]).expect("all are known");
        assert_eq!(options, Options { archs: vec![Arch::Arm64], name: "registry.example:5000/a/b:1".into(), verify: true });
        for wrong in ["kubewitness", "registry.example:5000/kubewitness", ":1", "a@sha256:00"] {
            assert!(parsed(&["--name", wrong]).expect_err("no tag").is::<Usage>(), "{wrong}");
        }
    }

    #[test]
    fn the_same_binary_gives_the_same_layer() {
        let make = |binary: &[u8]| {
            let made = layer(binary, &[("LICENCE".to_owned(), b"text".to_vec())]).expect("made");
            (made.blob().to_vec(), made.diff_id().to_owned())
        };
        assert_eq!(make(b"ELF"), make(b"ELF"));
        assert_ne!(make(b"FLE").1, make(b"ELF").1);
    }
}
