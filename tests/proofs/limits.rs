//! Whatever is kept of a unit, and however it could be read: what a cap, a cool-down or a price that holds stands against is
//! not offered, in the fallback order neither, and a decision that stands is answered as it was.
//!
//! Rules and states are drawn from a seed. What they come to is judged a second time, from the drawn numbers alone.

use crate::{
    scale,
    scene::{self, NOW},
};
use iso_currency::Currency;
use offer_ranker::engine::{
    catalog::Money,
    decide::{Decision, RankRequest, decide},
    eligibility::ExclusionReason,
    fallback::fall_back,
    instant::Instant,
    unit::state::{DecisionBytes, HeldPrice, Lease, Limits, Offering, UnitState, UnitView},
    user::UserState,
};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Sums of at most 7 probabilities, each rounded to 2^-53 of itself.
const SUM_TOLERANCE: f64 = 1e-12;
/// Id, kind, plan and price in minor units.
const OFFERS: [(&str, &str, &str, i64); 6] = [
    ("basic-high", "STANDARD", "basic", 9900),
    ("basic-low", "STANDARD", "basic", 5900),
    ("basic-mid", "DISCOUNT", "basic", 7900),
    ("premium", "STANDARD", "premium", 14_900),
    ("premium-low", "STANDARD", "premium", 9900),
    ("trial", "TRIAL", "basic", 0),
];

/// At most so often, or not at all, for so many days.
#[derive(Debug)]
struct Rule {
    offers: BTreeSet<&'static str>,
    max: usize,
    days: i64,
}

/// What a placement keeps of units, and what is kept of one.
#[derive(Debug)]
struct World {
    caps: Vec<Rule>,
    cool_downs: Vec<Rule>,
    leases: bool,
    view: UnitView,
}

fn subset(rng: &mut ChaCha8Rng, share: f64) -> BTreeSet<&'static str> {
    OFFERS.iter().map(|offer| offer.0).filter(|_| rng.random_bool(share)).collect()
}

fn rule(rng: &mut ChaCha8Rng) -> Rule {
    let mut offers = subset(rng, 0.4);
    offers.insert(OFFERS[rng.random_range(0..OFFERS.len())].0);
    Rule { offers, max: rng.random_range(1..=3), days: rng.random_range(1..=8) }
}

/// So many days before now, at most; never at the very end of a window.
fn past(rng: &mut ChaCha8Rng, days: i64) -> Instant {
    Instant::from_ms(NOW.as_ms() - rng.random_range(0..days * DAY_MS) / 1000 * 1000 - 7)
}

fn near(rng: &mut ChaCha8Rng) -> Instant {
    Instant::from_ms(NOW.as_ms() + rng.random_range(-DAY_MS..3 * DAY_MS))
}

fn decision(number: u8) -> DecisionBytes {
    [number; 20]
}

fn arcs<'a>(offers: impl IntoIterator<Item = &'a &'static str>) -> BTreeSet<Arc<str>> {
    offers.into_iter().map(|&offer| offer.into()).collect()
}

fn state(rng: &mut ChaCha8Rng) -> UnitState {
    let mut state = UnitState::default();
    for number in 0..rng.random_range(0..6) {
        let offering = Offering { at: past(rng, 10), offers: arcs(&subset(rng, 0.3)) };
        state.offered.insert(decision(number), offering);
    }
    for (number, offer) in (0..).zip(subset(rng, 0.2)) {
        state.refusals.insert(("dismissal".into(), offer.into(), decision(number)), past(rng, 10));
    }
    for (offer, kind, plan, price) in OFFERS {
        if rng.random_bool(0.25) {
            let price = Money { currency: Currency::SEK, amount_minor: price * rng.random_range(5..12) / 10 };
            let (told_at, until) = (past(rng, 3), near(rng));
            let beside_minor = price.amount_minor * rng.random_range(7..=10) / 10;
            let trial = kind == "TRIAL";
            let held = HeldPrice { price, plan: plan.to_owned(), trial, told_at, beside_minor, until };
            state.held.insert(("SE".into(), offer.into()), held);
        }
    }
    if rng.random_bool(0.5) {
        let mut offers: Vec<Arc<str>> = OFFERS.iter().map(|offer| offer.0.into()).collect();
        offers.shuffle(rng);
        offers.truncate(rng.random_range(1..=3));
        let market = Some("SE".into());
        let (ended, personalised) = (rng.random_bool(0.1), rng.random_bool(0.5));
        let (leased_at, root, until) = (past(rng, 2), decision(99), near(rng));
        state.lease = Some(Lease { leased_at, root, until, market, offers, ended, personalised });
    }
    state
}

