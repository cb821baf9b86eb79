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
            digits(&mut text[place], value.unsigned_abs());
        }
        text
    }
}

/// The text of a time in the second that was written last: most events are of the same one as the event before.
#[derive(Debug, Default)]
pub(super) struct Second {
    /// Since 1970.
    number: Option<i64>,
    text: [u8; 27],
}

impl Second {
    /// The same as [`Micros::text`].
    pub(super) fn text(&mut self, time: Micros) -> &[u8; 27] {
        // Before 1970 seconds have fractions below zero.
        let number = (time.0.subsec_nanosecond() >= 0).then_some(time.0.as_second());
        if number.is_some() && number == self.number {
            digits(&mut self.text[20..26], time.0.subsec_nanosecond().unsigned_abs() / 1000);
        } else {
            *self = Self { number, text: time.text() };
        }
        &self.text
    }
}

fn digits(text: &mut [u8], mut value: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789"[(value % 10) as usize];
        value /= 10;
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

        #[test]
        fn it_is_the_same_after_another_one(nanos in proptest::collection::vec(-3_000_000_000..3_000_000_000_i128, 1..20)) {
            let mut second = Second::default();
            for nanos in nanos {
                let time = Micros(jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default());
                prop_assert_eq!(second.text(time), &time.text());
            }
        }
    }
}
