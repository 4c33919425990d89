//! The statistics are a fold of the log, to the last bit: in one batch or many, stored and read again in between, with
//! forgetting done late or early. What is reported and taken back again is as if it had never been.
//!
//! Logs are random but valid: every record is judged by the ledger it changes, as the service judges it, so reports
//! come twice, too late, in the wrong order, and for slots that nobody saw.

use crate::{
    scale,
    scene::{self, NOW},
};
use offer_ranker::{
    engine::{
        catalog::{Catalog, LearningMode, Placement},
        instant::Instant,
        learn::{Change, PartitionStatistics, pooled_moments},
        ledger::{Ledger, LedgerState, Outcome, Windows},
        math::double_double::Dd,
        posterior::{beta::BetaPosterior, moments::Moments},
        snapshot::{Features, PlacementSnapshot, Posterior},
    },
    log::statistics_codec,
    store::StoredStatistics,
};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const HALF_LIFE_S: u64 = 3600;

/// How a placement learns.
#[derive(Clone, Copy, Debug)]
struct Kind {
    linear: bool,
    mode: LearningMode,
    all_slots: bool,
    half_life_s: Option<u64>,
}

/// Every way to learn.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for linear in [false, true] {
        for mode in [LearningMode::Immediate, LearningMode::AtMaturity] {
            for all_slots in [false, true] {
                for half_life_s in [None, Some(HALF_LIFE_S)] {
                    kinds.push(Kind { linear, mode, all_slots, half_life_s });
                }
            }
        }
    }
    kinds
}

fn world(kind: Kind) -> (Arc<Catalog>, Arc<Placement>) {
    let Kind { linear, mode, all_slots, half_life_s } = kind;
    // A Beta posterior takes rewards from 0 to 1; a linear one also amounts that do not fit into the same digits.
    let (policy, reward) = if linear {
        (
            "linear: { precision: 0.5, a: 3, b: 2 }",
            "{ terms: [{ metric: conversion }, { metric: score, weight: 0.1 }] }",
        )
    } else {
        ("beta: { prior: { alpha: 2, beta: 5 } }", "{ terms: [{ metric: conversion, weight: 0.7 }], min: 0, max: 1 }")
    };
    let mode = if mode == LearningMode::Immediate { "IMMEDIATE" } else { "AT_MATURITY" };
    let slots = if all_slots { "ALL" } else { "LEAD" };
    let half_life = half_life_s.map_or_else(String::new, |half_life_s| format!(", half_life_s: {half_life_s}"));
    scene::placement(&format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
metrics: [{{ id: conversion, kind: COUNT }}, {{ id: score, kind: NUMBER }}]
offers:
  - {{ id: annual, kind: STANDARD, plan: a, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: monthly, kind: STANDARD, plan: m, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
  - {{ id: none, kind: NONE }}
  - {{ id: trial, kind: TRIAL, plan: t, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 9 }} }} }} }}
placements:
  - id: paywall
    slots: 3
    offers: [annual, monthly, none, trial]
    context:
      attributes:
        - {{ name: tenure, number: {{ min: 0, max: 10 }} }}
        - {{ name: channel, category: {{ values: [organic, paid] }} }}
    policy: {{ {policy} }}
    reward: {reward}
    attribution_window_s: 3600
    grace_s: 600
    revision_window_s: 90000
    learning: {{ mode: {mode}, slots: {slots}{half_life} }}
"
    ))
}

/// One record of a log, as the learner folds it.
#[derive(Clone, Debug)]
struct Step {
    decision: usize,
    decided_at: Instant,
    before: Option<LedgerState>,
    after: LedgerState,
    context: Vec<f64>,
}

impl Step {
    fn change(&self) -> Change<'_> {
        let Self { decided_at, before, after, context, .. } = self;
        Change { decided_at: *decided_at, before: before.as_ref(), after, context, holdout: false }
    }
}

