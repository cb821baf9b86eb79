//! What can be wrong with who holds `nodes/proxy`.

use crate::judge::Severity;

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A group that everybody is in, or everybody without a name, has it.
    ForEveryone,
    /// `get` without `create`: the WebSocket hole.
    Get,
    /// `create`: exec by what the verb says.
    Create,
    /// `create`, but only by a rule that gives whole classes of resources, as `cluster-admin` does.
    Wildcard,
    /// Neither `get` nor `create`: no exec, and still nothing to hand out.
    OtherVerbs,
    /// It cannot be told.
    Unknown,
    /// A role gives it by its name, and nothing here binds the role.
    Unbound,
    /// A role gives it by a wildcard, and nothing here binds the role.
    UnboundWildcard,
    /// What Kubernetes itself sets up, and the API server.
    Builtin,
}

impl Kind {
    /// All of them, the worst first.
    pub const ALL: [Self; 9] = [
        Self::ForEveryone,
        Self::Get,
        Self::Create,
        Self::Wildcard,
        Self::OtherVerbs,
        Self::Unknown,
        Self::Unbound,
        Self::UnboundWildcard,
        Self::Builtin,
    ];

    /// Its id.
    pub const fn id(self) -> &'static str {
        match self {
            Self::ForEveryone => "nodes-proxy-for-everyone",
            Self::Get => "nodes-proxy-get",
            Self::Create => "nodes-proxy-create",
            Self::Wildcard => "nodes-proxy-wildcard",
            Self::OtherVerbs => "nodes-proxy-other-verbs",
            Self::Unknown => "nodes-proxy-unknown",
            Self::Unbound => "nodes-proxy-unbound",
            Self::UnboundWildcard => "nodes-proxy-unbound-wildcard",
            Self::Builtin => "nodes-proxy-builtin",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::ForEveryone | Self::Get | Self::Create => Severity::Critical,
            Self::Wildcard | Self::OtherVerbs | Self::Unknown | Self::Unbound => Severity::Warning,
            Self::UnboundWildcard | Self::Builtin => Severity::Info,
        }
    }

    /// A title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ForEveryone => "nodes/proxy for everyone",
            Self::Get => "exec by get nodes/proxy",
            Self::Create => "exec by nodes/proxy",
            Self::Wildcard => "exec by a wildcard",
            Self::OtherVerbs => "nodes/proxy without exec",
            Self::Unknown => "nodes/proxy cannot be ruled out",
            Self::Unbound => "a role with nodes/proxy that nothing here binds",
            Self::UnboundWildcard => "a wildcard role that nothing here binds",
            Self::Builtin => "nodes/proxy by Kubernetes' own setup",
        }
    }

    /// Why it matters: one sentence.
    pub const fn why(self) -> &'static str {
        match self {
            Self::ForEveryone => {
                "Everybody in this group, which may be everybody who reaches a node's port 10250, runs commands in every pod of the node, and no audit log shows it."
            }
            Self::Get => {
                "A WebSocket begins as a GET, and the kubelet asks for no more than get: this right, which reads like a right to read, runs commands in every pod of the node, and no audit log shows it."
            }
            Self::Create => "It runs commands in every pod of the node straight through the kubelet, and no audit log shows it.",
            Self::Wildcard => {
                "A rule for whole classes of resources includes nodes/proxy: commands in every pod of the node straight through the kubelet, past the audit log that shows whatever else this role does."
            }
            Self::OtherVerbs => {
                "Without get and create there is no exec, but the kubelet's debugging flags can be set, and whoever adds a verb opens the node."
            }
            Self::Unknown => "Something that decides about it is not here or cannot be read.",
            Self::Unbound => {
                "Nobody has it by what is here; whoever is bound to the role elsewhere runs commands in every pod of the node."
            }
            Self::UnboundWildcard => {
                "Nobody has it by what is here, and a RoleBinding gives nothing of it; a ClusterRoleBinding elsewhere gives exec in every pod."
            }
            Self::Builtin => "Each cluster has it. It is listed so that nobody has to wonder.",
        }
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ForEveryone => "Delete the binding.",
            Self::Get | Self::Create | Self::OtherVerbs | Self::Unbound => {
                "Replace nodes/proxy by the finer rights that are needed; for exec and logs use pods/exec and pods/log through the API server."
            }
            Self::Wildcard | Self::UnboundWildcard => "Name the resources that are needed.",
            Self::Unknown => "Add what is missing to the input, or look at the live cluster: kubewitness rbac without a file.",
            Self::Builtin => "Nothing, unless somebody else can become this identity.",
        }
    }
}

/// A finer right that does a part of what `nodes/proxy` does. Kubelets before 1.33 (1.32 with the gate `KubeletFineGrainedAuthz`) do not
/// ask for those that are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinerRight {
    /// The resource, as roles name it.
    pub resource: &'static str,
    /// What it opens.
    pub opens: &'static str,
    /// The first kubelet that asks for it by default; `any` for all that are known, 1.29 and newer.
    pub kubelet: &'static str,
}

impl FinerRight {
    /// Those that the kubelet asks for (`pkg/kubelet/server/auth.go`).
    pub const ALL: [Self; 8] = [
        Self { resource: "nodes/metrics", opens: "/metrics and its pages", kubelet: "any" },
        Self { resource: "nodes/stats", opens: "/stats/summary", kubelet: "any" },
        Self { resource: "nodes/log", opens: "/logs/ of the host", kubelet: "any" },
        Self { resource: "nodes/checkpoint", opens: "/checkpoint", kubelet: "1.30" },
        Self { resource: "nodes/pods", opens: "/pods, /runningpods", kubelet: "1.33" },
        Self { resource: "nodes/healthz", opens: "/healthz", kubelet: "1.33" },
        Self { resource: "nodes/configz", opens: "/configz, /flagz", kubelet: "1.33" },
        Self { resource: "nodes/statusz", opens: "/statusz", kubelet: "1.33" },
    ];

    /// Which kubelets honour it: `kubelet 1.33 and newer`.
    pub fn honoured_by(&self) -> String {
        if self.kubelet == "any" { "any kubelet".to_owned() } else { format!("kubelet {} and newer", self.kubelet) }
    }

    /// What has none.
    pub const NONE: &str = "exec, attach, run, portForward, containerLogs and debug/* have no finer right: use pods/exec, pods/attach, pods/portforward and pods/log through the API server, whose audit log shows them.";
}
