//! The bill of materials, in the form of `CycloneDX` 1.6. Pure, and a function of the image: no clock, and a serial number made of its digest.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::inventory::{Crate, Name};
use crate::project::TOOLCHAIN;

/// What the bill is about: the image for one machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// As Go names it.
    pub(super) architecture: &'a str,
    pub(super) version: &'a str,
    /// The image's, `sha256:…`.
    pub(super) digest: &'a str,
    /// The binary's, `sha256:…`.
    pub(super) binary: &'a str,
}

/// The image holds the binary, the binary its crates and the standard library.
pub(super) fn bill(crates: &BTreeMap<Name, Crate>, subject: &Subject<'_>) -> Value {
    let Subject { architecture, version, digest, binary } = *subject;
    let image = format!("pkg:oci/kubewitness@{}?arch={architecture}", digest.replace(':', "%3A"));
    let std = format!("std@{TOOLCHAIN}");
    let mut components = vec![
        json!({
            "type": "application",
            "bom-ref": "binary",
            "name": "/usr/local/bin/kubewitness",
            "version": version,
            "hashes": hash(binary.strip_prefix("sha256:").unwrap_or(binary)),
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        }),
        json!({
            "type": "library",
            "bom-ref": std,
            "name": "std",
            "version": TOOLCHAIN,
            "description": "The standard library of Rust, with the musl that its target holds",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        }),
    ];
    let mut dependencies = vec![
        json!({"ref": image, "dependsOn": ["binary"]}),
        json!({"ref": "binary", "dependsOn": std::iter::once(&std).chain(crates.keys()).collect::<Vec<_>>()}),
        json!({"ref": std, "dependsOn": []}),
    ];
    for (name, linked) in crates {
        components.push(component(name, linked));
        dependencies.push(json!({"ref": name, "dependsOn": linked.uses}));
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": Uuid::new_v5(&Uuid::NAMESPACE_OID, digest.as_bytes()).urn().to_string(),
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": "kubewitness",
                "version": version,
                "purl": image,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(name: &str, linked: &Crate) -> Value {
    let mut component = json!({"type": "library", "bom-ref": name, "name": linked.name, "version": linked.version});
    if let Some(licence) = &linked.licence {
        component["licenses"] = json!([{"expression": licence}]);
    }
    // A crate with a checksum comes from the registry; the others are the workspace's own.
    if let Some(checksum) = &linked.checksum {
        component["hashes"] = hash(checksum);
        component["purl"] = format!("pkg:cargo/{}@{}", linked.name, linked.version.replace('+', "%2B")).into();
    }
    component
}

fn hash(sha256: &str) -> Value {
    json!([{"alg": "SHA-256", "content": sha256}])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn crates() -> BTreeMap<Name, Crate> {
        let linked = |name: &str, checksum: Option<&str>, uses: &[&str]| Crate {
            name: name.into(),
            version: "1.0.0+x".into(),
            licence: Some("MIT".into()),
            checksum: checksum.map(Into::into),
            uses: uses.iter().map(ToString::to_string).collect(),
        };
        [linked("own", None, &["other@1.0.0+x"]), linked("other", Some("00ff"), &[])]
            .map(|linked| (format!("{}@{}", linked.name, linked.version), linked))
            .into()
    }

    const SUBJECT: Subject<'_> = Subject { architecture: "amd64", version: "0.1.0", digest: "sha256:0a", binary: "sha256:0b" };

    #[test]
    fn every_reference_is_to_a_component_once() {
        let bill = bill(&crates(), &SUBJECT);
        let refs = |of: &Value, key: &str| of.as_array().expect("a list").iter().map(|item| item[key].to_string()).collect::<Vec<_>>();
        let mut known = refs(&bill["components"], "bom-ref");
        known.push(bill["metadata"]["component"]["bom-ref"].to_string());
        let unique: BTreeSet<String> = known.iter().cloned().collect();
        assert_eq!(unique.len(), known.len());
        assert_eq!(refs(&bill["dependencies"], "ref").into_iter().collect::<BTreeSet<_>>(), unique);
        for dependency in bill["dependencies"].as_array().expect("a list") {
            for on in dependency["dependsOn"].as_array().expect("a list") {
                assert!(unique.contains(&on.to_string()), "{on}");
            }
        }
    }

    #[test]
    fn a_crate_of_the_registry_has_its_checksum_and_address() {
        let bill = bill(&crates(), &SUBJECT);
        let find =
            |name: &str| bill["components"].as_array().expect("a list").iter().find(|item| item["name"] == name).cloned().expect("there");
        assert_eq!(find("other")["hashes"][0]["content"], "00ff");
        assert_eq!(find("other")["purl"], "pkg:cargo/other@1.0.0%2Bx");
        assert_eq!(find("own")["purl"], Value::Null);
        assert_eq!(find("/usr/local/bin/kubewitness")["hashes"][0]["content"], "0b");
    }

    #[test]
    fn the_serial_number_follows_the_image() {
        let serial = |digest| bill(&crates(), &Subject { digest, ..SUBJECT })["serialNumber"].clone();
        assert_eq!(serial("sha256:0a"), serial("sha256:0a"));
        assert_ne!(serial("sha256:0a"), serial("sha256:0b"));
        assert!(serial("sha256:0a").as_str().expect("text").starts_with("urn:uuid:"));
    }
}
