//! What the RBAC objects say, and how they are followed, on a real API server.

mod api_server;
mod differential;
mod random;

use std::path::Path;

use kubewitness_tests::cluster::Options;
use kubewitness_tests::scenarios::play;

#[test]
fn rbac_is_what_the_api_server_makes_of_it() {
    play(
        &Options::named("t-rbac"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("rbac"),
        &[("answers are those of the API server", differential::answers_are_those_of_the_api_server)],
    );
}
