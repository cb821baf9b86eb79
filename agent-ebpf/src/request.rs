//! `(*Server).ServeHTTP(w, req)`: the first argument is the server, the second and third are `w`, the fourth is `req`.

use aya_ebpf::programs::ProbeContext;
use kubewitness_wire::{Class, Counter, Guarded, Kind, Layout, Request, RequestText, Search, Span, limit};

use crate::{
    flight::{self, Server},
    gather,
    go_map::{self, Found, Key, Wanted},
    hit::{Hit, InFlight},
    maps::count,
    object::{self, append_field, later},
    registers,
    scratch::{self, Slot, append, has_room, header, start, unbounded, with_slot},
    user,
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
    let hit = Hit::of_begin(ctx)?;
    count(Counter::Begun);
    let [server, writer_itab, writer_data, request, _] = registers::words(hit.regs);
    let key = hit.key();
    let server = gather::last_server(&key, server).unwrap_or_else(|| Server::read(server, &hit.site.layout));
    // What is to be sent now.
    let mut is_open = false;
    let done = with_slot(|slot| {
        build(&hit, slot, request, server.is_read_only());
        let path = classify(slot);
        // SAFETY: the slot is ours.
        let flight = unsafe { &raw mut (*slot).flight };
        // Field by field: the stack has no room for it.
        // SAFETY: as above.
        unsafe {
            (*flight).begin = hit.time;
            (*flight).request = request;
            (*flight).writer_itab = writer_itab;
            (*flight).writer_data = writer_data;
            (*flight).lost = 0;
            (*flight).path = path;
            (*flight).server = server;
            (*flight).begun = 0;
            (*flight).dropped = 0;
            (*flight).sent = 0;
            (*flight).user = 0;
            (*flight).told = 0;
        }
        if path == Guarded::No as u8 {
            if let Some(gathering) = gather::claim(&hit, &key, flight) {
                hit.head(slot, Kind::Request, &InFlight::gathered(gathering));
                if gathering.keep(slot, Kind::Request, hit.time) {
                    return Some(());
                }
                gathering.leave();
            }
            is_open = true;
        }
        flight::begin(&key, flight);
        Some(())
    });
    if done.is_none() {
        count(Counter::LostRoutine);
    }
    if is_open {
        InFlight::of(&hit, false);
    }
    done
}

/// Sends the record of a request's begin, unless that was done. `net/http` keeps the request as it is for as long as it is served.
#[inline(always)]
pub fn begin(hit: &Hit<'_>, in_flight: &InFlight) {
    let Some(flight) = in_flight.flight() else { return };
    // SAFETY: the pointer is an element of a map.
    let (request, server, done) = unsafe { ((*flight).request, (*flight).server, (*flight).begun | (*flight).dropped) };
    if done != 0 {
        return;
    }
    if in_flight.class as u8 == Class::Routine as u8 && !has_room() {
        // SAFETY: as above.
        unsafe { (*flight).dropped = 1 };
    }
    let sent = hit.send_of(in_flight.begin, in_flight, |slot| {
        build(hit, slot, request, server.is_read_only());
        Kind::Request
    });
    if sent.is_some() {
        // SAFETY: as above.
        unsafe { (*flight).begun = 1 };
    }
}

/// Puts the record of a request's begin together.
#[inline(never)]
fn build(hit: &Hit<'_>, slot: *mut Slot, request: u64, read_only: u8) {
    let layout = &hit.site.layout;
    let record = start::<Request>(slot);
    // SAFETY: `record` lies in the slot that is ours.
    unsafe {
        (*record).netns = hit.process.netns;
        (*record).read_only = read_only;
    }
    let header = texts(slot, record, request, layout);
    let headers = if header == UNREADABLE { Search::Cut } else { go_map::search::<Headers>(slot, header, &layout.map) };
    // SAFETY: as above; the search left its findings in the slot.
    unsafe {
        (*record).headers = headers as u8;
        let [agent, upgrade] = [(*slot).found[USER_AGENT], (*slot).found[UPGRADE]];
        (*record).spans[RequestText::UserAgent as usize] = value::<{ limit::NAME }>(slot, agent);
        (*record).spans[RequestText::Upgrade as usize] = value::<{ limit::WORD }>(slot, upgrade);
    }
}

