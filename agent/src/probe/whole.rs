//! The records of a routine request, which come together when it is over, and those of requests that were as one before them.

use std::mem::offset_of;

use bytes::Bytes;
use kubewitness_wire as wire;

use super::{
    Users,
    decode::{DecodeError, Decoded, Fields, observation},
};
use crate::{
    exchange::{Again, Arrival, Origin, Times},
    observation::{Observation, RequestId, Timestamp},
};

/// What the records of a request tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Where they come from.
    pub origin: Origin,
    /// What each of them tells.
    pub parts: Vec<Decoded>,
}

/// Decodes a [`wire::Whole`] with what follows it.
pub(super) fn whole(record: &Bytes, id: RequestId, lost: u8, users: &mut Users) -> Result<Whole, DecodeError> {
    let fields = Fields(record);
    let times = times(fields)?;
    let mut parts = Vec::with_capacity(times.len());
    let mut position = size_of::<wire::Whole>();
    for time in times.iter().copied() {
        let rest = record.get(position..).ok_or(DecodeError::Short(record.len()))?;
        let length = Fields(&record.slice_ref(rest)).u32(offset_of!(wire::Header, len))?;
        let size = usize::try_from(length).map_err(|_| DecodeError::Short(record.len()))?;
        if size > rest.len() || size < size_of::<wire::Header>() {
            return Err(DecodeError::Short(record.len()));
        }
        let part = record.slice(position..position + size);
        let observation = observation(Fields(&part), id, time, users)?;
        if let Observation::Socket(_) = observation {
            return Err(DecodeError::Impossible { field: "kind of a part", value: wire::Kind::Socket as u64 });
        }
        parts.push(Decoded { observation, arrival: Arrival { priority: false, lost, endpoint: None } });
        position += size.next_multiple_of(PADDING);
    }
    Ok(Whole { origin: origin(fields)?, parts })
}

/// Decodes a [`wire::Whole`] that nothing follows.
pub(super) fn again(fields: Fields<'_>, id: RequestId) -> Result<Again, DecodeError> {
    Ok(Again { id, as_before: origin(fields)?, times: times(fields)? })
}

const PADDING: usize = wire::PADDING as usize;

fn origin(fields: Fields<'_>) -> Result<Origin, DecodeError> {
    Ok(Origin { place: fields.u32(offset_of!(wire::Whole, slot))?, name: fields.u64(offset_of!(wire::Whole, name))? })
}

fn times(fields: Fields<'_>) -> Result<Times, DecodeError> {
    let parts = fields.u32(offset_of!(wire::Whole, parts))?;
    let time = |index: usize| fields.u64(offset_of!(wire::Whole, times) + 8 * index).map(Timestamp);
    let times = Times::new(usize::try_from(parts).unwrap_or(usize::MAX), time)?;
    times.ok_or(DecodeError::Impossible { field: "number of parts", value: parts.into() })
}
