//! What was reported on one decision, and what it adds up to.
//!
//! A ledger is a set: the same reports in any order, any number of times, add up to the same state to the last
//! bit. Totals are summed in the order of outcome ids, and revisions of one outcome are ordered by when they
//! occurred, so arrival decides only about windows. Judging changes nothing; the caller stores the judged ledger
//! in one step, on top of the sequence it was judged from, or judges again.

use super::instant::Instant;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most outcomes of one decision, revisions included.
pub const OUTCOMES_MAX: usize = 1000;
/// How far a client's clock may be ahead of this one, or behind the decision's, in milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 5 * 60 * 1000;

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
}

/// When the windows of one decision end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// When the decision was made.
    pub decided_at: Instant,
    /// Outcomes that occur after this do not count.
    pub attribution_ends_at: Instant,
    /// Reports that arrive at or after this are late.
    pub closes_at: Instant,
    /// Revisions that arrive at or after this are late.
    pub revisions_end_at: Instant,
}

/// An outcome as reported and as counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Slot of its offer, from 1; `None`: the decision as a whole.
    pub slot: Option<u32>,
    /// Metric id.
    pub metric: String,
    /// As reported, finite.
    pub reported_value: f64,
    /// As reported; `None`: not money.
    pub currency: Option<String>,
    /// As counted: money in major units of the reward currency.
    pub value: f64,
    /// What one unit of the reported value was worth in the reward currency; 1 for what is not money.
    pub rate: f64,
    /// When it happened.
    pub occurred_at: Instant,
    /// Whether the client said when; otherwise it is when the first report arrived.
    pub occurred_at_reported: bool,
    /// The outcome it replaces.
    pub revises: Option<String>,
}

/// What a ledger adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerState {
    /// By slot.
    pub slots: Vec<SlotState>,
    /// Totals by metric of outcomes on the decision as a whole.
    pub totals: BTreeMap<String, f64>,
    /// Whether attribution window and grace are over.
    pub closed: bool,
}

/// What one slot adds up to.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotState {
    /// The offer in it.
    pub offer_id: Arc<str>,
    /// Whether it counts as shown.
    pub shown: bool,
    /// Outcome totals by metric.
    pub totals: BTreeMap<String, f64>,
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It is new and counts; the ledger after it.
    Recorded(Box<Ledger>),
    /// It is new and replaces another outcome; the ledger after it.
    Revised(Box<Ledger>),
    /// The same was reported before.
    Duplicate,
    /// Its id was used for another report.
    Conflict,
    /// It occurred or arrived after its window.
    Late {
        /// Which window, and when it ended.
        reason: String,
    },
    /// It cannot be right.
    Invalid {
        /// What is wrong and what is accepted.
        reason: String,
    },
}

impl Ledger {
    /// Judges an outcome that arrives `now`.
    #[must_use]
    pub fn judge_outcome(&self, id: &str, outcome: Outcome, now: Instant) -> Judgement {
        if let Some(known) = self.outcomes.get(id) {
            return if known.same_report(&outcome) { Judgement::Duplicate } else { Judgement::Conflict };
        }
        if let Some(reason) = self.objection(id, &outcome, now) {
            return Judgement::Invalid { reason };
        }
        if let Some(reason) = self.lateness(&outcome, now) {
            return Judgement::Late { reason };
        }
        let revises = outcome.revises.is_some();
        let mut after = self.clone();
        after.sequence += 1;
        after.outcomes.insert(id.to_owned(), outcome);
        if revises { Judgement::Revised(Box::new(after)) } else { Judgement::Recorded(Box::new(after)) }
    }