/// A decision and what became of it so far.
struct Open {
    ledger: Ledger,
    context: Vec<f64>,
}

/// Writes a random log.
struct Scribe<'a> {
    placement: &'a Placement,
    rng: ChaCha8Rng,
    now: Instant,
    decisions: Vec<Open>,
    steps: Vec<Step>,
}

/// A log of this placement, with gaps of up to some twenty half-lives between records.
fn random_log(placement: &Placement, seed: u64, records: usize) -> Vec<Step> {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scribe = Scribe { placement, rng, now: NOW, decisions: Vec::new(), steps: Vec::new() };
    while scribe.steps.len() < records {
        let gap_s = if scribe.rng.random_bool(0.03) { 20 * HALF_LIFE_S } else { 300 };
        scribe.now = scribe.now.plus_ms(scribe.rng.random_range(0..gap_s * 1000));
        scribe.close();
        match scribe.rng.random_range(0..10) {
            0..2 => scribe.decide(),
            2..8 => scribe.outcome(),
            _ => scribe.exposure(),
        }
    }
    scribe.now = scribe.now.plus_s(100 * HALF_LIFE_S);
    scribe.close();
    scribe.steps
}

impl Scribe<'_> {
    fn decide(&mut self) {
        let mut offers: Vec<Arc<str>> = self.placement.arms.iter().map(|arm| arm.offer.id.clone()).collect();
        offers.shuffle(&mut self.rng);
        offers.truncate(self.rng.random_range(1..=3));
        let decided_at = self.now;
        let lengths = self.placement.windows;
        let ledger = Ledger {
            sequence: 0,
            decision_offset: self.steps.len() as u64,
            windows: Windows {
                decided_at,
                attribution_ends_at: decided_at.plus_s(lengths.attribution_s),
                closes_at: decided_at.plus_s(lengths.attribution_s + lengths.grace_s),
                revisions_end_at: decided_at.plus_s(lengths.revision_s),
            },
            offers,
            shown_assumed: self.rng.random_bool(0.7),
            exposed: None,
            outcomes: BTreeMap::new(),
            closed: false,
            holdout: false,
        };
        let context = if self.placement.feature_count() == 1 {
            vec![1.0]
        } else {
            self.placement.context.encode(&scene::attributes(self.placement, &mut self.rng))
        };
        let decision = self.decisions.len();
        let after = ledger.state();
        self.steps.push(Step { decision, decided_at, before: None, after, context: context.clone() });
        self.decisions.push(Open { ledger, context });
    }

    /// Mostly of one of the last decisions, whose windows are open.
    fn some_decision(&mut self) -> Option<usize> {
        let count = self.decisions.len();
        let recent = if self.rng.random_bool(0.9) { count.min(8) } else { count };
        (count > 0).then(|| self.rng.random_range(count - recent..count))
    }

    fn outcome(&mut self) {
        let Some(decision) = self.some_decision() else { return };
        let ledger = &self.decisions[decision].ledger;
        let slots = ledger.offers.len() as u32;
        let revises = self.rng.random_bool(0.4).then(|| format!("outcome-{}", self.rng.random_range(0..4)));
        // Mostly of what the outcome it names is of, as a revision must be; otherwise it is refused or never counts.
        let revised = revises.as_ref().and_then(|id| ledger.outcomes.get(id)).filter(|_| self.rng.random_bool(0.9));
        let (slot, metric) = match revised {
            Some(revised) => (revised.slot, revised.metric.as_str()),
            None => {
                let metric = if self.rng.random_bool(0.5) { "conversion" } else { "score" };
                (self.rng.random_bool(0.8).then(|| self.rng.random_range(1..=slots)), metric)
            }
        };
        // Amounts of very different sizes, so that sums round.
        let value = match metric {
            "conversion" => f64::from(self.rng.random_range(0..3_u8)),
            _ => self.rng.random_range(-1.0..1.0) * [1e-3, 1.0, 1e6][self.rng.random_range(0..3)],
        };
        let after_ms = self.rng.random_range(0..4_000_000);
        let outcome = Outcome {
            slot,
            metric: metric.to_owned(),
            reported_value: value,
            currency: None,
            value,
            rate: 1.0,
            occurred_at: ledger.windows.decided_at.plus_ms(after_ms).min(self.now),
            occurred_at_reported: true,
            revises,
        };
        let id = format!("outcome-{}", self.rng.random_range(0..6));
        let mut after = ledger.clone();
        if after.report_outcome(&id, outcome, self.now).is_change() {
            self.advance(decision, after);
        }
    }

    fn exposure(&mut self) {
        let Some(decision) = self.some_decision() else { return };
        let ledger = &self.decisions[decision].ledger;
        let slots: BTreeSet<u32> = (1..=ledger.offers.len() as u32).filter(|_| self.rng.random_bool(0.5)).collect();
        let mut after = ledger.clone();
        if after.report_exposure(&slots, self.now).is_change() {
            self.advance(decision, after);
        }
    }

    fn close(&mut self) {
        for decision in 0..self.decisions.len() {
            if let Some(closed) = self.decisions[decision].ledger.close(self.now) {
                self.advance(decision, closed);
            }
        }
    }

    fn advance(&mut self, decision: usize, after: Ledger) {
        let open = &mut self.decisions[decision];
        self.steps.push(Step {
            decision,
            decided_at: open.ledger.windows.decided_at,
            before: Some(open.ledger.state()),
            after: after.state(),
            context: open.context.clone(),
        });
        open.ledger = after;
    }
}

