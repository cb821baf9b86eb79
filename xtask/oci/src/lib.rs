//! OCI images as one archive, pure: file contents in, the bytes of a tar out. The same input gives the same bytes.
//!
//! An archive is an image layout (OCI image specification 1.1, `image-layout.md`) in a tar: what `ctr images import`, `skopeo`, `podman load`
//! and `docker load` read. For a Docker without containerd's image store there is a `manifest.json` beside it.

mod layer;

use std::collections::BTreeMap;
use std::io;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

pub use layer::{Entry, Layer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image: one layer, and what is to be run in it.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// Architecture as Go names it, such as `amd64`.
    pub architecture: &'a str,
    /// Its files.
    pub layer: &'a Layer,
    /// The `config` of an image configuration: `Entrypoint`, `Cmd`, `Env`, `User`, `Labels`.
    pub config: Value,
    /// When it was made, in the form of RFC 3339; the same input gives the same bytes only if it is part of the input.
    pub created: &'a str,
}

/// A blob of the archive as others refer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor(Value);

impl Descriptor {
    /// `sha256:…`.
    pub fn digest(&self) -> &str {
        self.0["digest"].as_str().unwrap_or_default()
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest().replace(':', "/"))
    }
}

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    named: Vec<Value>,
    docker: Vec<Value>,
    /// What `manifest.json` would say of the image that was added last.
    last: Value,
}

impl Archive {
    /// Adds an image; it is reached by a name of its own or through an index.
    pub fn image(&mut self, image: &Image<'_>) -> Descriptor {
        let layer = self.blob(image.layer.media_type(), image.layer.blob().to_vec());
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "created": image.created,
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [image.layer.diff_id()]},
            "history": [{"created": image.created, "created_by": "cargo xtask"}],
        });
        let config = self.blob(CONFIG, config.to_string().into_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.0, "layers": [layer.0]});
        let mut manifest = self.blob(MANIFEST, manifest.to_string().into_bytes());
        manifest.0["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        self.last = json!({"Config": config.path(), "Layers": [layer.path()]});
        manifest
    }

    /// Adds an index of images, of which whoever pulls it takes that of their platform.
    pub fn index(&mut self, images: &[Descriptor], annotations: &Value) -> Descriptor {
        let manifests: Vec<&Value> = images.iter().map(|image| &image.0).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": annotations});
        self.blob(INDEX, index.to_string().into_bytes())
    }

    /// Names what was added last, image or index: a repository and a tag. `manifest.json`, which knows no index, names the last image.
    pub fn name(&mut self, named: &Descriptor, name: &str) {
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut entry = named.0.clone();
        entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        self.named.push(entry);
        self.last["RepoTags"] = json!([name]);
        self.docker.push(self.last.clone());
    }

    /// The tar.
    pub fn into_tar(self) -> io::Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        add_file(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add_file(
            &mut tar,
            "index.json",
            0o644,
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.named}).to_string().as_bytes(),
        )?;
        add_file(&mut tar, "manifest.json", 0o644, Value::from(self.docker).to_string().as_bytes())?;
        for (path, content) in &self.blobs {
            add_file(&mut tar, path, 0o644, content)?;
        }
        tar.into_inner()
    }

    fn blob(&mut self, media_type: &str, content: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor(json!({"mediaType": media_type, "digest": sha256(&content), "size": content.len()}));
        self.blobs.insert(descriptor.path(), content);
        descriptor
    }
}

fn add_file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len() as u64), path, content)
}

/// Owner root, time 0: neither who builds nor when shows.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// `sha256:` and 64 hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, content).as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