/// The texts of a request up to its headers, whose map is returned.
#[inline(always)]
fn texts(slot: *mut Slot, record: *mut Request, request: u64, layout: &Layout) -> u64 {
    // SAFETY: no access, only the address of a field.
    let spans = unsafe { &raw mut (*record).spans };
    let span = |text: RequestText, span: Span| {
        // SAFETY: `record` lies in the slot that is ours.
        unsafe { (*spans)[text as usize] = span }
    };
    if !object::load(slot, request, end(layout)) {
        span(RequestText::Method, Span::UNREADABLE);
        span(RequestText::Path, Span::UNREADABLE);
        span(RequestText::Uri, Span::UNREADABLE);
        span(RequestText::RemoteAddr, Span::UNREADABLE);
        return UNREADABLE;
    }
    let [url, headers] = [object::word(slot, layout.request_url), object::word(slot, layout.request_header)];
    let [method, uri] = [object::header(slot, layout.request_method), object::header(slot, layout.request_uri)];
    let path = user::header(url + u64::from(layout.url_path)).unwrap_or([0, u64::MAX]);
    if line(slot, record, method, path, uri).is_none() {
        span(RequestText::Method, append::<{ limit::WORD }>(slot, method[0], method[1]));
        span(RequestText::Path, append::<{ limit::PATH }>(slot, path[0], path[1]));
        span(RequestText::Uri, append::<{ limit::URI }>(slot, uri[0], uri[1]));
    }
    span(RequestText::RemoteAddr, append_field::<{ limit::WORD }>(slot, true, layout.request_remote_addr));
    headers
}

/// Method, path and target at once: over HTTP/1.1 all three are pieces of the request's line (`net/http/request.go`, `parseRequestLine`), the
/// path if nothing in it is escaped (`net/url/url.go`, `unescape`). `None` where they are not, or are long.
#[inline(always)]
fn line(slot: *mut Slot, record: *mut Request, method: [u64; 2], path: [u64; 2], uri: [u64; 2]) -> Option<()> {
    let is_line = uri[0] == method[0].wrapping_add(method[1]).wrapping_add(1) && path[0] == uri[0] && path[1] <= uri[1];
    if !is_line || method[1] > limit::WORD as u64 || uri[1] > limit::PATH as u64 {
        return None;
    }
    if append::<LINE>(slot, method[0], unbounded(slot, method[1] + 1 + uri[1])) == Span::UNREADABLE {
        return None;
    }
    // SAFETY: the record lies in the slot that is ours.
    unsafe {
        (*record).one_line = 1;
        (*record).spans[RequestText::Method as usize] = Span::whole(method[1] as u16);
        (*record).spans[RequestText::Path as usize] = Span::whole(path[1] as u16);
        (*record).spans[RequestText::Uri as usize] = Span::whole(uri[1] as u16);
    }
    Some(())
}

/// The longest line that is read at once.
const LINE: usize = limit::WORD + 1 + limit::PATH;

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

/// By the decoded path, which the kubelet routes by and which is in the record of a slot: a `Guarded`. One that cannot be read may be anything.
#[inline(always)]
fn classify(slot: *mut Slot) -> u8 {
    let record = header(slot).cast::<Request>();
    // SAFETY: the record lies in the slot that is ours.
    let (method, path, one_line) = unsafe {
        let spans = &raw const (*record).spans;
        ((*spans)[RequestText::Method as usize], (*spans)[RequestText::Path as usize], (*record).one_line)
    };
    if path == Span::UNREADABLE {
        return Guarded::Unreadable as u8;
    }
    let length = u64::from(path.stored);
    let place = size_of::<Request>() as u64 + u64::from(method.stored) + u64::from(one_line);
    let mut head = scratch::two_words(slot, place);
    head[0] &= first_bytes(length);
    head[1] &= if length > 8 { first_bytes(length - 8) } else { 0 };
    let mut index = 0;
    while index < GUARDED_PATHS.len() {
        if GUARDED_PATHS[index].matches(head, length) {
            return Guarded::Exec as u8 + index as u8;
        }
        index += 1;
    }
    Guarded::No as u8
}

/// Which bits of a word are in its first bytes.
#[inline(always)]
fn first_bytes(count: u64) -> u64 {
    if count >= 8 { u64::MAX } else { (1 << (8 * count)) - 1 }
}
