//! What a simulation comes to: true rewards, regrets, and a count of everything that was acknowledged.

use super::drive::{Visit, code_name};
use crate::{
    cli::client::{ClientError, plain_table},
    proto::FeedbackCode,
};
use serde::Serialize;
use std::{collections::BTreeMap, io::Write};

/// How many parts of the run are told apart.
const PARTS: usize = 10;

/// The whole result; its JSON is the `--json` output.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) placement: String,
    pub(super) market: String,
    pub(super) seed: u64,
    /// Unit of every worth and regret: `reward`, or a currency.
    pub(super) unit: String,
    /// The single offer that would have been the best lead for everybody.
    pub(super) best_fixed_offer: String,
    pub(super) parts: Vec<Part>,
    /// Sums over all users; below 0: better than what it is compared with.
    pub(super) regret: Regret,
    /// (shown - uniform) / (oracle - uniform) in the last part.
    pub(super) gap_closed_in_last_part: f64,
    pub(super) counts: Counts,
    /// By offer, then metric: outcomes that the server acknowledged as stored.
    pub(super) acknowledged: BTreeMap<String, BTreeMap<String, Acknowledged>>,
    pub(super) elapsed_s: f64,
    /// Whether the placement waits for a decision's windows to close before it learns from it.
    pub(super) learns_at_maturity: bool,
}

/// Mean true worth per user over a part of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Part {
    /// Users of this part.
    pub(super) users: usize,
    pub(super) shown: f64,
    pub(super) uniform: f64,
    pub(super) best_fixed: f64,
    pub(super) oracle: f64,
    /// From the first user to the last of this part.
    pub(super) cumulative_regret: Regret,
}

/// True worth missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Regret {
    pub(super) against_best_fixed: f64,
    pub(super) against_uniform: f64,
    pub(super) against_oracle: f64,
}

/// What was called and answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Counts {
    /// Users that got an answer.
    pub(super) ranks: u64,
    /// Of these, answers without any offer.
    pub(super) nothing_eligible: u64,
    pub(super) outcomes_sent: u64,
    /// Answers to outcomes, such as `recorded` or `duplicate`.
    pub(super) outcomes_by_code: BTreeMap<String, u64>,
    pub(super) rank_retries: u64,
    pub(super) report_retries: u64,
}

/// Outcomes of one metric on one offer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Acknowledged {
    pub(super) count: u64,
    /// Money is in the catalog's reward currency, as in `GetPlacement`.
    pub(super) sum: f64,
}

/// The offer that would have been the best lead for everybody it was eligible for in every visit.
pub(super) fn best_fixed(visits: &[Visit], arms: usize) -> Result<usize, ClientError> {
    let mean = |arm: usize| {
        let answered = visits.iter().filter(|visit| visit.lead.is_some());
        answered.map(|visit| visit.worths[arm]).sum::<Option<f64>>()
    };
    let means = (0..arms).filter_map(|arm| Some((arm, mean(arm)?)));
    let best = means.max_by(|(_, left), (_, right)| left.total_cmp(right));
    best.map(|(arm, _)| arm).ok_or_else(|| ClientError::usage("no offer was eligible throughout the simulation"))
}

/// Splits the run into tenths; regrets accumulate from one to the next.
pub(super) fn parts(visits: &[Visit], best_fixed: usize) -> Vec<Part> {
    let size = visits.len().div_ceil(PARTS).max(1);
    let mut regret = Regret::default();
    visits.chunks(size).map(|chunk| part(chunk, best_fixed, &mut regret)).collect()
}

fn part(visits: &[Visit], best_fixed: usize, regret: &mut Regret) -> Part {
    let mut sums = Part { users: visits.len(), ..Part::default() };
    let mut answered = 0_u32;
    for Visit { lead, worths, .. } in visits {
        let eligible: Vec<f64> = worths.iter().flatten().copied().collect();
        let Some(shown) = lead.and_then(|lead| worths[lead]) else { continue };
        answered += 1;
        sums.shown += shown;
        sums.uniform += eligible.iter().sum::<f64>() / eligible.len() as f64;
        sums.best_fixed += worths[best_fixed].unwrap_or(0.0);
        sums.oracle += eligible.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    }
    regret.against_best_fixed += sums.best_fixed - sums.shown;
    regret.against_uniform += sums.uniform - sums.shown;
    regret.against_oracle += sums.oracle - sums.shown;
    let count = f64::from(answered.max(1));
    Part {
        users: sums.users,
        shown: sums.shown / count,
        uniform: sums.uniform / count,
        best_fixed: sums.best_fixed / count,
        oracle: sums.oracle / count,
        cumulative_regret: regret.clone(),
    }
}

