//! Many identities and many RBAC objects, made by the API server's own requests: `kubectl` takes a second for twenty.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::cluster::NODE;
use serde_json::{Value, json};

use super::bed::{Bed, write_private};
use super::load::output;

/// `ServiceAccounts` `crowd-N`, each with a binding of its own to a role that is let in as [`Bed::token`] is; a token of each.
pub(super) fn identities(bed: &Bed, numbers: Range<u32>) -> Result<Vec<String>> {
    let mut requests = Vec::new();
    for number in numbers.clone() {
        let name = format!("crowd-{number}");
        requests.push(("api/v1/namespaces/default/serviceaccounts".to_owned(), json!({ "metadata": { "name": name } })));
        requests.push(("apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(), binding(&name, "bench", &name)));
    }
    ask(bed, &requests)?;
    let token = |number: u32| {
        (format!("api/v1/namespaces/default/serviceaccounts/crowd-{number}/token"), json!({ "spec": { "expirationSeconds": 7200 } }))
    };
    let answers = ask(bed, &numbers.map(token).collect::<Vec<_>>())?;
    let token = |answer: &Value| answer["status"]["token"].as_str().map(str::to_owned).context("the API server gave no token");
    answers.iter().map(token).collect()
}

/// `ClusterRoleBindings` of `ServiceAccounts` that never ask: half of them to the role that lets others in, half to one that has nothing to do
/// with nodes.
pub(super) fn bindings(bed: &Bed, numbers: Range<u32>) -> Result<()> {
    let request = |number: u32| {
        let role = if number.is_multiple_of(2) { "bench" } else { "elsewhere" };
        let body = binding(&format!("a-binding-among-many-{number}"), role, &format!("an-account-among-many-{number}"));
        ("apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(), body)
    };
    ask(bed, &numbers.map(request).collect::<Vec<_>>()).map(drop)
}

fn binding(name: &str, role: &str, account: &str) -> Value {
    json!({ "metadata": { "name": name }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "default", "name": account }] })
}

/// Posts to the API server as its administrator, over one connection; the answers.
fn ask(bed: &Bed, requests: &[(String, Value)]) -> Result<Vec<Value>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let (certificate, key) = bed.cluster.kubelet_client();
    let mut config = String::new();
    for (index, (path, body)) in requests.iter().enumerate() {
        if index > 0 {
            config.push_str("next\n");
        }
        let body = body.to_string().replace('\\', r"\\").replace('"', "\\\"");
        write!(
            config,
            "url = \"https://127.0.0.1:6443/{path}\"\ndata = \"{body}\"\nheader = \"Content-Type: application/json\"\nuser-agent = \"{NODE}\"\n\
             write-out = \"\\n\"\nsilent\nfail\ncacert = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\n",
            bed.cluster.ca().display(),
            certificate.display(),
            key.display()
        )?;
    }
    let file = bed.file("requests");
    write_private(&file, &config)?;
    let said = output(bed.cluster.command("curl").arg("-K").arg(&file)).context("the API server did not do what it was asked for")?;
    let answers: Vec<Value> = said.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(answers.len() == requests.len(), "{} of {} requests were answered", answers.len(), requests.len());
    Ok(answers)
}
