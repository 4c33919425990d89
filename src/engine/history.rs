//! What is known of a user across placements, from what was reported and imported: facts with their times.
//!
//! Facts merge: in any order, any number of times, they come to the same. The latest counts, and of a subscription and an
//! end at the same moment the subscription: a change of plan ends one and begins the other.

use super::{
    catalog::{Catalog, OfferKind},
    instant::Instant,
    ledger::Ledger,
    unit::links::Links,
    user::{StatedUser, UserState},
};
use std::sync::Arc;

/// Longest and default time that a history is kept after its last change: 20 and 5 years of 366 days, in seconds.
pub const KEPT_BOUNDS_S: (u64, u64) = (86_400, 20 * 366 * 86_400);
/// How long a history is kept where nothing is declared.
pub const KEPT_DEFAULT_S: u64 = 5 * 366 * 86_400;

/// Which outcomes say something of a user, as the catalog declares it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryRules {
    /// Metrics whose positive total on a trial's offer says that the trial was used, sorted.
    pub trial_started: Vec<Arc<str>>,
    /// Metrics whose positive total on an offer says that the user has its plan, sorted.
    pub subscribed: Vec<Arc<str>>,
    /// Metrics whose positive total says that the user's subscription ended, sorted.
    pub churned: Vec<Arc<str>>,
    /// How long a history is kept after its last change, in seconds.
    pub kept_s: u64,
}

/// What is known of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserHistory {
    /// When the first known trial was used.
    pub trial_used_at: Option<Instant>,
    /// The latest subscription: since when, to which plan.
    pub subscribed: Option<(Instant, Arc<str>)>,
    /// When a subscription last ended.
    pub churned_at: Option<Instant>,
}

/// What is kept of a user across placements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptUser {
    /// What is known of the user.
    pub history: UserHistory,
    /// Which users go on from which, by keyed hashes of their ids: devices rank as users before login.
    pub links: Links,
}

impl KeptUser {
    /// When all of it will mean nothing, if it is kept from now on; `None`: it means nothing at all.
    #[must_use]
    pub fn expires_at(&self, rules: Option<&HistoryRules>, now: Instant) -> Option<Instant> {
        let kept_s = rules.map_or(KEPT_DEFAULT_S, |rules| rules.kept_s);
        let history = (self.history != UserHistory::default()).then(|| now.plus_s(kept_s));
        history.max(self.links.expires_at())
    }
}

impl HistoryRules {
    /// Whether a total of this metric says anything of a user.
    #[must_use]
    pub fn look_at(&self, metric: &str) -> bool {
        [&self.trial_started, &self.subscribed, &self.churned].iter().any(|metrics| names(metrics, metric))
    }
}

impl UserHistory {
    /// What is known by both.
    pub fn merge(&mut self, other: &Self) {
        self.trial_used_at = match (self.trial_used_at, other.trial_used_at) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        self.subscribed = self.subscribed.take().max(other.subscribed.clone());
        self.churned_at = self.churned_at.max(other.churned_at);
    }

    /// What the ledger of a decision says of its user; `catalog` is the decision's own.
    #[must_use]
    pub fn of_ledger(rules: &HistoryRules, catalog: &Catalog, ledger: &Ledger) -> Self {
        let mut history = Self::default();
        let slots = (1..).zip(&ledger.offers).filter_map(|(slot, id)| Some((slot, catalog.offers.get(id)?)));
        for (slot, offer) in slots {
            let latest = |metrics: &[Arc<str>]| metrics.iter().filter_map(|metric| ledger.latest(metric, slot)).max();
            let trial_used_at = latest(&rules.trial_started).filter(|_| offer.kind == OfferKind::Trial);
            let subscribed = latest(&rules.subscribed).filter(|_| !offer.plan.is_empty());
            history.merge(&Self {
                trial_used_at,
                subscribed: subscribed.map(|at| (at, offer.plan.as_str().into())),
                churned_at: latest(&rules.churned),
            });
        }
        history
    }

