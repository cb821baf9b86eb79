//! What a decoded path means to the kubelet.

use super::Subresource;
use crate::observation::Text;

/// An endpoint of the kubelet's API, whether or not this kubelet serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/exec/{ns}/{pod}[/{uid}]/{container}`
    Exec(Option<PodTarget>),
    /// `/attach/{ns}/{pod}[/{uid}]/{container}`
    Attach(Option<PodTarget>),
    /// `/run/{ns}/{pod}[/{uid}]/{container}`
    Run(Option<PodTarget>),
    /// `/portForward/{ns}/{pod}[/{uid}]`
    PortForward(Option<PodTarget>),
    /// `/containerLogs/{ns}/{pod}/{container}`
    ContainerLogs(Option<PodTarget>),
    /// `/checkpoint/{ns}/{pod}/{container}`
    Checkpoint(Option<PodTarget>),
    /// `/allocatedPods[/{ns}/{pod}[/{uid}]]`, since 1.37
    AllocatedPods(Option<PodTarget>),
    /// `/pods`
    Pods,
    /// `/runningpods/`
    RunningPods,
    /// `/stats/`
    Stats,
    /// `/metrics` and its pages
    Metrics(MetricsPage),
    /// `/logs/`: the host's logs
    Logs,
    /// `/healthz`
    Healthz,
    /// `/configz`
    Configz,
    /// `/statusz`
    Statusz,
    /// `/flagz`
    Flagz,
    /// `/debug/pprof/`
    Pprof,
    /// `/debug/flags/v`
    DebugFlags,
    /// A path that no release up to 1.37 serves.
    Other,
    /// The path was not seen.
    Unknown,
}

/// A page under `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricsPage {
    /// `/metrics`, and what is under it but not served.
    Kubelet,
    /// `/metrics/cadvisor`
    Cadvisor,
    /// `/metrics/resource`
    Resource,
    /// `/metrics/probes`
    Probes,
    /// `/metrics/slis`
    Slis,
}

/// The pod that a path names. Everything in it was chosen by the caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodTarget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID, where the path has one.
    pub uid: Option<String>,
    /// The container, for endpoints that name one.
    pub container: Option<String>,
}

/// The segments that an endpoint's path may have after its prefix.
#[derive(Clone, Copy)]
enum Shape {
    /// `{ns}/{pod}[/{uid}]/{container}`
    UidAndContainer,
    /// `{ns}/{pod}[/{uid}]`
    Uid,
    /// `{ns}/{pod}/{container}`
    Container,
}

impl Endpoint {
    /// One of each, pods unnamed, for labels and tables.
    pub const ALL: [Self; 24] = [
        Self::Exec(None),
        Self::Attach(None),
        Self::Run(None),
        Self::PortForward(None),
        Self::ContainerLogs(None),
        Self::Checkpoint(None),
        Self::AllocatedPods(None),
        Self::Pods,
        Self::RunningPods,
        Self::Stats,
        Self::Metrics(MetricsPage::Kubelet),
        Self::Metrics(MetricsPage::Cadvisor),
        Self::Metrics(MetricsPage::Resource),
        Self::Metrics(MetricsPage::Probes),
        Self::Metrics(MetricsPage::Slis),
        Self::Logs,
        Self::Healthz,
        Self::Configz,
        Self::Statusz,
        Self::Flagz,
        Self::Pprof,
        Self::DebugFlags,
        Self::Other,
        Self::Unknown,
    ];

