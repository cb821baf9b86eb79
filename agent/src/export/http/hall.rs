//! How many connections there are at a time, and which of them give way. Pure but for the channels.
//!
//! Whoever reaches the port can open connections and say nothing, or ask and not read. Those that wait longest give way to new ones, so somebody who
//! asks at once and reads at once is answered whatever the others do: it takes hundreds of newer ones in the few milliseconds between.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The connections.
#[derive(Clone, Debug)]
pub(super) struct Hall(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    next: u64,
    /// Those that have not asked yet, the oldest first.
    waiting: VecDeque<Guest>,
    most_waiting: usize,
    /// Those that are being answered, the oldest first.
    answered: VecDeque<Guest>,
    most_answered: usize,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    /// Whoever hears that this is dropped closes the connection.
    _stays: oneshot::Sender<()>,
}

/// One connection's place; it is free when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    hall: Hall,
}

impl Hall {
    /// With room for so many that have not asked yet, and so many that are being answered.
    pub(super) fn new(most_waiting: usize, most_answered: usize) -> Self {
        let (waiting, answered) = (VecDeque::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(Inside { next: 0, waiting, most_waiting, answered, most_answered })))
    }

    /// Takes a new connection in. The receiver is done when it must go.
    pub(super) fn enter(&self) -> (Ticket, oneshot::Receiver<()>) {
        let (stays, goes) = oneshot::channel();
        let mut inside = self.inside();
        let number = inside.next;
        inside.next += 1;
        if inside.waiting.len() >= inside.most_waiting {
            inside.waiting.pop_front();
        }
        inside.waiting.push_back(Guest { number, _stays: stays });
        (Ticket { number, hall: self.clone() }, goes)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// It has asked: the answer begins.
    pub(super) fn asked(&self) {
        let mut inside = self.hall.inside();
        let Some(index) = inside.waiting.iter().position(|guest| guest.number == self.number) else { return };
        let Some(guest) = inside.waiting.remove(index) else { return };
        if inside.answered.len() >= inside.most_answered {
            inside.answered.pop_front();
        }
        inside.answered.push_back(guest);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.hall.inside();
        inside.waiting.retain(|guest| guest.number != self.number);
        inside.answered.retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_among_its_like() {
        let hall = Hall::new(2, 1);
        let mut guests: Vec<_> = (0..3).map(|_| hall.enter()).collect();
        let gone = |guests: &mut [(Ticket, oneshot::Receiver<()>)]| -> Vec<bool> {
            guests.iter_mut().map(|(_, goes)| goes.try_recv() == Err(oneshot::error::TryRecvError::Closed)).collect()
        };
        assert_eq!(gone(&mut guests), [true, false, false]);
        // One that is being answered does not give way to those that wait.
        guests[1].0.asked();
        guests.extend((0..2).map(|_| hall.enter()));
        assert_eq!(gone(&mut guests), [true, false, true, false, false]);
        guests[3].0.asked();
        assert_eq!(gone(&mut guests), [true, true, true, false, false]);
        // One that has given way asks for nothing, and a place is free when its ticket is.
        guests[0].0.asked();
        guests.truncate(3);
        let inside = hall.inside();
        assert_eq!((inside.answered.len(), inside.waiting.len()), (0, 0));
        drop(inside);
    }
}
