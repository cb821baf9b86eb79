//! The flags of the audit webhook. Those that the API server has too have its names.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use super::{prometheus::parse_duration, size::size};
use crate::export::webhook::Options;

const HEADING: &str = "Audit webhook";

/// Audit events to a URL, as the API server sends its own
#[derive(Clone, Debug, Parser)]
#[expect(clippy::struct_field_names, reason = "a field's name is its flag's")]
pub(super) struct WebhookArgs {
    /// Send events to the server of this kubeconfig
    ///
    /// With its credentials, in lists as the API server's audit webhook does.
    #[arg(long, hide_short_help = true, help_heading = HEADING, env = "KUBEWITNESS_AUDIT_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// Directory where events wait while the receiver is away
    ///
    /// For this agent alone. Without it they wait in 8Mi of memory and are lost with the agent.
    #[arg(long, hide_short_help = true, help_heading = HEADING, env = "KUBEWITNESS_AUDIT_WEBHOOK_QUEUE", value_name = "DIRECTORY", requires = "audit_webhook_config_file")]
    audit_webhook_queue: Option<PathBuf>,
    /// How much may wait there
    ///
    /// Such as 64Mi or 1Gi; then the newest events are dropped.
    #[arg(
        long,
        hide_short_help = true,
        help_heading = HEADING,
        env = "KUBEWITNESS_AUDIT_WEBHOOK_QUEUE_SIZE",
        value_name = "SIZE",
        default_value = "256Mi",
        value_parser = parse_size
    )]
    audit_webhook_queue_size: u64,
    /// Events in one request, at most
    #[arg(long, hide_short_help = true, help_heading = HEADING, env = "KUBEWITNESS_AUDIT_WEBHOOK_BATCH_MAX_SIZE", value_name = "COUNT", default_value_t = 400, value_parser = parse_batch)]
    audit_webhook_batch_max_size: usize,
    /// How long an event waits for others before it is sent
    #[arg(
        long,
        hide_short_help = true,
        help_heading = HEADING,
        env = "KUBEWITNESS_AUDIT_WEBHOOK_BATCH_MAX_WAIT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = parse_duration
    )]
    audit_webhook_batch_max_wait: Duration,
    /// The rest before a failed request is tried again
    ///
    /// It grows by a half each time, up to a minute.
    #[arg(
        long,
        hide_short_help = true,
        help_heading = HEADING,
        env = "KUBEWITNESS_AUDIT_WEBHOOK_INITIAL_BACKOFF",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = parse_duration
    )]
    audit_webhook_initial_backoff: Duration,
}

/// What a queue on disk has room for at least.
const SMALLEST_QUEUE: u64 = 1 << 20;

impl WebhookArgs {
    /// What was asked for; `None` without a kubeconfig.
    pub(super) fn options(self) -> Option<Options> {
        Some(Options {
            kubeconfig: self.audit_webhook_config_file?,
            queue: self.audit_webhook_queue.map(|folder| (folder, self.audit_webhook_queue_size)),
            batch_max_size: self.audit_webhook_batch_max_size,
            batch_max_wait: self.audit_webhook_batch_max_wait,
            initial_backoff: self.audit_webhook_initial_backoff,
        })
    }
}

/// A queue that is too small holds nothing that lasts.
fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes >= SMALLEST_QUEUE { Ok(bytes) } else { Err("give the queue at least 1Mi".to_owned()) }
}

/// The API server takes any number; one that fills a request many times over is a mistake.
fn parse_batch(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=10_000).contains(count)).ok_or_else(|| "write a number from 1 to 10000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_options() {
        let parse = |typed: &[&str]| WebhookArgs::try_parse_from([&["x"], typed].concat()).map(WebhookArgs::options);
        assert_eq!(parse(&[]).unwrap(), None);
        let options = |queue| {
            let (batch_max_wait, initial_backoff) = (Duration::from_secs(5), Duration::from_secs(1));
            Some(Options { kubeconfig: "k".into(), queue, batch_max_size: 400, batch_max_wait, initial_backoff })
        };
        let file = ["--audit-webhook-config-file", "k"];
        assert_eq!(parse(&file).unwrap(), options(None));
        assert_eq!(parse(&[&file[..], &["--audit-webhook-queue", "q"]].concat()).unwrap(), options(Some(("q".into(), 256 << 20))));
        for wrong in [
            ["--audit-webhook-queue-size", "1000"],
            ["--audit-webhook-queue-size", "64X"],
            ["--audit-webhook-queue-size", "99999999999Gi"],
            ["--audit-webhook-batch-max-size", "0"],
            ["--audit-webhook-batch-max-wait", "5"],
        ] {
            assert!(parse(&[&file[..], &wrong].concat()).is_err(), "{wrong:?}");
        }
        assert!(parse(&["--audit-webhook-queue", "q"]).is_err());
    }
}