impl World {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (caps, cool_downs) = (rng.random_range(0..3), rng.random_range(0..3));
        let limits = [Limits::Counted, Limits::Counted, Limits::Uncounted, Limits::Skipped, Limits::Ignored];
        let limits = limits[rng.random_range(0..limits.len())];
        let read = matches!(limits, Limits::Counted | Limits::Uncounted);
        let mut world = Self {
            caps: (0..caps).map(|_| rule(rng)).collect(),
            cool_downs: (0..cool_downs).map(|_| rule(rng)).collect(),
            leases: rng.random_bool(0.6),
            view: UnitView { state: if read { state(rng) } else { UnitState::default() }, limits },
        };
        // Placements that keep nothing read nothing.
        if !world.leases && world.caps.is_empty() && world.cool_downs.is_empty() {
            world.view = UnitView::default();
        }
        world
    }

    fn yaml(&self) -> String {
        let offers = OFFERS.map(|(id, kind, plan, price)| {
            let money = |amount: i64| format!("{{ currency_code: SEK, amount_minor: {amount} }}");
            let prices = format!("{{ SE: {{ price: {}, list_price: {} }} }}", money(price), money(19_900));
            format!("  - {{ id: {id}, kind: {kind}, plan: {plan}, prices: {prices} }}\n")
        });
        let list = |offers: &BTreeSet<&str>| offers.iter().copied().collect::<Vec<_>>().join(", ");
        let seconds = |days: i64| days * 86_400;
        let cap = |rule: &Rule| {
            let offers = list(&rule.offers);
            format!("      - {{ offers: [{offers}], max: {}, window_s: {} }}\n", rule.max, seconds(rule.days))
        };
        let cool_down = |rule: &Rule| {
            let offers = list(&rule.offers);
            format!("      - {{ metric: dismissal, offers: [{offers}], for_s: {} }}\n", seconds(rule.days))
        };
        let section =
            |name: &str, rules: String| if rules.is_empty() { rules } else { format!("    {name}:\n{rules}") };
        let lease = if self.leases { "    lease_s: 86400\n" } else { "" };
        format!(
            "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
metrics: [{{ id: conversion, kind: COUNT }}, {{ id: dismissal, kind: COUNT }}]
offers:
  - {{ id: none, kind: NONE }}
{}placements:
  - id: paywall
    slots: 3
    offers: [none, {}]
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    bounds: {{ floor: 0.01 }}
{lease}{}{}",
            offers.concat(),
            OFFERS.map(|offer| offer.0).join(", "),
            section("frequency_caps", self.caps.iter().map(cap).collect()),
            section("cool_downs", self.cool_downs.iter().map(cool_down).collect()),
        )
    }

    fn is_capped(&self, offer: &str) -> bool {
        let full = |cap: &Rule| {
            let within = |offering: &&Offering| offering.at.as_ms() + cap.days * DAY_MS > NOW.as_ms();
            let counts = |offering: &&Offering| offering.offers.iter().any(|id| cap.offers.contains(&**id));
            self.view.state.offered.values().filter(within).filter(counts).count() >= cap.max
        };
        let mut caps = self.caps.iter().filter(|cap| cap.offers.contains(offer));
        match self.view.limits {
            Limits::Counted => caps.any(full),
            Limits::Uncounted | Limits::Skipped => caps.next().is_some(),
            Limits::Ignored => false,
        }
    }

    fn cools_down(&self, offer: &str) -> bool {
        let refused = |cool_down: &Rule| {
            let mut refusals = self.view.state.refusals.iter();
            refusals.any(|((_, refused, _), at)| {
                cool_down.offers.contains(&**refused) && at.as_ms() + cool_down.days * DAY_MS > NOW.as_ms()
            })
        };
        let mut cool_downs = self.cool_downs.iter().filter(|cool_down| cool_down.offers.contains(offer));
        match self.view.limits {
            Limits::Counted | Limits::Uncounted => cool_downs.any(refused),
            Limits::Skipped => cool_downs.next().is_some(),
            Limits::Ignored => false,
        }
    }

    /// The prices that hold, by offer.
    fn held(&self) -> BTreeMap<&str, &HeldPrice> {
        let all = self.view.state.held.iter().map(|((_, id), held)| (&**id, held));
        all.filter(|(_, held)| self.leases && held.until > NOW).collect()
    }

    /// Whether an offer of this price costs more than its plan was told to cost, but for offers beside it.
    fn is_dearer(&self, (id, kind, plan, price): (&str, &str, &str, i64), beside: &[Arc<str>]) -> bool {
        let held = self.held();
        let cheaper = |(other, told): &(&&str, &&HeldPrice)| {
            let beside = beside.iter().any(|offer| **offer == ***other);
            !beside && told.plan == plan && told.trial == (kind == "TRIAL") && told.price.amount_minor < price
        };
        let since = |told: &HeldPrice| {
            let own = held.get(id);
            own.is_none_or(|own| own.told_at < told.told_at || told.price.amount_minor < own.beside_minor)
        };
        held.iter().filter(cheaper).any(|(_, told)| since(told))
    }

    /// Whether an offer of a lease may be shown again.
    fn left(&self, id: &str, lease: &Lease) -> bool {
        let &(id, kind, plan, catalog) = OFFERS.iter().find(|offer| offer.0 == id).expect("a lease is of these offers");
        let price = self.held().get(id).map_or(i64::MAX, |held| held.price.amount_minor).min(catalog);
        !self.cools_down(id) && !self.is_dearer((id, kind, plan, price), &lease.offers)
    }

    /// The lease that stands for a request for all offers and slots.
    fn standing(&self) -> Option<&Lease> {
        let lease = self.view.state.lease.as_ref()?;
        let stands = self.leases && lease.until > NOW && !lease.ended;
        let left = lease.offers.iter().any(|id| self.left(id, lease));
        (stands && left).then_some(lease)
    }

    fn assert_keeps(&self, decision: &Decision, what: &str) {
        let repeated = decision.root.and(self.standing());
        let shown = decision.slots.iter().map(|slot| decision.drawn(slot));
        for arm in shown.chain(decision.tail.iter().map(|&arm| &decision.arms[arm])) {
            let Some(&(id, kind, plan, catalog)) = OFFERS.iter().find(|offer| offer.0 == &*arm.offer_id) else {
                continue;
            };
            let leased = repeated.is_some_and(|lease| lease.offers.iter().any(|offer| **offer == *id));
            assert!(leased || !self.is_capped(id), "{what} shows {id} over a cap: {self:#?}");
            assert!(!self.cools_down(id), "{what} shows {id}, which cools down: {self:#?}");
            let price = arm.price.unwrap().price.amount_minor;
            let own = self.held().get(id).map_or(i64::MAX, |held| held.price.amount_minor);
            assert_eq!(price, own.min(catalog), "{what} shows {id}: {self:#?}");
            let beside = repeated.filter(|_| leased).map_or(&[][..], |lease| &lease.offers);
            let dearer = self.is_dearer((id, kind, plan, price), beside);
            assert!(!dearer, "{what} shows {id} dearer than its plan was told: {self:#?}");
        }
    }
}

