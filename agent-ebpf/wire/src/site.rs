//! What the agent tells the kernel programs.

/// How many sites all attached executables may have together.
pub const SITES: u32 = 256;

/// One probed instruction and all that its program needs; the attach cookie is its index in the map `SITES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Address of the instruction in the executable; what it differs from the real one is the load bias.
    pub address: u64,
    /// Check: where the itab word of `attr` is, in bytes from SP.
    pub attr_itab: i32,
    /// Check: where the data word of `attr` is, in bytes from SP.
    pub attr_data: i32,
    /// Answer: the [`Register`] that holds the status.
    pub status: u32,
    /// End: where `g` points to its panic, in bytes from `g`; 0 if that is not known.
    pub panicking: u32,
    /// Which attachment it belongs to: probes of several can be on one instruction.
    pub attachment: u32,
    /// Makes the size a multiple of the alignment.
    pub reserved: u32,
    /// The executable's layouts.
    pub layout: Layout,
}

/// Who speaks for a process: probes of several attachments can be on one instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The attachment.
    pub attachment: u32,
    /// Inode of the process's network namespace, if the agent has looked at the process and believes it; else 0.
    pub netns: u32,
}

/// A general register: of x86-64, numbered as that encodes it, or of arm64, numbered as that encodes it and 32 more.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registers")]
pub enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
    X0 = 32,
    X1 = 33,
    X2 = 34,
    X3 = 35,
    X4 = 36,
    X5 = 37,
    X6 = 38,
    X7 = 39,
    X8 = 40,
    X9 = 41,
    X10 = 42,
    X11 = 43,
    X12 = 44,
    X13 = 45,
    X14 = 46,
    X15 = 47,
    X16 = 48,
    X17 = 49,
    X18 = 50,
    X19 = 51,
    X20 = 52,
    X21 = 53,
    X22 = 54,
    X23 = 55,
    X24 = 56,
    X25 = 57,
    X26 = 58,
    X27 = 59,
    X28 = 60,
    X29 = 61,
    X30 = 62,
}

impl Register {
    /// Those of arm64, in their order.
    pub const ARM64: [Self; 31] = [
        Self::X0,
        Self::X1,
        Self::X2,
        Self::X3,
        Self::X4,
        Self::X5,
        Self::X6,
        Self::X7,
        Self::X8,
        Self::X9,
        Self::X10,
        Self::X11,
        Self::X12,
        Self::X13,
        Self::X14,
        Self::X15,
        Self::X16,
        Self::X17,
        Self::X18,
        Self::X19,
        Self::X20,
        Self::X21,
        Self::X22,
        Self::X23,
        Self::X24,
        Self::X25,
        Self::X26,
        Self::X27,
        Self::X28,
        Self::X29,
        Self::X30,
    ];
}

/// Offsets in bytes of the fields that are read, and the words that prove what a pointer points to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// itab of `*http.response` as `http.ResponseWriter`, an address in the executable.
    pub itab_response: u64,
    /// itab of `*http.http2responseWriter` (until Go 1.26) or `http.http2ResponseWriter` (a struct of one pointer, since Go 1.27) as
    /// `http.ResponseWriter`; either way the data word points to the struct with `rws`. 0 if the executable has none.
    pub itab_response2: u64,
    /// itab of `authorizer.AttributesRecord` as `authorizer.Attributes`.
    pub itab_attributes: u64,
    /// The same for the pointer `*authorizer.AttributesRecord`; 0 if the executable has none.
    pub itab_attributes_pointer: u64,
    /// itab of `*user.DefaultInfo` as `user.Info`.
    pub itab_user: u64,
    /// Where what never changes begins: a text that lies there is the same as long as its address and length are. An address in the executable.
    pub constants_start: u64,
    /// Where it ends; both are 0 where that is not known.
    pub constants_end: u64,
    /// `server.Server.auth`
    pub server_auth: u32,
    /// `http.Request.Method`
    pub request_method: u32,
    /// `http.Request.URL`
    pub request_url: u32,
    /// `http.Request.Header`
    pub request_header: u32,
    /// `http.Request.RequestURI`
    pub request_uri: u32,
    /// `http.Request.RemoteAddr`
    pub request_remote_addr: u32,
    /// `url.URL.Path`
    pub url_path: u32,
    /// `authorizer.AttributesRecord.User`
    pub attributes_user: u32,
    /// `authorizer.AttributesRecord.Verb`
    pub attributes_verb: u32,
    /// `authorizer.AttributesRecord.Subresource`
    pub attributes_subresource: u32,
    /// `authorizer.AttributesRecord.Name`
    pub attributes_name: u32,
    /// `user.DefaultInfo.Name`
    pub user_name: u32,
    /// `user.DefaultInfo.UID`
    pub user_uid: u32,
    /// `user.DefaultInfo.Groups`
    pub user_groups: u32,
    /// `user.DefaultInfo.Extra`
    pub user_extra: u32,
    /// `http.response.w`, nil once the handler took the connection over (`net/http/server.go`, `(*response).Hijack`; from Go 1.21 to 1.27).
    pub response_buffer: u32,
    /// `http.response.status`
    pub response_status: u32,
    /// `http.response.written`
    pub response_written: u32,
    /// `http.http2responseWriter.rws`; since Go 1.27 this and the next two are in `net/http/internal/http2`.
    pub response2_state: u32,
    /// `http.http2responseWriterState.status`
    pub response2_status: u32,
    /// `http.http2responseWriterState.wroteBytes`
    pub response2_written: u32,
    /// `map[string][]string`
    pub map: MapLayout,
}

