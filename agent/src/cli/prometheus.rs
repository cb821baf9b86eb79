//! The flags that name a Prometheus server and the way to it.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use jiff::Timestamp;
use reqwest::Url;

use crate::report::prometheus::{Connection, Credentials, Options, Secret};

/// A fleet's counters, from Prometheus or anything that speaks its HTTP API: Thanos, Mimir, `VictoriaMetrics`
#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Prometheus")]
pub struct PrometheusArgs {
    /// The server, instead of event files
    ///
    /// With the prefix below which it has /api/v1, if any: Mimir's is /prometheus.
    #[arg(long, env = "KUBEWITNESS_PROMETHEUS", value_name = "URL", value_parser = parse_server)]
    prometheus: Option<Url>,
    /// How far back: 30d, 12h, 1w, 1d12h
    #[arg(long, env = "KUBEWITNESS_WINDOW", default_value = "30d", value_name = "DURATION", value_parser = parse_window)]
    window: Duration,
    /// The end of the window
    ///
    /// Such as 2026-10-01T00:00:00Z; now if not given.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_UNTIL", value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Count only series with these labels
    ///
    /// Such as 'cluster="x",job="kubewitness"'.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_SELECTOR", value_name = "MATCHERS")]
    prometheus_selector: Option<String>,
    /// A bearer token
    ///
    /// A file is better, since others can see the command line.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_BEARER_TOKEN", value_name = "TOKEN", hide_env_values = true, conflicts_with_all = ["prometheus_bearer_token_file", "prometheus_user"])]
    prometheus_bearer_token: Option<Secret>,
    /// A file with a bearer token
    #[arg(
        long,
        hide_short_help = true,
        env = "KUBEWITNESS_PROMETHEUS_BEARER_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "prometheus_user"
    )]
    prometheus_bearer_token_file: Option<PathBuf>,
    /// A user name, for basic authentication
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_USER", value_name = "NAME")]
    prometheus_user: Option<String>,
    /// The user's password
    ///
    /// A file is better, since others can see the command line.
    #[arg(
        long,
        hide_short_help = true,
        env = "KUBEWITNESS_PROMETHEUS_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        requires = "prometheus_user",
        conflicts_with = "prometheus_password_file"
    )]
    prometheus_password: Option<Secret>,
    /// A file with the user's password
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_PASSWORD_FILE", value_name = "FILE", requires = "prometheus_user")]
    prometheus_password_file: Option<PathBuf>,
    /// PEM file of the CA that signed the server's certificate
    ///
    /// Those of the system if not given.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_CA_FILE", value_name = "FILE")]
    prometheus_ca_file: Option<PathBuf>,
    /// PEM file of a certificate to show to the server
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_CERT_FILE", value_name = "FILE", requires = "prometheus_key_file")]
    prometheus_cert_file: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_KEY_FILE", value_name = "FILE", requires = "prometheus_cert_file")]
    prometheus_key_file: Option<PathBuf>,
    /// A header for every request
    ///
    /// Such as 'X-Scope-OrgID: team-a'; repeatable.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_HEADER", value_name = "HEADER", hide_env_values = true, value_parser = parse_header)]
    prometheus_header: Vec<(String, Secret)>,
    /// How long one request may take
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = parse_duration)]
    prometheus_timeout: Duration,
    /// How long all requests together may take
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_PROMETHEUS_DEADLINE", default_value = "10m", value_name = "DURATION", value_parser = parse_duration)]
    prometheus_deadline: Duration,
}

impl PrometheusArgs {
    /// Whether a server is named.
    pub(super) fn is_asked(&self) -> bool {
        self.prometheus.is_some()
    }

