//! Whatever catalog, posterior and request: what may not be offered never is, probabilities are of what may be, and the
//! order of the file changes nothing.
//!
//! Worlds are drawn from a seed. Who may be offered what is judged a second time, by an oracle that knows only the
//! world's own numbers: rules are a CEL text for the catalog and a closure for the oracle.

use crate::{
    scale,
    scene::{self, NOW},
};
use offer_ranker::engine::{
    catalog::Selection,
    context::AttributeValue,
    decide::{Decision, RankRequest, decide},
    eligibility::ExclusionReason,
    fallback::fall_back,
    group::Group,
    instant::Instant,
    pmf::{distribution::ScoreDistribution, reference::thompson_pmf_reference},
    snapshot::PlacementSnapshot,
    user::UserState,
};
use rand::{
    RngExt as _, SeedableRng as _,
    seq::{IndexedRandom as _, SliceRandom as _},
};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Sums of at most 12 probabilities, each rounded to 2^-53 of itself.
const SUM_TOLERANCE: f64 = 1e-12;
/// How far the serving PMF is from the reference at most, in total variation, by construction.
const REFERENCE_TOLERANCE: f64 = 2e-4;

/// What one offer of a world is.
#[derive(Clone, Debug)]
struct Offer {
    id: String,
    kind: &'static str,
    plan: &'static str,
    /// Paid and undiscounted, in minor units; `None`: not sold in Sweden.
    price: Option<(i64, i64)>,
    platform: Option<&'static str>,
    paused: bool,
    /// Days from now.
    starts: Option<i64>,
    ends: Option<i64>,
    lapse: Option<(i64, i64)>,
    to_subscribers: bool,
    group: Option<&'static str>,
    tag: Option<&'static str>,
}

/// What is asked of one world.
#[derive(Clone, Debug)]
struct Moment {
    request: RankRequest,
    user: UserState,
    tenure_days: f64,
    channel: String,
}

