//! What a request costs, by the last run of `cargo xtask bench` that was kept.

use std::collections::BTreeSet;

use serde::Deserialize;

/// What that run measured; docs/performance.md shows it.
const MEASURED: &str = include_str!("../../../../docs/performance.json");

#[derive(Deserialize)]
struct Measured {
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    configuration: String,
    load: String,
    rounds: Vec<Round>,
}

/// Microseconds of processor time of one request; 0 where a load has no requests.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Round {
    kubelet_us: f64,
    watcher_us: f64,
}

/// The least and the most that a configuration adds to a request to `/healthz`, the shortest there is, in µs of processor time: of the kubelet, and
/// of whoever watches it.
fn of_a_request(configuration: &str) -> Option<(f64, f64)> {
    let measured: Measured = serde_json::from_str(MEASURED).ok()?;
    let rounds = |load: &str, configuration: &str| {
        let mut samples = measured.samples.iter();
        samples
            .find(|sample| sample.load == load && sample.configuration == configuration)
            .map(|sample| sample.rounds.iter().map(Round::cost))
    };
    let loads: BTreeSet<&str> =
        measured.samples.iter().map(|sample| sample.load.as_str()).filter(|load| load.starts_with("healthz-")).collect();
    let costs = loads.into_iter().filter_map(|load| {
        let (watched, bare) = (rounds(load, configuration)?, rounds(load, "none")?);
        median(watched.zip(bare).map(|(watched, bare)| watched - bare).collect())
    });
    costs.fold(None, |range, cost| match range {
        None => Some((cost, cost)),
        Some((least, most)) => Some((cost.min(least), cost.max(most))),
    })
}

impl Round {
    fn cost(&self) -> f64 {
        self.kubelet_us + self.watcher_us
    }
}

fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    Some(f64::midpoint(*of.get(of.len().checked_sub(1)? / 2)?, *of.get(of.len() / 2)?))
}

/// A sentence about it.
pub(super) fn sentence() -> String {
    let hits = "a request is four hits or more, of one trap each";
    match of_a_request("kubewitness") {
        Some((least, most)) => {
            format!("{hits}: {least:.0} to {most:.0} µs of processor time for /healthz on the machine of docs/performance.md")
        }
        None => hits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_run_has_a_figure_and_stepping_costs_more() {
        let (least, most) = of_a_request("kubewitness").unwrap();
        assert!(0.0 < least && least <= most, "{least} {most}");
        assert!(of_a_request("stepped").unwrap().0 > most);
        assert!(sentence().contains("µs of processor time"));
        assert_eq!(of_a_request("nothing"), None);
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0]), median(Vec::new())), (Some(2.0), Some(2.5), None));
    }
}