    /// The endpoint of a *decoded* path (`req.URL.Path`), which the kubelet routes and authorizes by; never of a request line.
    ///
    /// A path belongs to a prefix when it equals it or continues with `/` (`auth.go`, `isSubpath`).
    pub fn parse(path: &str) -> Self {
        let under = |prefix| rest_under(path, prefix);
        if let Some(rest) = under("/exec") {
            Self::Exec(PodTarget::parse(rest, Shape::UidAndContainer))
        } else if let Some(rest) = under("/attach") {
            Self::Attach(PodTarget::parse(rest, Shape::UidAndContainer))
        } else if let Some(rest) = under("/run") {
            Self::Run(PodTarget::parse(rest, Shape::UidAndContainer))
        } else if let Some(rest) = under("/portForward") {
            Self::PortForward(PodTarget::parse(rest, Shape::Uid))
        } else if let Some(rest) = under("/containerLogs") {
            Self::ContainerLogs(PodTarget::parse(rest, Shape::Container))
        } else if let Some(rest) = under("/checkpoint") {
            Self::Checkpoint(PodTarget::parse(rest, Shape::Container))
        } else if let Some(rest) = under("/allocatedPods") {
            Self::AllocatedPods(PodTarget::parse(rest, Shape::Uid))
        } else if let Some(rest) = under("/metrics") {
            Self::Metrics(MetricsPage::parse(rest))
        } else {
            const PLAIN: [(&str, Endpoint); 10] = [
                ("/pods", Endpoint::Pods),
                ("/runningpods", Endpoint::RunningPods),
                ("/stats", Endpoint::Stats),
                ("/logs", Endpoint::Logs),
                ("/healthz", Endpoint::Healthz),
                ("/configz", Endpoint::Configz),
                ("/statusz", Endpoint::Statusz),
                ("/flagz", Endpoint::Flagz),
                ("/debug/pprof", Endpoint::Pprof),
                ("/debug/flags/v", Endpoint::DebugFlags),
            ];
            PLAIN.into_iter().find(|(prefix, _)| under(prefix).is_some()).map_or(Self::Other, |(_, endpoint)| endpoint)
        }
    }

    /// The endpoint of a path as it was seen: of a cut one the pod is not told, of an unreadable one nothing.
    pub fn of(path: &Text) -> Self {
        match path {
            Text::Whole(path) => Self::parse(path.as_str()),
            Text::Cut(path, _) => Self::parse(path.as_str()).without_target(),
            Text::Unreadable => Self::Unknown,
        }
    }

    /// The endpoint of a label, its pod unnamed.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.label() == label)
    }

    /// The word for labels: a closed set.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::Run(_) => "run",
            Self::PortForward(_) => "portForward",
            Self::ContainerLogs(_) => "containerLogs",
            Self::Checkpoint(_) => "checkpoint",
            Self::AllocatedPods(_) => "allocatedPods",
            Self::Pods => "pods",
            Self::RunningPods => "runningpods",
            Self::Stats => "stats",
            Self::Metrics(MetricsPage::Kubelet) => "metrics",
            Self::Metrics(MetricsPage::Cadvisor) => "metrics/cadvisor",
            Self::Metrics(MetricsPage::Resource) => "metrics/resource",
            Self::Metrics(MetricsPage::Probes) => "metrics/probes",
            Self::Metrics(MetricsPage::Slis) => "metrics/slis",
            Self::Logs => "logs",
            Self::Healthz => "healthz",
            Self::Configz => "configz",
            Self::Statusz => "statusz",
            Self::Flagz => "flagz",
            Self::Pprof => "debug/pprof",
            Self::DebugFlags => "debug/flags",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    /// exec, attach, run, portForward: they put the caller inside a pod.
    pub const fn is_exec_class(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Attach(_) | Self::Run(_) | Self::PortForward(_))
    }

    /// Step A: the finer right that is asked for before `nodes/proxy`, where `KubeletFineGrainedAuthz` is on. Only these can fall back.
    pub const fn finer(&self) -> Option<Subresource> {
        match self {
            Self::Pods | Self::RunningPods | Self::AllocatedPods(_) => Some(Subresource::Pods),
            Self::Healthz => Some(Subresource::Healthz),
            Self::Configz => Some(Subresource::Configz),
            _ => None,
        }
    }

    /// Step B: the right that is always asked for, unless step A allowed (since 1.33; before, fewer had one of their own).
    /// `None` if the path was not seen.
    pub const fn required(&self) -> Option<Subresource> {
        Some(match self {
            Self::Stats => Subresource::Stats,
            Self::Metrics(_) => Subresource::Metrics,
            Self::Logs => Subresource::Log,
            Self::Checkpoint(_) => Subresource::Checkpoint,
            Self::Statusz => Subresource::Statusz,
            Self::Flagz => Subresource::Configz,
            Self::Unknown => return None,
            _ => Subresource::Proxy,
        })
    }

    /// The pod that the path names.
    pub const fn target(&self) -> Option<&PodTarget> {
        match self {
            Self::Exec(target)
            | Self::Attach(target)
            | Self::Run(target)
            | Self::PortForward(target)
            | Self::ContainerLogs(target)
            | Self::Checkpoint(target)
            | Self::AllocatedPods(target) => target.as_ref(),
            _ => None,
        }
    }

    fn without_target(mut self) -> Self {
        if let Self::Exec(target)
        | Self::Attach(target)
        | Self::Run(target)
        | Self::PortForward(target)
        | Self::ContainerLogs(target)
        | Self::Checkpoint(target)
        | Self::AllocatedPods(target) = &mut self
        {
            *target = None;
        }
        self
    }
}