/// A rule as the catalog has it, and as the oracle does; `None`: it has no value.
type Rule = (&'static str, fn(&Offer, &Moment) -> Option<bool>);

const RULES: &[Rule] = &[
    ("user.tenure_days >= 100.0 || offer.discount < 0.3", |offer, moment| {
        Some(moment.tenure_days >= 100.0 || offer.discount() < 0.3)
    }),
    ("user.channel != \"paid\" || offer.kind == \"STANDARD\"", |offer, moment| {
        Some(moment.channel != "paid" || offer.kind == "STANDARD")
    }),
    ("!(\"shy\" in offer.tags) || subscription.trial_used", |offer, moment| {
        Some(offer.tag != Some("shy") || moment.user.trial_used)
    }),
    ("platform in [\"web\", \"ios\"] || offer.price > 50.0", |offer, moment| {
        Some(
            ["web", "ios"].contains(&moment.request.platform.as_str())
                || offer.price.is_some_and(|(paid, _)| paid > 5000),
        )
    }),
    ("now.weekday == 5 && market == \"SE\"", |_, _| Some(true)),
    ("now.weekday == 6 || offer.plan != \"basic\"", |offer, _| Some(offer.plan != "basic")),
    // Nobody has lapsed for a day without having lapsed: 10 / 0 has no value.
    ("10 / subscription.lapsed_days >= 0", |_, moment| {
        let lapse_ms = moment.user.lapse_ms(NOW).unwrap_or(0);
        (lapse_ms >= DAY_MS as u64).then_some(true)
    }),
    ("user.channel.startsWith(\"org\") ? offer.price <= 80.0 : true", |offer, moment| {
        Some(!moment.channel.starts_with("org") || offer.price.is_some_and(|(paid, _)| paid <= 8000))
    }),
];

impl Offer {
    fn discount(&self) -> f64 {
        self.price.map_or(0.0, |(paid, list)| if list > 0 { 1.0 - paid as f64 / list as f64 } else { 0.0 })
    }

    fn yaml(&self) -> String {
        let mut yaml = format!("  - id: {}\n    kind: {}\n", self.id, self.kind);
        if self.kind == "NONE" {
            return yaml + "    value: { currency_code: SEK, amount_minor: 4000 }\n";
        }
        let price = |(paid, list): (i64, i64), market: &str, currency: &str| {
            let money = |amount| format!("{{ currency_code: {currency}, amount_minor: {amount} }}");
            format!("{market}: {{ price: {}, list_price: {} }}", money(paid), money(list))
        };
        let prices: Vec<_> = self
            .price
            .map(|both| price(both, "SE", "SEK"))
            .into_iter()
            .chain([price((700, 900), "FI", "EUR")])
            .collect();
        writeln!(yaml, "    plan: {}\n    prices: {{ {} }}", self.plan, prices.join(", ")).unwrap();
        let at = |days: i64| {
            let s = NOW.as_ms() / 1000 + days * 86_400;
            // The test's own calendar: days around 2026-11-20 stay within November.
            let day = 20 + (s - NOW.as_ms() / 1000) / 86_400;
            format!("2026-11-{day:02}T00:00:00Z")
        };
        let ends = [("starts_at", self.starts), ("ends_at", self.ends)];
        let ends: Vec<_> = ends.iter().filter_map(|(name, day)| Some(format!("{name}: {}", at((*day)?)))).collect();
        if !ends.is_empty() {
            writeln!(yaml, "    validity: {{ {} }}", ends.join(", ")).unwrap();
        }
        if let Some((min, max)) = self.lapse {
            writeln!(yaml, "    lapse: {{ min_days: {min}, max_days: {max} }}").unwrap();
        }
        for (name, value) in [("platforms", self.platform), ("tags", self.tag)] {
            value.into_iter().for_each(|value| writeln!(yaml, "    {name}: [{value}]").unwrap());
        }
        self.group.into_iter().for_each(|group| writeln!(yaml, "    exclusion_group: {group}").unwrap());
        let flags = [("paused", self.paused), ("to_subscribers", self.to_subscribers)];
        flags.iter().filter(|(_, set)| *set).for_each(|(name, _)| writeln!(yaml, "    {name}: true").unwrap());
        yaml
    }
}

/// A catalog in the making.
#[derive(Clone, Debug)]
struct World {
    offers: Vec<Offer>,
    rules: Vec<usize>,
    discount_max: f64,
    floor: i64,
    law: &'static str,
    policy: &'static str,
    bound: f64,
}

impl World {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let count = rng.random_range(2..=11);
        let mut offers: Vec<Offer> = (0..count).map(|index| draw_offer(index, rng)).collect();
        // A rule may only name tags that some offer has.
        offers[0].tag = Some("shy");
        if rng.random_bool(0.7) {
            let none = Offer { id: "none".to_owned(), kind: "NONE", tag: None, ..offers[0].clone() };
            offers.push(none);
        }
        let mut rules: Vec<usize> = (0..RULES.len()).filter(|_| rng.random_bool(0.25)).collect();
        rules.shuffle(rng);
        Self {
            bound: if rng.random_bool(0.5) { 0.3 / offers.len() as f64 } else { 0.0 },
            offers,
            rules,
            discount_max: *[1.0, 0.7, 0.4].choose(rng).unwrap(),
            floor: *[0, 2000, 4500].choose(rng).unwrap(),
            law: ["ALLOWED", "DISCLOSE, disclosure_text_key: told", "FORBIDDEN"].choose(rng).unwrap(),
            policy: [
                "thompson: {}",
                "thompson: {}\n      linear: { precision: 1, a: 2, b: 0.2 }",
                "epsilon_greedy: { epsilon: 0.2 }\n      linear: { precision: 1, a: 2, b: 0.2 }",
                "merit: { steepness: 3 }",
                "uniform: {}",
                "fixed: { order: [] }",
            ]
            .choose(rng)
            .unwrap(),
        }
    }

    fn yaml(&self, order: &[usize]) -> String {
        let offers: String = order.iter().map(|&index| self.offers[index].yaml()).collect();
        let ids: Vec<_> = order.iter().map(|&index| self.offers[index].id.as_str()).collect();
        // A fixed order is the placement's own, which must not depend on the file here: it is named.
        let mut named: Vec<_> = self.offers.iter().map(|offer| offer.id.as_str()).collect();
        named.sort_unstable_by(|a, b| b.cmp(a));
        let named = named.join(", ");
        let policy = self.policy.replace("order: []", &format!("order: [{named}]"));
        let rules: String = self
            .rules
            .iter()
            // Attributes must not tell offers of one plan apart where the law forbids it: those rules stay away there.
            .filter(|&&rule| !(self.law == "FORBIDDEN" && RULES[rule].0.contains("user.")))
            .map(|&rule| {
                let legal = if is_legal(rule) { ", legal: true" } else { "" };
                format!("  - {{ id: rule-{rule}, expression: '{}'{legal} }}\n", RULES[rule].0)
            })
            .collect();
        let rules = if rules.is_empty() { String::new() } else { format!("rules:\n{rules}") };
        let slots = self.offers.len().min(3);
        // Of all offers together a share cannot be bounded.
        let bounded = self.offers.iter().any(|offer| offer.tag.is_none());
        let set = if bounded { ", sets: [{ id: shy, tags: [shy], min: 0.1, max: 0.7 }]" } else { "" };
        format!(
            "
reward_currency: SEK
rates: {{ EUR: 11 }}
markets:
  - {{ id: SE, currency_code: SEK, discount_max: {}, personalised_pricing: {} }}
  - {{ id: FI, currency_code: EUR }}
metrics: [{{ id: conversion, kind: COUNT }}]
plans:
  - {{ id: basic, floors: {{ SE: {{ currency_code: SEK, amount_minor: {} }} }} }}
  - {{ id: premium }}
offers:
{offers}
{rules}
placements:
  - id: paywall
    slots: {slots}
    offers: [{}]
    context:
      attributes:
        - name: tenure_days
          number: {{ min: 0, max: 1000, scaling: LOG }}
        - name: channel
          category: {{ values: [organic, email, paid] }}
    policy:
      {policy}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
    bounds: {{ floor: {}{set} }}
    groups: {{ uniform: 0.2, holdout: 0.2, holdout_order: [{named}] }}
",
            self.discount_max,
            self.law,
            self.floor,
            ids.join(", "),
            self.bound,
        )
    }

    /// Why an offer may not be shown; `None`: it may.
    fn reason(&self, offer: &Offer, moment: &Moment) -> Option<ExclusionReason> {
        use ExclusionReason as Reason;
        let Moment { request, user, .. } = moment;
        if offer.kind == "NONE" {
            return None;
        }
        let lapse_ms = user.lapse_ms(NOW);
        let (paid, _) = offer.price.unwrap_or_default();
        let trial = offer.kind == "TRIAL";
        let sold = offer.price.is_some() && request.market.is_some();
        let has_plan = user.current_plan.as_deref() == Some(offer.plan) && !offer.to_subscribers;
        let ms = |days: i64| (days * DAY_MS) as u64;
        let built_in = [
            (offer.paused, Reason::Paused),
            (offer.starts.is_some_and(|day| day > 0), Reason::NotStarted),
            (offer.ends.is_some_and(|day| day <= 0), Reason::Ended),
            (offer.platform.is_some_and(|platform| platform != request.platform), Reason::Platform),
            (!sold, Reason::NoPriceInMarket),
            (!trial && offer.discount() > self.discount_max, Reason::DiscountTooDeep),
            (!trial && offer.plan == "basic" && paid < self.floor, Reason::BelowFloor),
            (trial && user.trial_used, Reason::TrialUsed),
            (has_plan, Reason::CurrentPlan),
            (offer.kind == "WIN_BACK" && lapse_ms.is_none(), Reason::NotLapsed),
            (offer.lapse.zip(lapse_ms).is_some_and(|((min, _), lapse)| lapse < ms(min)), Reason::LapseTooShort),
            (offer.lapse.zip(lapse_ms).is_some_and(|((_, max), lapse)| lapse > ms(max)), Reason::LapseTooLong),
        ];
        if let Some((_, reason)) = built_in.into_iter().find(|(holds, _)| *holds) {
            return Some(reason);
        }
        let rules = self.rules.iter().filter(|&&rule| !(self.law == "FORBIDDEN" && RULES[rule].0.contains("user.")));
        rules.into_iter().find_map(|&rule| match (RULES[rule].1)(offer, moment) {
            Some(true) => None,
            Some(false) => Some(if is_legal(rule) { Reason::LegalRule } else { Reason::Rule }),
            None => Some(Reason::RuleError),
        })
    }
}

