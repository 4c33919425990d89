//! What held, as Markdown and as JSON.

use crate::output;
use offer_ranker::replay;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) repetitions: u64,
    pub(super) rows: usize,
    pub(super) seed: u64,
    pub(super) elapsed_s: f64,
    pub(super) cells: Vec<Cell>,
}

/// One target and metric of one experiment.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) experiment: &'static str,
    pub(super) target: &'static str,
    pub(super) metric: &'static str,
    /// Whether the metric is a share of customers.
    pub(super) share: bool,
    /// The experiment's own value.
    pub(super) value: f64,
    /// How many rows of a log match and earned something, on average.
    pub(super) rewarded_matches: f64,
    /// Shares of logs that the gate refused, or warned of.
    pub(super) refused: f64,
    pub(super) warned: f64,
    pub(super) estimators: BTreeMap<String, EstimatorCell>,
    #[serde(skip)]
    logs: u64,
    #[serde(skip)]
    tally: Tally,
}

/// An estimator over all logs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct EstimatorCell {
    pub(super) bias: f64,
    pub(super) rmse: f64,
    pub(super) intervals: BTreeMap<String, IntervalCell>,
}

/// A kind of interval over all logs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct IntervalCell {
    /// The share of logs whose interval holds the value.
    pub(super) coverage: f64,
    /// Its mean width.
    pub(super) width: f64,
}

/// What logs said, before it is compared with the truth.
#[derive(Debug, Default)]
pub(super) struct Tally {
    logs: u64,
    matches: f64,
    refused: u64,
    warned: u64,
    /// Of each estimator, values and intervals by kind.
    estimators: BTreeMap<String, Said>,
}

#[derive(Debug, Default)]
struct Said {
    values: Vec<f64>,
    intervals: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Tally {
    /// Takes in a log's report.
    pub(super) fn add(&mut self, report: &replay::report::Report, matches: f64) {
        self.logs += 1;
        self.matches += matches;
        self.refused += u64::from(report.verdict.refused);
        self.warned += u64::from(!report.verdict.warnings.is_empty());
        for (name, estimator) in report.estimators.iter().flatten() {
            let said = self.estimators.entry(name.clone()).or_default();
            said.values.extend(estimator.value);
            let default = estimator.interval.map(|interval| ("cressie_read", interval));
            let others = estimator.intervals.iter().map(|(name, interval)| (*name, *interval));
            for (kind, interval) in default.into_iter().chain(others) {
                said.intervals.entry(kind.to_owned()).or_default().push(interval);
            }
        }
    }
}

impl Cell {
    pub(super) fn new(
        experiment: &'static str,
        target: &'static str,
        metric: &'static str,
        share: bool,
        value: f64,
    ) -> Self {
        Self {
            experiment,
            target,
            metric,
            share,
            value,
            rewarded_matches: 0.0,
            refused: 0.0,
            warned: 0.0,
            estimators: BTreeMap::new(),
            logs: 0,
            tally: Tally::default(),
        }
    }

