//! A record of the queue's files: an event on a line, behind a checksum.
//!
//! `CRC32 JSON\n`, the checksum of the JSON in eight hexadecimal digits. Lines, because an event has no newline in it: whatever is damaged,
//! the next newline is where the next record begins, and `cut -c10- FILE` shows the events to people.

use std::io::Write as _;

use flate2::Crc;

/// Bytes of a record beside the event's.
pub(super) const OVERHEAD: usize = 10;

/// Adds the record of an event, which holds no newline.
pub(super) fn encode(event: &[u8], into: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _infallible = write!(into, "{:08x} ", checksum(event));
    into.extend_from_slice(event);
    into.push(b'\n');
}

/// The event in a line without its newline; `None` if the line is not what was written.
pub(super) fn decode(line: &[u8]) -> Option<&[u8]> {
    let (head, event) = line.split_at_checked(OVERHEAD - 1)?;
    let digits = std::str::from_utf8(head.strip_suffix(b" ")?).ok()?;
    (u32::from_str_radix(digits, 16).ok()? == checksum(event)).then_some(event)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_this_one() {
        let mut record = Vec::new();
        encode(br#"{"a":1}"#, &mut record);
        assert_eq!(String::from_utf8(record).unwrap(), "561bacaf {\"a\":1}\n");
        for damaged in ["", "561bacaf", "561bacaf ", "561bacae {\"a\":1}", "561bacaf {\"a\":2}", "561bacaf\t{\"a\":1}", "é61baca {\"a\":1}"]
        {
            assert_eq!(decode(damaged.as_bytes()), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(event in proptest::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut record = Vec::new();
            encode(&event, &mut record);
            let mut line = record[..record.len() - 1].to_vec();
            prop_assert_eq!(line.len() + 1, event.len() + OVERHEAD);
            prop_assert_eq!(decode(&line), Some(&event[..]));
            let at = at.index(line.len());
            line[at] ^= 1 << bit;
            // The digits of the checksum may be written in capitals as well.
            prop_assert!(decode(&line).is_none() || line[at].is_ascii_hexdigit() && at < 8);
        }
    }
}