/// How a `map[string][]string` lies in memory: `http.Header` and the user's `Extra`.
///
/// A *group* is eight control bytes, then eight entries. The Swiss map (since Go 1.24) has one group at `dir`, or tables of groups;
/// the map before it has 2^B buckets, each with a pointer to the next one that overflowed from it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapLayout {
    /// 1: Swiss map (`internal/runtime/maps.Map`), 0: buckets (`runtime.hmap`).
    pub swiss: u32,
    /// Number of entries, one word: `used` or `count`.
    pub count: u32,
    /// `dirPtr`, or `buckets`.
    pub dir: u32,
    /// `dirLen` (one word), or `B` (one byte).
    pub dir_len: u32,
    /// Buckets: `oldbuckets`, not nil while the map grows. Swiss: 0.
    pub old: u32,
    /// Bytes of a group or bucket.
    pub group_size: u32,
    /// First entry's key in a group; the control bytes are at 0.
    pub key: u32,
    /// From one key to the next.
    pub key_stride: u32,
    /// First entry's value in a group.
    pub value: u32,
    /// From one value to the next.
    pub value_stride: u32,
    /// Buckets: the pointer to the overflow bucket. Swiss: 0.
    pub overflow: u32,
    /// Swiss: `table.groups.data`. Buckets: 0.
    pub table_groups: u32,
    /// Swiss: `table.groups.lengthMask`. Buckets: 0.
    pub table_mask: u32,
}

/// What the programs need to know of the running kernel and of the agent's wishes: offsets in bytes, from the kernel's own BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `sock.__sk_common.skc_net`
    pub sock_net: u32,
    /// `sock.__sk_common.skc_family`
    pub sock_family: u32,
    /// `inet_sock.inet_sport`: the local port, big-endian. Not `skc_num`, which is 0 already when a socket closes
    pub sock_sport: u32,
    /// `sock.__sk_common.skc_dport`: the remote port, big-endian
    pub sock_dport: u32,
    /// `sock.__sk_common.skc_rcv_saddr`: the local IPv4 address
    pub sock_saddr: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sock_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub sock_saddr6: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sock_daddr6: u32,
    /// `sock.sk_protocol`, two bytes
    pub sock_protocol: u32,
    /// The watched ports; 0 for none.
    pub ports: [u16; 4],
}

/// The agent's PID namespace, whose process ids it is told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidNamespace {
    /// Its device as the kernel's `dev_t`; 0 for the initial namespace, whose ids are the kernel's own.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// What is believed of a network namespace.
pub mod belief {
    /// Every process in it that runs a planned executable, and the connections on the watched ports.
    pub const PROCESSES: u8 = 1;
    /// The connections alone: a kubelet in it was named by its process id.
    pub const CONNECTIONS: u8 = 2;
}