/// Counts what the visits tell; retries are added by whoever counted them.
pub(super) fn counts(visits: &[Visit]) -> Counts {
    let mut counts = Counts::default();
    for visit in visits {
        counts.ranks += 1;
        counts.nothing_eligible += u64::from(visit.lead.is_none());
        for (_, code) in &visit.outcomes {
            counts.outcomes_sent += 1;
            *counts.outcomes_by_code.entry(code_name(*code)).or_default() += 1;
        }
    }
    counts
}

/// Sums what the server promised to have stored, under the names of the arms.
pub(super) fn acknowledged(visits: &[Visit], offer_ids: &[&str]) -> BTreeMap<String, BTreeMap<String, Acknowledged>> {
    let mut offers: BTreeMap<String, BTreeMap<String, Acknowledged>> = BTreeMap::new();
    for Visit { lead, outcomes, .. } in visits {
        let Some(lead) = *lead else { continue };
        for (report, code) in outcomes {
            if matches!(code, FeedbackCode::Recorded | FeedbackCode::Duplicate) {
                let metrics = offers.entry(offer_ids[lead].to_owned()).or_default();
                let total = metrics.entry(report.metric.clone()).or_default();
                total.count += 1;
                total.sum += report.counted;
            }
        }
    }
    offers
}

impl Summary {
    /// For people.
    pub(super) fn print(&self, out: &mut impl Write) -> Result<(), ClientError> {
        let header = ["users", "shown", "uniform", "best fixed", "oracle", "regret: best fixed", "regret: uniform"];
        let mut table = plain_table(&header, &[0, 1, 2, 3, 4, 5, 6]);
        let mut users = 0;
        for part in &self.parts {
            users += part.users;
            let means = [part.shown, part.uniform, part.best_fixed, part.oracle];
            let regrets = [part.cumulative_regret.against_best_fixed, part.cumulative_regret.against_uniform];
            let mut row = vec![users.to_string()];
            row.extend(means.iter().map(|mean| format!("{mean:.4}")));
            row.extend(regrets.iter().map(|regret| format!("{regret:.1}")));
            table.add_row(row);
        }
        let Self { placement, unit, best_fixed_offer, counts, .. } = self;
        writeln!(out, "True {unit} per user at \"{placement}\"; the best fixed lead is \"{best_fixed_offer}\".")?;
        writeln!(out, "{table}")?;
        let closed = 100.0 * self.gap_closed_in_last_part;
        writeln!(out, "The last tenth closed {closed:.0} % of the gap between uniform and the oracle.")?;
        let codes: Vec<String> =
            counts.outcomes_by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
        writeln!(
            out,
            "{} rankings ({} retries), {} outcomes ({}; {} retries) in {:.1} s.",
            counts.ranks,
            counts.rank_retries,
            counts.outcomes_sent,
            if codes.is_empty() { "none".to_owned() } else { codes.join(", ") },
            counts.report_retries,
            self.elapsed_s,
        )?;
        if self.learns_at_maturity {
            writeln!(out, "This placement learns when windows close: it has learned nothing of this run yet.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::simulate::truth::Report;

    fn visit(lead: usize, worths: [f64; 2]) -> Visit {
        Visit { lead: Some(lead), worths: worths.map(Some).to_vec(), outcomes: Vec::new() }
    }

    #[test]
    fn regret_is_true_worth_missed_and_negative_where_context_helps() {
        // The first offer is the best fixed one (1.5 of 1.1), but the second user likes the other better.
        let visits = [visit(0, [1.0, 0.5]), visit(1, [0.5, 0.6])];
        let best = best_fixed(&visits, 2).unwrap();
        assert_eq!(best, 0);
        let parts = parts(&visits, best);
        let regret = &parts.last().unwrap().cumulative_regret;
        assert!((regret.against_best_fixed - (1.5 - 1.6)).abs() < 1e-12);
        assert!((regret.against_uniform - (0.75 + 0.55 - 1.6)).abs() < 1e-12);
        assert!(regret.against_oracle.abs() < 1e-12);
    }

    #[test]
    fn an_offer_that_was_not_always_eligible_is_no_fixed_lead() {
        let mut visits = [visit(1, [9.0, 0.5]), visit(1, [9.0, 0.5])];
        visits[1].worths[0] = None;
        assert_eq!(best_fixed(&visits, 2).unwrap(), 1);
    }

    #[test]
    fn only_stored_outcomes_are_acknowledged() {
        let report = Report { metric: "conversion".to_owned(), value: 1.0, currency: String::new(), counted: 1.0 };
        let codes = [FeedbackCode::Recorded, FeedbackCode::Duplicate, FeedbackCode::UnknownDecision];
        let mut told = visit(1, [0.0, 0.0]);
        told.outcomes = codes.map(|code| (report.clone(), code)).to_vec();
        let totals = acknowledged(&[told], &["monthly", "annual"]);
        assert_eq!(totals["annual"]["conversion"], Acknowledged { count: 2, sum: 2.0 });
    }
}
