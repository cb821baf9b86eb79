//! From samples to a table, a document and promises kept or not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::load::{KUBELET, LOADS, Load, RATE, Sample, WATCHER};
use super::subject::Subject;

/// All samples, by load and configuration.
#[derive(Default)]
pub(super) struct Results {
    samples: BTreeMap<(&'static str, Subject), Vec<Sample>>,
}

/// A promise: what is compared, what came of it, and what it must be.
pub(super) struct Promise {
    pub(super) what: String,
    /// Not a number if it cannot be told.
    pub(super) value: f64,
    /// What else was measured, for people.
    pub(super) beside: Option<String>,
    pub(super) wanted: Wanted,
}

pub(super) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Promise {
    pub(super) fn is_kept(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(least) => self.value >= least,
            Wanted::AtMost(most) => self.value <= most,
        }
    }

    /// What came of it, and what it must be.
    pub(super) fn cells(&self) -> [String; 4] {
        let wanted = match self.wanted {
            Wanted::AtLeast(least) => format!("≥ {least}"),
            Wanted::AtMost(most) => format!("≤ {most}"),
        };
        if self.value.is_nan() {
            return [self.what.clone(), "–".to_owned(), wanted, "CANNOT BE TOLD".to_owned()];
        }
        let word = if self.is_kept() { "pass" } else { "FALLS SHORT" };
        let beside = self.beside.as_ref().map_or(String::new(), |beside| format!(" ({beside})"));
        [self.what.clone(), format!("{:.2}{beside}", self.value), wanted, word.to_owned()]
    }
}

impl Results {
    pub(super) fn add(&mut self, load: &Load, subject: Subject, sample: Sample) {
        self.samples.entry((load.name, subject)).or_default().push(sample);
    }

    /// The median of a measure.
    pub(super) fn median(&self, load: &str, subject: Subject, measure: &str) -> Option<f64> {
        self.spread(load, subject, measure).map(|[_, median, _]| median)
    }

    /// Least, median and most.
    fn spread(&self, load: &str, subject: Subject, measure: &str) -> Option<[f64; 3]> {
        let name = LOADS.iter().find(|known| known.name == load)?.name;
        let mut values: Vec<f64> = self.samples.get(&(name, subject))?.iter().filter_map(|sample| sample.get(measure).copied()).collect();
        let median = median(&mut values)?;
        Some([*values.first()?, median, *values.last()?])
    }

    /// Processor time of kubelet and watcher for each request, beyond what the bare kubelet takes, in µs; the median of the rounds, each
    /// compared with the bare kubelet of the same round.
    pub(super) fn cost(&self, load: &'static str, subject: Subject) -> Option<f64> {
        let whole = |sample: &Sample| Some(sample.get(KUBELET)? + sample.get(WATCHER)?);
        let (own, bare) = (self.samples.get(&(load, subject))?, self.samples.get(&(load, Subject::None))?);
        let mut costs: Vec<f64> = own.iter().zip(bare).filter_map(|(own, bare)| Some(whole(own)? - whole(bare)?)).collect();
        median(&mut costs)
    }

    /// One measure as a part of that of another configuration.
    pub(super) fn ratio(&self, load: &str, measure: &str, subject: Subject, to: Subject) -> Option<f64> {
        Some(self.median(load, subject, measure)? / self.median(load, to, measure)?)
    }

    /// A row for each load and configuration.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for load in LOADS {
            for subject in Subject::ALL {
                let Some([least, median, most]) = self.spread(load.name, subject, RATE) else { continue };
                let cell = |measure: &str, digits: usize| {
                    self.median(load.name, subject, measure).map_or("–".to_owned(), |value| format!("{value:.digits$}"))
                };
                let ratio = self.ratio(load.name, RATE, subject, Subject::None);
                rows.push(vec![
                    format!("{}: {}", load.what, subject.name()),
                    format!("{median:.0} {} ({least:.0}–{most:.0})", load.unit),
                    ratio.map_or("–".to_owned(), |ratio| format!("{:.1} %", 100.0 * ratio)),
                    cell("p50_ms", 2),
                    cell("p99_ms", 2),
                    cell(KUBELET, 1),
                    if subject == Subject::None { "–".to_owned() } else { cell(WATCHER, 1) },
                    self.cost(load.name, subject)
                        .filter(|_| subject != Subject::None)
                        .map_or("–".to_owned(), |cost| format!("{cost:.1}")),
                ]);
            }
        }
        rows
    }

    /// Every sample.
    pub(super) fn document(&self) -> Value {
        let samples = self
            .samples
            .iter()
            .map(|((load, subject), samples)| json!({ "load": load, "configuration": subject.name(), "rounds": samples }));
        samples.collect()
    }
}

/// Sorts, and takes the one in the middle, or the mean of the two.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (last, middle) = (values.len().checked_sub(1)?, values.len() / 2);
    Some(f64::midpoint(values[last / 2], values[middle]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(rounds: &[(f64, f64)]) -> Results {
        let mut results = Results::default();
        let load = &LOADS[0];
        for (bare, own) in rounds {
            let sample = |kubelet: f64| Sample::from([(RATE, 1e6 / kubelet), (KUBELET, kubelet), (WATCHER, 0.0)]);
            results.add(load, Subject::None, sample(*bare));
            results.add(load, Subject::Floor, sample(*own));
        }
        results
    }

    #[test]
    fn a_cost_is_the_median_of_the_rounds_differences() {
        let results = results(&[(40.0, 43.0), (80.0, 82.0), (50.0, 90.0)]);
        assert_eq!(results.cost(LOADS[0].name, Subject::Floor), Some(3.0));
        assert_eq!(results.median(LOADS[0].name, Subject::None, KUBELET), Some(50.0));
        assert_eq!(results.cost(LOADS[0].name, Subject::Agent), None);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        for (values, expected) in [(vec![], None), (vec![3.0], Some(3.0)), (vec![4.0, 1.0], Some(2.5)), (vec![9.0, 1.0, 2.0], Some(2.0))] {
            let mut values = values;
            assert_eq!(median(&mut values), expected);
        }
    }

    #[test]
    fn rows_have_what_was_measured_and_nothing_else() {
        let rows = results(&[(40.0, 50.0)]).rows();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1][0], format!("{}: floor", LOADS[0].what));
        assert_eq!(rows[1][2], "80.0 %");
        assert_eq!(rows[1].last().map(String::as_str), Some("10.0"));
    }

    #[test]
    fn a_promise_is_kept_or_not() {
        let promise = |value, wanted| Promise { what: "x".to_owned(), value, beside: Some("y".to_owned()), wanted };
        assert!(promise(1.0, Wanted::AtLeast(1.0)).is_kept() && !promise(1.1, Wanted::AtMost(1.0)).is_kept());
        assert_eq!(promise(0.5, Wanted::AtLeast(0.95)).cells(), ["x", "0.50 (y)", "≥ 0.95", "FALLS SHORT"].map(str::to_owned));
        let untold = promise(f64::NAN, Wanted::AtMost(1.5));
        assert!(!untold.is_kept());
        assert_eq!(untold.cells(), ["x", "–", "≤ 1.5", "CANNOT BE TOLD"].map(str::to_owned));
    }
}
