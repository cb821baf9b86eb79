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
    /// Ends of connections that were read last time.
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

    /// Hands out what is there, at most `most` records of each ring, and returns how many there were.
    ///
    /// Connections come first, and they are read last: a connection that is older than a request is then always handed out before it.
    /// Their ends wait until the requests were read once more, and come after them: no request is then left without its connection.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(Bytes)) -> usize {
        let mut requests = Vec::new();
        for ring in [&mut self.priority, &mut self.routine] {
            collect(ring, most, |record| requests.push(record));
        }
        let ended = std::mem::take(&mut self.ends);
        let mut count = requests.len() + ended.len();
        let ends = &mut self.ends;
        collect(&mut self.sockets, most, |record| {
            count += 1;
            if is_end(&record) { ends.push(record) } else { take(record) }
        });
        requests.into_iter().chain(ended).for_each(take);
        count
    }
}

fn is_end(socket: &Bytes) -> bool {
    socket.get(offset_of!(Socket, event)) == Some(&(SocketEvent::Closed as u8))
}

fn collect(ring: &mut RingBuf<MapData>, most: usize, mut take: impl FnMut(Bytes)) {
    for _ in 0..most {
        let Some(item) = ring.next() else { return };
        take(Bytes::copy_from_slice(&item));
    }
}