#[test]
fn caps_cool_downs_and_prices_hold_in_every_mode_and_a_lease_stands() {
    let (mut repeats, mut drawn, mut reasons) = (0, 0, BTreeMap::<ExclusionReason, u64>::new());
    for seed in 0..scale::tenth_of(6_000) {
        let mut rng = ChaCha8Rng::seed_from_u64(3_000_000 + seed);
        let world = World::draw(&mut rng);
        let (catalog, placement) = scene::placement(&world.yaml());
        let snapshot = scene::snapshot(&catalog, &scene::learned(&placement, 5, &mut rng));
        let request = RankRequest { include_tail: true, ..scene::request(&placement, Vec::new()) };
        let user = UserState { unit: world.view.clone(), ..UserState::default() };
        let decision = decide(&snapshot, &request, &user, NOW, rng.random());
        world.assert_keeps(&decision, "the slate");
        let fallback = fall_back(&decision, &snapshot.placement, request.slots, true);
        world.assert_keeps(&fallback, "the fallback order");
        for slot in &decision.slots {
            let sum: f64 = slot.arms.iter().map(|arm| arm.probability).sum();
            assert!((sum - 1.0).abs() <= SUM_TOLERANCE, "{sum}");
        }
        assert_eq!(decision.root.is_some(), world.standing().is_some(), "{world:#?}");
        if let Some(lease) = world.standing() {
            let offers: Vec<_> = decision.slots.iter().map(|slot| &decision.drawn(slot).offer_id).collect();
            let left: Vec<_> = lease.offers.iter().filter(|id| world.left(id, lease)).collect();
            assert_eq!((offers, decision.lease_until), (left, Some(lease.until)), "{world:#?}");
            repeats += 1;
        } else {
            drawn += 1;
        }
        decision.exclusions.iter().for_each(|exclusion| *reasons.entry(exclusion.reason).or_default() += 1);
    }
    use ExclusionReason as Reason;
    let met: Vec<_> = reasons.keys().copied().collect();
    let mut expected = [Reason::Capped, Reason::CoolingDown, Reason::LimitUnchecked, Reason::PriceHeld];
    expected.sort_unstable();
    assert_eq!(met, expected, "a property that never meets what it is about proves nothing: {reasons:?}");
    assert!(repeats > 20 && drawn > 20, "{repeats} {drawn}");
}
