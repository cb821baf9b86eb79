//! Several threads read lines, and each counts them when it is its turn, so that the outcome is that of one thread.

use std::mem;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use super::unpack::Broken;
use crate::report::Collector;
use crate::report::events::{Batch, Room};

/// What comes next of the sources.
#[derive(Debug)]
pub(in crate::report) enum Item {
    /// A source of this name begins.
    Begin(String),
    /// Its next bytes, or why there are no more.
    Chunk(Result<Vec<u8>, Broken>),
    /// The source is over.
    End,
}

/// How many threads pay: counting takes turns and is nearly half of the work, so that a fourth would only wait.
pub(in crate::report) fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

const MOST_WORKERS: usize = 3;

/// Items that may wait for each worker.
const AHEAD: usize = 2;

/// What goes round: whoever has it counts.
struct Turn<'a> {
    collector: &'a mut Collector,
    tell: &'a mut (dyn FnMut(u64) + Send),
}

/// Hands all items of `sources` to the collector in their order, and tells how far each is. `sources` runs in a thread of its own; it gets
/// buffers, most of them used before, and hands on an item and how far it is until that gives false.
///
/// The items go round the workers, and so does the turn, in the same order. Should a worker panic, its channels close, and so all others end.
pub(in crate::report) fn in_turns(
    workers: usize,
    collector: &mut Collector,
    tell: &mut (dyn FnMut(u64) + Send),
    sources: impl FnOnce(&dyn Fn() -> Vec<u8>, &mut dyn FnMut(Item, u64) -> bool) + Send,
) {
    let (emptied, empty) = mpsc::channel::<Vec<u8>>();
    let (items, takers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::sync_channel(AHEAD)).unzip();
    let (mut turns, waiters): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel()).unzip();
    // The first item is the first worker's, which passes the turn on to the second. Its receiver is here, so that sending cannot fail.
    let _ = turns[0].send(Turn { collector, tell });
    turns.rotate_left(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut round = items.iter().cycle();
            sources(&|| empty.try_recv().unwrap_or_default(), &mut |item, done| {
                round.next().is_some_and(|worker: &SyncSender<(Item, u64)>| worker.send((item, done)).is_ok())
            });
        });
        for ((items, turn), next) in takers.into_iter().zip(waiters).zip(turns) {
            let emptied = emptied.clone();
            scope.spawn(move || work(&items, &turn, &next, &emptied));
        }
    });
}

fn work<'a>(items: &Receiver<(Item, u64)>, turn: &Receiver<Turn<'a>>, next: &Sender<Turn<'a>>, emptied: &Sender<Vec<u8>>) {
    let mut room = Room::default();
    for (item, done) in items {
        let batch = match &item {
            Item::Chunk(Ok(chunk)) => Some(Batch::read(chunk, mem::take(&mut room))),
            _ => None,
        };
        let Ok(turn) = turn.recv() else { return };
        match &item {
            Item::Begin(name) => turn.collector.begin(name),
            Item::Chunk(Ok(_)) => batch.iter().for_each(|batch| turn.collector.count(batch)),
            Item::Chunk(Err(Broken::Packing)) => turn.collector.damaged(),
            Item::Chunk(Err(Broken::Source)) => turn.collector.unread(),
            Item::End => turn.collector.end(),
        }
        (turn.tell)(done);
        // All others may be through, and so may be the reader.
        let _ = next.send(turn);
        room = batch.map(Batch::room).unwrap_or_default();
        if let Item::Chunk(Ok(chunk)) = item {
            let _ = emptied.send(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_in_their_order_by_however_many() {
        for workers in 1..=MOST_WORKERS {
            let mut told = Vec::new();
            let mut collector = Collector::new();
            in_turns(workers, &mut collector, &mut |done| told.push(done), |empty, hand_on| {
                assert!(hand_on(Item::Begin("a".into()), 0));
                for done in 1..500 {
                    let mut chunk = empty();
                    chunk.clear();
                    chunk.extend_from_slice(format!("{{}}\n{done}\nnot JSON\n").as_bytes());
                    assert!(hand_on(Item::Chunk(Ok(chunk)), done));
                }
                assert!(hand_on(Item::Chunk(Err(Broken::Source)), 500));
                assert!(hand_on(Item::End, 501));
            });
            assert!(told.iter().copied().eq(0..=501), "{told:?}");
            let notes = collector.finish().notes;
            let notes: Vec<_> = notes.iter().map(|note| (note.id, note.count, note.text.rsplit(' ').next().unwrap_or_default())).collect();
            assert_eq!(notes, [("not-json", 499, "a:3"), ("other-json", 998, "a:1"), ("unread-file", 1, "a")]);
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_worker_that_panics_leaves_nobody_waiting() {
        let mut tell = |done| assert!(done < 20, "as told");
        in_turns(3, &mut Collector::new(), &mut tell, |_, hand_on| while hand_on(Item::Chunk(Ok(b"\n".to_vec())), 20) {});
    }
}