/// What follows a prefix, without the slash; `None` if the path is not under it.
fn rest_under<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl MetricsPage {
    fn parse(rest: &str) -> Self {
        match rest {
            "cadvisor" => Self::Cadvisor,
            "resource" => Self::Resource,
            "probes" => Self::Probes,
            "slis" => Self::Slis,
            _ => Self::Kubelet,
        }
    }
}

impl PodTarget {
    /// Reads the segments as go-restful does: slashes at the end do not count (`tokenizePath`), and a path of another shape has no route.
    fn parse(rest: &str, shape: Shape) -> Option<Self> {
        let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let (namespace, pod, uid, container) = match (shape, segments.as_slice()) {
            (Shape::UidAndContainer | Shape::Container, &[namespace, pod, container]) => (namespace, pod, None, Some(container)),
            (Shape::UidAndContainer, &[namespace, pod, uid, container]) => (namespace, pod, Some(uid), Some(container)),
            (Shape::Uid, &[namespace, pod]) => (namespace, pod, None, None),
            (Shape::Uid, &[namespace, pod, uid]) => (namespace, pod, Some(uid), None),
            _ => return None,
        };
        Some(Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: uid.map(str::to_owned),
            container: container.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::observation::Utf8;

    #[expect(clippy::unnecessary_wraps, reason = "endpoints hold it so, and the table reads better")]
    fn target(namespace: &str, pod: &str, uid: Option<&str>, container: Option<&str>) -> Option<PodTarget> {
        Some(PodTarget { namespace: namespace.into(), pod: pod.into(), uid: uid.map(Into::into), container: container.map(Into::into) })
    }

    #[test]
    fn paths_of_the_endpoint_table() {
        let web = || target("default", "web", None, Some("main"));
        let with_uid = || target("default", "web", Some("u-1"), Some("main"));
        for (path, endpoint) in [
            ("/exec/default/web/main", Endpoint::Exec(web())),
            ("/exec/default/web/main/", Endpoint::Exec(web())),
            ("/exec/default/web/u-1/main", Endpoint::Exec(with_uid())),
            ("/exec/default/web", Endpoint::Exec(None)),
            ("/exec/a/b/c/d/e", Endpoint::Exec(None)),
            ("/exec//web/main", Endpoint::Exec(None)),
            ("/exec", Endpoint::Exec(None)),
            ("/exec/", Endpoint::Exec(None)),
            ("/execute", Endpoint::Other),
            ("/EXEC/default/web/main", Endpoint::Other),
            ("//exec/default/web/main", Endpoint::Other),
            ("/./exec/default/web/main", Endpoint::Other),
            ("/attach/default/web/main", Endpoint::Attach(web())),
            ("/attach/default/web/u-1/main", Endpoint::Attach(with_uid())),
            ("/run/default/web/main", Endpoint::Run(web())),
            ("/run/default/web/u-1/main", Endpoint::Run(with_uid())),
            ("/runningpods", Endpoint::RunningPods),
            ("/runningpods/", Endpoint::RunningPods),
            ("/portForward/default/web", Endpoint::PortForward(target("default", "web", None, None))),
            ("/portForward/default/web/u-1", Endpoint::PortForward(target("default", "web", Some("u-1"), None))),
            ("/portforward/default/web", Endpoint::Other),
            ("/containerLogs/default/web/main", Endpoint::ContainerLogs(web())),
            ("/containerLogs/default/web/u-1/main", Endpoint::ContainerLogs(None)),
            ("/checkpoint/default/web/main", Endpoint::Checkpoint(web())),
            ("/allocatedPods", Endpoint::AllocatedPods(None)),
            ("/allocatedPods/default/web", Endpoint::AllocatedPods(target("default", "web", None, None))),
            ("/allocatedPods/default/web/u-1", Endpoint::AllocatedPods(target("default", "web", Some("u-1"), None))),
            ("/pods", Endpoint::Pods),
            ("/pods/x", Endpoint::Pods),
            ("/podsfoo", Endpoint::Other),
            ("/stats", Endpoint::Stats),
            ("/stats/summary", Endpoint::Stats),
            ("/metrics", Endpoint::Metrics(MetricsPage::Kubelet)),
            ("/metrics/unheard-of", Endpoint::Metrics(MetricsPage::Kubelet)),
            ("/metrics/cadvisor", Endpoint::Metrics(MetricsPage::Cadvisor)),
            ("/metrics/resource", Endpoint::Metrics(MetricsPage::Resource)),
            ("/metrics/probes", Endpoint::Metrics(MetricsPage::Probes)),
            ("/metrics/slis", Endpoint::Metrics(MetricsPage::Slis)),
            ("/logs/", Endpoint::Logs),
            ("/logs/syslog", Endpoint::Logs),
            ("/healthz", Endpoint::Healthz),
            ("/healthz/ping", Endpoint::Healthz),
            ("/configz", Endpoint::Configz),
            ("/statusz", Endpoint::Statusz),
            ("/flagz", Endpoint::Flagz),
            ("/debug/pprof/heap", Endpoint::Pprof),
            ("/debug/flags/v", Endpoint::DebugFlags),
            ("/debug/flags", Endpoint::Other),
            ("/debug", Endpoint::Other),
            ("/", Endpoint::Other),
            ("", Endpoint::Other),
            ("*", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::parse(path), endpoint, "{path}");
        }
    }

    #[test]
    fn questions_of_the_release_table() {
        for (endpoint, finer, required) in [
            ("/pods", Some("pods"), "proxy"),
            ("/runningpods/", Some("pods"), "proxy"),
            ("/allocatedPods", Some("pods"), "proxy"),
            ("/healthz", Some("healthz"), "proxy"),
            ("/configz", Some("configz"), "proxy"),
            ("/stats/summary", None, "stats"),
            ("/metrics/cadvisor", None, "metrics"),
            ("/logs/", None, "log"),
            ("/checkpoint/a/b/c", None, "checkpoint"),
            ("/statusz", None, "statusz"),
            ("/flagz", None, "configz"),
            ("/exec/a/b/c", None, "proxy"),
            ("/containerLogs/a/b/c", None, "proxy"),
            ("/debug/pprof/", None, "proxy"),
            ("/debug/flags/v", None, "proxy"),
            ("/nothing", None, "proxy"),
        ] {
            let parsed = Endpoint::parse(endpoint);
            assert_eq!(parsed.finer().map(Subresource::as_str), finer, "{endpoint}");
            assert_eq!(parsed.required().map(Subresource::as_str), Some(required), "{endpoint}");
        }
        assert_eq!(Endpoint::Unknown.required(), None);
    }

    #[test]
    fn a_cut_path_names_no_pod_and_an_unreadable_one_nothing() {
        let cut = Text::Cut(Utf8::new(Bytes::from_static(b"/exec/default/web/ma")), 2000);
        assert_eq!(Endpoint::of(&cut), Endpoint::Exec(None));
        assert_eq!(Endpoint::of(&Text::Unreadable), Endpoint::Unknown);
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::BTreeSet<_> = Endpoint::ALL.iter().map(Endpoint::label).collect();
        assert_eq!(labels.len(), Endpoint::ALL.len());
    }
}
