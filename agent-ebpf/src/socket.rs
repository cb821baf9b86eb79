//! TCP connections on the watched ports, by `inet_sock_set_state(sk, oldstate, newstate)`.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{bpf_get_current_comm, bpf_ktime_get_ns, generated::bpf_get_current_cgroup_id},
    programs::RawTracePointContext,
};
use kubewitness_wire::{Class, Counter, Header, Kernel, Kind, Socket, SocketEvent};

use crate::{
    maps::{BELIEVED_NETNS, CONNECTING, KERNEL, SOCKETS, count},
    process,
    user::read_kernel,
};

/// `include/net/tcp_states.h`
mod state {
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;
}
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// Who opens a connection: the client's task is current when it sends the SYN, but its port is only known later.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connecting {
    pub cgroup: u64,
    pub comm: [u8; 16],
    pub tgid: u32,
    pub zero: u32,
}

/// A socket changed its state.
#[inline(always)]
pub fn changed(ctx: &RawTracePointContext) -> Option<()> {
    count(Counter::Transitions);
    let sock: u64 = ctx.arg(0);
    let (old, new): (u32, u32) = (ctx.arg::<i32>(1) as u32, ctx.arg::<i32>(2) as u32);
    let kernel = KERNEL.load();
    let local = u16::from_be(read_kernel(sock + u64::from(kernel.sock_sport))?);
    let remote = u16::from_be(read_kernel(sock + u64::from(kernel.sock_dport))?);
    let (serves, calls) = (watched(&kernel, local), watched(&kernel, remote));
    // Multipath TCP reports its own socket and each subflow; the subflows are plain TCP and are the connections.
    if !(serves || calls) || read_kernel::<u16>(sock + u64::from(kernel.sock_protocol))? != IPPROTO_TCP {
        return None;
    }
    match (old, new) {
        (_, state::LISTEN) if serves => report(&kernel, sock, SocketEvent::Listen, current()),
        (state::SYN_RECV, state::ESTABLISHED) if serves => report(&kernel, sock, SocketEvent::Opened, NOBODY),
        (state::SYN_RECV | state::LISTEN | state::CLOSE, state::CLOSE) if serves => Some(()),
        (_, state::CLOSE) if serves => report(&kernel, sock, SocketEvent::Closed, NOBODY),
        (_, state::SYN_SENT) if calls => CONNECTING.insert(&sock, &current(), 0).ok(),
        (state::SYN_SENT, state::ESTABLISHED) if calls => {
            // SAFETY: the entry is this socket's own, whose state changes one at a time.
            let caller = *unsafe { CONNECTING.get(&sock) }?;
            let _gone = CONNECTING.remove(&sock);
            report(&kernel, sock, SocketEvent::Connected, caller)
        }
        (state::SYN_SENT, state::CLOSE) if calls => CONNECTING.remove(&sock).ok(),
        _ => Some(()),
    }
}

const NOBODY: Connecting = Connecting { cgroup: 0, comm: [0; 16], tgid: 0, zero: 0 };

#[inline(always)]
fn current() -> Connecting {
    Connecting {
        // SAFETY: the helper takes nothing.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
        // 0 is nobody: an id of another namespace may be some other process's in the agent's. The cgroup tells then.
        tgid: process::id(),
        zero: 0,
    }
}

#[inline(always)]
fn watched(kernel: &Kernel, port: u16) -> bool {
    let [a, b, c, d] = kernel.ports;
    port != 0 && (port == a || port == b || port == c || port == d)
}

#[inline(always)]
fn report(kernel: &Kernel, sock: u64, event: SocketEvent, who: Connecting) -> Option<()> {
    let net: u64 = read_kernel(sock + u64::from(kernel.sock_net))?;
    let netns: u32 = read_kernel(net + u64::from(kernel.net_inum))?;
    let server_side = !matches!(event, SocketEvent::Connected);
    // Pods listen on the same port too; their connections are nobody's business here.
    if matches!(event, SocketEvent::Opened | SocketEvent::Closed) && BELIEVED_NETNS.get_ptr(&netns).is_none() {
        return None;
    }
    let (family, local, remote) = addresses(kernel, sock)?;
    let local_port = u16::from_be(read_kernel(sock + u64::from(kernel.sock_sport))?);
    let remote_port = u16::from_be(read_kernel(sock + u64::from(kernel.sock_dport))?);
    let (server, client, server_port, client_port) =
        if server_side { (local, remote, local_port, remote_port) } else { (remote, local, remote_port, local_port) };
    let record = Socket {
        header: Header {
            kind: Kind::Socket as u8,
            class: Class::Socket as u8,
            lost: 0,
            path: 0,
            len: size_of::<Socket>() as u32,
            // SAFETY: the helper takes nothing.
            time: unsafe { bpf_ktime_get_ns() },
            tgid: who.tgid,
            site: 0,
            goroutine: 0,
            request: 0,
        },
        cgroup: who.cgroup,
        netns,
        event: event as u8,
        family,
        server_port,
        client_port,
        reserved: [0; 6],
        server,
        client,
        comm: who.comm,
    };
    if SOCKETS.output(&record, u64::from(BPF_RB_FORCE_WAKEUP)).is_err() {
        count(Counter::LostSocket);
    }
    Some(())
}

/// Family, local and remote address.
#[inline(always)]
fn addresses(kernel: &Kernel, sock: u64) -> Option<(u8, [u8; 16], [u8; 16])> {
    match read_kernel::<u16>(sock + u64::from(kernel.sock_family))? {
        AF_INET => {
            let short = |offset: u32| -> Option<[u8; 16]> {
                let [a, b, c, d]: [u8; 4] = read_kernel(sock + u64::from(offset))?;
                Some([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            };
            Some((4, short(kernel.sock_saddr)?, short(kernel.sock_daddr)?))
        }
        AF_INET6 => Some((6, read_kernel(sock + u64::from(kernel.sock_saddr6))?, read_kernel(sock + u64::from(kernel.sock_daddr6))?)),
        _ => None,
    }
}
