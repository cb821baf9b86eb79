//! How programs are put on instructions. The kernel is tried, because a version number is only a promise: distributions add to old kernels
//! and take away from new ones.

use std::{
    borrow::Cow,
    ffi::{CStr, c_int, c_uint},
    fmt, fs, io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use serde::Serialize;
use thiserror::Error;

/// How programs are put on instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Way {
    /// One link for all instructions of a kind, `uprobe_multi`: Linux 6.6 and newer.
    #[serde(rename = "uprobe_multi")]
    Multi,
    /// A perf event for each instruction, and a link that holds it and the cookie (Linux 5.15).
    #[serde(rename = "perf_events")]
    Events,
}

/// Why there is no way.
#[derive(Debug, Error)]
pub enum NoWay {
    /// The kernel does not let the agent ask.
    #[error(
        "the kernel refused the programs: whether it has uprobe_multi cannot be tried: {0}; they need CAP_BPF and CAP_PERFMON (or root)"
    )]
    Hidden(#[source] io::Error),
    /// The only way needs more than the agent has.
    #[error(
        "this kernel has no uprobe_multi (Linux 6.6), so each probe is a perf event, and it refuses those: {0}; kernels with the fix of \
         CVE-2025-38466 ask for CAP_SYS_ADMIN here, others for CAP_PERFMON: grant it, or use a newer kernel"
    )]
    Refused(#[source] io::Error),
    /// There are no uprobes.
    #[error(
        "this kernel has neither uprobe_multi nor uprobes as perf events (/sys/bus/event_source/devices/uprobe): use one with CONFIG_UPROBE_EVENTS"
    )]
    None,
    /// The trial went wrong.
    #[error("whether this kernel has uprobes as perf events cannot be told: {0}; please report this kernel")]
    Unclear(#[source] io::Error),
}

impl Way {
    /// What this kernel can, and the agent may. Nothing is attached.
    pub fn of_this_kernel() -> Result<Self, NoWay> {
        choose(is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation), try_event)
    }

    /// The object file of the programs as this way wants it. The two differ in a name alone: the kernel is told when it loads a program how
    /// that will be attached, and aya takes this from the name of the program's section.
    pub(super) fn object(self, multi: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Multi => Cow::Borrowed(multi),
            Self::Events => Cow::Owned(renamed(multi)),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Multi => "uprobe_multi",
            Self::Events => "perf events",
        })
    }
}

/// `event` is the error of a perf event on a file that is not there.
fn choose(multi: io::Result<bool>, event: impl FnOnce() -> Option<io::Error>) -> Result<Way, NoWay> {
    match multi {
        Ok(true) => return Ok(Way::Multi),
        Ok(false) => {}
        Err(error) => return Err(NoWay::Hidden(error)),
    }
    let Some(error) = event() else { return Err(NoWay::None) };
    match error.kind() {
        // All else was in order.
        io::ErrorKind::NotFound => Ok(Way::Events),
        io::ErrorKind::PermissionDenied => Err(NoWay::Refused(error)),
        _ => Err(NoWay::Unclear(error)),
    }
}

const SECTION: &[u8] = b"uprobe.multi\0";
const SECTION_OF_EVENTS: &[u8] = b"uprobe\0\0\0\0\0\0\0";

/// The object file with the other name of the section, wherever it stands: in the table of sections' names and in the BTF.
fn renamed(object: &[u8]) -> Vec<u8> {
    let mut object = object.to_vec();
    let places: Vec<_> = memchr::memmem::find_iter(&object, SECTION).collect();
    for place in places {
        object[place..place + SECTION.len()].copy_from_slice(SECTION_OF_EVENTS);
    }
    object
}

/// Tries to make a perf event of a uprobe on a file that is not there: what is asked of the caller is checked before the file is looked for
/// (`perf_uprobe_event_init`, `kernel/events/core.c`). `None` if the kernel has no such events.
fn try_event() -> Option<io::Error> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type").ok()?.trim().parse().ok()?;
    Some(match open_event(kind, c"/nothing/is/here") {
        Err(error) => error,
        Ok(_event) => io::Error::other("the kernel took a uprobe on a file that is not there"),
    })
}

/// The first version of `perf_event_attr` that uprobes fit in (`include/uapi/linux/perf_event.h`, `PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: c_uint,
    size: c_uint,
    config: u64,
    /// Period, kinds of samples and of reads, flags, wakeup and the type of breakpoints: all 0.
    unused: [u64; 5],
    /// `uprobe_path`, the address of a string.
    path: u64,
    /// `probe_offset`
    offset: u64,
}

const SIZE: c_uint = 72;
const _: () = assert!(size_of::<EventAttributes>() == SIZE as usize);

#[expect(unsafe_code, reason = "neither the standard library nor rustix has perf_event_open")]
fn open_event(kind: c_uint, path: &CStr) -> io::Result<OwnedFd> {
    const EVERY_PROCESS: c_int = -1;
    const FIRST_PROCESSOR: c_int = 0;
    const NO_GROUP: c_int = -1;
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    let attributes = EventAttributes { kind, size: SIZE, path: path.as_ptr().expose_provenance() as u64, ..EventAttributes::default() };
    // SAFETY: the kernel reads `SIZE` bytes of the attributes and the string that they point to, both of which outlive the call.
    let file =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, EVERY_PROCESS, FIRST_PROCESSOR, NO_GROUP, CLOSE_ON_EXEC) };
    match c_int::try_from(file) {
        // SAFETY: the kernel has just made the descriptor, and nobody else has it.
        Ok(file) if file >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_chosen_by_what_the_kernel_answers() {
        let error = io::Error::from_raw_os_error;
        let chosen = |multi, event: Option<i32>| choose(multi, || event.map(error));
        assert!(matches!(chosen(Ok(true), None), Ok(Way::Multi)));
        assert!(matches!(chosen(Ok(false), Some(libc::ENOENT)), Ok(Way::Events)));
        for (multi, event, says) in [
            (Ok(false), Some(libc::EACCES), "CAP_SYS_ADMIN"),
            (Ok(false), Some(libc::EPERM), "CAP_SYS_ADMIN"),
            (Ok(false), Some(libc::EINVAL), "please report"),
            (Ok(false), None, "CONFIG_UPROBE_EVENTS"),
            (Err(error(libc::EPERM)), Some(libc::ENOENT), "CAP_BPF"),
        ] {
            let refusal = chosen(multi, event).unwrap_err().to_string();
            assert!(refusal.contains(says), "{refusal}");
        }
    }

    #[test]
    fn with_uprobe_multi_no_perf_event_is_tried() {
        assert!(matches!(choose(Ok(true), || unreachable!("nothing else is wanted")), Ok(Way::Multi)));
    }

    #[test]
    fn the_objects_of_both_ways_have_the_same_size_and_differ_in_the_name_of_a_section() {
        let object = b"\0.reluprobe.multi\0uprobe.multi\0uprobe.multis\0";
        let events = Way::Events.object(object);
        assert_eq!(&*events, b"\0.reluprobe\0\0\0\0\0\0\0uprobe\0\0\0\0\0\0\0uprobe.multis\0");
        assert_eq!(&*Way::Multi.object(object), object);
    }
}
