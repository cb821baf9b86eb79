//! What the fuzz targets of this module have in common: whatever was observed, what is told of it is harmless.

use jiff::Timestamp;

use super::{Cluster, Observed, Origin, Report, document::Document, html::html, manifest::manifests, text};
use crate::{inert::obeyed, judge::Policy, rbac::Snapshot, when::When};

/// Tells of it in every form, with and without the objects of a cluster.
///
/// # Panics
///
/// If what is told holds something that a terminal obeys, or is not what it should be.
pub(super) fn check(observed: &Observed) {
    let api_server_users = Policy::API_SERVER_USERS.map(str::to_owned).to_vec();
    let origin = Origin { source: "fuzz".to_owned(), api_server_log: false, api_server_users };
    let cluster = Cluster { source: "fuzz".to_owned(), snapshot: Snapshot::default(), is_whole: true, nodes: None };
    for cluster in [None, Some(&cluster)] {
        let report = Report::new(observed, &origin, cluster);
        let json = Document::of(&report).json().expect("the report is JSON");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        let text = text::text(&report, 80, text::Paint::Plain, &When::Utc);
        for told in [text, json, manifests(&report), html(&report, Timestamp::UNIX_EPOCH)] {
            assert!(!told.contains(|character| character != '\n' && obeyed(character)), "{told:?}");
        }
    }
}
