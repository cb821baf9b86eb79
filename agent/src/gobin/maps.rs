//! How a Go map lies in memory, as the type of the map tells.

use super::{Error, Field, Kind, Type};

/// The form of a map type. Offsets and sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Bytes of a group or bucket: eight control bytes, then eight entries.
    pub group_size: u64,
    /// The first key in a group.
    pub key: u64,
    /// From one key to the next.
    pub key_stride: u64,
    /// The first value in a group.
    pub value: u64,
    /// From one value to the next.
    pub value_stride: u64,
    /// The pointer to the bucket that overflowed, in a map of Go 1.23 and before (`runtime.hmap`); `None` in a Swiss map.
    pub overflow: Option<u64>,
}

/// Entries of a group or bucket (`abi.MapGroupSlots`, `abi.MapBucketCount`).
const SLOTS: u64 = 8;
/// Where a map type names its key, its element and its group or bucket.
const KEY: u64 = 48;
const ELEMENT: u64 = 56;
const GROUP: u64 = 64;
/// `GroupSize` of a Swiss map, `KeySize`, `ValueSize`, `BucketSize` of the one before.
const SIZES: u64 = 80;

impl Type<'_> {
    /// The key and the element of a map.
    pub fn key_and_element(&self) -> Result<(Self, Self), Error> {
        self.expect_map()?;
        Ok((self.type_at(KEY)?, self.type_at(ELEMENT)?))
    }

    /// The form of a map. The type of its group tells: `ctrl` and `slots` or, with split groups, `keys` and `elems` in a Swiss map;
    /// `topbits`, `keys`, `elems` and `overflow` in the one before.
    pub fn map_shape(&self) -> Result<MapShape, Error> {
        let (key, element) = self.key_and_element()?;
        let group = self.type_at(GROUP)?;
        let group_size = group.size()?;
        let overflow = group.field("overflow")?.map(|f| f.offset);
        let control = group.field(if overflow.is_some() { "topbits" } else { "ctrl" })?;
        let stated_size = if overflow.is_some() { self.half(SIZES + 2)?.into() } else { self.word(SIZES)? };
        let (first_key, key_stride, value, value_stride) = if let Some(slots) = group.field("slots")? {
            let slot = slots.of.element()?;
            let from_group = |name| Ok::<_, Error>(slots.offset.saturating_add(required(slot, name, self.address())?.offset));
            let stride = slot.size()?;
            (from_group("key")?, stride, from_group("elem")?, stride)
        } else {
            let offset = |name| Ok::<_, Error>(required(group, name, self.address())?.offset);
            (offset("keys")?, key.size()?, offset("elems")?, element.size()?)
        };
        let fits = |first: u64, stride: u64, size: u64| {
            let end = stride.checked_mul(SLOTS - 1).and_then(|n| n.checked_add(first)?.checked_add(size));
            stride >= size && first >= SLOTS && end.is_some_and(|end| end <= group_size)
        };
        let sound = control.is_some_and(|c| c.offset == 0)
            && stated_size == group_size
            && fits(first_key, key_stride, key.size()?)
            && fits(value, value_stride, element.size()?);
        if !sound {
            return Err(Error::malformed("a map type of unknown form", self.address()));
        }
        Ok(MapShape { group_size, key: first_key, key_stride, value, value_stride, overflow })
    }

    fn expect_map(&self) -> Result<(), Error> {
        match self.kind()? {
            Kind::Map => Ok(()),
            _ => Err(Error::malformed("a type that is not a map", self.address())),
        }
    }
}

fn required<'e>(group: Type<'e>, name: &str, map: u64) -> Result<Field<'e>, Error> {
    group.field(name)?.ok_or(Error::malformed("a map type of unknown form", map))
}