/// Every third rule is one that the law demands.
fn is_legal(rule: usize) -> bool {
    rule % 3 == 1
}

fn draw_offer(index: usize, rng: &mut ChaCha8Rng) -> Offer {
    let kind = *["TRIAL", "DISCOUNT", "WIN_BACK", "PLAN_CHANGE", "STANDARD", "STANDARD"].choose(rng).unwrap();
    let list = rng.random_range(40..120) * 100;
    let paid = if rng.random_bool(0.5) { list } else { list * rng.random_range(2..10) / 10 };
    let sometimes = |rng: &mut ChaCha8Rng, share: f64, day: i64| rng.random_bool(share).then_some(day);
    let starts_day = rng.random_range(-3..=3);
    let starts = sometimes(rng, 0.2, starts_day);
    let length = rng.random_range(1..=4);
    let ends = sometimes(rng, 0.2, starts.unwrap_or(-2) + length);
    let min = rng.random_range(0..40);
    Offer {
        id: format!("offer-{index:02}"),
        kind,
        plan: ["basic", "premium"].choose(rng).unwrap(),
        price: rng.random_bool(0.9).then_some((paid, list)),
        platform: rng.random_bool(0.2).then(|| *["web", "ios"].choose(rng).unwrap()),
        paused: rng.random_bool(0.05),
        starts,
        ends,
        lapse: (kind == "WIN_BACK" && rng.random_bool(0.7)).then_some((min, min + 20)),
        to_subscribers: kind == "DISCOUNT" && rng.random_bool(0.3),
        group: rng.random_bool(0.4).then(|| *["red", "blue"].choose(rng).unwrap()),
        tag: rng.random_bool(0.3).then_some("shy"),
    }
}

