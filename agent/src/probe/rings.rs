//! The rings, and what wakes the agent.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use kubewitness_wire::{Socket, SocketEvent};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The rings of the loaded programs. Only priority records and connections wake the agent, and a routine ring that fills up.
pub struct Rings {
    priority: RingBuf<MapData>,
    routine: RingBuf<MapData>,
    sockets: RingBuf<MapData>,
    /// Ends of connections that wait for the requests before them.
    ends: Vec<Bytes>,
}

impl Rings {
    pub(super) fn new(priority: RingBuf<MapData>, routine: RingBuf<MapData>, sockets: RingBuf<MapData>) -> Self {
        Self { priority, routine, sockets, ends: Vec::new() }
    }

    /// Waits until there is something to drain, one of `others` is readable, or the time is over. Returns the indices of those that are.
    pub fn wait(&self, others: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<usize>> {
        const OWN: usize = 3;
        let own = [self.priority.as_fd(), self.sockets.as_fd(), self.routine.as_fd()];
        let mut fds: Vec<_> = own.iter().chain(others).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // A descriptor that was closed is always ready; the loop would spin, and another file may get its number.
        if fds[..OWN].iter().any(|fd| fd.revents().intersects(PollFlags::NVAL | PollFlags::ERR)) {
            return Err(io::Error::other("a ring of the kernel programs was closed by something else than the agent"));
        }
        Ok(fds[OWN..].iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| index).collect())
    }

    /// Hands out what is there, at most `most` records of each ring of requests, and returns how many there were.
    ///
    /// Connections come first, and they are read last, all of them: a connection that is older than a request is then always handed out before
    /// it. Their ends wait until the rings of requests were read to their end after that, and come then: no request is left without its
    /// connection.
    pub fn drain(&mut self, most: usize, take: impl FnMut(Bytes)) -> usize {
        let (mut requests, mut sockets) = (Vec::new(), Vec::new());
        let is_read_up =
            [&mut self.priority, &mut self.routine].into_iter().fold(true, |all, ring| all & collect(ring, most, &mut requests));
        collect(&mut self.sockets, SOCKETS, &mut sockets);
        hand_out(requests, is_read_up, sockets, &mut self.ends, take)
    }
}

/// More records than the ring of connections has room for: so many may come while it is read, and not endlessly many.
const SOCKETS: usize = 4096;
/// Ends that wait, at most: where requests come faster than they are read for as long as this, some may be told without their connection.
const ENDS: usize = 16_384;

fn hand_out(requests: Vec<Bytes>, is_read_up: bool, sockets: Vec<Bytes>, ends: &mut Vec<Bytes>, mut take: impl FnMut(Bytes)) -> usize {
    let ended = if is_read_up || ends.len() > ENDS { std::mem::take(ends) } else { Vec::new() };
    let count = requests.len() + ended.len() + sockets.len();
    for record in sockets {
        if is_end(&record) {
            ends.push(record);
        } else {
            take(record);
        }
    }
    requests.into_iter().chain(ended).for_each(take);
    count
}

fn is_end(socket: &Bytes) -> bool {
    socket.get(offset_of!(Socket, event)) == Some(&(SocketEvent::Closed as u8))
}

/// Whether it was read to its end: there was less than `most`.
fn collect(ring: &mut RingBuf<MapData>, most: usize, records: &mut Vec<Bytes>) -> bool {
    for _ in 0..most {
        let Some(item) = ring.next() else { return true };
        records.push(Bytes::copy_from_slice(&item));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(event: SocketEvent) -> Bytes {
        let mut record = vec![0; size_of::<Socket>()];
        record[offset_of!(Socket, event)] = event as u8;
        record.into()
    }

    #[test]
    fn connections_are_there_before_their_requests_and_until_the_last_of_them() {
        let (request, opened, closed) = (Bytes::from_static(b"request"), socket(SocketEvent::Opened), socket(SocketEvent::Closed));
        let mut ends = Vec::new();
        let mut drain = |requests: usize, is_read_up: bool, sockets: &[&Bytes]| {
            let mut taken = Vec::new();
            let sockets = sockets.iter().copied().cloned().collect();
            let count = hand_out(vec![request.clone(); requests], is_read_up, sockets, &mut ends, |record| taken.push(record));
            (count, taken)
        };
        let all = |records: &[&Bytes]| records.iter().copied().cloned().collect::<Vec<_>>();
        // All at once: a connection, more requests than are read at a time, and its end.
        assert_eq!(drain(2, false, &[&closed, &opened]), (4, all(&[&opened, &request, &request])));
        assert_eq!(drain(2, false, &[]), (2, all(&[&request, &request])));
        assert_eq!(drain(1, true, &[]), (2, all(&[&request, &closed])));
        assert_eq!(drain(0, true, &[]), (0, Vec::new()));
        // Requests that come faster than they are read do not make the agent grow.
        for _ in 0..=ENDS {
            assert_eq!(drain(0, false, &[&closed]).1.len(), 0);
        }
        assert_eq!(drain(0, false, &[&closed]).1.len(), ENDS + 1);
    }
}
