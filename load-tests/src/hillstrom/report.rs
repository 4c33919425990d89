//! The results as Markdown and as JSON.

use super::{
    estimate::{Estimate, Matched, Spread},
    replay::Tally,
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
    pub(super) policy: &'static str,
    /// 0: the order of the file.
    pub(super) permutation: u32,
    pub(super) matched: Matched,
    pub(super) visit_rate: Estimate,
    pub(super) spend: Estimate,
    /// How often each offer was the lead.
    pub(super) leads: BTreeMap<String, u64>,
}

/// How a policy's estimates vary between permutations, the order of the file not among them.
#[derive(Debug, Serialize)]
pub(super) struct PolicySpread {
    pub(super) policy: &'static str,
    pub(super) matched: Spread,
    pub(super) visit_rate: Spread,
    pub(super) spend: Spread,
}

impl Run {
    pub(super) fn new(policy: &'static str, permutation: u32, tally: Tally) -> Self {
        let Tally { matched, leads } = tally;
        Self { policy, permutation, matched, visit_rate: matched.visit_rate(), spend: matched.spend(), leads }
    }
}

impl PolicySpread {
    /// `None` where there are fewer than two permutations.
    pub(super) fn of(policy: &'static str, runs: &[Run]) -> Option<Self> {
        let spread = |value: fn(&Run) -> f64| {
            let runs = runs.iter().filter(|run| run.policy == policy && run.permutation > 0);
            Spread::of(&runs.map(value).collect::<Vec<f64>>())
        };
        Some(Self {
            policy,
            matched: spread(|run| run.matched.customers as f64)?,
            visit_rate: spread(|run| run.visit_rate.mean)?,
            spend: spread(|run| run.spend.mean)?,
        })
    }
}

impl output::Report for Report {
    /// For docs/results.md and for people.
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { customers, batch, .. } = self;
        writeln!(out, "{customers} customers in batches of {batch}; {:.0} s in all.\n", self.elapsed_s)?;
        writeln!(out, "Order of the file, with 95 % intervals (visits: Wilson; spend: normal):\n")?;
        writeln!(out, "| policy | matched | visit rate | interval | spend per customer | interval |")?;
        writeln!(out, "|---|--:|--:|:-:|--:|:-:|")?;
        for run in self.runs.iter().filter(|run| run.permutation == 0) {
            let Run { policy, matched, visit_rate: visits, spend, .. } = run;
            writeln!(
                out,
                "| {policy} | {} | {:.2} % | {:.2} to {:.2} % | {:.3} USD | {:.3} to {:.3} USD |",
                matched.customers,
                100.0 * visits.mean,
                100.0 * visits.lower,
                100.0 * visits.upper,
                spend.mean,
                spend.lower,
                spend.upper,
            )?;
        }
        if self.policies.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{} permutations (seed {}), mean +- standard deviation:\n", self.permutations, self.seed)?;
        writeln!(out, "| policy | matched | visit rate | spend per customer |")?;
        writeln!(out, "|---|--:|--:|--:|")?;
        for PolicySpread { policy, matched, visit_rate: visits, spend } in &self.policies {
            writeln!(
                out,
                "| {policy} | {:.0} +- {:.0} | {:.2} +- {:.2} % | {:.3} +- {:.3} USD |",
                matched.mean,
                matched.standard_deviation,
                100.0 * visits.mean,
                100.0 * visits.standard_deviation,
                spend.mean,
                spend.standard_deviation,
            )?;
        }
        writeln!(
            out,
            "\nPermutations put the same customers in other orders: their spread shows what order and the policy's own \
             draws make of an estimate. It is no interval for other customers; the table above has those."
        )
    }
}
