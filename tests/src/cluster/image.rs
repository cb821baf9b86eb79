//! The images of the pods as one OCI archive, pure: file contents in, the bytes of a tar out. `ctr images import` reads it.

use std::io;

use kubewitness_oci::{Archive, Entry, Layer};
use serde_json::json;

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

/// One layer that all images share: busybox, links for its commands, and the executables.
pub(super) fn archive(busybox: &[u8], executables: &[Executable], images: &[Image<'_>]) -> io::Result<Vec<u8>> {
    let layer = layer(busybox, executables)?;
    let mut archive = Archive::default();
    for image in images {
        let config = json!({"Cmd": image.command, "Env": ["PATH=/bin"]});
        let added =
            archive.image(&kubewitness_oci::Image { architecture: architecture(), layer: &layer, config, created: "1970-01-01T00:00:00Z" });
        archive.name(&added, image.name);
    }
    archive.into_tar()
}

fn layer(busybox: &[u8], executables: &[Executable]) -> io::Result<Layer> {
    let applets = APPLETS.map(|applet| format!("bin/{applet}"));
    let programs: Vec<String> = executables.iter().map(|executable| format!("bin/{}", executable.name)).collect();
    let mut entries: Vec<Entry<'_>> = ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"].map(Entry::Folder).into();
    entries.push(Entry::File("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"));
    entries.push(Entry::Program("bin/busybox", busybox));
    entries.extend(applets.iter().map(|applet| Entry::Link(applet, "busybox")));
    entries.extend(programs.iter().zip(executables).map(|(path, executable)| Entry::Program(path, &executable.content)));
    Layer::plain(&entries)
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
    use super::*;

    #[test]
    fn every_image_is_named_and_holds_the_executables() {
        let images =
            [Image { name: "localhost/a:1", command: &["/bin/sh"] }, Image { name: "localhost/b:1", command: &["/bin/sleep", "1"] }];
        let extra = [Executable { name: "client".into(), content: b"ELF client".to_vec() }];
        let tar = archive(b"ELF busybox", &extra, &images).unwrap();
        let holds = |text: &str| tar.windows(text.len()).any(|window| window == text.as_bytes());
        for text in ["localhost/a:1", "localhost/b:1", r#"["/bin/sleep","1"]"#, "bin/client", "ELF client", "ELF busybox", "bin/wget"] {
            assert!(holds(text), "{text}");
        }
    }
}
