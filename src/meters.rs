//! Every metric that the server tells: its name, its help, its labels; and the way in for whoever measures.
//!
//! Values go through the `metrics` facade: without [`install`] they go nowhere and cost next to nothing. Labels have
//! few values by construction: ids of the catalog's placements, offers and rules, and words fixed in this program, never
//! what a client sent. Units are seconds, nats, records and plain counts.

use metrics::{Counter, Gauge, Histogram, Label};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets of every duration, in seconds: from a tenth of a millisecond to five seconds.
const DURATION_BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Upper bounds of the buckets of entropies, in nats: e^0.01 to e^6 offers that share leads evenly.
const ENTROPY_BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// How a metric's values move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever up, from 0 at the start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Amounts, by bucket.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// As Prometheus knows it; a counter's ends in `_total`, a histogram's in its unit.
    pub name: &'static str,
    /// How its values move.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence for whoever reads the metrics page.
    pub help: &'static str,
    /// A histogram's: upper bounds of its buckets.
    pub buckets: &'static [f64],
}

/// The program that tells them.
pub const BUILD: Meter = gauge("offer_ranker_build_info", &["version"], "Always 1; the version is the label.");
/// Calls answered.
pub const REQUESTS: Meter =
    counter("offer_ranker_requests_total", &["method", "code"], "Calls answered, by gRPC method and status code.");
/// How long calls take.
pub const REQUEST_DURATION: Meter = histogram(
    "offer_ranker_request_duration_seconds",
    &["method"],
    &DURATION_BUCKETS,
    "Time from a call's headers to the end of its answer, by gRPC method.",
);
/// Calls under way.
pub const REQUESTS_IN_FLIGHT: Meter =
    gauge("offer_ranker_requests_in_flight", &["method"], "Calls under way, by gRPC method.");
/// Decisions made.
pub const DECISIONS: Meter =
    counter("offer_ranker_decisions_total", &["placement"], "Decisions made, repeated answers not counted.");
/// Candidates left out.
pub const EXCLUSIONS: Meter = counter(
    "offer_ranker_exclusions_total",
    &["placement", "reason"],
    "Candidates that could not be shown, by the first rule that says so.",
);
/// What rules leave out.
pub const RULE_EXCLUSIONS: Meter = counter(
    "offer_ranker_rule_exclusions_total",
    &["placement", "rule"],
    "Candidates that a rule of the catalog kept from being shown, by rule.",
);
/// Flags of decisions.
pub const FLAGS: Meter =
    counter("offer_ranker_flags_total", &["placement", "flag"], "Decisions that carry a flag, by flag.");
/// Leads by offer.
pub const LEADS: Meter = counter(
    "offer_ranker_leads_total",
    &["placement", "offer"],
    "Leads drawn, by offer, of decisions that were learned from; not of the holdout, nor of repeated leases.",
);
/// What leads by offer should be.
pub const LEADS_EXPECTED: Meter = counter(
    "offer_ranker_leads_expected_millionths_total",
    &["placement", "offer"],
    "Probabilities of the same leads as they were logged, by offer, in millionths.",
);
/// How evenly leads are spread.
pub const LEAD_ENTROPY: Meter = histogram(
    "offer_ranker_lead_entropy_nats",
    &["placement"],
    &ENTROPY_BUCKETS,
    "Entropy of the probabilities that the policy's leads are drawn from; e to its power is how many offers share them.",
);
/// Reports of outcomes.
pub const OUTCOMES: Meter = counter(
    "offer_ranker_outcomes_total",
    &["placement", "code"],
    "Reports of outcomes by what became of them; without a placement where the decision's id names none.",
);
/// Reports of exposures.
pub const EXPOSURES: Meter = counter(
    "offer_ranker_exposures_total",
    &["placement", "code"],
    "Reports of exposures by what became of them; without a placement where the decision's id names none.",
);
/// What a band holds everybody to.
pub const BAND_RATE: Meter = gauge(
    "offer_ranker_band_rate",
    &["placement", "band"],
    "Rate that a band of what serves holds everybody to; not a number where it does not act yet, or is gone.",
);
/// How closely it does.
pub const BAND_DELTA: Meter = gauge(
    "offer_ranker_band_delta",
    &["placement", "band"],
    "How far from its rate a band lets anybody be; 1 where it does not act yet, not a number where it is gone.",
);
/// Whether calls should be sent here.
pub const READY: Meter = gauge("offer_ranker_ready", &[], "1 where /readyz answers 200, else 0.");
/// The catalog that serves.
pub const CATALOG_REVISION: Meter =
    gauge("offer_ranker_catalog_revision", &[], "Number of the catalog revision that serves.");
/// Age of what serves.
pub const SNAPSHOT_AGE: Meter =
    gauge("offer_ranker_snapshot_age_seconds", &[], "Time since what is served was known to be current.");
/// What is not learned yet.
pub const LEARNER_LAG: Meter = gauge(
    "offer_ranker_learner_lag_records",
    &["placement"],
    "Records of the placement's logs that what serves has not learned from yet.",
);
/// Whether learning fails.
pub const LEARNER_FAILING: Meter = gauge(
    "offer_ranker_learner_failing",
    &["placement"],
    "1 where the placement cannot learn and serves what it learned last, or its prior, else 0.",
);
/// How long the store takes.
pub const STORE_DURATION: Meter = histogram(
    "offer_ranker_store_operation_duration_seconds",
    &["operation"],
    &DURATION_BUCKETS,
    "Time that the store took, by operation, failures included.",
);
/// What the store failed at.
pub const STORE_ERRORS: Meter =
    counter("offer_ranker_store_errors_total", &["kind"], "Operations of the store that failed, by kind of failure.");
