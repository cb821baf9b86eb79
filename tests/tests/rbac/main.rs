//! What the RBAC objects say, and how they are followed, on a real API server.

mod api_server;
mod client;
mod differential;
mod followed;
mod following;
mod random;

use std::path::Path;

use kubewitness_tests::cluster::Options;
use kubewitness_tests::scenarios::play;

#[test]
fn rbac_is_what_the_api_server_makes_of_it() {
    play(
        &Options::named("t-rbac"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("rbac"),
        &[
            ("answers are those of the API server", differential::answers_are_those_of_the_api_server),
            ("changes arrive", following::changes_arrive),
            ("without rights nothing is known until they are given", following::without_rights_nothing_is_known_until_they_are_given),
            ("a paused API server is missed", following::a_paused_api_server_is_missed),
            ("a killed API server is missed", following::a_killed_api_server_is_missed),
        ],
    );
}
