//! What a request asked the connection to become.

use crate::observation::{Lookup, Text};

/// How the streams of a request travel, by its first `Upgrade` header, which is the one that Go's handlers look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// No upgrade was asked for.
    Plain,
    /// `Upgrade: websocket`, in any case (`wsstream.IsWebSocketRequest`).
    WebSocket,
    /// `Upgrade: SPDY/3.1`, in any case and anywhere in the value (`spdy.responseUpgrader`).
    Spdy,
    /// The header could not be read, or names another protocol.
    Unknown,
}

impl Transport {
    /// The transport that this `Upgrade` header asks for.
    pub fn of(upgrade: &Lookup) -> Self {
        match upgrade {
            Lookup::Absent => Self::Plain,
            Lookup::Found(Text::Whole(value)) => Self::of_value(value.as_str()),
            Lookup::Found(Text::Cut(..) | Text::Unreadable) | Lookup::Unknown => Self::Unknown,
        }
    }

    fn of_value(value: &str) -> Self {
        if value.eq_ignore_ascii_case("websocket") {
            Self::WebSocket
        } else if value.to_ascii_lowercase().contains("spdy/3.1") {
            Self::Spdy
        } else {
            Self::Unknown
        }
    }

    /// The word for labels and annotations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::WebSocket => "websocket",
            Self::Spdy => "spdy",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrade_values_are_read_as_go_reads_them() {
        let found = |value: &str| Lookup::Found(value.into());
        for (upgrade, transport) in [
            (Lookup::Absent, Transport::Plain),
            (Lookup::Unknown, Transport::Unknown),
            (Lookup::Found(Text::Unreadable), Transport::Unknown),
            (found("websocket"), Transport::WebSocket),
            (found("WebSocket"), Transport::WebSocket),
            (found("websocket, h2c"), Transport::Unknown),
            (found("SPDY/3.1"), Transport::Spdy),
            (found("spdy/3.1"), Transport::Spdy),
            (found("h2c, SPDY/3.1"), Transport::Spdy),
            (found("h2c"), Transport::Unknown),
            (found(""), Transport::Unknown),
        ] {
            assert_eq!(Transport::of(&upgrade), transport, "{upgrade:?}");
        }
    }
}
