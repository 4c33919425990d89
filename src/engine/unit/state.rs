//! What is kept of a unit at a placement, and how two such states become one.

use super::{
    links::Links,
    rules::{UnitRules, WhenUnknown},
};
use crate::engine::{catalog::Money, instant::Instant};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A decision's id as bytes.
pub type DecisionBytes = [u8; 20];
/// Keyed hash of a unit's id.
pub type UnitKey = [u8; 16];

/// What was refused: metric, offer, and the decision that the refusal was reported on.
pub type RefusalKey = (Arc<str>, Arc<str>, DecisionBytes);

/// Most refusals of one offer by one metric: the latest are kept.
pub const REFUSALS_MAX: usize = 8;

/// Everything that is kept of a unit at a placement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitState {
    /// The decision that stands.
    pub lease: Option<Lease>,
    /// Prices that hold, by market and offer.
    pub held: BTreeMap<(Arc<str>, Arc<str>), HeldPrice>,
    /// What was offered under a frequency cap, by decision.
    pub offered: BTreeMap<DecisionBytes, Offering>,
    /// When offers were refused last, by metric, offer, and the decision that it was reported on.
    pub refusals: BTreeMap<RefusalKey, Instant>,
    /// Units that this one goes on from, and those that go on from it.
    pub links: Links,
}

/// A decision that stands for its unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// When it was decided.
    pub leased_at: Instant,
    /// The decision that drew the offers.
    pub root: DecisionBytes,
    /// The first instant at which it stands no more.
    pub until: Instant,
    /// The market that its prices are of.
    pub market: Option<Arc<str>>,
    /// The offers by slot.
    pub offers: Vec<Arc<str>>,
    /// Whether it was taken: it stands no more, its prices still hold.
    pub ended: bool,
    /// Whether what is known of the user had a say in it: what its repeats show was chosen by it, too.
    pub personalised: bool,
}

/// A price that an offer does not rise above.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldPrice {
    /// The lowest that was offered.
    pub price: Money,
    /// The offer's plan.
    pub plan: String,
    /// Whether the offer is a trial, whose price says nothing of the plan's.
    pub trial: bool,
    /// When the last decision was drawn that offered it; repeats of that are of the same time.
    pub told_at: Instant,
    /// The lowest price of its plan that the unit had been told by then, in minor units: that one decision offers an
    /// offer beside cheaper ones of its plan says nothing against it, that another unit was told a lower price does.
    pub beside_minor: i64,
    /// The first instant at which it holds no more.
    pub until: Instant,
}

/// What one decision offered under a frequency cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    /// When.
    pub at: Instant,
    /// The offers.
    pub offers: BTreeSet<Arc<str>>,
}

/// What deciding sees of a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitView {
    /// As read; nothing where it could not be.
    pub state: UnitState,
    /// How limits are held.
    pub limits: Limits,
}

/// How frequency caps and cool-downs are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limits {
    /// By what was read; what is offered is counted in the step that logs it.
    #[default]
    Counted,
    /// By what was read, and nothing under a cap is offered: others were counting at the same time.
    Uncounted,
    /// Nothing was read: nothing under a cap or cool-down is offered.
    Skipped,
    /// Nothing was read: caps and cool-downs do not count.
    Ignored,
}

impl UnitView {
    /// What deciding sees where nothing could be read.
    #[must_use]
    pub fn unknown(rules: &UnitRules) -> Self {
        let limits = match rules.when_unknown {
            WhenUnknown::Skip => Limits::Skipped,
            WhenUnknown::Ignore => Limits::Ignored,
        };
        Self { state: UnitState::default(), limits }
    }
}

