//! Times as they are shown: to people in the zone of their machine, to programs in UTC as RFC 3339 has it. JSON never goes through here.

use std::fmt;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// How times are shown.
#[derive(Clone, Debug)]
pub enum When {
    /// `2026-10-01T08:32:07Z`
    Utc,
    /// `2026-10-01 10:32:07 +02:00`
    Local(TimeZone),
}

impl When {
    /// In the zone of this machine, by `TZ` or `/etc/localtime`; in UTC where it has none, as in most containers.
    pub fn local() -> Self {
        Self::Local(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// A moment to the second, with its date.
    pub fn moment(&self, time: Timestamp) -> impl fmt::Display + use<> {
        match self {
            Self::Utc => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Self::Local(zone) => time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        }
    }

    /// The day of a moment, where [`Self::live`] tells it without.
    pub fn day(&self, time: Timestamp) -> Option<Date> {
        match self {
            Self::Utc => None,
            Self::Local(zone) => Some(time.to_zoned_datetime(zone.clone()).date()),
        }
    }

    /// As [`Self::live`], but in the zone of people to the second: `10:32:07`.
    pub fn brief(&self, time: Timestamp) -> impl fmt::Display + use<> {
        let live = self.live(time).to_string();
        match self {
            Self::Utc => live,
            Self::Local(_) => live.split('.').next().unwrap_or_default().to_owned(),
        }
    }

    /// A moment of this very day to the millisecond, for lines that come live: `10:32:07.315`. In UTC with its date and microseconds, since programs may read it.
    pub fn live(&self, time: Timestamp) -> impl fmt::Display + use<> {
        match self {
            Self::Utc => time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            Self::Local(zone) => time.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz;

    use super::*;

    #[test]
    fn people_get_their_zone_and_programs_utc() {
        let time: Timestamp = "2026-12-31T23:59:59.9876Z".parse().unwrap();
        let east = When::Local(TimeZone::fixed(tz::offset(2)));
        let west = When::Local(TimeZone::fixed(tz::Offset::from_seconds(-12_600).unwrap()));
        for (when, moment, live) in [
            (When::Utc, "2026-12-31T23:59:59Z", "2026-12-31T23:59:59.987600Z"),
            (east, "2027-01-01 01:59:59 +02:00", "01:59:59.987"),
            (west, "2026-12-31 20:29:59 -03:30", "20:29:59.987"),
        ] {
            assert_eq!(when.moment(time).to_string(), moment);
            assert_eq!(when.live(time).to_string(), live);
        }
    }
}
