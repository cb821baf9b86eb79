//! The verbs of the kubelet's questions.

/// A verb, as `GetRequestAttributes` derives it from the HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the verbs")]
pub enum Verb {
    Get,
    Create,
    Update,
    Patch,
    Delete,
    /// Any other method, HEAD too: the verb is the empty string, which only `verbs: ["*"]` satisfies, and `verbs: [""]`, which nobody writes.
    None,
    /// It was not seen.
    Unknown,
}

impl Verb {
    /// The verb that the kubelet derives from an HTTP method; methods are case-sensitive.
    pub fn of_method(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "POST" => Self::Create,
            "PUT" => Self::Update,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::None,
        }
    }

    /// The verb of a question to the authorizer.
    pub fn parse(verb: &str) -> Self {
        match verb {
            "get" => Self::Get,
            "create" => Self::Create,
            "update" => Self::Update,
            "patch" => Self::Patch,
            "delete" => Self::Delete,
            "" => Self::None,
            _ => Self::Unknown,
        }
    }

    /// A word for labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            _ => self.as_str(),
        }
    }

    /// The verb as an audit event has it: empty where there is none or it is not known.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::None | Self::Unknown => "",
        }
    }
}