impl UnitState {
    /// Takes in what is kept of another unit of the same person. Of two leases the later drawn stands, and the prices
    /// of both hold. Links are each unit's own, and not taken in.
    pub fn merge(&mut self, other: &Self) {
        self.lease = match (self.lease.take(), other.lease.clone()) {
            (Some(mine), Some(theirs)) => Some(mine.later(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        for (key, price) in &other.held {
            self.hold(key.clone(), price.clone());
        }
        for (decision, offering) in &other.offered {
            let mine = self.offered.entry(*decision).or_insert_with(|| offering.clone());
            mine.at = mine.at.max(offering.at);
            mine.offers.extend(offering.offers.iter().cloned());
        }
        for (key, at) in &other.refusals {
            let mine = self.refusals.entry(key.clone()).or_insert(*at);
            *mine = (*mine).max(*at);
        }
    }

    /// Lets a price hold, at the lower of this and one that holds already, until the later of both.
    pub fn hold(&mut self, key: (Arc<str>, Arc<str>), price: HeldPrice) {
        match self.held.get_mut(&key) {
            Some(mine) => mine.join(&price),
            None => drop(self.held.insert(key, price)),
        }
    }

    /// Drops what means nothing any more at `now`.
    pub fn prune(&mut self, rules: &UnitRules, now: Instant) {
        self.lease = self.lease.take().filter(|lease| lease.until > now);
        self.held.retain(|_, price| price.until > now);
        self.offered.retain(|_, offering| {
            let at = offering.at;
            offering.offers.retain(|offer| rules.counted_until(offer, at).is_some_and(|until| until > now));
            !offering.offers.is_empty()
        });
        self.refusals.retain(|(metric, _, _), at| at.plus_s(rules.longest_cool_down_s(metric)) > now);
        self.drop_old_refusals();
        self.links.prune(now);
    }

    fn drop_old_refusals(&mut self) {
        if self.refusals.len() <= REFUSALS_MAX {
            return;
        }
        let mut latest_first: Vec<_> = self.refusals.iter().map(|(key, at)| (*at, key.clone())).collect();
        latest_first.sort_by(|a, b| b.cmp(a));
        let mut kept = BTreeMap::<_, usize>::new();
        for (_, key) in latest_first {
            let count = kept.entry((key.0.clone(), key.1.clone())).or_default();
            *count += 1;
            if *count > REFUSALS_MAX {
                self.refusals.remove(&key);
            }
        }
    }

    /// When all of it will mean nothing; `None`: it means nothing at all.
    #[must_use]
    pub fn expires_at(&self, rules: &UnitRules) -> Option<Instant> {
        let lease = self.lease.iter().map(|lease| lease.until);
        let held = self.held.values().map(|price| price.until);
        let counted = |offering: &Offering| {
            offering.offers.iter().filter_map(|offer| rules.counted_until(offer, offering.at)).max()
        };
        let offered = self.offered.values().filter_map(counted);
        let refused = self.refusals.iter();
        let refused = refused.map(|((metric, _, _), at)| at.plus_s(rules.longest_cool_down_s(metric)));
        lease.chain(held).chain(offered).chain(refused).chain(self.links.expires_at()).max()
    }
}

impl Lease {
    /// Of two leases the later drawn; of two copies of one, what either knows.
    fn later(self, other: Self) -> Self {
        if (self.leased_at, self.root) == (other.leased_at, other.root) {
            return Self {
                until: self.until.max(other.until),
                ended: self.ended || other.ended,
                personalised: self.personalised || other.personalised,
                market: self.market.max(other.market),
                offers: self.offers.max(other.offers),
                ..other
            };
        }
        if (self.leased_at, self.root) > (other.leased_at, other.root) { self } else { other }
    }
}

impl HeldPrice {
    fn join(&mut self, other: &Self) {
        let order = |price: &Self| (price.price.amount_minor, price.price.currency.code());
        if order(other) < order(self) {
            self.price = other.price;
        }
        if other.plan > self.plan {
            self.plan.clone_from(&other.plan);
        }
        self.trial |= other.trial;
        self.beside_minor = match self.told_at.cmp(&other.told_at) {
            Ordering::Less => other.beside_minor,
            Ordering::Equal => self.beside_minor.min(other.beside_minor),
            Ordering::Greater => self.beside_minor,
        };
        self.told_at = self.told_at.max(other.told_at);
        self.until = self.until.max(other.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::unit::rules::{CoolDown, FrequencyCap};
    use iso_currency::Currency;
    use proptest::{
        collection::{btree_map, btree_set, vec},
        option,
        prelude::{Strategy, any, proptest},
    };

    fn id(text: &'static str) -> impl Strategy<Value = Arc<str>> {
        proptest::sample::select(text.split(' ').map(Arc::<str>::from).collect::<Vec<_>>())
    }

    fn at() -> impl Strategy<Value = Instant> {
        (0..5_i64).prop_map(Instant::from_ms)
    }

    fn decision() -> impl Strategy<Value = DecisionBytes> {
        (0..3_u8).prop_map(|byte| [byte; 20])
    }

    fn leases() -> impl Strategy<Value = Lease> {
        (at(), decision(), at(), option::of(id("SE DE")), vec(id("a b c"), 0..3), any::<(bool, bool)>()).prop_map(
            |(leased_at, root, until, market, offers, (ended, personalised))| Lease {
                leased_at,
                root,
                until,
                market,
                offers,
                ended,
                personalised,
            },
        )
    }

    fn held_prices() -> impl Strategy<Value = HeldPrice> {
        (0..4_i64, id("basic premium"), any::<bool>(), at(), 0..4_i64, at()).prop_map(
            |(amount_minor, plan, trial, told_at, beside_minor, until)| HeldPrice {
                price: Money { currency: Currency::EUR, amount_minor },
                plan: plan.to_string(),
                trial,
                told_at,
                beside_minor,
                until,
            },
        )
    }

    fn states() -> impl Strategy<Value = UnitState> {
        let offerings = (at(), btree_set(id("a b c"), 0..3)).prop_map(|(at, offers)| Offering { at, offers });
        let links = || btree_map((0..3_u8).prop_map(|byte| [byte; 16]), at(), 0..3);
        (
            option::of(leases()),
            btree_map((id("SE DE"), id("a b")), held_prices(), 0..3),
            btree_map(decision(), offerings, 0..3),
            btree_map((id("m n"), id("a b"), decision()), at(), 0..3),
            links(),
            links(),
            option::of(((0..3_u8).prop_map(|byte| [byte; 16]), at())),
        )
            .prop_map(|(lease, held, offered, refusals, origins, heirs, first)| UnitState {
                lease,
                held,
                offered,
                refusals,
                links: Links { origins, heirs, first },
            })
    }

    fn merged(states: &[&UnitState]) -> UnitState {
        let mut merged = UnitState::default();
        states.iter().for_each(|state| merged.merge(state));
        merged
    }

    #[test]
    fn what_was_offered_is_kept_for_the_windows_of_its_own_caps() {
        let cap = |offer: &str, window_s| FrequencyCap { offers: vec![offer.into()], max: 100, window_s };
        let rules = UnitRules { caps: vec![cap("a", 1), cap("b", 1000)], ..UnitRules::default() };
        let mut state = UnitState::default();
        for (number, offers) in (0..).zip([&["a"][..], &["a", "b"], &["c"]]) {
            let offers = offers.iter().map(|&offer| offer.into()).collect();
            state.offered.insert([number; 20], Offering { at: Instant::from_ms(0), offers });
        }
        assert_eq!(state.expires_at(&rules), Some(Instant::from_ms(1_000_000)));
        state.prune(&rules, Instant::from_ms(1000));
        let kept: Vec<_> = state.offered.into_iter().map(|(number, offering)| (number[0], offering.offers)).collect();
        assert_eq!(kept, [(1, BTreeSet::from(["b".into()]))]);
    }

    proptest! {
        #[test]
        fn states_merge_in_any_order_any_number_of_times(mut a in states(), mut b in states(), mut c in states()) {
            for state in [&mut a, &mut b, &mut c] {
                state.links = Links::default();
            }
            let expected = merged(&[&a, &b, &c]);
            for order in [[&c, &b, &a, &b], [&b, &c, &a, &a], [&a, &c, &b, &c]] {
                assert_eq!(merged(&order), expected);
            }
            assert_eq!(merged(&[&a, &merged(&[&b, &c])]), expected);
            assert_eq!(merged(&[&a]), a);
        }

        #[test]
        fn a_state_that_is_taken_in_leaves_the_links_as_they_are(a in states(), b in states()) {
            assert_eq!(merged(&[&a, &b]).links, Links::default());
            let mut both = a.clone();
            both.merge(&b);
            assert_eq!(both.links, a.links);
        }

        #[test]
        fn what_is_pruned_meant_nothing_and_what_is_left_expires_later(state in states(), now in at()) {
            let mut pruned = state.clone();
            let rules = UnitRules::default();
            pruned.prune(&rules, now);
            assert_eq!(pruned.expires_at(&rules).is_none(), pruned == UnitState::default());
            assert!(pruned.expires_at(&rules).is_none_or(|expires_at| expires_at > now));
            let mut again = pruned.clone();
            again.prune(&rules, now);
            assert_eq!(again, pruned);
        }
    }
    #[test]
    fn of_too_many_refusals_of_an_offer_the_latest_are_kept() {
        let refusals = |offer: &str| {
            let key = |decision: u8| ("m".into(), offer.into(), [decision; 20]);
            (0..12_u8).map(|decision| (key(decision), Instant::from_ms(i64::from(decision)))).collect::<Vec<_>>()
        };
        let cool_down = CoolDown { metric: "m".into(), offers: vec!["a".into(), "b".into()], for_s: 60 };
        let rules = UnitRules { cool_downs: vec![cool_down], ..UnitRules::default() };
        let refusals = ["a", "b"].into_iter().flat_map(refusals).collect();
        let mut state = UnitState { refusals, ..UnitState::default() };
        state.prune(&rules, Instant::from_ms(20));
        assert_eq!(state.refusals.len(), 2 * REFUSALS_MAX);
        assert!(state.refusals.values().all(|at| at.as_ms() >= 4));
    }
}
