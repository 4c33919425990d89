//! Deciding a logged decision again, by what its record tells or by what is learned from the log again, and saying to
//! the last bit where the two differ.
//!
//! The engine that serves decides here too. From the record alone everything is computed again but scores, which stand
//! in it. Where it cannot be told any more whom a decision was made for, only its draws are made again, among the arms
//! that were eligible.

use crate::{
    engine::{
        beliefs::Beliefs,
        bounds::BandInForce,
        catalog::{Catalog, Placement, Selection},
        decide::{Decision, ENGINE_VERSION, RankRequest, decide_by, draw_among},
        odds::Odds,
        pmf::{curve::ScoreCurve, distribution::ScoreDistribution},
        snapshot::PlacementSnapshot,
        user::UserState,
    },
    log::{identity::Identity, record::DecisionRecord},
    replay::slates::untold::Untold,
};
use std::{collections::BTreeMap, sync::Arc};

/// Shapes of scores that are remembered: a long log has few at a time.
const SHAPES_MAX: usize = 4096;

/// A decision as it was logged, with the catalog that it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The record.
    pub record: &'a DecisionRecord,
    /// The catalog at its revision.
    pub catalog: &'a Catalog,
    /// Its placement there.
    pub placement: &'a Placement,
}

/// Curves by the shape that they are of: making one takes longer than everything else.
#[derive(Debug, Default)]
pub struct Curves(BTreeMap<(u8, u64, u64), Arc<ScoreCurve>>);

/// What a record says of the arms of its placement.
#[derive(Debug)]
pub struct Told<'a> {
    decision: &'a Decision,
    /// Where each of the placement's arms stands among those of the decision.
    places: Vec<Option<usize>>,
    /// Of the placement's arms, as far as they are compared whole.
    curves: Vec<Arc<ScoreCurve>>,
}

impl Curves {
    fn of(&mut self, score: &ScoreDistribution) -> Arc<ScoreCurve> {
        let shape = match *score {
            ScoreDistribution::Beta { alpha, beta, .. } => (0, alpha.to_bits(), beta.to_bits()),
            ScoreDistribution::StudentT { degrees_of_freedom, .. } => (1, degrees_of_freedom.to_bits(), 0),
            ScoreDistribution::Normal { .. } => (2, 0, 0),
        };
        if self.0.len() >= SHAPES_MAX {
            self.0.clear();
        }
        self.0.entry(shape).or_insert_with(|| Arc::new(ScoreCurve::of(score))).clone()
    }
}

impl<'a> Told<'a> {
    /// Of a logged decision.
    #[must_use]
    pub fn of(logged: Logged<'a>, curves: &mut Curves) -> Self {
        let decision = &logged.record.decision;
        let arms = &logged.placement.arms;
        let place = |id: &str| decision.arms.binary_search_by(|arm| (*arm.offer_id).cmp(id)).ok();
        let places: Vec<_> = arms.iter().map(|arm| place(&arm.offer.id)).collect();
        let unknown = curves.of(&UNTOLD);
        let compared = decision.root.is_none() && logged.placement.policy.selection == Selection::Thompson;
        let mut told = Self { decision, places, curves: vec![unknown; arms.len()] };
        if compared {
            for arm in 0..arms.len() {
                if let Some(score) = told.score(1, arm) {
                    told.curves[arm] = curves.of(&score);
                }
            }
        }
        told
    }

    /// The decision before its draws, whatever was drawn, where slots have no scores of their own: those below the lead are
    /// told of what was not drawn above alone.
    ///
    /// # Errors
    /// Where another version of the engine made it.
    pub fn odds<'b>(&'b self, logged: Logged<'b>, identity: &'b Identity) -> Result<Odds<'b, Self>, Untold> {
        odds((logged.catalog, logged.placement, self), logged.record, identity)
    }

    /// The score of one of the placement's arms in a slot from 1, if the record tells it: that slot of a repeat tells one
    /// arm's alone, which those below it tell as well where all slots have the same scores.
    fn score(&self, slot: u32, arm: usize) -> Option<ScoreDistribution> {
        let place = self.places[arm]?;
        let mut told = self.decision.slots.iter().skip(slot as usize - 1).flat_map(|slot| &slot.arms);
        told.find(|told| told.arm == place).map(|told| told.score)
    }
}

