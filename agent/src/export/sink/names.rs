//! Names of files that are full: `events.jsonl` becomes `events-2026-03-04T05-06-07.123.jsonl`, as the API server names its own audit logs
//! (lumberjack). In the order of their names they are in the order of time, and before the file that is written: `-` comes before `.`.
//! `kubewitness report` reads a directory in that order.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// All of one length, so that their order is that of the times.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// The file that is written, apart from which its full ones are named.
#[derive(Clone, Debug)]
pub(super) struct Names {
    folder: PathBuf,
    stem: OsString,
    extension: Option<OsString>,
}

impl Names {
    pub(super) fn of(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self {
            folder: folder.to_owned(),
            stem: path.file_stem().unwrap_or_default().to_owned(),
            extension: path.extension().map(OsStr::to_owned),
        }
    }

    /// Where the file that is written and the full ones are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The time in the name of a full file; `None` for any other, which is nobody's business here.
    pub(super) fn time(&self, name: &OsStr) -> Option<Timestamp> {
        let rest = name.as_bytes().strip_prefix(self.stem.as_bytes())?.strip_prefix(b"-")?;
        let stamp = match &self.extension {
            Some(extension) => rest.strip_suffix(extension.as_bytes())?.strip_suffix(b".")?,
            None => rest,
        };
        let stamp = str::from_utf8(stamp).ok()?;
        let time = Offset::UTC.to_timestamp(DateTime::strptime(STAMP, stamp).ok()?).ok()?;
        // Nothing but what was named here is ever taken away.
        (written(time) == stamp).then_some(time)
    }

    /// The name for a file that is full `now`, later than `latest`, the last one: clocks are set back.
    pub(super) fn next(&self, now: Timestamp, latest: Option<Timestamp>) -> PathBuf {
        let after = latest.and_then(|latest| latest.checked_add(Duration::from_millis(1)).ok());
        let time = after.map_or(now, |after| after.max(now));
        let mut name = self.stem.clone();
        name.push("-");
        name.push(written(time));
        if let Some(extension) = &self.extension {
            name.push(".");
            name.push(extension);
        }
        self.folder.join(name)
    }
}

fn written(time: Timestamp) -> String {
    time.strftime(STAMP).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_in_the_order_of_time_and_before_the_file_that_is_written() {
        for path in
            [&b"/var/log/kubewitness/events.jsonl"[..], b"events.jsonl", b"/a/events", b"/a/b.c.log", b"/a/.hidden", b"/a/\xff.jsonl"]
        {
            let path = Path::new(OsStr::from_bytes(path));
            let names = Names::of(path);
            let (mut latest, mut last) = (None, None);
            for now in ["2026-03-04T05:06:07.1Z", "2026-03-04T05:06:07.1009Z", "2026-03-04T05:06:07.2Z", "2026-03-04T04:00:00Z"] {
                let next = names.next(time(now), latest);
                latest = names.time(next.file_name().unwrap());
                assert!(latest.is_some(), "{next:?}");
                assert!(last.is_none_or(|last| last < next), "{next:?}");
                assert!(next.file_name() < path.file_name() || path.extension().is_none_or(|kind| kind != "jsonl"), "{next:?}");
                last = Some(next);
            }
        }
    }

    #[test]
    fn only_what_was_named_here_is_recognised() {
        let names = Names::of(Path::new("/var/log/events.jsonl"));
        assert_eq!(names.next(time("2026-03-04T05:06:07.123456Z"), None), Path::new("/var/log/events-2026-03-04T05-06-07.123.jsonl"));
        for (name, expected) in [
            ("events-2026-03-04T05-06-07.123.jsonl", Some("2026-03-04T05:06:07.123Z")),
            ("events.jsonl", None),
            ("events.jsonl.1", None),
            ("events-2026-03-04T05-06-07.123.jsonl.gz", None),
            ("events-2026-03-04.jsonl", None),
            ("events-2026-03-04T05-06-07.jsonl", None),
            ("events-2026-03-04T05-06-07.1230.jsonl", None),
            ("events-2026-13-04T05-06-07.123.jsonl", None),
            ("events-2026-03-04T05-06-07.123.json", None),
            ("events2026-03-04T05-06-07.123.jsonl", None),
            ("other-2026-03-04T05-06-07.123.jsonl", None),
            ("events-x-2026-03-04T05-06-07.123.jsonl", None),
        ] {
            assert_eq!(names.time(OsStr::new(name)), expected.map(time), "{name}");
        }
    }
}
