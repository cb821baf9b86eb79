//! The policies of `deploy/policies` on a real API server: what they refuse, what they let pass, and how they say it in each mode.
//!
//! `KUBEWITNESS_E2E_KUBELETS` names the releases, of the API server too; `1.36` if it is not set.

mod agreement;
#[path = "../rbac/client.rs"]
mod client;
mod existing;
mod lists;
mod modes;
mod objects;
mod ordinary;
mod random;
mod server;
mod ways;

use std::env;
use std::path::Path;

use kubewitness_tests::build::Release;
use kubewitness_tests::cluster::Options;
use kubewitness_tests::scenarios::play;

#[test]
fn admission() {
    let releases = env::var("KUBEWITNESS_E2E_KUBELETS").unwrap_or_else(|_| "1.36".to_owned());
    for release in releases.split(',') {
        let release: Release = release.parse().expect("KUBEWITNESS_E2E_KUBELETS names releases");
        on(release);
    }
}

/// The scenarios build on each other: the policies are installed by the second one.
fn on(release: Release) {
    let name = format!("va-adm-{}-{}", release.minor(), std::process::id());
    play(
        &Options { kubelet: release, api_server: release, ..Options::named(&name) },
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("admission"),
        &[
            ("a cluster has roles before it has policies", existing::a_cluster_has_roles_before_it_has_policies),
            ("audit and warn let it through and say it", modes::audit_and_warn_let_it_through_and_say_it),
            ("deny refuses every way of granting it", ways::every_way_of_granting_it_is_refused),
            ("what grants nothing of it passes", ways::what_grants_nothing_of_it_passes),
            ("manifests of charts", ordinary::manifests_of_charts),
            ("the roles that the report recommends pass", ordinary::the_roles_that_the_report_recommends_pass),
            ("random roles get the answer of kubewitness rbac", agreement::random_roles),
            ("random changes of roles get the answer of kubewitness rbac", agreement::random_changes),
            ("random bindings get the answer of kubewitness rbac", agreement::random_bindings),
            ("what is there can be edited and not widened", existing::what_is_there_can_be_edited_and_not_widened),
            ("the list allows what it names", lists::the_list_allows_what_it_names),
            ("the list is not for everybody who edits roles", lists::the_list_is_not_for_everybody_who_edits_roles),
            ("large roles", ordinary::large_roles),
            ("the API server makes its roles anew at its start", modes::the_api_server_makes_its_roles_anew_at_its_start),
            ("the list is kept and all can be taken away", lists::the_list_is_kept_and_all_can_be_taken_away),
        ],
    );
}