    /// The state at `now` of a user of whom the caller states this: what either knows.
    ///
    /// A trial that either knows of was used. What the caller states of the plan counts, since it is of today; otherwise
    /// the latest that is known does, unless an end that either knows of has come since. Of two ends the later counts.
    #[must_use]
    pub fn with_stated(&self, stated: StatedUser, now: Instant) -> UserState {
        let plan_stated = stated.current_plan.is_some();
        let mut state = stated.into_state();
        state.trial_used |= self.trial_used_at.is_some();
        let ends = [state.lapsed_at, self.churned_at];
        let ended_since = |since: Instant| ends.iter().flatten().any(|&end| since < end && end <= now);
        if let Some((since, plan)) = &self.subscribed
            && !plan_stated
            && !ended_since(*since)
        {
            state.current_plan = Some(plan.clone());
        }
        state.lapsed_at = state.lapsed_at.max(self.churned_at);
        state
    }
}

fn names(sorted: &[Arc<str>], metric: &str) -> bool {
    sorted.binary_search_by(|id| (**id).cmp(metric)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, proptest};

    fn at(ms: i64) -> Instant {
        Instant::from_ms(ms)
    }

    fn histories() -> impl Strategy<Value = UserHistory> {
        let time = || proptest::option::of(0..6_i64);
        (time(), proptest::option::of((0..6_i64, any::<bool>())), time()).prop_map(|(trial, subscribed, churned)| {
            let plan = |premium: bool| if premium { "premium".into() } else { "basic".into() };
            UserHistory {
                trial_used_at: trial.map(at),
                subscribed: subscribed.map(|(since, premium)| (at(since), plan(premium))),
                churned_at: churned.map(at),
            }
        })
    }

    fn merged(parts: &[&UserHistory]) -> UserHistory {
        let mut merged = UserHistory::default();
        parts.iter().for_each(|part| merged.merge(part));
        merged
    }

    proptest! {
        #[test]
        fn facts_come_to_the_same_in_any_order_any_number_of_times(a in histories(), b in histories(), c in histories()) {
            let expected = merged(&[&a, &b, &c]);
            for order in [[&b, &a, &c, &a], [&c, &b, &a, &c], [&a, &c, &b, &b]] {
                assert_eq!(merged(&order), expected);
            }
            let mut nested = b.clone();
            nested.merge(&c);
            assert_eq!(merged(&[&a, &nested]), expected);
        }
    }

    #[test]
    fn the_latest_fact_says_whether_there_is_a_plan() {
        let subscribed =
            |since| UserHistory { subscribed: Some((at(since), "basic".into())), ..UserHistory::default() };
        let churned = |when| UserHistory { churned_at: Some(at(when)), ..UserHistory::default() };
        for (facts, plan, lapsed_at) in [
            (vec![subscribed(5)], Some("basic"), None),
            (vec![subscribed(5), churned(4)], Some("basic"), Some(4)),
            (vec![subscribed(5), churned(5)], Some("basic"), Some(5)),
            (vec![subscribed(5), churned(6)], None, Some(6)),
        ] {
            let state = merged(&facts.iter().collect::<Vec<_>>()).with_stated(StatedUser::default(), at(9));
            assert_eq!((state.current_plan.as_deref(), state.lapsed_at), (plan, lapsed_at.map(at)), "{facts:?}");
        }
    }

    #[test]
    fn what_the_caller_states_and_what_is_known_count_together() {
        let known = UserHistory {
            trial_used_at: Some(at(1)),
            subscribed: Some((at(2), "basic".into())),
            churned_at: Some(at(1)),
        };
        let stated = StatedUser { trial_used: Some(false), current_plan: Some("".into()), lapsed_at: Some(at(9)) };
        let state = known.with_stated(stated, at(9));
        assert!(state.trial_used, "either knows of it");
        assert_eq!((state.current_plan, state.lapsed_at), (None, Some(at(9))), "the caller knows better");
    }

    #[test]
    fn an_end_that_either_knows_of_ends_the_plan_when_it_has_come() {
        let known = UserHistory { subscribed: Some((at(5), "basic".into())), ..UserHistory::default() };
        for (end, now, plan) in
            [(5, 9, Some("basic")), (6, 9, None), (9, 9, None), (10, 9, Some("basic")), (10, 10, None)]
        {
            let stated = StatedUser { lapsed_at: Some(at(end)), ..StatedUser::default() };
            let told = UserHistory { churned_at: Some(at(end)), ..known.clone() };
            for state in [known.with_stated(stated, at(now)), told.with_stated(StatedUser::default(), at(now))] {
                assert_eq!((state.current_plan.as_deref(), state.lapsed_at), (plan, Some(at(end))), "{end} at {now}");
            }
        }
    }
}
