//! The body of the fuzz target, which a test calls too.

use super::{
    answer::{self, Fold, Row},
    data_begins,
    fleet::Fleet,
    observe::{self, Counts, Doubts, Read},
    queries::{self, Looks, Metric, Selector, Taken},
    readings,
};

/// Unix milliseconds; a server's times may be anything.
const END: i64 = 1_763_946_000_000;
/// More readings ask the same again.
const READINGS: usize = 16;

/// Takes hostile answers, one in a line, as those to the questions in the order of the inquiry; when there are no more, from the first on again.
/// Whatever they are, it returns.
///
/// # Panics
///
/// If what is told of them is not harmless.
pub fn fuzz_entry(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut answers = Answers { lines, next: 0, doubts: Doubts::default() };
    let [at_end, at_start, begun, ended, agents, watched, kubelets] = [(); 7].map(|()| answers.next::<Vec<Row>>());
    let mut looks = Looks::new(END, 3_600_000);
    if let Some(begin) = data_begins(&at_start, &begun, looks) {
        looks.start = begin;
    }
    let selector = Selector::default();
    let mut fleet = Fleet::new(&at_start, &at_end, &begun, &ended, looks);
    let _ = fleet.name_nodes(&agents);
    for piece in readings::pieces(&fleet, &selector, looks).into_iter().take(READINGS) {
        let _ = queries::history(&piece.selector, piece.from, piece.to);
        fleet.refine(&answers.next::<Vec<Row>>(), piece.from, piece.to, looks);
    }
    let taken = Taken::by([&agents, &at_start, &at_end, &begun, &ended].into_iter().flatten().map(|row| &row.labels));
    let mut counts = Counts::default();
    for row in &watched {
        counts.watched(&fleet, row);
    }
    for reading in readings::readings(&fleet, &selector, looks).iter().take(READINGS) {
        for metric in Metric::ALL {
            let _ = reading.moment.question(metric, &taken);
            let read = if metric.is_by_target() { Read::Targets(answers.next()) } else { Read::Sums(answers.next()) };
            counts.add(&fleet, metric, reading.sign, read);
        }
    }
    crate::report::fuzz::check(&observe::observed(&fleet, &counts, &kubelets, looks, answers.doubts));
}

struct Answers<'a> {
    lines: Vec<&'a [u8]>,
    next: usize,
    doubts: Doubts,
}

impl Answers<'_> {
    fn next<F: Fold>(&mut self) -> F {
        let line = self.lines.get(self.next % self.lines.len().max(1)).copied().unwrap_or_default();
        self.next += 1;
        let Ok((read, remarks)) = answer::read(line) else { return F::default() };
        self.doubts.remarks("fuzz", remarks);
        read
    }
}
