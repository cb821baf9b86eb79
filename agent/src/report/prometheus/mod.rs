//! What a fleet saw, from anything that speaks Prometheus' HTTP API: Prometheus, Thanos, Mimir, `VictoriaMetrics`.
//!
//! # How counts are made exact
//!
//! `increase()` will not do: it extrapolates, so it gives fractions, and it misses the first value of a series, which is all that there is of an
//! identity that called once. It also reads every sample of the window: a million series for 30 days. Here counters are read at
//! single moments, and the server adds them up over the nodes before it answers:
//!
//! * all at the window's end, less all at its start. That is exact for every agent that runs through, also for series that were
//!   born in between: a series that is absent counts as 0, and an agent that was scraped would have shown it.
//! * A process that ended in between (a restart in place, a rollout, a node that was removed) is missing at the end: its
//!   counters at its last sample are added. What it counted after that is in no number; a note says how many such processes there were.
//! * A process that was started before the window and is first scraped in it had counted before: what it showed at its first sample is taken
//!   off. Counts are then too low rather than too high.
//! * An agent that is scraped by two jobs, or by two Prometheus servers whose series meet in one store, is told by its node's name and start
//!   time, and counts once. So does one whose target was renamed.
//!
//! Which process ran where and when comes from `process_start_time_seconds`, one series for each agent: the fleet is looked at
//! a few hundred times in the window, the server tells only what changed from one look to the next, and the samples around
//! each change are read one by one. So it is known to the sample when a process came or went, and the counters of many of them
//! can be read at one moment. A process that lived between two looks is seen if its target was known before or after; a target that came and
//! went between two looks is not seen.
//!
//! In the usual case that is some twenty requests, of which two touch each series of each identity once.
//!
//! What is not in this source: verbs, groups, single events. What has no identity is what all requests have beyond those with one.

mod answer;
mod client;
mod error;
mod fleet;
mod fuzz;
mod observe;
mod queries;
mod readings;
mod secret;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

pub use client::{Connection, Credentials};
pub use error::PrometheusError;
pub use fuzz::fuzz_entry;
pub use secret::Secret;

use self::{
    answer::{Remarks, Row},
    client::Client,
    fleet::Fleet,
    observe::{Counts, Doubts, Read},
    queries::{Looks, Metric, Question, Selector, Taken},
    readings::Reading,
};
use super::Observed;

/// Requests that are under way at once: a server of this kind works through them in parallel, and others use it too.
const AT_ONCE: usize = 4;

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The way to the server.
    pub connection: Connection,
    /// How far back.
    pub window: Duration,
    /// Until when.
    pub until: Timestamp,
    /// Label matchers that restrict which series count, such as `cluster="x"`.
    pub selector: Option<String>,
}

/// Asks a server for all that its agents saw in a window of time.
///
/// It blocks, and must not be called from inside of an async runtime.
pub fn observe(options: &Options) -> Result<Observed, PrometheusError> {
    observe_and_tell(options, |_| {})
}

/// The same, and tells after each answer how many there were.
pub fn observe_and_tell(options: &Options, mut tell: impl FnMut(u64)) -> Result<Observed, PrometheusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| PrometheusError::System { what: "no connections can be made", source })?;
    let client = Client::new(&options.connection)?;
    let result = runtime.block_on(Inquiry { client: &client, doubts: Doubts::default(), answers: 0, tell: &mut tell }.observe(options));
    // A thread that still reads the answer of a server that hangs is not waited for.
    runtime.shutdown_background();
    result
}

/// The questions, one after the other, and what is to be said about the answers.
struct Inquiry<'a> {
    client: &'a Client,
    doubts: Doubts,
    answers: u64,
    tell: &'a mut dyn FnMut(u64),
}