    /// Takes in some logs.
    pub(super) fn add(&mut self, tally: Tally) {
        let own = &mut self.tally;
        own.logs += tally.logs;
        own.matches += tally.matches;
        own.refused += tally.refused;
        own.warned += tally.warned;
        for (name, said) in tally.estimators {
            let estimator = own.estimators.entry(name).or_default();
            estimator.values.extend(said.values);
            for (kind, intervals) in said.intervals {
                estimator.intervals.entry(kind).or_default().extend(intervals);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        let logs = self.tally.logs.max(1) as f64;
        (self.logs, self.rewarded_matches) = (self.tally.logs, self.tally.matches / logs);
        self.refused = self.tally.refused as f64 / logs;
        self.warned = self.tally.warned as f64 / logs;
        let value = self.value;
        let compared = self.tally.estimators.iter().map(|(name, said)| (name.clone(), said.compared(value)));
        self.estimators = compared.collect();
    }

    /// An estimator by name.
    #[cfg(test)]
    pub(super) fn estimator(&self, name: &str) -> &EstimatorCell {
        &self.estimators[name]
    }

    /// An interval of an estimator.
    #[cfg(test)]
    pub(super) fn interval(&self, estimator: &str, kind: &str) -> IntervalCell {
        self.estimators[estimator].intervals[kind]
    }

    fn number(&self, number: f64) -> String {
        if self.share { format!("{:.2} %", 100.0 * number) } else { format!("{number:.3}") }
    }
}

impl Said {
    fn compared(&self, truth: f64) -> EstimatorCell {
        let n = self.values.len().max(1) as f64;
        let mean = |of: &dyn Fn(f64) -> f64| self.values.iter().map(|value| of(value - truth)).sum::<f64>() / n;
        let interval = |intervals: &Vec<[f64; 2]>| {
            let held = intervals.iter().filter(|[lower, upper]| *lower <= truth && truth <= *upper).count();
            let width: f64 = intervals.iter().map(|[lower, upper]| upper - lower).sum();
            let n = intervals.len().max(1) as f64;
            IntervalCell { coverage: held as f64 / n, width: width / n }
        };
        EstimatorCell {
            bias: mean(&|error| error),
            rmse: mean(&|error| error * error).sqrt(),
            intervals: self.intervals.iter().map(|(kind, intervals)| (kind.clone(), interval(intervals))).collect(),
        }
    }
}

impl output::Report for Report {
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{} logs of {} rows, seed {}, {:.0} s\n",
            self.repetitions, self.rows, self.seed, self.elapsed_s
        )?;
        self.write_default(out)?;
        self.write_kinds(out)?;
        self.write_estimators(out)
    }
}

impl Report {
    fn write_default(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| experiment, target | metric | value | rewarded matches | default covers | width | / normal | \
             normal covers | warned | refused |"
        )?;
        writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for cell in &self.cells {
            let interval = |kind: &str| {
                let intervals = cell.estimators.get("snips").and_then(|estimator| estimator.intervals.get(kind));
                intervals.copied().unwrap_or_default()
            };
            let (default, normal) = (interval("cressie_read"), interval("normal"));
            writeln!(
                out,
                "| {}, {} | {} | {} | {:.1} | {:.3} | {} | {:.2} | {:.3} | {:.2} | {:.2} |",
                cell.experiment,
                cell.target,
                cell.metric,
                cell.number(cell.value),
                cell.rewarded_matches,
                default.coverage,
                cell.number(default.width),
                default.width / normal.width,
                normal.coverage,
                cell.warned,
                cell.refused,
            )?;
        }
        writeln!(out)
    }

    /// Kinds of intervals, averaged over the cells of a metric that have rewards to speak of.
    fn write_kinds(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| experiment | metric | estimator | interval | covers, mean | covers, least | width / normal |"
        )?;
        writeln!(out, "|---|---|---|---|--:|--:|--:|")?;
        let mut groups: BTreeMap<_, Vec<(IntervalCell, IntervalCell)>> = BTreeMap::new();
        for cell in self.cells.iter().filter(|cell| cell.rewarded_matches >= 10.0) {
            for (name, estimator) in &cell.estimators {
                let Some(normal) = estimator.intervals.get("normal") else { continue };
                for (kind, interval) in &estimator.intervals {
                    groups.entry((cell.experiment, cell.metric, name, kind)).or_default().push((*interval, *normal));
                }
            }
        }
        for ((experiment, metric, name, kind), pairs) in groups {
            let n = pairs.len() as f64;
            let mean = pairs.iter().map(|(interval, _)| interval.coverage).sum::<f64>() / n;
            let least = pairs.iter().map(|(interval, _)| interval.coverage).fold(1.0, f64::min);
            let ratio = pairs.iter().map(|(interval, normal)| interval.width / normal.width).sum::<f64>() / n;
            writeln!(out, "| {experiment} | {metric} | {name} | {kind} | {mean:.3} | {least:.3} | {ratio:.2} |")?;
        }
        writeln!(out)
    }

    fn write_estimators(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "| experiment, target | metric | estimator | bias | RMSE | bias / its error |")?;
        writeln!(out, "|---|---|---|--:|--:|--:|")?;
        for cell in &self.cells {
            for (name, EstimatorCell { bias, rmse, .. }) in &cell.estimators {
                let error = ((rmse * rmse - bias * bias).max(0.0) / (cell.logs.max(2) - 1) as f64).sqrt();
                writeln!(
                    out,
                    "| {}, {} | {} | {name} | {} | {} | {:.1} |",
                    cell.experiment,
                    cell.target,
                    cell.metric,
                    cell.number(*bias),
                    cell.number(*rmse),
                    bias / error,
                )?;
            }
        }
        Ok(())
    }
}
