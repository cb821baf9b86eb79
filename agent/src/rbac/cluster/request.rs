//! Requests to the API server for RBAC objects, and what may become of them.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::Client;
use kube::api::{ListParams, Request, WatchParams};
use kube::core::WatchEvent;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::connect::ConnectError;
use super::discreet::without_secrets;
use crate::causes::in_one_line;
use crate::rbac::{Kind, Object};

/// What came of a request to the API server.
#[derive(Debug, Error)]
pub enum RequestError {
    /// There is no way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not believe the credentials.
    #[error("the API server does not accept the credentials (401: {0}); renew them, or let the pod's ServiceAccount token be mounted")]
    Unauthorized(String),
    /// It does not allow it.
    #[error("the API server does not allow to {verbs} {what} (403: {message}); bind a ClusterRole with the verbs {verbs} on {what}")]
    Forbidden {
        /// The resource and its group.
        what: &'static str,
        /// The verbs that are needed.
        verbs: &'static str,
        /// What it said.
        message: String,
    },
    /// The version that was asked for is gone.
    #[error("the API server does not remember that far back; everything is listed anew")]
    Expired,
    /// It answered with another error.
    #[error("the API server answered {code} for {what}: {message}")]
    Refused {
        /// The resource and its group.
        what: &'static str,
        /// The HTTP status.
        code: u16,
        /// What it said.
        message: String,
    },
    /// It answered with something that is not what was asked for.
    #[error("the API server's answer for {what} cannot be understood: {message}; is something else in its place?")]
    Garbled {
        /// The resource and its group.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// It does not answer.
    #[error("the API server has not answered for {what} within {} s; is it overloaded, or cut off?", within.as_secs())]
    Silent {
        /// The resource and its group.
        what: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// It cannot be reached.
    #[error("the API server cannot be reached: {0}; check the address and the network")]
    Unreachable(String),
}

/// A collection of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    Rbac(Kind),
    Nodes,
}

/// Some of the objects of a collection.
pub(super) struct Page {
    pub(super) items: Vec<Box<RawValue>>,
    /// The version of the collection, from which a watch can go on.
    pub(super) version: String,
    /// How the next page is asked for; empty if this is the last.
    pub(super) next: String,
}

impl Collection {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Rbac(Kind::ClusterRole) => "clusterroles.rbac.authorization.k8s.io",
            Self::Rbac(Kind::ClusterRoleBinding) => "clusterrolebindings.rbac.authorization.k8s.io",
            Self::Nodes => "nodes",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Rbac(Kind::ClusterRole) => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            Self::Rbac(Kind::ClusterRoleBinding) => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            Self::Nodes => "/api/v1/nodes",
        }
    }

    /// Lists some.
    pub(super) async fn page(self, client: &Client, parameters: &ListParams) -> Result<Page, RequestError> {
        let request = Request::new(self.path()).list(parameters).map_err(|error| self.garbled(&error))?;
        let text = client.request_text(request).await.map_err(|error| self.failed(error))?;
        let list: List = serde_json::from_str(&text).map_err(|error| self.garbled(&error))?;
        Ok(Page { items: list.items, version: list.metadata.resource_version, next: list.metadata.next })
    }

    /// Watches from a version on. Each event is a whole object: trim it before the next is taken.
    pub(super) async fn events(
        self,
        client: &Client,
        parameters: &WatchParams,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, RequestError>> + use<>, RequestError> {
        let request = Request::new(self.path()).watch(parameters, version).map_err(|error| self.garbled(&error))?;
        let events = client.request_events(request).await.map_err(|error| self.failed(error))?;
        Ok(events.map(move |event| event.map_err(|error| self.failed(error))))
    }

    /// The object in an event or in a list, whose items do not tell their kind.
    pub(super) fn object(self, mut value: Value) -> Result<Object, RequestError> {
        if let (Self::Rbac(kind), Some(fields)) = (self, value.as_object_mut()) {
            fields.insert("kind".to_owned(), kind.as_str().into());
        }
        Object::parse(&value).map_err(|error| self.garbled(&error))
    }

    pub(super) fn garbled(self, error: &dyn std::error::Error) -> RequestError {
        RequestError::Garbled { what: self.what(), message: in_one_line(error) }
    }

    const fn verbs(self) -> &'static str {
        match self {
            Self::Rbac(_) => "list and watch",
            Self::Nodes => "list",
        }
    }

    pub(super) fn refused(self, code: u16, message: String) -> RequestError {
        RequestError::refused(self.what(), self.verbs(), code, message)
    }

    fn failed(self, error: kube::Error) -> RequestError {
        RequestError::of(self.what(), self.verbs(), error)
    }
}

impl RequestError {
    /// What became of a request that needs these verbs on this resource.
    pub(crate) fn of(what: &'static str, verbs: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(what, verbs, status.code, status.message),
            kube::Error::SerdeError(error) => Self::Garbled { what, message: in_one_line(&error) },
            kube::Error::FromUtf8(error) => Self::Garbled { what, message: in_one_line(&error) },
            error => Self::Unreachable(without_secrets(&error)),
        }
    }

    fn refused(what: &'static str, verbs: &'static str, code: u16, message: String) -> Self {
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden { what, verbs, message },
            410 => Self::Expired,
            _ => Self::Refused { what, code, message },
        }
    }

    /// The same for errors of which one after the other is not worth a second line in the log.
    pub(crate) const fn class(&self) -> u16 {
        match self {
            Self::Connect(_) => 1,
            Self::Expired => 2,
            Self::Garbled { .. } => 3,
            Self::Silent { .. } => 4,
            Self::Unreachable(_) => 5,
            Self::Unauthorized(_) => 401,
            Self::Forbidden { .. } => 403,
            Self::Refused { code, .. } => *code,
        }
    }
}

/// A list of any kind (`meta/v1`, `List`), its items left as they are.
#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}
