//! What was reported on one decision, and what it adds up to.
//!
//! A ledger is a set: the same reports in any order, any number of times, add up to the same state to the last
//! bit: totals are summed in the order of the ids of original outcomes, and arrival decides only about windows.
//!
//! A revision takes the place of the outcome it names, whenever either says it occurred; where several name the
//! same one, the last by (occurred_at, id) does. So an outcome that was revised never counts itself: what counts for
//! an original is found by going from it to what took its place, until nothing did. A revision without its original
//! waits, and so do revisions in a circle. A revision is of the metric and the offer of the outcome it names: one
//! that is not is refused if that outcome is there, and never counts if that outcome comes later, so that the order
//! makes no difference to what adds up.
//!
//! A report is taken into a ledger in memory. The caller stores the ledger in one step, on top of the sequence it
//! was read with, or reads and judges again.

mod judgement;
mod outcome;
mod state;
mod windows;

use super::instant::Instant;
pub use judgement::Judgement;
pub use outcome::Outcome;
pub use state::{LedgerState, SlotState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use windows::Windows;

/// Most outcomes of one decision, revisions included.
pub const OUTCOMES_MAX: usize = 1000;
/// How far a client's clock may be ahead of this one, or behind the decision's, in seconds.
pub const CLOCK_SKEW_MAX_S: u64 = 300;

/// Everything reported on one decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// How many changes it has seen.
    pub sequence: u32,
    /// Where the decision stands in its log.
    pub decision_offset: u64,
    /// Until when reports are taken.
    pub windows: Windows,
    /// The offers by slot.
    pub offers: Vec<Arc<str>>,
    /// Whether slots count as shown before any report.
    pub shown_assumed: bool,
    /// Slots reported as shown, from 1; `None`: no report.
    pub exposed: Option<BTreeSet<u32>>,
    /// Outcomes by id, revisions included.
    pub outcomes: BTreeMap<String, Outcome>,
    /// Whether attribution window and grace are over.
    pub closed: bool,
    /// Whether the decision is of the holdout, which teaches nothing.
    pub holdout: bool,
}

impl Ledger {
    /// Judges an outcome that arrives `now`, and takes it in if it is new and right.
    #[must_use]
    pub fn report_outcome(&mut self, id: &str, outcome: Outcome, now: Instant) -> Judgement {
        if let Some(known) = self.outcomes.get(id) {
            return if known.same_report(&outcome) { Judgement::Duplicate } else { Judgement::Conflict };
        }
        if let Some(reason) = self.objection(id, &outcome, now) {
            return Judgement::Invalid { reason };
        }
        if let Some(reason) = self.lateness(&outcome, now) {
            return Judgement::Late { reason };
        }
        let judgement = if outcome.revises.is_some() { Judgement::Revised } else { Judgement::Recorded };
        self.sequence += 1;
        self.outcomes.insert(id.to_owned(), outcome);
        judgement
    }

    /// Judges a report, arriving `now`, that exactly these slots (from 1) were shown, and takes it in if it says
    /// anything new; reports add up.
    #[must_use]
    pub fn report_exposure(&mut self, slots: &BTreeSet<u32>, now: Instant) -> Judgement {
        if let Some(slot) = slots.iter().find(|&&slot| slot == 0 || slot as usize > self.offers.len()) {
            let count = self.offers.len();
            return Judgement::Invalid {
                reason: format!("slot {slot} does not exist, the decision has slots 1 to {count}"),
            };
        }
        let mut exposed = self.exposed.clone().unwrap_or_default();
        exposed.extend(slots);
        if self.exposed.as_ref() == Some(&exposed) {
            return Judgement::Duplicate;
        }
        if self.closed || now >= self.windows.closes_at {
            return Judgement::Late { reason: self.closed_reason() };
        }
        self.sequence += 1;
        self.exposed = Some(exposed);
        Judgement::Recorded
    }

    /// The ledger after its windows closed; `None` if they are closed already or not due by `now`.
    #[must_use]
    pub fn close(&self, now: Instant) -> Option<Self> {
        let due = !self.closed && now >= self.windows.closes_at;
        due.then(|| Self { sequence: self.sequence + 1, closed: true, ..self.clone() })
    }

