//! Filling slots: for each, the probabilities of the arms that remain, bounded, and a draw from exactly those.

use super::{
    beliefs::Beliefs,
    bounds::{BandEffect, Bounded, Relaxed, SlotBounds, projection::Polytope},
    catalog::{Placement, Selection},
    decide::{EligibleArm, SlotArm, SlotDraw},
    group::Group,
    pmf::{distribution::ScoreDistribution, serving::ThompsonGrid},
    policy::{self, Choice},
    slate,
    unit::lease::Standing,
};

/// What slots are filled from.
pub(super) struct Contest<'a, B> {
    pub(super) placement: &'a Placement,
    pub(super) beliefs: &'a B,
    /// Indices of the arms in the placement, ascending.
    pub(super) eligible: &'a [usize],
    /// The same arms.
    pub(super) arms: &'a [EligibleArm],
    pub(super) context: &'a [f64],
}

impl<B: Beliefs> Contest<'_, B> {
    /// Slot by slot: the PMF over what is not drawn yet is computed anew, bounded, and drawn from.
    pub(super) fn draw_slots(
        &self,
        lead: Vec<ScoreDistribution>,
        slots: u32,
        group: Group,
        seed: u64,
    ) -> (Vec<SlotDraw>, Vec<BandEffect>) {
        let arms = self.arms;
        let (mut draws, mut bands): (Vec<SlotDraw>, _) = (Vec::new(), Vec::new());
        let mut remaining = vec![true; arms.len()];
        let mut compared = self.compare_all(lead, group, &remaining);
        for slot in 1..=slots {
            if !remaining.contains(&true) {
                break;
            }
            let (candidates, effects) = self.probabilities(slot, &mut compared, &remaining, group);
            bands.extend(effects);
            let draw = candidates.draw(&compared.scores, slate::uniform(seed, slot));
            let drawn = draw.arms[draw.drawn].arm;
            draws.push(draw);
            self.take_out(drawn, &mut remaining);
            if arms[drawn].ends_slate {
                break;
            }
        }
        (draws, bands)
    }

    /// The probabilities in the slot below these arms, for every arm: 0 for those that cannot be drawn there; empty where
    /// none can.
    pub(super) fn below(&self, lead: Vec<ScoreDistribution>, above: &[usize], group: Group) -> Vec<f64> {
        let mut remaining = vec![true; self.arms.len()];
        let mut compared = self.compare_all(lead, group, &remaining);
        above.iter().for_each(|&arm| self.take_out(arm, &mut remaining));
        if !remaining.contains(&true) || above.iter().any(|&arm| self.arms[arm].ends_slate) {
            return Vec::new();
        }
        let slot = 1 + above.len() as u32;
        let (Candidates { indices, bounded, .. }, _) = self.probabilities(slot, &mut compared, &remaining, group);
        let mut probabilities = vec![0.0; self.arms.len()];
        indices.into_iter().zip(bounded.pmf).for_each(|(arm, probability)| probabilities[arm] = probability);
        probabilities
    }

    /// What a slot draws from, and what bands came to.
    fn probabilities<'b>(
        &'b self,
        slot: u32,
        compared: &mut Compared<'b>,
        remaining: &[bool],
        group: Group,
    ) -> (Candidates, Vec<BandEffect>) {
        if let Some(scores) = self.scores_below_lead(slot) {
            *compared = self.compare_all(scores, group, remaining);
        }
        let Compared { scores, grid } = compared;
        let choice = Choice { placement_arms: self.eligible, scores, remaining };
        let of_all = policy::pmf(self.selection(group), &choice, grid);
        let mut indices = Vec::with_capacity(remaining.len());
        indices.extend((0..remaining.len()).filter(|&arm| remaining[arm]));
        let policy_pmf: Vec<f64> = indices.iter().map(|&arm| of_all[arm]).collect();
        let (bounded, effects) = match group {
            // Exempt from bounds, so that it shows what no policy and no promise had a part in.
            Group::Holdout => (Bounded { pmf: policy_pmf.clone(), relaxed: Relaxed::default() }, Vec::new()),
            Group::Decisioning | Group::Uniform => self.bound(&indices, slot, &policy_pmf),
        };
        (Candidates { indices, policy_pmf, bounded }, effects)
    }

    /// Takes out an arm that was drawn, and whatever it keeps out.
    fn take_out(&self, drawn: usize, remaining: &mut [bool]) {
        let arms = self.arms;
        arms.iter().zip(&mut *remaining).for_each(|(arm, remains)| *remains &= !arm.excludes(&arms[drawn]));
        remaining[drawn] = false;
    }

    /// The slots of a lease that stands: nothing is drawn, so each has one arm, with certainty.
    pub(super) fn repeat_slots(&self, lead: Vec<ScoreDistribution>, standing: &Standing) -> Vec<SlotDraw> {
        let mut scored = self.compared(lead);
        let mut slots = Vec::with_capacity(standing.arms.len());
        for (slot, index) in (1..).zip(&standing.arms) {
            let Ok(arm) = self.eligible.binary_search(index) else { continue };
            if let Some(scores) = self.scores_below_lead(slot) {
                scored = self.compared(scores);
            }
            let arms = vec![SlotArm { arm, score: scored[arm], policy_probability: 1.0, probability: 1.0 }];
            slots.push(SlotDraw { arms, drawn: 0, uniform: 0.0, relaxed: Relaxed::default() });
        }
        slots
    }

    /// What a group is decided by.
    fn selection(&self, group: Group) -> &Selection {
        match group {
            Group::Decisioning => &self.placement.policy.selection,
            Group::Uniform => &Selection::Uniform,
            Group::Holdout => &self.placement.groups.holdout_selection,
        }
    }

    /// Applies the placement's bounds to what remains; bands act on the lead.
    fn bound(&self, remaining: &[usize], slot: u32, policy_pmf: &[f64]) -> (Bounded, Vec<BandEffect>) {
        let bounds = &self.placement.bounds;
        let arms = || remaining.iter().map(|&arm| &self.arms[arm]);
        let polytope = Polytope {
            floors: arms().map(|arm| arm.floor).collect(),
            caps: arms().map(|arm| arm.cap).collect(),
            members: arms().map(|arm| arm.sets).collect(),
            totals: bounds.totals_in(slot),
        };
        let slot_bounds = SlotBounds { polytope, bounds };
        if slot == 1 && !bounds.bands.is_empty() {
            slot_bounds.keep_with_bands(policy_pmf, |band| self.beliefs.band(band))
        } else {
            (slot_bounds.keep(policy_pmf), Vec::new())
        }
    }

    /// Scores of the eligible arms in a slot below the lead; `None` where they are those of the lead.
    fn scores_below_lead(&self, slot: u32) -> Option<Vec<ScoreDistribution>> {
        let differ = slot > 1 && self.placement.slot_feature_count() > 0;
        differ.then(|| self.beliefs.scores(slot, self.eligible, self.context))
    }

    /// Scores of all slots, or of those from here on, prepared for a group's selection.
    fn compare_all(&self, scores: Vec<ScoreDistribution>, group: Group, remaining: &[bool]) -> Compared<'_> {
        let scores = self.compared(scores);
        let curves = self.eligible.iter().map(|&index| self.beliefs.curve(index));
        let grid = policy::grid(self.selection(group), &scores, curves, remaining);
        Compared { scores, grid }
    }

    /// Scores of the eligible arms in units of the objective.
    fn compared(&self, mut scores: Vec<ScoreDistribution>) -> Vec<ScoreDistribution> {
        for (score, arm) in scores.iter_mut().zip(self.arms) {
            *score = score.scaled_by(self.beliefs.scale(arm.worth));
        }
        scores
    }
}

/// Scores of the eligible arms in units of the objective, prepared for a selection.
struct Compared<'a> {
    scores: Vec<ScoreDistribution>,
    grid: ThompsonGrid<'a>,
}

/// What one slot draws from.
struct Candidates {
    /// The arms of the decision that remain.
    indices: Vec<usize>,
    /// The policy's probability of each.
    policy_pmf: Vec<f64>,
    /// What bounds make of it.
    bounded: Bounded,
}

impl Candidates {
    /// Draws; `scores` are of all arms of the decision.
    fn draw(self, scores: &[ScoreDistribution], uniform: f64) -> SlotDraw {
        let Self { indices, policy_pmf, bounded: Bounded { pmf, relaxed } } = self;
        let slot_arm = |((arm, policy_probability), &probability): ((usize, f64), &f64)| SlotArm {
            arm,
            score: scores[arm],
            policy_probability,
            probability,
        };
        let arms = indices.into_iter().zip(policy_pmf).zip(&pmf).map(slot_arm).collect();
        SlotDraw { arms, drawn: slate::draw(&pmf, uniform), uniform, relaxed }
    }
}