fn fold<'a>(placement: &Placement, steps: impl IntoIterator<Item = &'a Step>) -> PartitionStatistics {
    let mut statistics = PartitionStatistics::default();
    for step in steps {
        statistics.fold(placement, &step.change());
    }
    statistics
}

/// The bytes of every arm: what "to the last bit" means.
fn bytes(statistics: &PartitionStatistics) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
    let arms = statistics.arms.iter().map(|(id, arm)| (id.to_string(), statistics_codec::encode_arm(arm)));
    (statistics_codec::encode_shared(statistics), arms.collect())
}

/// Folds in batches. After each, only the arms that changed are written, as a commit writes them, and the next batch
/// starts from what a new process would read.
fn fold_in_batches(placement: &Placement, steps: &[Step], cut: f64, rng: &mut ChaCha8Rng) -> PartitionStatistics {
    let mut stored = StoredStatistics::default();
    let mut rest = steps;
    while !rest.is_empty() {
        let mut statistics = statistics_codec::decode(&stored, placement.feature_count()).unwrap();
        let mut changed = BTreeSet::new();
        while let Some((step, later)) = rest.split_first() {
            changed.extend(statistics.fold(placement, &step.change()));
            rest = later;
            if rng.random_bool(cut) {
                break;
            }
        }
        stored.shared = statistics_codec::encode_shared(&statistics);
        let mut arms: BTreeMap<String, Vec<u8>> = stored.arms.into_iter().collect();
        arms.extend(changed.iter().map(|id| (id.to_string(), statistics_codec::encode_arm(&statistics.arms[id]))));
        stored.arms = arms.into_iter().collect();
    }
    statistics_codec::decode(&stored, placement.feature_count()).unwrap()
}

#[test]
fn one_batch_or_many_with_restarts_in_between_give_the_same_bits() {
    for kind in kinds() {
        let (_, placement) = world(kind);
        for seed in 0..scale::tenth_of(100) {
            let steps = random_log(&placement, seed, 300);
            let whole = bytes(&fold(&placement, &steps));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for cut in [1.0, 0.2, 0.02] {
                let batches = fold_in_batches(&placement, &steps, cut, &mut rng);
                assert_eq!(bytes(&batches), whole, "{kind:?}, seed {seed}, cuts {cut}");
            }
        }
    }
}