    /// What the ledger adds up to.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        let mut totals = BTreeMap::new();
        let mut by_slot = vec![BTreeMap::new(); self.offers.len()];
        let mut implied = vec![false; self.offers.len()];
        for outcome in self.effective_outcomes() {
            let sums = match outcome.slot {
                Some(slot) => {
                    implied[slot as usize - 1] = true;
                    &mut by_slot[slot as usize - 1]
                }
                None => &mut totals,
            };
            match sums.get_mut(&outcome.metric) {
                Some(sum) => *sum += outcome.value,
                None => drop(sums.insert(outcome.metric.clone(), outcome.value)),
            }
        }
        let shown = |slot: usize| match &self.exposed {
            Some(exposed) => exposed.contains(&(slot as u32 + 1)),
            None => self.shown_assumed,
        };
        let slot_state = |(slot, totals): (usize, BTreeMap<String, f64>)| SlotState {
            offer_id: self.offers[slot].clone(),
            shown: implied[slot] || shown(slot),
            totals,
        };
        LedgerState { slots: by_slot.into_iter().enumerate().map(slot_state).collect(), totals, closed: self.closed }
    }

    /// What counts for every original outcome, in the order of the originals' ids.
    ///
    /// Every outcome names at most one other, so what an original leads to is a tree: going on from it comes to an
    /// end, and circles are never entered.
    pub(super) fn effective_outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let mut replacements: BTreeMap<&str, (&str, &Outcome)> = BTreeMap::new();
        for (id, outcome) in &self.outcomes {
            let Some((revised_id, revised)) = outcome.revises.as_deref().and_then(|id| self.outcomes.get_key_value(id))
            else {
                continue;
            };
            if !outcome.is_about_the_same_as(revised) {
                continue;
            }
            let replacement = replacements.entry(revised_id).or_insert((id, outcome));
            // Ids come in ascending order, so of those that occurred at the same time the greatest stays.
            if outcome.occurred_at >= replacement.1.occurred_at {
                *replacement = (id, outcome);
            }
        }
        let originals = self.outcomes.iter().filter(|(_, outcome)| outcome.revises.is_none());
        originals.map(move |(id, outcome)| {
            let mut current = (id.as_str(), outcome);
            while let Some(&replacement) = replacements.get(current.0) {
                current = replacement;
            }
            current.1
        })
    }

    fn objection(&self, id: &str, outcome: &Outcome, now: Instant) -> Option<String> {
        if self.outcomes.len() >= OUTCOMES_MAX {
            return Some(format!("the decision has {OUTCOMES_MAX} outcomes already, the most that are accepted"));
        }
        if outcome.revises.as_deref() == Some(id) {
            return Some(format!("revises_outcome_id is \"{id}\", the outcome itself; name the outcome it replaces"));
        }
        let revised = outcome.revises.as_ref().and_then(|id| self.outcomes.get_key_value(id));
        if let Some((revised_id, revised)) = revised.filter(|(_, revised)| !outcome.is_about_the_same_as(revised)) {
            let [revised, revision] = [revised, outcome].map(|outcome| self.subject_of(outcome));
            return Some(format!(
                "revises_outcome_id is \"{revised_id}\", which is {revised}, but this is {revision}; a revision must \
                 be of the same metric and offer as the outcome it replaces"
            ));
        }
        if now.plus_s(CLOCK_SKEW_MAX_S) < outcome.occurred_at {
            let ahead_s = seconds_between(now, outcome.occurred_at);
            return Some(format!(
                "occurred_at is {ahead_s} s in the future; at most {CLOCK_SKEW_MAX_S} s are accepted"
            ));
        }
        if outcome.occurred_at.plus_s(CLOCK_SKEW_MAX_S) < self.windows.decided_at {
            let before_s = seconds_between(outcome.occurred_at, self.windows.decided_at);
            let limit = format!("at most {CLOCK_SKEW_MAX_S} s are accepted");
            return Some(format!("occurred_at is {before_s} s before the decision; {limit}"));
        }
        None
    }

    /// What an outcome is about, for people.
    fn subject_of(&self, outcome: &Outcome) -> String {
        let offer_id = outcome.slot.and_then(|slot| self.offers.get(slot as usize - 1));
        let on = offer_id.map_or_else(|| "the decision as a whole".to_owned(), |offer_id| format!("\"{offer_id}\""));
        format!("\"{}\" on {on}", outcome.metric)
    }

    fn lateness(&self, outcome: &Outcome, now: Instant) -> Option<String> {
        if outcome.revises.is_some() {
            let ended = now >= self.windows.revisions_end_at;
            let window_s = self.seconds_after_decision(self.windows.revisions_end_at);
            return ended.then(|| format!("revisions were accepted until {window_s} s after the decision"));
        }
        if outcome.occurred_at > self.windows.attribution_ends_at {
            let window_s = self.seconds_after_decision(self.windows.attribution_ends_at);
            let after_s = self.seconds_after_decision(outcome.occurred_at);
            return Some(format!("occurred {after_s} s after the decision, the attribution window is {window_s} s"));
        }
        (self.closed || now >= self.windows.closes_at).then(|| self.closed_reason())
    }

    fn closed_reason(&self) -> String {
        let window_s = self.seconds_after_decision(self.windows.closes_at);
        format!("reports were accepted until {window_s} s after the decision")
    }

    fn seconds_after_decision(&self, instant: Instant) -> i64 {
        seconds_between(self.windows.decided_at, instant)
    }
}

