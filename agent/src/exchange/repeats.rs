//! Requests that are in all but their times as one before them: a client that asks for the same over and over.

use std::ops::Deref;

use kubewitness_wire::PARTS;

use super::Exchange;
use crate::observation::{RequestId, Timestamp};

/// Where the kernel programs kept the records of a request, and the name that they gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The place.
    pub place: u32,
    /// The name.
    pub name: u64,
}

/// A request that was as another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Its name.
    pub id: RequestId,
    /// Which one it was as.
    pub as_before: Origin,
    /// When it began, each question was answered, and it ended.
    pub times: Times,
}

/// Of each part of a request, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    of: [Timestamp; PARTS],
    count: usize,
}

impl Times {
    /// So many, by their place; `None` if there are more than can be.
    pub fn new<E>(count: usize, time: impl Fn(usize) -> Result<Timestamp, E>) -> Result<Option<Self>, E> {
        let mut of = [Timestamp::default(); PARTS];
        let Some(all) = of.get_mut(..count) else { return Ok(None) };
        for (index, of) in all.iter_mut().enumerate() {
            *of = time(index)?;
        }
        Ok(Some(Self { of, count }))
    }
}

impl Deref for Times {
    type Target = [Timestamp];

    fn deref(&self) -> &[Timestamp] {
        &self.of[..self.count]
    }
}

impl Exchange {
    /// Becomes the exchange of a request that was as this one. False, and nothing is changed, where it cannot have been: it is another
    /// goroutine's, or has more or fewer parts.
    pub fn repeat(&mut self, again: &Again) -> bool {
        let is_of_the_same = (self.id.tgid, self.id.goroutine) == (again.id.tgid, again.id.goroutine);
        let (Some(request), Some(last), [begin, checks @ .., end]) = (&mut self.request, &mut self.end, &again.times[..]) else {
            return false;
        };
        if !is_of_the_same || checks.len() != self.checks.len() {
            return false;
        }
        self.id = again.id;
        (request.time, last.time) = (*begin, *end);
        for (check, time) in self.checks.iter_mut().zip(checks) {
            check.time = *time;
        }
        true
    }
}