#[test]
fn slots_that_a_placement_no_longer_has_teach_nothing_where_the_slot_is_a_feature() {
    for kind in kinds() {
        let (_, placement) = world(kind);
        let steps = random_log(&placement, 6, 300);
        assert!(steps.iter().any(|step| step.after.slots.len() == 3));
        for slots in 1..=3_u8 {
            let narrow = Placement { slots: slots.into(), ..(*placement).clone() };
            let mut cut = steps.clone();
            for state in cut.iter_mut().flat_map(|step| step.before.iter_mut().chain([&mut step.after])) {
                state.slots.truncate(slots.into());
            }
            let same = bytes(&fold(&narrow, &steps)) == bytes(&fold(&narrow, &cut));
            // A Beta posterior is told of what was shown in any slot alike.
            let counts_any_slot = !kind.linear && kind.all_slots && slots < 3;
            assert_eq!(same, !counts_any_slot, "{kind:?}, {slots} slots");
        }
    }
}

#[test]
fn random_logs_hold_every_kind_of_change() {
    let kind = Kind { linear: true, mode: LearningMode::Immediate, all_slots: true, half_life_s: None };
    let (_, placement) = world(kind);
    let steps: Vec<Step> = (0..10).flat_map(|seed| random_log(&placement, seed, 300)).collect();
    let count = |holds: &dyn Fn(&LedgerState, &LedgerState) -> bool| {
        steps.iter().filter(|step| step.before.as_ref().is_some_and(|before| holds(before, &step.after))).count()
    };
    let lead = |state: &LedgerState| state.slots[0].clone();
    let many = 20;
    assert!(count(&|before, after| !before.closed && after.closed) > many);
    assert!(count(&|before, after| before.closed && before.slots != after.slots) > many, "late revisions");
    assert!(count(&|before, after| before.totals != after.totals) > many, "outcomes of whole decisions");
    assert!(count(&|before, after| lead(before).shown && !lead(after).shown) > many, "taken back");
    assert!(count(&|before, after| !lead(before).shown && lead(after).shown) > many, "shown after all");
    assert!(count(&|before, after| before == after) > many, "revisions that wait for their original");
}

#[test]
fn outcomes_in_any_order_add_up_to_the_same_state() {
    let (_, placement) = world(kinds()[0]);
    let scribe = |seed| {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Scribe { placement: &placement, rng, now: NOW, decisions: Vec::new(), steps: Vec::new() }
    };
    for seed in 0..scale::tenth_of(1000) {
        let mut scribe = scribe(seed);
        scribe.decide();
        let mut again = scribe.decisions[0].ledger.clone();
        (0..12).for_each(|_| scribe.outcome());
        let told = &scribe.decisions[0].ledger;
        let mut outcomes: Vec<_> = told.outcomes.iter().collect();
        outcomes.shuffle(&mut scribe.rng);
        for (id, outcome) in outcomes {
            let judgement = again.report_outcome(id, outcome.clone(), NOW);
            // A revision of another metric or slot is refused where it comes second, and adds nothing where it comes
            // first.
            assert!(judgement.is_change() || outcome.revises.is_some(), "{judgement:?}");
        }
        assert_eq!(again.state(), told.state());
    }
}

/// Moves every arm to a landmark at once, half-life by half-life, as an impatient learner would.
fn hurry(statistics: &mut PartitionStatistics, now: Instant) {
    let landmark = now.as_ms().div_euclid(HALF_LIFE_S as i64 * 1000);
    for arm in statistics.arms.values_mut() {
        while arm.landmark < landmark {
            arm.moments.scale(0.5);
            arm.landmark += 1;
        }
    }
}

