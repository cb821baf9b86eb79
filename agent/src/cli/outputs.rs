//! The flags that say where events go, and which.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::Parser;

use super::{front::Renewal, run::Switch, size::size, webhook::WebhookArgs};
use crate::{
    daemon::now,
    export::{
        Notices, Outputs, Restraint,
        metrics::Metrics,
        policy::PolicyFile,
        sink::{Rotation, Sink, Target},
        watchers::Watchers,
        webhook::{Options, Webhook},
    },
    rbac::cluster::ConnectOptions,
};

/// Where events go, and which.
#[derive(Debug, Parser)]
pub(super) struct OutputArgs {
    /// File of events, or - for standard output
    ///
    /// One JSON line for each audit event. A file is made where there is none, for its owner alone.
    #[arg(long, env = "KUBEWITNESS_EVENTS", default_value = "-", value_name = "PATH")]
    events: String,
    /// Size at which the file of events is full
    ///
    /// It is put aside under a name with the time, and a new one is begun. Bytes, or with Ki, Mi, Gi; 0 for no limit, as with logrotate.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_EVENTS_MAX_SIZE", default_value = "100Mi", value_name = "SIZE", value_parser = size)]
    events_max_size: u64,
    /// Files of events that are kept
    ///
    /// The one that is written included; the oldest are removed. At least 2, or 0 for no limit.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_EVENTS_MAX_FILES", default_value = "10", value_name = "COUNT", value_parser = file_count)]
    events_max_files: usize,
    /// Refused requests of one caller that become events, each minute
    ///
    /// Those with 401 and 403, and paths that are not served; ten times as many of all callers. The rest is counted only; 0 for no limit.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_REFUSED_EVENTS", default_value_t = 60, value_name = "COUNT")]
    refused_events: u32,
    /// Policy that decides which requests become events
    ///
    /// In the API server's format (audit.k8s.io/v1). Metrics and findings count all the same.
    #[arg(long, env = "KUBEWITNESS_AUDIT_POLICY", value_name = "FILE")]
    audit_policy: Option<PathBuf>,
    /// Whether findings become Kubernetes Events
    ///
    /// Those of severity warning and above, on the pod concerned or on the node. Needs create and patch on events.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_KUBERNETES_EVENTS", default_value = "off", value_name = "SWITCH")]
    kubernetes_events: Switch,
    #[command(flatten)]
    webhook: WebhookArgs,
}

impl OutputArgs {
    /// Where lines go.
    pub(super) fn target(&self) -> Target {
        Target::parse(&self.events, Rotation { max_size: self.events_max_size, max_files: self.events_max_files })
    }

    /// The policy's file.
    pub(super) fn policy(&self) -> Option<PathBuf> {
        self.audit_policy.clone()
    }

    /// Where events are sent.
    pub(super) fn webhook(&self) -> Option<Options> {
        self.webhook.clone().options()
    }

    /// Whether findings become Kubernetes Events.
    pub(super) fn kubernetes_events(&self) -> bool {
        self.kubernetes_events == Switch::On
    }

    /// How many events refused requests may become.
    pub(super) fn restraint(&self) -> Restraint {
        Restraint::new(self.refused_events)
    }

    /// Opens all ways out. The policy, if there is one, is also part of what SIGHUP renews.
    pub(super) fn open(
        self,
        node: &str,
        pod_logs: &Path,
        cluster: ConnectOptions,
        metrics: &Metrics,
        watchers: Watchers,
    ) -> Result<(Outputs, Option<Arc<PolicyFile>>, Renewal)> {
        let policy = self.audit_policy.as_deref().map(PolicyFile::open).transpose()?.map(Arc::new);
        let target = self.target();
        let lines = Sink::open(&target, metrics.sink(target.kind()), now)?;
        let renewal = Renewal { events: lines.renewer(), policy: policy.clone() };
        let webhook = self.webhook.options().map(|options| Webhook::start(&options, metrics.webhook())).transpose()?;
        let notices = match self.kubernetes_events {
            Switch::On => {
                let notices = Notices::start(node.to_owned(), pod_logs.to_owned(), cluster, metrics.notices());
                Some(notices.context("the thread that writes Kubernetes Events cannot be started")?)
            }
            Switch::Off => None,
        };
        Ok((Outputs::new(lines, watchers, webhook, notices), policy, renewal))
    }
}

/// One file would be removed as soon as it is full, events and all.
fn file_count(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|_| "write a number of files, such as 10".to_owned())?;
    if count == 1 {
        Err("keep at least 2, so that the last events outlive the next rotation; or 0 to keep all".to_owned())
    } else {
        Ok(count)
    }
}