impl Inquiry<'_> {
    async fn observe(mut self, options: &Options) -> Result<Observed, PrometheusError> {
        let selector = options.selector.as_deref().map(Selector::of_user).unwrap_or_default();
        let window = i64::try_from(options.window.as_millis()).unwrap_or(i64::MAX).clamp(1000, options.until.as_millisecond().max(1000));
        let mut looks = Looks::new(options.until.as_millisecond(), window / 1000 * 1000);

        // The cheap one goes alone: most mistakes in the options show here.
        let at_end = self.rows(queries::started_at(&selector, looks.end)).await?;
        let questions = [queries::started_at(&selector, looks.start), queries::begun(&selector, looks), queries::ended(&selector, looks)];
        let [mut at_start, begun, ended] = self.some(questions).await?;
        let questions = [queries::agents(&selector, looks), queries::watched(&selector, looks), queries::kubelets(&selector, looks)];
        let [agents, watched, kubelets] = self.some(questions).await?;
        if agents.is_empty() && at_end.is_empty() {
            return Err(PrometheusError::NoAgents);
        }
        if at_start.is_empty() && at_end.is_empty() && begun.is_empty() && ended.is_empty() {
            return Err(PrometheusError::NoStartTimes);
        }
        if let Some(begin) = data_begins(&at_start, &begun, looks) {
            self.doubts.add("data-begins-late", 1, || "the server has no older samples: the window begins with them".to_owned());
            looks.start = begin;
            at_start = self.rows(queries::started_at(&selector, looks.start)).await?;
        }
        let mut fleet = Fleet::new(&at_start, &at_end, &begun, &ended, looks);
        let strange = fleet.name_nodes(&agents);
        self.doubts.add("no-start-time", strange, || "agents have no process_start_time_seconds: their restarts cannot be told".to_owned());

        let pieces = readings::pieces(&fleet, &selector, looks);
        let histories = self.all(pieces.iter().map(|piece| queries::history(&piece.selector, piece.from, piece.to))).await?;
        for (piece, history) in pieces.iter().zip(histories) {
            fleet.refine(&history, piece.from, piece.to, looks);
        }
        let taken = Taken::by([&agents, &at_start, &at_end, &begun, &ended].into_iter().flatten().map(|row| &row.labels));
        let counts = self.count(&fleet, &readings::readings(&fleet, &selector, looks), &taken, &watched).await?;
        Ok(observe::observed(&fleet, &counts, &kubelets, looks, self.doubts))
    }

    /// Reads all counters at all moments.
    async fn count(&mut self, fleet: &Fleet, readings: &[Reading], taken: &Taken, watched: &[Row]) -> Result<Counts, PrometheusError> {
        let mut counts = Counts::default();
        for row in watched {
            counts.watched(fleet, row);
        }
        // The metric with the most series comes first, so that the small ones fill the gaps.
        let asked = Metric::ALL.into_iter().flat_map(|metric| readings.iter().map(move |reading| (metric, reading)));
        let client = self.client;
        let answers = asked.map(|(metric, reading)| async move {
            let question = reading.moment.question(metric, taken);
            let (read, remarks) = if metric.is_by_target() {
                let (rows, remarks) = client.ask(&question).await?;
                (Read::Targets(rows), remarks)
            } else {
                let (sums, remarks) = client.ask(&question).await?;
                (Read::Sums(sums), remarks)
            };
            Ok::<_, PrometheusError>((metric, reading.sign, read, question.what, remarks))
        });
        let mut answers = stream::iter(answers).buffer_unordered(AT_ONCE);
        while let Some((metric, sign, read, what, remarks)) = answers.try_next().await? {
            self.answered(what, remarks);
            counts.add(fleet, metric, sign, read);
        }
        Ok(counts)
    }

    async fn rows(&mut self, question: Question) -> Result<Vec<Row>, PrometheusError> {
        let (rows, remarks) = self.client.ask(&question).await?;
        self.answered(question.what, remarks);
        Ok(rows)
    }

    fn answered(&mut self, what: &str, remarks: Remarks) {
        self.doubts.remarks(what, remarks);
        self.answers += 1;
        (self.tell)(self.answers);
    }

    async fn some<const N: usize>(&mut self, questions: [Question; N]) -> Result<[Vec<Row>; N], PrometheusError> {
        let mut answers = self.all(questions).await?.into_iter();
        Ok([const { Vec::<Row>::new() }; N].map(|_| answers.next().unwrap_or_default()))
    }

    /// The answers to several questions, in their order.
    async fn all(&mut self, questions: impl IntoIterator<Item = Question>) -> Result<Vec<Vec<Row>>, PrometheusError> {
        let client = self.client;
        let answers = questions.into_iter().map(|question| async move {
            let answer = client.ask::<Vec<Row>>(&question).await?;
            Ok::<_, PrometheusError>((question.what, answer))
        });
        let mut answers = stream::iter(answers).buffered(AT_ONCE);
        let mut all = Vec::new();
        while let Some((what, (rows, remarks))) = answers.try_next().await? {
            self.answered(what, remarks);
            all.push(rows);
        }
        Ok(all)
    }
}

/// When the server's samples begin, if that is after the window's start: an agent was running then, and nothing was scraped.
fn data_begins(at_start: &[Row], begun: &[Row], looks: Looks) -> Option<i64> {
    if !at_start.is_empty() {
        return None;
    }
    let samples = || begun.iter().flat_map(|row| &row.samples);
    let first = samples().map(|(time, _)| *time).min()?;
    let ran = |(time, started): &(i64, f64)| *time == first && started * 1000.0 < as_number(looks.start);
    samples().any(ran).then_some(first)
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
fn as_number(milliseconds: i64) -> f64 {
    milliseconds as f64
}