#[test]
fn forgetting_late_is_forgetting_early_to_the_last_bit() {
    // Gaps add up to some 100 half-lives here: far from the 2^-1022 at which doubles lose digits.
    for kind in kinds().into_iter().filter(|kind| kind.half_life_s.is_some()) {
        let (_, placement) = world(kind);
        for seed in 0..scale::tenth_of(100) {
            let steps = random_log(&placement, 1000 + seed, 200);
            let mut lazy = PartitionStatistics::default();
            let mut eager = PartitionStatistics::default();
            for step in &steps {
                lazy.fold(&placement, &step.change());
                eager.fold(&placement, &step.change());
                let now = eager.latest_decided_at.unwrap();
                hurry(&mut eager, now);
            }
            for arm in &placement.arms {
                let pooled = |statistics: &PartitionStatistics| {
                    pooled_moments(&placement, std::slice::from_ref(statistics), &arm.offer.id).to_parts()
                };
                assert_eq!(pooled(&lazy), pooled(&eager), "{kind:?}, seed {seed}, {}", arm.offer.id);
            }
            let latest = lazy.latest_decided_at.unwrap();
            hurry(&mut lazy, latest);
            assert_eq!(bytes(&lazy), bytes(&eager), "{kind:?}, seed {seed}");
        }
    }
}

fn sums(moments: &Moments) -> Vec<Dd> {
    moments.to_parts().chunks_exact(2).map(|pair| Dd::from_parts(pair[0], pair[1])).collect()
}

