//! Lines on standard output, and what else there is to say on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::{self, ExitCode},
};

use jiff::{ZonedDateTime, tz::TimeZone};
use rustix::event::{PollFd, PollFlags, poll};

use super::News;
use crate::{
    cli::output::{colours, columns},
    inert::Inert,
    report::text::Paint,
    watch::{Filter, Form, Layout, Shown, Stream},
};

/// Columns of a terminal that does not tell how many it has.
const COLUMNS: usize = 80;

/// Writes what a source says.
pub(super) struct Printer {
    stream: Stream,
    /// On a terminal: whether identities are shown whole, and its columns.
    terminal: Option<(bool, usize)>,
}

impl Printer {
    pub(super) fn new(whole: bool, json: bool, filter: Filter) -> Self {
        let terminal = (io::stdout().is_terminal() && !json).then(|| (whole, columns().unwrap_or(COLUMNS)));
        let form = if json {
            Form::Json
        } else {
            let layout =
                terminal.map_or_else(|| Layout::of_pipe(whole), |(whole, width)| Layout::of_terminal(width, whole, TimeZone::system()));
            Form::Text(layout, if colours() { Paint::Colour } else { Paint::Plain })
        };
        Self { stream: Stream::new(form, filter, &ZonedDateTime::now()), terminal }
    }

    /// The names of the columns.
    pub(super) fn head(&self) {
        write(self.stream.head().unwrap_or_default().as_bytes());
    }

    pub(super) fn take(&mut self, news: &News) {
        match news {
            News::Bytes(bytes) => {
                self.heed_width();
                let shown = self.stream.feed(bytes);
                show(&shown);
            }
            News::End => {
                let shown = self.stream.end();
                show(&shown);
            }
            News::Told(text) => tell(text),
        }
    }

    /// The source is over.
    pub(super) fn finish(self) -> ExitCode {
        let Stream { others, unreadable, .. } = self.stream;
        if others > 0 {
            tell(&format!("{} of JSON {} no event of kubewitness", counted(others), if others == 1 { "is" } else { "are" }));
        }
        if unreadable > 0 {
            tell(&format!("{} cannot be read", counted(unreadable)));
        }
        ExitCode::SUCCESS
    }

    fn heed_width(&mut self) {
        let Some((whole, before)) = self.terminal else { return };
        let width = columns().unwrap_or(COLUMNS);
        if width != before {
            self.terminal = Some((whole, width));
            self.stream.lay_out(Layout::of_terminal(width, whole, TimeZone::system()));
        }
    }
}

fn counted(lines: u64) -> String {
    format!("{lines} line{}", if lines == 1 { "" } else { "s" })
}

fn show(shown: &Shown) {
    write(&shown.data);
    shown.told.iter().for_each(|text| tell(text));
    if let Some(reason) = &shown.refused {
        tell(&format!("the agent lets nobody else watch: {reason}"));
        process::exit(1);
    }
}

/// Tells something beside the data.
pub(super) fn tell(text: &str) {
    let has_colour = io::stderr().is_terminal() && colours();
    let paint = if has_colour { Paint::Colour } else { Paint::Plain };
    eprintln!("{}", paint.dim(&Inert(text).to_string()));
}

fn write(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever read it has seen enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            tell(&format!("requests cannot be printed: {error}"));
            process::exit(1);
        }
        process::exit(0);
    }
}

/// Ends the process as soon as nobody reads its standard output, also if there is nothing to write.
pub(super) fn end_when_nobody_reads() {
    loop {
        let out = io::stdout();
        let mut nobody = [PollFd::new(&out, PollFlags::empty())];
        if poll(&mut nobody, None).is_ok() && nobody[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            process::exit(0);
        }
    }
}
