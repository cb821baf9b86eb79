//! An Event as the API server takes it: `core/v1`, not `events.k8s.io/v1`.
//!
//! Both are the same objects to the API server. Only of the former `kubectl describe` and `kubectl get events` show count, first time and source
//! as they were written, it is what the kubelet and `EventRecorder` of client-go write, and its right is `events` in the group that
//! everybody grants it in.

use serde_json::{Value, json};

use super::correlate::Write;
use super::notice::{Object, reason};

/// `source.component`, and who reports.
const COMPONENT: &str = "kubewitness";

/// Its namespace: the pod's, or `default`, where those about nodes are.
pub(super) fn namespace(object: &Object) -> &str {
    match object {
        Object::Pod { namespace, .. } => namespace,
        Object::Node => "default",
    }
}

/// The whole Event. `uid` is the pod's, where it is known: `kubectl describe pod` shows only Events that have it.
pub(super) fn created(write: &Write, uid: Option<&str>, node: &str) -> Value {
    let involved = match &write.object {
        Object::Pod { namespace, name } => {
            json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid.unwrap_or_default()})
        }
        // The kubelet's way to name its node (`pkg/kubelet/kubelet.go`, `nodeRef`); `kubectl describe node` looks for that UID too.
        Object::Node => json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": write.name, "namespace": namespace(&write.object)},
        "involvedObject": involved,
        "reason": reason(write.finding),
        "message": write.message,
        "type": "Warning",
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": seconds(write.first),
        "lastTimestamp": seconds(write.last),
        "count": write.count,
    })
}

/// What changes in an Event that is there: a merge patch.
pub(super) fn counted(write: &Write) -> Value {
    json!({"count": write.count, "lastTimestamp": seconds(write.last)})
}

/// `metav1.Time`
fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
