//! The registry, and what it takes to write the reference from it.

use std::fmt::Write;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// A registry that remembers what was registered, with or without series.
pub(super) struct Register {
    registry: Registry,
    families: Vec<Family>,
}

struct Family {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    help: String,
}

impl Register {
    /// With the process's own metrics.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let mut register = Self { registry: Registry::new(), families: Vec::new() };
        let process = ProcessCollector::for_self();
        for desc in process.desc() {
            let kind = if desc.fq_name.ends_with("_total") { "counter" } else { "gauge" };
            register.families.push(Family { name: desc.fq_name.clone(), kind, labels: Vec::new(), help: desc.help.clone() });
        }
        register.registry.register(Box::new(process))?;
        Ok(register)
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add("counter", IntCounter::with_opts(Opts::new(name, help))?)
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add("gauge", IntGauge::with_opts(Opts::new(name, help))?)
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.add("histogram", Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// A table of all metrics, sorted by name.
    pub(super) fn reference(&self) -> String {
        let mut families: Vec<_> = self.families.iter().collect();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for Family { name, kind, labels, help } in families {
            let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            // Writing to a string does not fail.
            let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
        }
        table
    }

    fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, collector: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(collector.clone()))?;
        self.families.extend(collector.desc().into_iter().map(|desc| Family {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        }));
        Ok(collector)
    }
}
