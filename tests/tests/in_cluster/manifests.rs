//! What is rendered from the chart is taken by a real API server, with its strictest reading.

use std::{fs, path::Path};

use kubewitness_tests::{
    agent::output_of,
    chart::{self, Helm, NAME},
    cluster::Cluster,
    scenarios::Bed,
};
use serde_json::json;

pub(super) fn are_taken(bed: &Bed) {
    let cluster = &bed.cluster;
    // A dry run makes no namespace that the next object could be in.
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}).to_string()).unwrap();
    assert!(takes(cluster, &chart::manifests()).contains(&format!("daemonset.apps/{NAME} ")));

    let helm = Helm::new(cluster).unwrap();
    let all = json!({
        "events": {"sink": "file"},
        "webhook": {"secretName": "webhook"},
        "kubernetesEvents": true,
        "metrics": {"tlsSecretName": "tls"},
        "grafana": {"dashboard": true},
        "apiServer": {"users": ["a", "b"], "peers": ["10.0.0.0/8"]},
    });
    for (name, values) in [
        ("all", all),
        ("host-network", json!({"hostNetwork": true})),
        ("least", json!({"rbac": false, "metrics": {"auth": "none"}, "networkPolicy": {"enabled": false}})),
    ] {
        let folder = bed.folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("values.json"), values.to_string()).unwrap();
        let mut template = helm.command(["template", NAME, "--namespace", NAME, "--values"]);
        let rendered = output_of(template.arg(folder.join("values.json")).arg(chart::folder())).unwrap();
        let file = folder.join("rendered.yaml");
        fs::write(&file, rendered).unwrap();
        assert!(takes(cluster, &file).contains(&format!("daemonset.apps/{NAME} ")), "{name}");
    }
}

/// What the API server would do with these objects; an unknown field is an error.
fn takes(cluster: &Cluster, manifests: &Path) -> String {
    let mut apply = cluster.kubectl(["apply", "--dry-run=server", "--validate=strict", "--filename"]);
    output_of(apply.arg(manifests)).unwrap()
}