impl Moment {
    fn draw(world: &World, rng: &mut ChaCha8Rng) -> Self {
        let tenure_days = f64::from(rng.random_range(0..=1000));
        let channel = (*["organic", "email", "paid"].choose(rng).unwrap()).to_owned();
        let ids = world.offers.iter().map(|offer| offer.id.as_str()).chain(["nobody-knows"]);
        let candidates = if rng.random_bool(0.3) {
            ids.filter(|_| rng.random_bool(0.7)).map(Arc::from).collect()
        } else {
            Vec::new()
        };
        let lapse = Instant::from_ms(NOW.as_ms() - rng.random_range(-2..80) * DAY_MS);
        let request = RankRequest {
            market: rng.random_bool(0.95).then(|| "SE".into()),
            platform: (*["web", "ios", ""].choose(rng).unwrap()).to_owned(),
            attributes: vec![AttributeValue::Number(tenure_days), AttributeValue::Category(channel.as_str().into())],
            candidates,
            slots: rng.random_range(1..=world.offers.len().min(3) as u32),
            include_tail: true,
        };
        let user = UserState {
            trial_used: rng.random(),
            current_plan: rng.random_bool(0.3).then(|| (*["basic", "premium"].choose(rng).unwrap()).into()),
            lapsed_at: rng.random_bool(0.5).then_some(lapse),
            group: *[Group::Decisioning, Group::Decisioning, Group::Uniform, Group::Holdout].choose(rng).unwrap(),
            ..UserState::default()
        };
        Self { request, user, tenure_days, channel }
    }
}

fn learned(world: &World, order: &[usize]) -> PlacementSnapshot {
    let (catalog, placement) = scene::placement(&world.yaml(order));
    // Learned by offer id, which is the order of the arms whatever the file's.
    let statistics = scene::learned(&placement, 20, &mut ChaCha8Rng::seed_from_u64(7));
    scene::snapshot(&catalog, &statistics)
}

fn assert_keeps(world: &World, moment: &Moment, decision: &Decision, what: &str) {
    let by_id: BTreeMap<&str, &Offer> = world.offers.iter().map(|offer| (offer.id.as_str(), offer)).collect();
    let drawn: Vec<&str> = decision.slots.iter().map(|slot| &*decision.drawn(slot).offer_id).collect();
    let tail: Vec<&str> = decision.tail.iter().map(|&arm| &*decision.arms[arm].offer_id).collect();
    let shown: Vec<&str> = drawn.iter().chain(&tail).copied().collect();
    for id in &shown {
        assert_eq!(world.reason(by_id[id], moment), None, "{what} shows {id}\n{moment:#?}\n{}", world.yaml(&[0]));
    }
    for group in ["red", "blue"] {
        let of_group = shown.iter().filter(|id| by_id[**id].group == Some(group) && by_id[**id].kind != "NONE");
        assert!(of_group.count() <= 1, "{what} shows two of {group}: {shown:?}");
    }
    let distinct: std::collections::BTreeSet<_> = shown.iter().collect();
    assert_eq!(distinct.len(), shown.len(), "{what}: {shown:?}");
}

