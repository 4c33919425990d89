//! Where a decision that was made again differs from the one that was logged, field by field and to the last bit.

use crate::engine::{
    decide::{Decision, EligibleArm, SlotArm, SlotDraw},
    pmf::distribution::ScoreDistribution,
};
use std::fmt::Debug;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Which, such as `slots[1].arms[3].probability`.
    pub field: String,
    /// As logged.
    pub logged: String,
    /// As it came out again.
    pub recomputed: String,
}

/// Everything in which two decisions differ.
#[must_use]
pub fn between(logged: &Decision, recomputed: &Decision) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    let ids = |decision: &Decision| decision.arms.iter().map(|arm| arm.offer_id.clone()).collect::<Vec<_>>();
    let same_arms = found.compare("arms", &ids(logged), &ids(recomputed));
    found.compare("exclusions", &logged.exclusions, &recomputed.exclusions);
    found.compare("root", &logged.root, &recomputed.root);
    found.compare("lease_until", &logged.lease_until, &recomputed.lease_until);
    found.compare("personalised", &logged.personalised, &recomputed.personalised);
    found.compare("neutral_context", &logged.neutral_context, &recomputed.neutral_context);
    // Everything else is by index of arm.
    if same_arms {
        found.compare("tail", &logged.tail, &recomputed.tail);
        for (index, (logged, recomputed)) in logged.arms.iter().zip(&recomputed.arms).enumerate() {
            found.arm(&format!("arms[{index}]"), logged, recomputed);
        }
        found.compare("slots", &logged.slots.len(), &recomputed.slots.len());
        for (index, (logged, recomputed)) in logged.slots.iter().zip(&recomputed.slots).enumerate() {
            found.slot(&format!("slots[{index}]"), logged, recomputed);
        }
    }
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    /// Whether the two are the same.
    fn compare<T: PartialEq + Debug>(&mut self, field: &str, logged: &T, recomputed: &T) -> bool {
        let same = logged == recomputed;
        if !same {
            let (logged, recomputed) = (format!("{logged:?}"), format!("{recomputed:?}"));
            self.0.push(Difference { field: field.to_owned(), logged, recomputed });
        }
        same
    }

    fn number(&mut self, field: &str, logged: f64, recomputed: f64) {
        if logged.to_bits() != recomputed.to_bits() {
            let (logged, recomputed) = (format!("{logged:?}"), format!("{recomputed:?}"));
            self.0.push(Difference { field: field.to_owned(), logged, recomputed });
        }
    }

    fn arm(&mut self, field: &str, logged: &EligibleArm, recomputed: &EligibleArm) {
        self.compare(&format!("{field}.ends_slate"), &logged.ends_slate, &recomputed.ends_slate);
        self.compare(&format!("{field}.exclusion_group"), &logged.exclusion_group, &recomputed.exclusion_group);
        self.compare(&format!("{field}.price"), &logged.price, &recomputed.price);
        self.number(&format!("{field}.floor"), logged.floor, recomputed.floor);
        self.number(&format!("{field}.cap"), logged.cap, recomputed.cap);
        self.compare(&format!("{field}.sets"), &logged.sets, &recomputed.sets);
        self.number(&format!("{field}.expected_reward"), logged.expected_reward, recomputed.expected_reward);
        self.number(&format!("{field}.worth"), logged.worth, recomputed.worth);
    }

    fn slot(&mut self, field: &str, logged: &SlotDraw, recomputed: &SlotDraw) {
        self.number(&format!("{field}.uniform"), logged.uniform, recomputed.uniform);
        self.compare(&format!("{field}.relaxed"), &logged.relaxed, &recomputed.relaxed);
        let arms = |slot: &SlotDraw| slot.arms.iter().map(|arm| arm.arm).collect::<Vec<_>>();
        if self.compare(&format!("{field}.arms"), &arms(logged), &arms(recomputed)) {
            self.compare(&format!("{field}.drawn"), &logged.drawn, &recomputed.drawn);
            for (index, (logged, recomputed)) in logged.arms.iter().zip(&recomputed.arms).enumerate() {
                self.slot_arm(&format!("{field}.arms[{index}]"), logged, recomputed);
            }
        }
    }

    fn slot_arm(&mut self, field: &str, logged: &SlotArm, recomputed: &SlotArm) {
        if bits(&logged.score) != bits(&recomputed.score) {
            let (logged, recomputed) = (format!("{:?}", logged.score), format!("{:?}", recomputed.score));
            self.0.push(Difference { field: format!("{field}.score"), logged, recomputed });
        }
        self.number(&format!("{field}.policy_probability"), logged.policy_probability, recomputed.policy_probability);
        self.number(&format!("{field}.probability"), logged.probability, recomputed.probability);
    }
}

fn bits(score: &ScoreDistribution) -> (u8, [u64; 3]) {
    let (kind, numbers) = match *score {
        ScoreDistribution::Beta { alpha, beta, scale } => (0, [alpha, beta, scale]),
        ScoreDistribution::StudentT { degrees_of_freedom, location, scale } => {
            (1, [degrees_of_freedom, location, scale])
        }
        ScoreDistribution::Normal { mean, standard_deviation } => (2, [mean, standard_deviation, 0.0]),
    };
    (kind, numbers.map(f64::to_bits))
}
