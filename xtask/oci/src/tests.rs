use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;

/// Path to content of every entry; a link's content is where it points.
fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!((entry.header().uid().unwrap(), entry.header().mtime().unwrap()), (0, 0));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name_bytes() {
            content = target.into_owned();
        }
        (entry.path().unwrap().to_string_lossy().into_owned(), content)
    });
    entries.collect()
}

/// The blob that a descriptor names, if it is what it says.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(sha256(content), digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn files() -> [Entry<'static>; 3] {
    [Entry::Folder("bin"), Entry::Program("bin/program", b"ELF program"), Entry::Link("bin/link", "program")]
}

fn image(layer: &Layer) -> Image<'_> {
    Image { architecture: "amd64", layer, config: json!({"Cmd": ["/bin/program"]}), created: "1970-01-01T00:00:00Z" }
}

#[test]
fn an_index_leads_to_the_files() {
    let layer = Layer::compressed(&files()).unwrap();
    let mut archive = Archive::default();
    let amd64 = archive.image(&image(&layer));
    let index = archive.index(&[amd64], &json!({"key": "value"}));
    archive.name(&index, "localhost:5000/a:1.2");
    let files = entries(&archive.into_tar().unwrap());

    let root = parse(&files["index.json"]);
    let [entry] = root["manifests"].as_array().unwrap().as_slice() else { panic!("{root}") };
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "localhost:5000/a:1.2");
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1.2");
    let index = parse(blob(&files, entry));
    assert_eq!(index["annotations"]["key"], "value");
    assert_eq!(index["manifests"][0]["platform"], json!({"architecture": "amd64", "os": "linux"}));
    let manifest = parse(blob(&files, &index["manifests"][0]));
    let config = parse(blob(&files, &manifest["config"]));
    assert_eq!(config["config"]["Cmd"], json!(["/bin/program"]));

    let mut layer = Vec::new();
    GzDecoder::new(blob(&files, &manifest["layers"][0])).read_to_end(&mut layer).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([sha256(&layer)]));
    let layer = entries(&layer);
    assert_eq!(layer["bin/program"], b"ELF program");
    assert_eq!(layer["bin/link"], b"program");

    let docker = parse(&files["manifest.json"]);
    assert_eq!(docker[0]["RepoTags"], json!(["localhost:5000/a:1.2"]));
    for path in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
        assert!(files.contains_key(path.as_str().unwrap()), "{path}");
    }
}

#[test]
fn images_share_a_layer() {
    let layer = Layer::plain(&files()).unwrap();
    let mut archive = Archive::default();
    for (name, command) in [("localhost/a:1", "/bin/a"), ("localhost/b:1", "/bin/b")] {
        let image = archive.image(&Image { config: json!({"Cmd": [command]}), ..image(&layer) });
        archive.name(&image, name);
    }
    let files = entries(&archive.into_tar().unwrap());
    let root = parse(&files["index.json"]);
    let commands: Vec<Value> = root["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let manifest = parse(blob(&files, entry));
            assert_eq!(entries(blob(&files, &manifest["layers"][0]))["bin/program"], b"ELF program");
            parse(blob(&files, &manifest["config"]))["config"]["Cmd"][0].clone()
        })
        .collect();
    assert_eq!(commands, ["/bin/a", "/bin/b"]);
    assert_eq!(files.keys().filter(|path| path.starts_with("blobs/")).count(), 5, "one layer, two configurations, two manifests");
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let make = || {
        let layer = Layer::compressed(&files()).unwrap();
        let mut archive = Archive::default();
        let only = archive.image(&image(&layer));
        let index = archive.index(&[only], &json!({}));
        archive.name(&index, "localhost/a:1");
        archive.into_tar().unwrap()
    };
    assert_eq!(make(), make());
    assert_eq!(sha256(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
