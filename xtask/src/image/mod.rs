//! `cargo xtask image`: the static binary as an OCI image, with a bill of materials beside it.

pub(crate) mod inventory;
mod notices;
mod sbom;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use kubewitness_oci::{Archive, Entry, Image, Layer, sha256};
use serde_json::{Value, json};

use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask image [--name REPOSITORY:TAG] [--verify]

Builds target/release/kubewitness and writes
  target/image/kubewitness.tar        an OCI image archive with nothing in it but the binary and its licences
  target/image/kubewitness.cdx.json   its bill of materials (CycloneDX 1.6)
The same source and toolchain give the same bytes. SOURCE_DATE_EPOCH sets the date in the image, which is otherwise 1970. Fails if the
archive is larger than 12 MB.

Options:
  --name REPOSITORY:TAG  the image's name, localhost/kubewitness and the version if not given
  --verify               build everything again elsewhere, from nothing, and compare: takes minutes

Examples:
  cargo xtask image
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
    name: String,
    verify: bool,
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let options = parse(args)?;
    setup::for_build()?;
    build::all()?;
    let made = step("image: the archive and its bill of materials", || write(&options.name))?;
    args::print(&made.told());
    if options.verify {
        step("image: everything again, elsewhere", || verify::elsewhere(&made))?;
        note("the second build gave the same bytes");
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let wrong = |what: String| Usage::error(what, "cargo xtask image --help");
    let mut options = Options { name: default_name(), verify: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--verify" => options.verify = true,
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
    bytes: usize,
    sbom: PathBuf,
}

impl Made {
    fn told(&self) -> String {
        let shown = |path: &Path| path.strip_prefix(project::root()).unwrap_or(path).display().to_string();
        format!(
            "image    {}\ndigest   {}\nsize     {} bytes\narchive  {}\nsbom     {}\n",
            self.name,
            self.digest,
            self.bytes,
            shown(&self.archive),
            shown(&self.sbom),
        )
    }
}

/// Writes archive and bill of the binary that is there, under the image's usual name.
pub(crate) fn of_what_is_built() -> Result<()> {
    step("image: the archive and its bill of materials", || write(&default_name())).map(drop)
}

fn write(name: &str) -> Result<Made> {
    let target = project::root().join("target");
    let (archive, sbom) = (target.join("image/kubewitness.tar"), target.join("image/kubewitness.cdx.json"));
    let binary = read(&target.join("release/kubewitness"))?;
    let crates = inventory::linked()?;
    let licence = |file| read(&project::root().join(file));
    let licences = [
        ("usr/share/licenses/kubewitness/LICENSE-APACHE", licence("LICENSE-APACHE")?),
        ("usr/share/licenses/kubewitness/LICENSE-MIT", licence("LICENSE-MIT")?),
        ("usr/share/licenses/kubewitness/THIRD-PARTY", notices::notices(crates.values(), &build::Place::here()?.sources())?.into_bytes()),
    ];
    let (bytes, digest) = archive_of(&binary, &licences, name, &date()?)?;
    ensure!(
        bytes.len() <= LIMIT,
        "the archive would have {} bytes and {LIMIT} is the limit: see with `cargo bloat --release -p kubewitness` what the binary holds",
        bytes.len()
    );
    let bill = sbom::bill(&crates, &sbom::Subject { version: VERSION, digest: &digest, binary: &sha256(&binary) });
    put(&archive, &bytes)?;
    put(&sbom, &serde_json::to_vec_pretty(&bill)?)?;
    Ok(Made { name: name.to_owned(), digest, archive, bytes: bytes.len(), sbom })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The archive's bytes and the digest of its index. There is one image in the index; another architecture is one more.
fn archive_of(binary: &[u8], licences: &[(&str, Vec<u8>)], name: &str, created: &str) -> Result<(Vec<u8>, String)> {
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
    let layer = Layer::compressed(&entries)?;
    let labels = labels();
    let config = json!({
        "Entrypoint": ["/usr/local/bin/kubewitness"],
        "Cmd": ["--help"],
        "Env": ["PATH=/usr/local/bin"],
        "User": USER,
        "WorkingDir": "/",
        "Labels": labels,
    });
    let mut archive = Archive::default();
    let amd64 = archive.image(&Image { architecture: "amd64", layer: &layer, config, created });
    let index = archive.index(&[amd64], &labels);
    archive.name(&index, name);
    Ok((archive.into_tar()?, index.digest().to_owned()))
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
        assert_eq!(parsed(&[]).expect("none is needed"), Options { name: default_name(), verify: false });
        let options = parsed(&["--name", "registry.example:5000/a/b:1", "--verify"]).expect("both are known");
        assert_eq!(options, Options { name: "registry.example:5000/a/b:1".into(), verify: true });
        for wrong in ["kubewitness", "registry.example:5000/kubewitness", ":1", "a@sha256:00"] {
            assert!(parsed(&["--name", wrong]).expect_err("no tag").is::<Usage>(), "{wrong}");
        }
    }

    #[test]
    fn the_same_binary_gives_the_same_archive() {
        let make = |binary: &[u8]| {
            archive_of(binary, &[("usr/share/licence", b"text".to_vec())], "localhost/a:1", "1970-01-01T00:00:00Z").expect("made")
        };
        let (bytes, digest) = make(b"ELF");
        assert_eq!(make(b"ELF"), (bytes, digest.clone()));
        assert_ne!(make(b"FLE").1, digest);
    }
}
