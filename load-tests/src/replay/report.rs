//! The results as Markdown and as JSON.

use super::{
    Metric,
    estimate::{Estimate, Spread, Sums},
    fairness::{Fairness, Gap},
    run::Tally,
};
use crate::output;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) customers: usize,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) permutations: u32,
    pub(super) elapsed_s: f64,
    pub(super) runs: Vec<Run>,
    pub(super) policies: Vec<PolicySpread>,
}

/// One order of customers under one policy.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) policy: String,
    /// 0: the order of the file.
    pub(super) permutation: u32,
    pub(super) matched: u64,
    pub(super) estimates: Vec<(Metric, Estimate)>,
    /// Leads that the customer may not be offered: none, unless a rule failed.
    pub(super) ineligible: u64,
    /// How often each offer was the lead.
    pub(super) leads: BTreeMap<String, u64>,
    /// Where customers have protected attributes.
    pub(super) fairness: Option<Fairness>,
}

/// How a policy's estimates vary between permutations, the order of the file not among them.
#[derive(Debug, Serialize)]
pub(super) struct PolicySpread {
    pub(super) policy: String,
    pub(super) matched: Spread,
    pub(super) estimates: Vec<(Metric, Spread)>,
}

impl Run {
    pub(super) fn new(
        policy: &str,
        permutation: u32,
        metrics: &[Metric],
        shares: &[(usize, f64)],
        tally: Tally,
    ) -> Self {
        let estimate = |metric: &Metric| {
            let sums = |stratum: usize| tally.sums.get(&(stratum, metric.id)).copied().unwrap_or_default();
            let strata: Vec<(f64, Sums)> = shares.iter().map(|&(stratum, share)| (share, sums(stratum))).collect();
            (*metric, Estimate::of(&strata, metric.currency.is_none()))
        };
        let estimates = metrics.iter().map(estimate).collect();
        let Tally { matched, ineligible, leads, .. } = tally;
        Self { policy: policy.to_owned(), permutation, matched, estimates, ineligible, leads, fairness: None }
    }
}

impl PolicySpread {
    /// `None` where there are fewer than two permutations.
    pub(super) fn of(policy: &str, runs: &[Run]) -> Option<Self> {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.policy == policy && run.permutation > 0).collect();
        let matched = Spread::of(&runs.iter().map(|run| run.matched as f64).collect::<Vec<f64>>())?;
        let metrics = runs.first().into_iter().flat_map(|run| run.estimates.iter().enumerate());
        let spread = |(index, &(metric, _)): (usize, &(Metric, Estimate))| {
            let means: Vec<f64> = runs.iter().map(|run| run.estimates[index].1.mean).collect();
            Some((metric, Spread::of(&means)?))
        };
        Some(Self { policy: policy.to_owned(), matched, estimates: metrics.filter_map(spread).collect() })
    }
}

impl output::Report for Report {
    /// For docs/results.md and for people.
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { customers, batch, .. } = self;
        writeln!(out, "{customers} customers in batches of {batch}; {:.0} s in all.\n", self.elapsed_s)?;
        let Some(first) = self.runs.first() else { return Ok(()) };
        writeln!(out, "Order of the file, with 95 % intervals:\n")?;
        let metrics: Vec<Metric> = first.estimates.iter().map(|&(metric, _)| metric).collect();
        let names = |cell: fn(&Metric) -> String| metrics.iter().map(cell).collect::<Vec<_>>().join(" | ");
        writeln!(out, "| policy | matched | {} |", names(|metric| format!("{} | interval", metric.id)))?;
        writeln!(out, "|---|--:|{}|", vec!["--:|:-:"; metrics.len()].join("|"))?;
        for run in self.runs.iter().filter(|run| run.permutation == 0) {
            let estimates = run.estimates.iter().map(|(metric, Estimate { mean, lower, upper })| {
                format!("{} | {} to {}", metric.show(*mean), metric.show(*lower), metric.show(*upper))
            });
            let estimates = estimates.collect::<Vec<_>>().join(" | ");
            writeln!(out, "| {} | {} | {estimates} |", run.policy, run.matched)?;
        }
        let ineligible: u64 = self.runs.iter().map(|run| run.ineligible).sum();
        writeln!(out, "\nOffers returned that the customer may not be made, in all runs: {ineligible}.")?;
        self.write_fairness(out)?;
        if self.policies.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{} permutations (seed {}), mean +- standard deviation:\n", self.permutations, self.seed)?;
        writeln!(out, "| policy | matched | {} |", names(|metric| metric.id.to_owned()))?;
        writeln!(out, "|---|--:|{}|", vec!["--:"; metrics.len()].join("|"))?;
        for PolicySpread { policy, matched, estimates } in &self.policies {
            let estimates = estimates.iter().map(|(metric, Spread { mean, standard_deviation })| {
                format!("{} +- {}", metric.show(*mean), metric.show(*standard_deviation))
            });
            let estimates = estimates.collect::<Vec<_>>().join(" | ");
            writeln!(out, "| {policy} | {:.0} +- {:.0} | {estimates} |", matched.mean, matched.standard_deviation)?;
        }
        writeln!(
            out,
            "\nPermutations put the same customers in other orders: their spread shows what order and the policy's own \
             draws make of an estimate. It is no interval for other customers; the table above has those."
        )
    }
}

impl Report {
    fn write_fairness(&self, out: &mut impl Write) -> io::Result<()> {
        let runs = self.runs.iter().filter(|run| run.permutation == 0);
        let runs: Vec<(&str, &Fairness)> =
            runs.filter_map(|run| Some((&*run.policy, run.fairness.as_ref()?))).collect();
        if runs.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nProbability of a benefit by cohort, by the policy and after bounds; what bounds cost:\n")?;
        writeln!(
            out,
            "| policy | benefit | cohort | by policy | after | cohort | by policy | after | gap | drawn | value | cost |"
        )?;
        writeln!(out, "|---|---|---|--:|--:|---|--:|--:|--:|:-:|--:|--:|")?;
        for (policy, Fairness { gaps, value_by_policy, value }) in runs {
            for Gap { benefit, higher, lower, drawn_lower, drawn_upper } in gaps {
                writeln!(
                    out,
                    "| {policy} | {benefit} | {} | {:.4} | {:.4} | {} | {:.4} | {:.4} | {:.4} | {drawn_lower:.4} to \
                     {drawn_upper:.4} | {value:.5} | {:.5} |",
                    higher.name,
                    higher.before,
                    higher.after,
                    lower.name,
                    lower.before,
                    lower.after,
                    higher.after - lower.after,
                    value_by_policy - value,
                )?;
            }
        }
        Ok(())
    }
}

impl Metric {
    fn show(&self, value: f64) -> String {
        match self.currency {
            Some(currency) => format!("{value:.3} {currency}"),
            None => format!("{:.2} %", 100.0 * value),
        }
    }
}
