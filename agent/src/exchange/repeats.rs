//! Requests that are in all but their times as one before them: a client that asks for the same over and over.

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
    pub times: Vec<Timestamp>,
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
