//! Times as `metav1.MicroTime` writes them, each event two of them.

use jiff::tz::Offset;
use serde::{Serialize, Serializer};

/// `2026-03-04T05:06:07.000008Z`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Micros(pub(super) jiff::Timestamp);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Micros {
    /// Years have four digits from -9999 to 9999 (jiff); those before the year 0 no clock shows.
    pub(super) fn text(self) -> [u8; 27] {
        let time = Offset::UTC.to_datetime(self.0);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let fields = [
            (0..4, i32::from(time.year())),
            (5..7, time.month().into()),
            (8..10, time.day().into()),
            (11..13, time.hour().into()),
            (14..16, time.minute().into()),
            (17..19, time.second().into()),
            (20..26, time.subsec_nanosecond() / 1000),
        ];
        for (place, value) in fields {
            let mut rest = value.unsigned_abs();
            for digit in text[place].iter_mut().rev() {
                *digit = b"0123456789"[(rest % 10) as usize];
                rest /= 10;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_library_would_write(nanos in 0..253_402_300_800_000_000_000_i128) {
            let time = jiff::Timestamp::from_nanosecond(nanos - 1).unwrap_or_default().max(jiff::Timestamp::UNIX_EPOCH);
            let text = Micros(time).text();
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
        }
    }
}
