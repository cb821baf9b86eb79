//! The last verdict of each place where the kernel programs keep the records of a request: what comes again is like it.

use std::sync::Arc;

use kubewitness_wire::GATHERED;

use crate::{exchange::Origin, judge::Verdict};

/// Verdicts, by place.
#[derive(Debug, Default)]
pub(super) struct Repeats(Vec<Option<(u64, Arc<Verdict>)>>);

impl Repeats {
    /// Keeps the verdict of a request that others may be as.
    pub(super) fn keep(&mut self, origin: Origin, verdict: Arc<Verdict>) {
        let Some(place) = usize::try_from(origin.place).ok().filter(|_| origin.place < GATHERED) else { return };
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some((origin.name, verdict));
    }

    /// The verdict of that name, if it is the last one of its place.
    pub(super) fn get(&mut self, origin: Origin) -> Option<&mut Arc<Verdict>> {
        let (name, verdict) = self.0.get_mut(usize::try_from(origin.place).ok()?)?.as_mut()?;
        (*name == origin.name).then_some(verdict)
    }
}
