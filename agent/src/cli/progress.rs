//! How far long work is, on a terminal alone. It is gone before anything else is printed.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::manifest::{InputError, Manifests, read_and_tell};

/// What is over sooner needs no word.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// A line on standard error that tells what is being waited for. Nothing is shown where that is no terminal.
pub(super) struct Waiting {
    bar: ProgressBar,
    since: Instant,
    shown: bool,
}

impl Waiting {
    /// For work that tells how far it is.
    pub(super) fn patient(what: &'static str) -> Self {
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_message(what),
            since: Instant::now(),
            shown: false,
        }
    }

    /// For work that says nothing for long, such as a network's answer.
    pub(super) fn spinning(what: &'static str) -> Self {
        let mut this = Self::patient(what);
        this.show("{spinner} {msg} ({elapsed})");
        if this.shown {
            this.bar.enable_steady_tick(TURN);
        }
        this
    }

    /// What is being done now.
    pub(super) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// So many bytes are read, of so many, if that is known.
    pub(super) fn bytes(&mut self, done: u64, all: Option<u64>) {
        if self.since.elapsed() < PATIENCE {
            return;
        }
        match all {
            Some(all) => {
                self.bar.set_length(all);
                self.show("{msg}: {binary_bytes} of {binary_total_bytes} [{bar:20}] {eta} left");
            }
            None => self.show("{msg}: {binary_bytes} ({elapsed})"),
        }
        self.bar.set_position(done);
    }

    fn show(&mut self, template: &str) {
        if self.shown || !io::stderr().is_terminal() {
            return;
        }
        self.shown = true;
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Reads manifests, and tells how many there are so far.
pub(super) fn read_manifests(paths: &[PathBuf]) -> Result<Manifests, InputError> {
    // What is typed is not to be written over.
    let waiting = (!invite(paths)).then(|| Waiting::spinning("reading manifests"));
    read_and_tell(paths, |files| waiting.iter().for_each(|waiting| waiting.say(&format!("reading manifests: {files} files"))))
}

/// Whoever is asked for standard input and types it should know; whether that is so.
pub(super) fn invite(paths: &[PathBuf]) -> bool {
    let typed = io::stdin().is_terminal() && paths.iter().any(|path| path.as_os_str() == "-");
    if typed {
        eprintln!("kubewitness: reading what you type; Ctrl-D ends it, Ctrl-C ends all");
    }
    typed
}
