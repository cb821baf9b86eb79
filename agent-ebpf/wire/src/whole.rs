//! What is told of a routine request at once, when it is over.

use crate::Header;

/// All records of a routine request, or, of one that was like another before it in all but its times, which one that was.
///
/// The records follow, each with its padding, see [`padded`]. In their headers `time` and `request` are zero: the times are here.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// The common head; `time` and `request` are both the request's begin.
    pub header: Header,
    /// Names the [`Whole`] that tells the records: this one, or one before.
    pub name: u64,
    /// The [`Gathered`] that it comes from: the next one of it replaces this one.
    pub slot: u32,
    /// How many records there are.
    pub parts: u32,
    /// When each of them was made.
    pub times: [u64; PARTS],
}

/// Records of one request that are told together: its begin, questions, its end. More of them come one by one.
pub const PARTS: usize = 8;

/// Bytes that a record of so many bytes takes: the rest are zeros.
pub const fn padded(length: u32) -> u32 {
    length.next_multiple_of(PADDING)
}

/// What the length of each record in a [`Whole`] is a multiple of.
pub const PADDING: u32 = 32;

/// The longest record that goes into a [`Whole`].
pub const LONGEST_PART: usize = 1024;
/// Records begin before this place.
pub const PARTS_ROOM: usize = 2048;

/// Requests whose records can be kept back at a time.
pub const GATHERED: u32 = 512;

/// Words that the programs note of each.
pub const NOTES: usize = 73;

/// Where the records of one request are until it is over, and after that until another one has the place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Gathered {
    /// 1 while a request has this place.
    pub taken: u64,
    /// Which one: not 0 from then on to its end.
    pub busy: u64,
    /// What will be told. The records of the request that are there are the first `parts` ones.
    pub whole: Whole,
    /// The records.
    pub records: [u8; PARTS_ROOM + LONGEST_PART],
    /// What the programs note for themselves.
    pub notes: [u64; NOTES],
}

impl Gathered {
    /// A place that no request had.
    pub const EMPTY: Self = Self {
        taken: 0,
        busy: 0,
        whole: Whole {
            header: Header { kind: 0, class: 0, lost: 0, path: 0, len: 0, time: 0, tgid: 0, site: 0, goroutine: 0, request: 0 },
            name: 0,
            slot: 0,
            parts: 0,
            times: [0; PARTS],
        },
        records: [0; PARTS_ROOM + LONGEST_PART],
        notes: [0; NOTES],
    };
}