    /// What was asked for; `None` without `--prometheus`. A window without an end ends now.
    pub fn options(self, now: Timestamp) -> Option<Options> {
        let credentials = match (self.prometheus_bearer_token, self.prometheus_bearer_token_file, self.prometheus_user) {
            (Some(token), ..) => Credentials::Bearer(token),
            (None, Some(file), _) => Credentials::BearerFile(file),
            (None, None, Some(user)) => match (self.prometheus_password, self.prometheus_password_file) {
                (None, Some(file)) => Credentials::BasicFile(user, file),
                (password, _) => Credentials::Basic(user, password.unwrap_or_else(|| Secret::from(String::new()))),
            },
            (None, None, None) => Credentials::None,
        };
        let connection = Connection {
            url: self.prometheus?,
            credentials,
            ca: self.prometheus_ca_file,
            certificate: self.prometheus_cert_file.zip(self.prometheus_key_file),
            headers: self.prometheus_header,
            timeout: self.prometheus_timeout,
            deadline: self.prometheus_deadline,
        };
        Some(Options { connection, window: self.window, until: self.until.unwrap_or(now), selector: self.prometheus_selector })
    }
}

fn parse_server(text: &str) -> Result<Url, String> {
    let url = text.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "write http:// or https:// and the server, such as https://prometheus.example".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time such as 2026-10-01T00:00:00Z or 2026-10-01T02:00:00+02:00".to_owned())
}

/// A header as curl takes it.
fn parse_header(text: &str) -> Result<(String, Secret), String> {
    let (name, value) = text.split_once(':').ok_or("write 'Name: value'")?;
    Ok((name.trim().to_owned(), Secret::from(value.trim().to_owned())))
}

fn parse_window(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .and_then(|window| if window < Duration::from_secs(1) { Err("a window has at least a second".to_owned()) } else { Ok(window) })
}

/// A duration as Prometheus writes it (`model.ParseDuration`): numbers with units, the largest first, each unit once.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 7] =
        [("y", 365 * 86_400_000), ("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let wrong = || format!("`{text}` is no duration; write 30s, 500ms, 12h, 30d or 1d12h");
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, milliseconds) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*milliseconds)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if total == 0 { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, expected) in [
            ("30d", Some(30 * 86_400_000)),
            ("1w", Some(7 * 86_400_000)),
            ("1d12h", Some(36 * 3_600_000)),
            ("1h30m", Some(5_400_000)),
            ("90s", Some(90_000)),
            ("1y", Some(365 * 86_400_000)),
            ("500ms", Some(500)),
            ("1m500ms", Some(60_500)),
            ("", None),
            ("0s", None),
            ("30", None),
            ("d", None),
            ("1h1d", None),
            ("1h1h", None),
            ("-1h", None),
            ("1.5h", None),
            ("99999999999999999999d", None),
            ("999999999999999999y", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn flags_become_options() {
        let parse = |more: &[&str]| {
            let typed = ["x", "--prometheus", "https://mimir.example/prometheus"].iter().chain(more);
            PrometheusArgs::try_parse_from(typed).map(|args| args.options(Timestamp::UNIX_EPOCH).expect("there is a server"))
        };
        let options =
            parse(&["--prometheus-header", "X-Scope-OrgID: team-a", "--prometheus-user", "me", "--prometheus-password-file", "p"]).unwrap();
        assert_eq!(options.window, Duration::from_hours(30 * 24));
        assert_eq!(options.connection.headers, [("X-Scope-OrgID".to_owned(), Secret::from("team-a".to_owned()))]);
        assert!(matches!(options.connection.credentials, Credentials::BasicFile(..)));
        assert!(matches!(parse(&["--prometheus-bearer-token", "t"]).unwrap().connection.credentials, Credentials::Bearer(_)));
        for wrong in [
            ["--prometheus-user", "a", "--prometheus-bearer-token", "b"],
            ["--prometheus-bearer-token-file", "a", "--prometheus-bearer-token", "b"],
            ["--window", "soon", "--prometheus-user", "a"],
            ["--prometheus-cert-file", "a", "--prometheus-user", "b"],
            ["--prometheus-password", "a", "--prometheus-timeout", "1s"],
            ["--prometheus-header", "nameless", "--prometheus-user", "b"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        assert!(PrometheusArgs::try_parse_from(["x"]).unwrap().options(Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn secrets_are_not_printed() {
        let args =
            PrometheusArgs::try_parse_from(["x", "--prometheus-bearer-token", "hunter2", "--prometheus-header", "A: hunter2"]).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
