//! Everything once, for the commands.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Connection;
use super::request::{Collection, RequestError};
use crate::causes::in_one_line;
use crate::rbac::{Kind, Snapshot};

/// What a cluster has.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its `ClusterRole`s and `ClusterRoleBinding`s.
    pub snapshot: Snapshot,
    /// Its nodes, by name; `None` where they may not be listed.
    pub nodes: Option<Vec<NodeVersion>>,
    /// The API server's version, such as `v1.36.3`.
    pub api_server: String,
}

/// A node and its kubelet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeVersion {
    /// The node's name.
    pub name: String,
    /// The kubelet's version, such as `v1.36.3`; empty until it has told.
    pub kubelet: String,
}

/// How many objects are asked for at a time.
const PAGE: u32 = 500;

/// Lists everything, page by page; each request is to be answered within the time.
pub async fn load(connection: &Connection, within: Duration) -> Result<Loaded, RequestError> {
    load_and_tell(connection, within, |_| {}).await
}

/// The same, and tells after each object how many there were.
pub async fn load_and_tell(connection: &Connection, within: Duration, tell: impl Fn(u64)) -> Result<Loaded, RequestError> {
    let client = connection.client().await?;
    let mut snapshot = Snapshot::default();
    let mut objects = 0;
    for kind in [Kind::ClusterRole, Kind::ClusterRoleBinding] {
        let collection = Collection::Rbac(kind);
        each(&client, collection, within, |item| {
            let value = serde_json::from_str(item.get()).map_err(|error| collection.garbled(&error))?;
            snapshot.apply(collection.object(value)?.into_change());
            objects += 1;
            tell(objects);
            Ok(())
        })
        .await?;
    }
    Ok(Loaded { snapshot, nodes: nodes(&client, within).await?, api_server: version(&client, within).await? })
}

async fn nodes(client: &Client, within: Duration) -> Result<Option<Vec<NodeVersion>>, RequestError> {
    let mut nodes = Vec::new();
    let listed = each(client, Collection::Nodes, within, |item| {
        let node: Node = serde_json::from_str(item.get()).map_err(|error| Collection::Nodes.garbled(&error))?;
        nodes.push(NodeVersion { name: node.metadata.name, kubelet: node.status.info.version });
        Ok(())
    });
    match listed.await {
        Ok(()) => {
            nodes.sort();
            Ok(Some(nodes))
        }
        Err(RequestError::Forbidden { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn version(client: &Client, within: Duration) -> Result<String, RequestError> {
    const WHAT: &str = "/version";
    let asked = tokio::time::timeout(within, client.apiserver_version()).await;
    match asked.map_err(|_| RequestError::Silent { what: WHAT, within })? {
        Ok(info) => Ok(info.git_version),
        Err(error) => Err(RequestError::Garbled { what: WHAT, message: in_one_line(&error) }),
    }
}

async fn each(
    client: &Client,
    collection: Collection,
    within: Duration,
    mut item: impl FnMut(&RawValue) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = tokio::time::timeout(within, collection.page(client, &parameters)).await;
        let page = page.map_err(|_| RequestError::Silent { what: collection.what(), within })??;
        page.items.iter().try_for_each(|raw| item(raw))?;
        if page.next.is_empty() {
            return Ok(());
        }
        parameters = parameters.continue_token(&page.next);
    }
}

/// A node (`core/v1`, `Node`), as far as it is wanted.
#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default, rename = "nodeInfo")]
    info: NodeInfo,
}

#[derive(Default, Deserialize)]
struct NodeInfo {
    #[serde(default, rename = "kubeletVersion")]
    version: String,
}