#[test]
fn what_is_shown_and_taken_back_is_as_if_it_had_never_been() {
    for kind in kinds() {
        let (_, placement) = world(kind);
        for seed in 0..scale::tenth_of(100) {
            let steps = random_log(&placement, 2000 + seed, 200);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let decisions = steps.iter().map(|step| step.decision).max().unwrap() + 1;
            let gone: BTreeSet<usize> = (0..decisions).filter(|_| rng.random_bool(0.2)).collect();
            let mut without = fold(&placement, steps.iter().filter(|step| !gone.contains(&step.decision)));
            // At the end of the log, every state of these decisions goes back to nothing shown.
            let last = gone.iter().map(|decision| steps.iter().rfind(|step| step.decision == *decision).unwrap());
            let undo = last.map(|step| {
                let mut after = step.after.clone();
                after.slots.iter_mut().for_each(|slot| slot.shown = false);
                Step { before: Some(step.after.clone()), after, ..step.clone() }
            });
            let undo: Vec<Step> = undo.collect();
            let mut with = fold(&placement, steps.iter().chain(&undo));
            // Both fade to the same time, though the latest decision may be one of those gone.
            without.latest_decided_at = with.latest_decided_at.max(without.latest_decided_at);
            with.latest_decided_at = without.latest_decided_at;
            // Sums of pairs keep 104 bits: each of fewer than 1,000 additions and halvings leaves at most 2^-104 =
            // 5e-32 of the largest sum on the way. The largest possible are 1,000 squares of (0.1 * 6e6)^2.
            let largest = if kind.linear { 4e14 } else { 1e3 };
            for arm in &placement.arms {
                let id = &arm.offer.id;
                let pooled = |statistics| sums(&pooled_moments(&placement, std::slice::from_ref(statistics), id));
                let (with_sums, without_sums) = (pooled(&with), pooled(&without));
                for (with, without) in with_sums.into_iter().zip(without_sums) {
                    let residue = (with - without).to_f64().abs();
                    assert!(residue <= 1e3 * 5e-32 * largest, "{kind:?}, seed {seed}: {residue:e}");
                }
                let shown = |statistics: &PartitionStatistics| statistics.arms.get(id).map_or(0, |arm| arm.shown);
                assert_eq!(shown(&with), shown(&without), "{kind:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn taking_everything_back_leaves_exactly_the_prior() {
    for kind in kinds() {
        let (catalog, placement) = world(kind);
        let prior = scene::snapshot(&catalog, &PartitionStatistics::default());
        let steps = random_log(&placement, 3, 1);
        for step in steps.iter().filter(|step| step.before.is_none()) {
            let mut shown = step.after.clone();
            shown.closed = true;
            shown.slots.iter_mut().for_each(|slot| {
                slot.shown = true;
                slot.totals.insert("conversion".to_owned(), 1.0);
            });
            let mut hidden = shown.clone();
            hidden.slots.iter_mut().for_each(|slot| slot.shown = false);
            let observed = Step { after: shown.clone(), ..step.clone() };
            let taken_back = Step { before: Some(shown), after: hidden, ..step.clone() };
            let statistics = fold(&placement, [&observed, &taken_back]);
            for arm in statistics.arms.values() {
                assert_eq!((arm.shown, &arm.moments), (0, &Moments::new(placement.feature_count())));
                assert!(arm.totals.values().all(|total| *total == Dd::ZERO), "{:?}", arm.totals);
            }
            let features = Features::of_slot(&placement, &step.context, 1);
            let learned = scene::snapshot(&catalog, &statistics);
            for (before, after) in prior.beliefs.iter().zip(&learned.beliefs) {
                assert_eq!(before.score(&features), after.score(&features));
            }
        }
    }
}

/// What both families hold two of that only data raises: the shapes of a Beta posterior, shape and scale of the noise of
/// a linear one.
fn shapes(snapshot: &PlacementSnapshot, arm: usize) -> (f64, f64) {
    match &snapshot.beliefs[arm].posterior {
        &Posterior::Beta(BetaPosterior { alpha, beta }) => (alpha, beta),
        Posterior::Linear(posterior) => posterior.noise(),
    }
}

#[test]
fn forgetting_goes_to_the_prior_and_never_below_it() {
    for kind in kinds().into_iter().filter(|kind| kind.half_life_s.is_some()) {
        let (catalog, placement) = world(kind);
        let prior = scene::snapshot(&catalog, &PartitionStatistics::default());
        let mut statistics = fold(&placement, &random_log(&placement, 4, 300));
        let latest = statistics.latest_decided_at.unwrap();
        let mut before = scene::snapshot(&catalog, &statistics);
        for half_lives in (1..100).chain([1000, 1500]) {
            // Only time goes by: decisions of which nothing was shown.
            statistics.latest_decided_at = Some(latest.plus_s(half_lives * HALF_LIFE_S));
            let after = scene::snapshot(&catalog, &statistics);
            for arm in 0..placement.arms.len() {
                let [least, after, before] = [&prior, &after, &before].map(|snapshot| shapes(snapshot, arm));
                assert!(least.0 <= after.0 && after.0 <= before.0, "{kind:?}: {least:?} {after:?} {before:?}");
                // The scale of noise is a small difference of large sums: 1e-12 of it is rounding.
                let slack = 1.0 + 1e-12;
                assert!(least.1 <= after.1 && after.1 <= before.1 * slack, "{kind:?}: {least:?} {after:?} {before:?}");
            }
            before = after;
        }
        let context = random_log(&placement, 5, 1).remove(0).context;
        let features = Features::of_slot(&placement, &context, 1);
        for (forgotten, prior) in before.beliefs.iter().zip(&prior.beliefs) {
            assert_eq!(forgotten.score(&features), prior.score(&features), "{kind:?}");
        }
    }
}

#[test]
fn a_half_life_halves_what_was_learned() {
    let kind = Kind { linear: false, mode: LearningMode::Immediate, all_slots: true, half_life_s: Some(HALF_LIFE_S) };
    let (_, placement) = world(kind);
    let statistics = fold(&placement, &random_log(&placement, 5, 300));
    let at = |half_lives: u64| {
        let mut later = statistics.clone();
        later.latest_decided_at = Some(statistics.latest_decided_at.unwrap().plus_s(half_lives * HALF_LIFE_S));
        pooled_moments(&placement, &[later], "trial")
    };
    let now = at(0);
    assert!(now.weight().to_f64() > 0.0);
    assert_eq!(at(1), now.scaled(0.5));
    assert_eq!(at(7), now.scaled(1.0 / 128.0));
}