/// Stands in for what a record does not tell: whatever comes of it differs from what was logged, or does not matter.
const UNTOLD: ScoreDistribution = ScoreDistribution::Normal { mean: 0.0, standard_deviation: 1.0 };

impl Beliefs for Told<'_> {
    fn scores(&self, slot: u32, arms: &[usize], _context: &[f64]) -> Vec<ScoreDistribution> {
        arms.iter().map(|&arm| self.score(slot, arm).unwrap_or(UNTOLD)).collect()
    }

    fn expected_reward(&self, arm: usize, _lead: &ScoreDistribution) -> f64 {
        self.places[arm].map_or(0.0, |place| self.decision.arms[place].expected_reward)
    }

    fn scale(&self, _worth: f64) -> f64 {
        // A record tells scores as they were compared.
        1.0
    }

    fn curve(&self, arm: usize) -> &ScoreCurve {
        &self.curves[arm]
    }

    fn band(&self, band: usize) -> BandInForce {
        // A band that a user could not be held to is told of no one, and asked of no one.
        let told = self.decision.bands.iter().find(|effect| effect.index == band);
        told.map_or(BandInForce::FREE, |effect| effect.in_force)
    }
}

/// What comes of a logged decision by what its record tells of scores.
#[must_use]
pub fn by_record(logged: Logged<'_>, curves: &mut Curves) -> Decision {
    again((logged.catalog, logged.placement, &Told::of(logged, curves)), logged.record)
}

/// A logged decision before its draws, by what was learned before it.
///
/// # Errors
/// Where another version of the engine made it.
pub fn odds_by_snapshot<'a>(
    record: &DecisionRecord,
    identity: &Identity,
    snapshot: &'a PlacementSnapshot,
) -> Result<Odds<'a, PlacementSnapshot>, Untold> {
    odds((&snapshot.catalog, &snapshot.placement, snapshot), record, identity)
}

fn odds<'a, B: Beliefs>(
    decided_by: (&Catalog, &'a Placement, &'a B),
    record: &DecisionRecord,
    identity: &Identity,
) -> Result<Odds<'a, B>, Untold> {
    if record.engine_version != ENGINE_VERSION {
        return Err(Untold::OtherEngine { version: record.engine_version });
    }
    let (request, user) = asked(record, identity);
    Ok(Odds::of(decided_by, &request, &user, record.decided_at))
}

/// What comes of a logged decision by what was learned before it.
#[must_use]
pub fn by_snapshot(record: &DecisionRecord, snapshot: &PlacementSnapshot) -> Decision {
    again((&snapshot.catalog, &snapshot.placement, snapshot), record)
}

fn again((catalog, placement, beliefs): (&Catalog, &Placement, &impl Beliefs), record: &DecisionRecord) -> Decision {
    let Some(identity) = &record.identity else { return drawn_again((placement, beliefs), record) };
    let (request, user) = asked(record, identity);
    decide_by((catalog, placement, beliefs), &request, &user, record.decided_at, record.seed)
}

/// What was asked, and by whom.
fn asked(record: &DecisionRecord, identity: &Identity) -> (RankRequest, UserState) {
    let request = RankRequest {
        market: record.market.clone(),
        platform: record.platform.clone(),
        attributes: identity.attributes.iter().map(|(_, value)| value.clone()).collect(),
        candidates: record.candidates.clone(),
        slots: record.slots_requested,
        include_tail: record.include_tail,
    };
    (request, UserState { group: record.group, ..identity.user.clone() })
}

/// The decision with its slots drawn again among the arms that were eligible.
fn drawn_again((placement, beliefs): (&Placement, &impl Beliefs), record: &DecisionRecord) -> Decision {
    let arms = &record.decision.arms;
    let mut decision = record.decision.clone();
    let indices: Option<Vec<usize>> = arms.iter().map(|arm| placement.arm_index(&arm.offer_id)).collect();
    // The slots of a repeat are those of its lease, which whom it was made for had.
    if decision.root.is_none() {
        let context = match decision.neutral_context {
            true => placement.context.encode(&placement.context.neutral()),
            false => placement.context.features(&record.attribute_codes),
        };
        let slots = (record.slots_requested, record.group, record.seed);
        // An arm that the placement does not have cannot have been eligible.
        let drawn = indices.map(|indices| draw_among((placement, beliefs), (&indices, arms), &context, slots));
        (decision.slots, decision.bands) = drawn.unwrap_or_default();
    }
    decision
}
