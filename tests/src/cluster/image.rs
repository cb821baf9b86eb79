//! The images of the pods as one OCI archive, pure: file contents in, the bytes of a tar out. `ctr images import` reads it.

use std::io;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// An executable in the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Executable {
    /// File name in `/bin`.
    pub(super) name: String,
    /// Its bytes: a static executable, there are no libraries.
    pub(super) content: Vec<u8>,
}

/// An image: its name with a tag, and the command that it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) name: &'a str,
    pub(super) command: &'a [&'a str],
}

/// Commands of busybox that are linked to it.
const APPLETS: [&str; 24] = [
    "cat", "cp", "date", "dd", "echo", "env", "false", "head", "hostname", "id", "kill", "ls", "mkdir", "nc", "ps", "rm", "seq", "sh",
    "sleep", "tail", "true", "vi", "wget", "yes",
];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An OCI image layout with one layer that all images share: busybox, links for its commands, and the executables.
pub(super) fn archive(busybox: &[u8], executables: &[Executable], images: &[Image<'_>]) -> io::Result<Vec<u8>> {
    let layer = layer(busybox, executables)?;
    let mut tar = Builder::new(Vec::new());
    let layer_entry = descriptor("application/vnd.oci.image.layer.v1.tar", &layer);
    add_blob(&mut tar, &layer)?;
    let mut manifests = Vec::new();
    for image in images {
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Cmd": image.command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer_entry["digest"]]},
        });
        let config = config.to_string().into_bytes();
        add_blob(&mut tar, &config)?;
        let config = descriptor("application/vnd.oci.image.config.v1+json", &config);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer_entry]}).to_string().into_bytes();
        add_blob(&mut tar, &manifest)?;
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": image.name});
        manifests.push(entry);
    }
    add_file(&mut tar, "index.json", 0o644, json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes())?;
    add_file(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.into_inner()
}

fn layer(busybox: &[u8], executables: &[Executable]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
        tar.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, io::empty())?;
    }
    add_file(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    add_file(&mut tar, "bin/busybox", 0o755, busybox)?;
    for applet in APPLETS {
        tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "busybox")?;
    }
    for executable in executables {
        add_file(&mut tar, &format!("bin/{}", executable.name), 0o755, &executable.content)?;
    }
    tar.into_inner()
}

fn add_blob(tar: &mut Builder<Vec<u8>>, content: &[u8]) -> io::Result<()> {
    add_file(tar, &format!("blobs/sha256/{}", sha256(content)), 0o644, content)
}

fn add_file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len() as u64), path, content)
}

/// Owner root, time 0: the same input gives the same bytes.
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

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(content)), "size": content.len()})
}

fn sha256(content: &[u8]) -> String {
    crate::hex(digest(&SHA256, content).as_ref())
}

/// The name that OCI, which follows Go, gives to this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    /// Path to content of every entry; a link's content is where it points.
    fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(target) = entry.link_name_bytes() {
                content = target.into_owned();
            }
            (entry.path().unwrap().to_string_lossy().into_owned(), content)
        });
        entries.collect()
    }

    #[test]
    fn every_reference_in_the_archive_names_a_blob_with_that_digest_and_size() {
        let images =
            [Image { name: "localhost/a:1", command: &["/bin/sh"] }, Image { name: "localhost/b:1", command: &["/bin/sleep", "1"] }];
        let extra = [Executable { name: "client".into(), content: b"ELF client".to_vec() }];
        let files = entries(&archive(b"ELF busybox", &extra, &images).unwrap());
        let blob = |descriptor: &Value| {
            let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            let content = &files[&format!("blobs/sha256/{hash}")];
            assert_eq!(sha256(content), hash);
            assert_eq!(descriptor["size"], content.len());
            content.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
        for (entry, image) in index["manifests"].as_array().unwrap().iter().zip(images) {
            assert_eq!(entry["annotations"]["io.containerd.image.name"], image.name);
            let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
            let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
            assert_eq!(config["config"]["Cmd"], json!(image.command));
            assert_eq!(config["rootfs"]["diff_ids"], json!([manifest["layers"][0]["digest"]]));
            let layer = entries(&blob(&manifest["layers"][0]));
            assert_eq!(layer["bin/busybox"], b"ELF busybox");
            assert_eq!(layer["bin/sh"], b"busybox");
            assert_eq!(layer["bin/client"], b"ELF client");
        }
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let make = || archive(&[1, 2, 3], &[], &[Image { name: "localhost/a:1", command: &["/bin/sh"] }]).unwrap();
        assert_eq!(make(), make());
    }
}
