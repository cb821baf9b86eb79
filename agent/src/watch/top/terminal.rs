//! The terminal: taken, drawn on, listened to, and given back as it was found, however this ends.

use std::io;
use std::panic;
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::screen::{Look, draw};
use super::state::{Input, State, Then};
use crate::watch::Filter;

/// How often the screen is drawn at most, and at least.
const DRAW: Duration = Duration::from_millis(250);
/// The status of a process that panicked.
const PANICKED: i32 = 101;

/// Fills the terminal with what `inputs` tell, until somebody wants no more. Keys and signals come over `sender` too.
pub fn show(filter: Filter, colour: bool, sender: SyncSender<Input>, inputs: &Receiver<Input>) -> io::Result<()> {
    // Before the terminal is taken: nothing that comes then leaves it so.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let stops = sender.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().all(|_| stops.send(Input::Stop).is_ok()))?;
    let mut terminal = Taken::take()?;
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(Input::Terminal(event)).is_err() {
                return;
            }
        }
    })?;
    turn(&mut terminal.0, State::new(filter), Look { colour }, inputs)
}

/// The terminal, which is given back when this is dropped.
struct Taken(DefaultTerminal);

impl Taken {
    fn take() -> io::Result<Self> {
        // Gives the terminal back where any thread panics, before that is told.
        let terminal = ratatui::try_init()?;
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            tell(panicked);
            // Others would go on to draw.
            process::exit(PANICKED);
        }));
        Ok(Self(terminal))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _gone = ratatui::try_restore();
    }
}

fn turn(terminal: &mut DefaultTerminal, mut state: State, look: Look, inputs: &Receiver<Input>) -> io::Result<()> {
    let begun = Instant::now();
    let mut drawn = None::<Instant>;
    loop {
        let wait = drawn.map_or(Duration::ZERO, |drawn| DRAW.saturating_sub(drawn.elapsed()));
        let then = match inputs.recv_timeout(wait) {
            Ok(input) => state.take(input, begun.elapsed()),
            Err(RecvTimeoutError::Timeout) => Then::Now,
            Err(RecvTimeoutError::Disconnected) => Then::End,
        };
        if then == Then::Anew {
            terminal.clear()?;
        }
        let is_time = drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW);
        match then {
            Then::End => return Ok(()),
            Then::Later if !is_time => {}
            Then::Later | Then::Now | Then::Anew => {
                terminal.draw(|frame| draw(frame, &mut state, look, &ZonedDateTime::now(), begun.elapsed()))?;
                drawn = Some(Instant::now());
            }
        }
    }
}
