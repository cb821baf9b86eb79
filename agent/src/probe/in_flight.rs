//! What the kernel programs keep of a request that they will not see the end of.

use std::mem::offset_of;

use bytes::Bytes;
use kubewitness_wire as wire;

/// What a place of the kernel programs holds of a request in flight, as a record; `None` if there is none.
pub(super) fn in_flight(gathered: &wire::Gathered) -> Option<Bytes> {
    let whole = &gathered.whole;
    if gathered.busy == 0 || whole.parts == 0 {
        return None;
    }
    let mut size = 0;
    for _ in 0..whole.parts {
        let length = gathered.records.get(size + offset_of!(wire::Header, len)..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
        size += usize::try_from(length).ok()?.next_multiple_of(wire::PADDING as usize);
    }
    let header = wire::Header { kind: wire::Kind::Whole as u8, len: u32::try_from(size_of::<wire::Whole>() + size).ok()?, ..whole.header };
    // No request is as one that never ended.
    let mut record = Vec::with_capacity(size_of::<wire::Whole>() + size);
    put_header(&mut record, &header);
    record.extend_from_slice(&0_u64.to_ne_bytes());
    record.extend_from_slice(&whole.slot.to_ne_bytes());
    record.extend_from_slice(&whole.parts.to_ne_bytes());
    whole.times.iter().for_each(|time| record.extend_from_slice(&time.to_ne_bytes()));
    record.extend_from_slice(gathered.records.get(..size)?);
    Some(record.into())
}

fn put_header(record: &mut Vec<u8>, header: &wire::Header) {
    record.extend_from_slice(&[header.kind, header.class, header.lost, header.path]);
    record.extend_from_slice(&header.len.to_ne_bytes());
    record.extend_from_slice(&header.time.to_ne_bytes());
    record.extend_from_slice(&header.tgid.to_ne_bytes());
    record.extend_from_slice(&header.site.to_ne_bytes());
    record.extend_from_slice(&header.goroutine.to_ne_bytes());
    record.extend_from_slice(&header.request.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::Observation,
        probe::{Told, Users, decode},
    };

    /// A begin without texts, as long as its fixed part.
    fn begin() -> [u8; size_of::<wire::Request>()] {
        let mut record = [0; size_of::<wire::Request>()];
        record[0] = wire::Kind::Request as u8;
        let length = u32::try_from(record.len()).unwrap();
        record[offset_of!(wire::Header, len)..][..4].copy_from_slice(&length.to_ne_bytes());
        record
    }

    #[test]
    fn what_is_there_becomes_a_record() {
        let mut gathered = wire::Gathered::EMPTY;
        assert_eq!(in_flight(&gathered), None);
        gathered.busy = 1;
        assert_eq!(in_flight(&gathered), None, "it was taken a moment ago");
        let begin = begin();
        gathered.records[..begin.len()].copy_from_slice(&begin);
        gathered.whole.header = wire::Header { tgid: 3, goroutine: 4, time: 5, request: 5, ..gathered.whole.header };
        (gathered.whole.parts, gathered.whole.times[0]) = (1, 5);
        let record = in_flight(&gathered).unwrap();
        let Ok(Told::Whole(whole)) = decode(&record, &mut Users::default()) else { panic!("{record:?}") };
        let [part] = &whole.parts[..] else { panic!("{whole:?}") };
        let Observation::Request(id, request) = &part.observation else { panic!("{part:?}") };
        assert_eq!((id.tgid, id.goroutine, id.begin.unwrap().0, request.time.0), (3, 4, 5, 5));
    }

    #[test]
    fn nonsense_is_nothing() {
        let mut gathered = wire::Gathered { busy: 1, ..wire::Gathered::EMPTY };
        gathered.records.fill(0xff);
        gathered.whole.parts = u32::MAX;
        assert_eq!(in_flight(&gathered), None);
    }
}