    /// Judges a report, arriving `now`, that exactly these slots (from 1) were shown; reports add up.
    #[must_use]
    pub fn judge_exposure(&self, slots: &BTreeSet<u32>, now: Instant) -> Judgement {
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
        let after = Self { sequence: self.sequence + 1, exposed: Some(exposed), ..self.clone() };
        Judgement::Recorded(Box::new(after))
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
            *sums.entry(outcome.metric.clone()).or_insert(0.0) += outcome.value;
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

    /// Every original outcome in the order of ids, replaced by its last revision where it has one.
    fn effective_outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let mut latest: BTreeMap<&str, (&str, &Outcome)> = BTreeMap::new();
        for (id, outcome) in &self.outcomes {
            let Some(original) = self.original_of(id) else { continue };
            let entry = latest.entry(original).or_insert((id, outcome));
            // A revision beats its original whenever it says it occurred; revisions among themselves go by
            // (occurred_at, id).
            let rank =
                |(id, outcome): (&str, &Outcome)| (outcome.revises.is_some(), outcome.occurred_at, id.to_owned());
            if rank((id, outcome)) > rank(*entry) {
                *entry = (id, outcome);
            }
        }
        latest.into_values().map(|(_, outcome)| outcome)
    }

    /// The outcome at the start of a chain of revisions; `None` while it has not arrived.
    fn original_of<'a>(&'a self, id: &'a str) -> Option<&'a str> {
        let mut current = id;
        // A chain longer than the ledger runs in a circle, which has no original.
        for _ in 0..=self.outcomes.len() {
            match &self.outcomes.get(current)?.revises {
                None => return Some(current),
                Some(revised) => current = revised,
            }
        }
        None
    }

    fn objection(&self, id: &str, outcome: &Outcome, now: Instant) -> Option<String> {
        if self.outcomes.len() >= OUTCOMES_MAX {
            return Some(format!("the decision has {OUTCOMES_MAX} outcomes already, the most that are accepted"));
        }
        if outcome.revises.as_deref() == Some(id) {
            return Some(format!("revises_outcome_id is \"{id}\", the outcome itself; name the outcome it replaces"));
        }
        if now.plus_ms(CLOCK_SKEW_MAX_MS) < outcome.occurred_at {
            let ahead_s = seconds_between(now, outcome.occurred_at);
            return Some(format!("occurred_at is {ahead_s} s in the future; at most 300 s are accepted"));
        }
        if outcome.occurred_at.plus_ms(CLOCK_SKEW_MAX_MS) < self.windows.decided_at {
            let before_s = seconds_between(outcome.occurred_at, self.windows.decided_at);
            return Some(format!("occurred_at is {before_s} s before the decision; at most 300 s are accepted"));
        }
        None
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

impl Outcome {
    /// Whether both say the same, as the client reported it.
    fn same_report(&self, other: &Self) -> bool {
        let occurred = |outcome: &Self| outcome.occurred_at_reported.then_some(outcome.occurred_at);
        (self.slot, &self.metric, &self.currency, &self.revises, occurred(self))
            == (other.slot, &other.metric, &other.currency, &other.revises, occurred(other))
            && self.reported_value.total_cmp(&other.reported_value).is_eq()
    }
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
            Judgement::Recorded(_) => "recorded",
            Judgement::Revised(_) => "revised",
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
            let judgement = ledger().judge_outcome("x", outcome(after_ms(occurred), revises), after_ms(arrives));
            assert_eq!(word(&judgement), expected, "{occurred} arriving at {arrives}, revising {revises:?}");
        }
    }

    #[test]
    fn instants_at_the_ends_of_time_are_judged_like_any_others() {
        for ms in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let judgement = ledger().judge_outcome("x", outcome(Instant::from_ms(ms), None), after_ms(0));
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
    fn judging_changes_nothing_but_what_it_returns() {
        let before = ledger();
        let Judgement::Recorded(after) = before.judge_outcome("x", outcome(after_ms(1), None), after_ms(1)) else {
            panic!("a valid outcome is recorded");
        };
        assert_eq!((before.sequence, after.sequence), (0, 1));
        assert_eq!(before, ledger());
        assert_eq!(before.state().slots[1], after.state().slots[1], "another slot is not concerned");
    }
}