#[test]
fn nothing_is_offered_that_may_not_be_and_probabilities_are_of_what_may() {
    let worlds = scale::tenth_of(4_000);
    let mut excluded: BTreeMap<ExclusionReason, u64> = BTreeMap::new();
    let (mut neutral, mut personalised) = (0, 0);
    for seed in 0..worlds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let world = World::draw(&mut rng);
        let order: Vec<usize> = (0..world.offers.len()).collect();
        let snapshot = learned(&world, &order);
        for _ in 0..4 {
            let moment = Moment::draw(&world, &mut rng);
            let decision = decide(&snapshot, &moment.request, &moment.user, NOW, rng.random());
            assert_keeps(&world, &moment, &decision, "the slate");
            let fallback = fall_back(&decision, &snapshot.placement, moment.request.slots, true);
            assert_keeps(&world, &moment, &fallback, "the fallback order");
            for slot in &decision.slots {
                let sum: f64 = slot.arms.iter().map(|arm| arm.probability).sum();
                assert!((sum - 1.0).abs() <= SUM_TOLERANCE, "{sum}");
            }
            // Every candidate is either eligible or has its reason.
            let asked = |offer: &&Offer| {
                moment.request.candidates.is_empty() || moment.request.candidates.iter().any(|id| **id == *offer.id)
            };
            let mut expected: BTreeMap<&str, ExclusionReason> = world
                .offers
                .iter()
                .filter(asked)
                .filter_map(|offer| Some((offer.id.as_str(), world.reason(offer, &moment)?)))
                .collect();
            if moment.request.candidates.iter().any(|id| &**id == "nobody-knows") {
                expected.insert("nobody-knows", ExclusionReason::UnknownOffer);
            }
            let told: BTreeMap<&str, ExclusionReason> =
                decision.exclusions.iter().map(|exclusion| (&*exclusion.offer_id, exclusion.reason)).collect();
            assert_eq!(told, expected, "{moment:#?}\n{}", world.yaml(&order));
            told.values().for_each(|&reason| *excluded.entry(reason).or_default() += 1);
            neutral += u64::from(decision.neutral_context);
            personalised += u64::from(decision.personalised);
            assert!(!decision.neutral_context || world.law == "FORBIDDEN");
        }
    }
    // A property that never meets what it is about proves nothing.
    assert_eq!(excluded.len(), 16, "every reason but those of what is kept of units occurs: {excluded:?}");
    assert!(neutral > 0 && personalised > 0, "{neutral} {personalised}");
}

#[test]
fn the_order_of_offers_in_the_file_changes_nothing() {
    for seed in 0..scale::tenth_of(1_000) {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000_000 + seed);
        let world = World::draw(&mut rng);
        let mut order: Vec<usize> = (0..world.offers.len()).collect();
        let snapshot = learned(&world, &order);
        order.shuffle(&mut rng);
        let shuffled = learned(&world, &order);
        let moment = Moment::draw(&world, &mut rng);
        let draw = rng.random();
        let decision = decide(&snapshot, &moment.request, &moment.user, NOW, draw);
        assert_eq!(decide(&shuffled, &moment.request, &moment.user, NOW, draw), decision, "{}", world.yaml(&order));
    }
}

/// What is left out changes what the others are worth choosing: the PMF is that of the eligible arms as if there were no
/// others, and not a share of the one over all.
#[test]
fn the_probability_of_being_best_is_over_what_may_be_shown() {
    let mut compared = 0;
    for seed in 0..scale::tenth_of(1_000) {
        let mut rng = ChaCha8Rng::seed_from_u64(2_000_000 + seed);
        let world = World::draw(&mut rng);
        let order: Vec<usize> = (0..world.offers.len()).collect();
        let snapshot = learned(&world, &order);
        let moment = Moment::draw(&world, &mut rng);
        let decision = decide(&snapshot, &moment.request, &moment.user, NOW, seed);
        let Some(lead) = decision.slots.first() else { continue };
        let eligible: Vec<Arc<str>> = decision.arms.iter().map(|arm| arm.offer_id.clone()).collect();
        let only = RankRequest { candidates: eligible, ..moment.request.clone() };
        let alone = decide(&snapshot, &only, &moment.user, NOW, seed);
        assert_eq!((&alone.slots, &alone.tail), (&decision.slots, &decision.tail));
        if snapshot.placement.policy.selection != Selection::Thompson || moment.user.group != Group::Decisioning {
            continue;
        }
        let scores: Vec<ScoreDistribution> = lead.arms.iter().map(|arm| arm.score).collect();
        let reference = thompson_pmf_reference(&scores);
        let distance: f64 =
            reference.iter().zip(&lead.arms).map(|(p, arm)| (p - arm.policy_probability).abs()).sum::<f64>() / 2.0;
        assert!(distance <= REFERENCE_TOLERANCE, "{distance}");
        compared += u64::from(decision.arms.len() > 1 && decision.arms.len() < world.offers.len());
    }
    assert!(compared > 5, "{compared}");
}
