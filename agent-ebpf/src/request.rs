//! `(*Server).ServeHTTP(w, req)`: the first argument is the server, the second and third are `w`, the fourth is `req`.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user, programs::ProbeContext};
use kubewitness_wire::{Class, Counter, Guarded, Kind, Layout, Request, RequestText, Search, Span, limit};

use crate::{
    flight::{self, Flight},
    go_map::{self, Found, Key, Wanted},
    hit::{Hit, InFlight},
    maps::count,
    object::{self, append_field, later},
    registers,
    scratch::{Slot, append, append_string, has_room, start},
    user::{header as string, read},
};

const USER_AGENT: usize = 0;
const UPGRADE: usize = 1;
struct Headers;
impl Wanted for Headers {
    const KEYS: &'static [Key] = &[Key::new(b"User-Agent"), Key::new(b"Upgrade")];
}

/// The paths that are guarded, in the order of `Guarded` from 1 on; a path matches when it is equal or goes on with `/`.
static GUARDED_PATHS: [Prefix; 5] =
    [Prefix::new(b"/exec"), Prefix::new(b"/attach"), Prefix::new(b"/run"), Prefix::new(b"/portForward"), Prefix::new(b"/checkpoint")];
/// Bytes of a path that are looked at: more than the longest prefix has.
const HEAD: usize = 16;

/// A prefix of paths as words: comparing bytes one by one would give the verifier a path for each of them.
struct Prefix {
    words: [u64; 2],
    /// The same followed by `/`, and which of its bytes count.
    open: [u64; 2],
    mask: [u64; 2],
    length: u64,
}

impl Prefix {
    const fn new(prefix: &[u8]) -> Self {
        let mut this = Self { words: [0; 2], open: [0; 2], mask: [0; 2], length: prefix.len() as u64 };
        let mut index = 0;
        while index <= prefix.len() {
            let (word, shift) = (index / 8, 8 * (index % 8));
            this.mask[word] |= 0xff << shift;
            if index < prefix.len() {
                this.words[word] |= (prefix[index] as u64) << shift;
                this.open[word] |= (prefix[index] as u64) << shift;
            } else {
                this.open[word] |= (b'/' as u64) << shift;
            }
            index += 1;
        }
        this
    }

    /// Whether a path of `length` bytes whose first ones, padded with zeros, are `head` is equal to it or goes on with `/`.
    #[inline(always)]
    fn matches(&self, head: [u64; 2], length: u64) -> bool {
        let equal = (head[0] ^ self.words[0]) | (head[1] ^ self.words[1]);
        let open = ((head[0] ^ self.open[0]) & self.mask[0]) | ((head[1] ^ self.open[1]) & self.mask[1]);
        (length == self.length && equal == 0) || open == 0
    }
}

/// A request begins. What is guarded is not told yet: whoever is refused must not fill the ring of those who are let in.
#[inline(always)]
pub fn seen(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::at_entry(ctx)?;
    count(Counter::Begun);
    let layout = &hit.site.layout;
    let [server, writer_itab, writer_data, request, _] = registers::words(hit.regs);
    let url: u64 = read(request + u64::from(layout.request_url)).unwrap_or(0);
    let auth: Option<u64> = read(server + u64::from(layout.server_auth));
    let flight = Flight {
        begin: hit.time,
        request,
        writer_itab,
        writer_data,
        lost: 0,
        path: classify(url + u64::from(layout.url_path)),
        read_only: u8::from(auth == Some(0)),
        begun: 0,
        dropped: 0,
        sent: 0,
        zero: 0,
        user: 0,
        told: 0,
    };
    flight::begin(&hit.key(), &flight);
    if !flight.is_guarded() {
        InFlight::of(&hit, false);
    }
    Some(())
}