/// Whole seconds from one instant to another; clients send any instants there are, also those too far apart to count.
fn seconds_between(from: Instant, to: Instant) -> i64 {
    to.as_ms().saturating_sub(from.as_ms()) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDED_MS: i64 = 1_800_000_000_000;

    fn after_ms(ms: i64) -> Instant {
        Instant::from_ms(DECIDED_MS + ms)
    }

    /// Attribution 100 s, grace 10 s, revisions 1000 s.
    fn ledger() -> Ledger {
        Ledger {
            sequence: 0,
            decision_offset: 0,
            windows: Windows {
                decided_at: after_ms(0),
                attribution_ends_at: after_ms(100_000),
                closes_at: after_ms(110_000),
                revisions_end_at: after_ms(1_000_000),
            },
            offers: vec!["a".into(), "b".into()],
            shown_assumed: true,
            exposed: None,
            outcomes: BTreeMap::new(),
            closed: false,
            holdout: false,
        }
    }

    fn outcome(occurred_at: Instant, revises: Option<&str>) -> Outcome {
        Outcome {
            slot: Some(1),
            metric: "m".to_owned(),
            reported_value: 1.0,
            currency: None,
            value: 1.0,
            rate: 1.0,
            occurred_at,
            occurred_at_reported: true,
            revises: revises.map(str::to_owned),
        }
    }

    fn word(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Recorded => "recorded",
            Judgement::Revised => "revised",
            Judgement::Duplicate => "duplicate",
            Judgement::Conflict => "conflict",
            Judgement::Late { .. } => "late",
            Judgement::Invalid { .. } => "invalid",
        }
    }

    #[test]
    fn every_window_ends_at_its_millisecond() {
        for (occurred, arrives, revises, expected) in [
            (100_000, 100_000, None, "recorded"),
            (100_000, 109_999, None, "recorded"),
            (100_000, 110_000, None, "late"),
            (100_001, 100_001, None, "late"),
            (500_000, 999_999, Some("o"), "revised"),
            (0, 1_000_000, Some("o"), "late"),
            (300_000, 0, Some("o"), "revised"),
            (300_001, 0, Some("o"), "invalid"),
            (-300_000, 0, None, "recorded"),
            (-300_001, 0, None, "invalid"),
        ] {
            let judgement = ledger().report_outcome("x", outcome(after_ms(occurred), revises), after_ms(arrives));
            assert_eq!(word(&judgement), expected, "{occurred} arriving at {arrives}, revising {revises:?}");
        }
    }

    #[test]
    fn instants_at_the_ends_of_time_are_judged_like_any_others() {
        for ms in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let judgement = ledger().report_outcome("x", outcome(Instant::from_ms(ms), None), after_ms(0));
            assert_eq!(word(&judgement), "invalid", "{ms}");
        }
    }

    #[test]
    fn a_ledger_closes_once_and_not_before_its_time() {
        assert_eq!(ledger().close(after_ms(109_999)), None);
        let closed = ledger().close(after_ms(110_000)).expect("its time has come");
        assert_eq!((closed.sequence, closed.state().closed, closed.close(after_ms(200_000))), (1, true, None));
    }

    #[test]
    fn only_what_is_new_and_right_changes_a_ledger() {
        let mut ledger = ledger();
        let now = after_ms(1);
        assert_eq!(ledger.report_outcome("x", outcome(now, None), now), Judgement::Recorded);
        let before = ledger.clone();
        assert_eq!(before.sequence, 1);
        let other = Outcome { reported_value: 2.0, ..outcome(now, None) };
        for (id, outcome) in [("x", outcome(now, None)), ("x", other), ("y", outcome(now, Some("y")))] {
            assert!(!ledger.report_outcome(id, outcome, now).is_change());
        }
        assert!(!ledger.report_outcome("y", outcome(now, None), after_ms(110_000)).is_change(), "late");
        assert!(!ledger.report_exposure(&BTreeSet::from([3]), now).is_change(), "no such slot");
        assert_eq!(ledger, before);
        assert_eq!(ledger.report_exposure(&BTreeSet::from([1]), now), Judgement::Recorded);
        assert_eq!(ledger.sequence, 2);
    }

    /// The total of outcomes (id, what it revises, when it occurred, value), reported in this order.
    fn total_of(outcomes: &[(&str, &str, i64, f64)]) -> f64 {
        let mut ledger = ledger();
        for &(id, revises, at_ms, value) in outcomes {
            let revises = (!revises.is_empty()).then_some(revises);
            let outcome = Outcome { value, ..outcome(after_ms(at_ms), revises) };
            assert!(ledger.report_outcome(id, outcome, after_ms(100)).is_change());
        }
        ledger.state().slots[0].totals.get("m").copied().unwrap_or(0.0)
    }

    #[test]
    fn what_was_revised_never_counts_whenever_its_revision_occurred() {
        assert_eq!(total_of(&[("a", "", 9, 1.0), ("b", "a", 8, 2.0), ("c", "b", 7, 4.0)]), 4.0);
        assert_eq!(total_of(&[("c", "b", 7, 4.0), ("b", "a", 8, 2.0), ("a", "", 9, 1.0)]), 4.0);
    }

    #[test]
    fn of_two_revisions_the_last_takes_the_place_and_passes_it_on() {
        let [a, early, late] = [("a", "", 0, 1.0), ("early", "a", 1, 2.0), ("late", "a", 2, 4.0)];
        // What replaces the loser has no place to take, however late it is.
        assert_eq!(total_of(&[a, early, late, ("x", "early", 9, 8.0)]), 4.0);
        assert_eq!(total_of(&[a, early, late, ("x", "late", 0, 8.0)]), 8.0);
        assert_eq!(total_of(&[a, ("p", "a", 1, 2.0), ("q", "a", 1, 4.0)]), 4.0, "the greater id at the same time");
    }

    #[test]
    fn a_revision_of_another_metric_or_offer_is_refused_or_never_counts() {
        let (now, original) = (after_ms(0), outcome(after_ms(0), None));
        let revision = outcome(after_ms(0), Some("o"));
        for (other, names) in [
            (Outcome { metric: "n".to_owned(), ..revision.clone() }, "this is \"n\" on \"a\""),
            (Outcome { slot: Some(2), ..revision.clone() }, "this is \"m\" on \"b\""),
            (Outcome { slot: None, ..revision }, "this is \"m\" on the decision as a whole"),
        ] {
            let mut first = ledger();
            assert_eq!(first.report_outcome("o", original.clone(), now), Judgement::Recorded);
            let Judgement::Invalid { reason } = first.report_outcome("r", other.clone(), now) else {
                panic!("{other:?} is taken");
            };
            assert!(reason.contains("\"o\", which is \"m\" on \"a\"") && reason.contains(names), "{reason}");
            let mut last = ledger();
            assert_eq!(last.report_outcome("r", other, now), Judgement::Revised);
            assert_eq!(last.report_outcome("o", original.clone(), now), Judgement::Recorded);
            assert_eq!(last.state(), first.state());
        }
    }
}
