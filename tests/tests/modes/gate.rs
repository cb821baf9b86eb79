//! The gate of the finer rights, in the releases that have one.

use kubewitness_tests::{
    build::Release,
    call::Call,
    cluster::Options,
    scenarios::{Bed, play},
};
use serde_json::{Value, json};

use crate::ways::said;
use crate::{doctor, watched::Watched};

#[test]
#[ignore = "needs kubelets 1.32 and 1.33: minutes each where they are not built yet"]
fn the_gate_of_the_finer_rights() {
    for version in ["1.32", "1.33"] {
        let release: Release = version.parse().expect("a release of the matrix");
        let name = format!("kx-gate-1{}", release.minor());
        let options = Options { kubelet: release, api_server: release.api_server(), ..Options::named(&name) };
        play(&options, &crate::folder(&name), &[("the gate as it is by default", by_default), ("the gate the other way", the_other_way)]);
    }
}

/// Off in 1.32, on in 1.33.
fn by_default(bed: &Bed) {
    bed.cluster.reconfigure_kubelet(&json!({}), &[]).unwrap();
    finer_rights(bed, bed.cluster.release().minor() >= 33, "by default");
}

fn the_other_way(bed: &Bed) {
    let on = bed.cluster.release().minor() < 33;
    bed.cluster.reconfigure_kubelet(&json!({"featureGates": {"KubeletFineGrainedAuthz": on}}), &[]).unwrap();
    finer_rights(bed, on, "by its gate");
}

/// Where the kubelet does not ask for them, whoever has them alone is refused, and `nodes/proxy` is no fallback but the only way.
fn finer_rights(bed: &Bed, on: bool, why: &str) {
    let finer = bed.identity(&format!("finer-{on}"), &["get"], &["nodes/pods", "nodes/healthz", "nodes/configz"]);
    let proxy = bed.identity(&format!("proxy-{on}"), &["get"], &["nodes/proxy", "nodes/metrics"]);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&proxy));
    for (path, right) in [("/pods", "pods"), ("/runningpods/", "pods"), ("/healthz", "healthz"), ("/configz", "configz")] {
        let (answered, event) = until_known(&mut watched, &Call::get(path).token(&finer), if on { 200 } else { 403 });
        let expected = if on {
            (200, "fine-grained", format!("get nodes/{right}=allow"), "")
        } else {
            (403, "denied", "get nodes/proxy=no-opinion".to_owned(), "")
        };
        let [access, checks, _, findings] = said(&event);
        assert_eq!((answered, access, checks.to_owned(), findings), expected, "{path}: {event}");

        let (answered, event) = until_known(&mut watched, &Call::get(path).token(&proxy), 200);
        let expected = if on {
            (200, "fallback", format!("get nodes/{right}=no-opinion get nodes/proxy=allow"), "nodes-proxy-fallback")
        } else {
            (200, "proxy-only", "get nodes/proxy=allow".to_owned(), "")
        };
        let [access, checks, _, findings] = said(&event);
        assert_eq!((answered, access, checks.to_owned(), findings), expected, "{path}: {event}");
    }
    let how = if why == "by default" { "by default" } else { "by its gate" };
    assert_eq!(
        doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap()["finer rights"],
        (format!("{}, {how}", if on { "on" } else { "off" }), !on)
    );
    let metrics = watched.agent.fetch("/metrics").unwrap();
    // Between 1.32 and 1.35 the release alone does not tell.
    assert!(metrics.contains(r#"kubewitness_kubelet_info{fine_grained_authz="unknown""#), "{metrics}");
    let told = if on { "`fine-grained`, `fallback`" } else { "`proxy-only`, and `denied` for whoever has finer rights alone" };
    let word = if on { "on" } else { "off" };
    watched.close(&format!("{}: fine-grained authorization {word} {why}", bed.cluster.release().version()), told);
}

/// The API server learns of a binding some time after it was made, and the kubelet remembers a no for 30 s.
fn until_known(watched: &mut Watched<'_>, call: &Call, status: u16) -> (u16, Value) {
    (0..40).map(|_| watched.tell(call)).find(|(answered, _)| *answered == status).unwrap_or_else(|| watched.tell(call))
}