/// What waits.
pub const QUEUE_DEPTH: Meter = gauge("offer_ranker_queue_depth", &["queue"], "Entries that wait in a queue.");
/// What may wait.
pub const QUEUE_CAPACITY: Meter =
    gauge("offer_ranker_queue_capacity", &["queue"], "Entries that a queue holds at most.");

/// What is spooled.
pub const SPOOL_DECISIONS: Meter = gauge(
    "offer_ranker_spool_decisions",
    &[],
    "Decisions that were answered and wait on this machine's disk until the store takes them.",
);
/// How full the spool is.
pub const SPOOL_BYTES: Meter = gauge("offer_ranker_spool_bytes", &[], "Bytes of the spool's files.");
/// How full it may be.
pub const SPOOL_CAPACITY: Meter =
    gauge("offer_ranker_spool_capacity_bytes", &[], "Bytes that the spool's files may have at most.");
/// What became of spooled decisions.
pub const SPOOL_OFFERED: Meter = counter(
    "offer_ranker_spool_offered_total",
    &["result"],
    "Spooled decisions offered to the store, by what became of them: logged, superseded, refused; damaged: set aside unread.",
);

/// Every metric there is.
pub const ALL: [Meter; 28] = [
    BUILD,
    REQUESTS,
    REQUEST_DURATION,
    REQUESTS_IN_FLIGHT,
    DECISIONS,
    EXCLUSIONS,
    RULE_EXCLUSIONS,
    FLAGS,
    BAND_RATE,
    BAND_DELTA,
    LEADS,
    LEADS_EXPECTED,
    LEAD_ENTROPY,
    OUTCOMES,
    EXPOSURES,
    READY,
    CATALOG_REVISION,
    SNAPSHOT_AGE,
    LEARNER_LAG,
    LEARNER_FAILING,
    STORE_DURATION,
    STORE_ERRORS,
    QUEUE_DEPTH,
    QUEUE_CAPACITY,
    SPOOL_DECISIONS,
    SPOOL_BYTES,
    SPOOL_CAPACITY,
    SPOOL_OFFERED,
];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Meter {
    Meter { name, kind: Kind::Counter, labels, help, buckets: &[] }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Meter {
    Meter { name, kind: Kind::Gauge, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Meter {
    Meter { name, kind: Kind::Histogram, labels, help, buckets }
}

impl Meter {
    /// The counter with these values of the labels, in their order. Keep it: finding it costs more than counting.
    pub fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, self.labelled(values))
    }

    /// The gauge with these values of the labels, in their order.
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        metrics::gauge!(self.name, self.labelled(values))
    }

    /// The histogram with these values of the labels, in their order.
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        debug_assert_eq!(self.kind, Kind::Histogram, "{}", self.name);
        metrics::histogram!(self.name, self.labelled(values))
    }

    fn labelled(&self, values: &[&str]) -> Vec<Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        self.labels.iter().zip(values).map(|(&label, &value)| Label::new(label, value.to_owned())).collect()
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// How full a bounded queue is. A component that has a queue makes one of these and tells it.
#[derive(Clone, Debug)]
pub struct QueueMeter {
    depth: Gauge,
}

impl QueueMeter {
    /// The meter of a queue with this name that holds at most `capacity` entries.
    #[must_use]
    pub fn new(queue: &'static str, capacity: usize) -> Self {
        QUEUE_CAPACITY.gauge(&[queue]).set(capacity as f64);
        Self { depth: QUEUE_DEPTH.gauge(&[queue]) }
    }

    /// So many entries wait now.
    pub fn set(&self, depth: usize) {
        self.depth.set(depth as f64);
    }
}

/// Where measured values are gathered.
#[derive(Clone, Debug)]
pub struct Registry(PrometheusHandle);

/// Another recorder of metrics stands in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metrics are gathered in this process already; install once, before anything is measured")]
pub struct AlreadyInstalled;

/// Gathers what is measured in this process from now on. What took its meters before goes on measuring for nobody.
///
/// # Errors
/// Where it was done before.
pub fn install() -> Result<Registry, AlreadyInstalled> {
    let builder = ALL.iter().filter(|meter| meter.kind == Kind::Histogram).fold(PrometheusBuilder::new(), bucketed);
    let registry = builder.install_recorder().map_err(|_| AlreadyInstalled)?;
    ALL.iter().for_each(Meter::describe);
    BUILD.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    Ok(Registry(registry))
}

fn bucketed(builder: PrometheusBuilder, meter: &Meter) -> PrometheusBuilder {
    builder
        .set_buckets_for_metric(Matcher::Full(meter.name.to_owned()), meter.buckets)
        .expect("invariant: there are buckets")
}

impl Registry {
    /// Everything measured, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Sums up what histograms have gathered, so that they need no more memory where nobody asks for them. To be
    /// called every few seconds.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_say_what_they_are() {
        for meter in ALL {
            assert!(meter.name.starts_with("offer_ranker_"), "{}", meter.name);
            assert_eq!(meter.kind == Kind::Counter, meter.name.ends_with("_total"), "{}", meter.name);
            let has_unit = ["_seconds", "_nats"].iter().any(|unit| meter.name.ends_with(unit));
            assert!(meter.kind != Kind::Histogram || has_unit, "{}", meter.name);
            assert_eq!(meter.kind == Kind::Histogram, !meter.buckets.is_empty(), "{}", meter.name);
            assert!(meter.help.ends_with('.'), "{}", meter.name);
        }
        let names: BTreeSet<_> = ALL.iter().map(|meter| meter.name).collect();
        assert_eq!(names.len(), ALL.len(), "every name stands for one metric");
    }
}