/// Sends the record of a request's begin, unless that was done. `net/http` keeps the request as it is for as long as it is served.
#[inline(always)]
pub fn begin(hit: &Hit<'_>, in_flight: &InFlight) {
    let Some(flight) = in_flight.flight else { return };
    // SAFETY: the pointer is an element of a map.
    let (request, read_only, done) = unsafe { ((*flight).request, (*flight).read_only, (*flight).begun | (*flight).dropped) };
    if done != 0 {
        return;
    }
    if in_flight.class as u8 == Class::Routine as u8 && !has_room() {
        // SAFETY: as above.
        unsafe { (*flight).dropped = 1 };
    }
    let layout = &hit.site.layout;
    let sent = hit.report_of(in_flight.begin, in_flight, |slot| {
        let record = start::<Request>(slot);
        // SAFETY: no access, only the address of a field.
        let spans = unsafe { &raw mut (*record).spans };
        let span = |text: RequestText, span: Span| {
            // SAFETY: `record` lies in the slot that is ours.
            unsafe { (*spans)[text as usize] = span }
        };
        // SAFETY: as above.
        unsafe {
            (*record).netns = hit.process.netns;
            (*record).read_only = read_only;
        }
        let there = object::load(slot, request, end(layout));
        let [url, header] =
            if there { [object::word(slot, layout.request_url), object::word(slot, layout.request_header)] } else { [0, UNREADABLE] };
        span(RequestText::Method, append_field::<{ limit::WORD }>(slot, there, layout.request_method));
        span(RequestText::Path, append_string::<{ limit::PATH }>(slot, url + u64::from(layout.url_path)));
        span(RequestText::Uri, append_field::<{ limit::URI }>(slot, there, layout.request_uri));
        span(RequestText::RemoteAddr, append_field::<{ limit::WORD }>(slot, there, layout.request_remote_addr));

        let headers = if header == UNREADABLE { Search::Cut } else { go_map::search::<Headers>(slot, header, &layout.map) };
        // SAFETY: as above; the search left its findings in the slot.
        unsafe {
            (*record).headers = headers as u8;
            let [agent, upgrade] = [(*slot).found[USER_AGENT], (*slot).found[UPGRADE]];
            span(RequestText::UserAgent, value::<{ limit::NAME }>(slot, agent));
            span(RequestText::Upgrade, value::<{ limit::WORD }>(slot, upgrade));
        }
        Kind::Request
    });
    if sent.is_some() {
        // SAFETY: as above.
        unsafe { (*flight).begun = 1 };
    }
}

/// No object of Go's lies there.
const UNREADABLE: u64 = u64::MAX;

/// Where the fields of `http.Request` that are read end.
#[inline(always)]
fn end(layout: &Layout) -> u32 {
    let texts = later(later(layout.request_method, layout.request_uri), layout.request_remote_addr);
    later(later(texts, layout.request_url), layout.request_header) + 16
}

/// Appends a value that a search found; one that was not found is [`Span::ABSENT`].
#[inline(always)]
pub fn value<const MAX: usize>(slot: *mut Slot, found: Found) -> Span {
    if found.present == 0 { Span::ABSENT } else { append::<MAX>(slot, found.address, found.length) }
}

/// By the decoded path, which the kubelet routes by: a `Guarded`. One that cannot be read may be anything.
#[inline(always)]
fn classify(path: u64) -> u8 {
    let Some([address, length]) = string(path) else { return Guarded::Unreadable as u8 };
    let bytes = if length > HEAD as u64 { HEAD as u32 } else { length as u32 };
    let mut head = [0u64; 2];
    // SAFETY: the helper writes at most the 16 bytes that `head` has.
    if unsafe { bpf_probe_read_user(head.as_mut_ptr().cast(), bytes, address as *const c_void) } != 0 {
        return Guarded::Unreadable as u8;
    }
    let mut index = 0;
    while index < GUARDED_PATHS.len() {
        if GUARDED_PATHS[index].matches(head, length) {
            return Guarded::Exec as u8 + index as u8;
        }
        index += 1;
    }
    Guarded::No as u8
}
