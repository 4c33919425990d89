//! The loan offers: logs of a policy that prefers the dearest rate that the customer's risk class allows.

use super::experiment::{Experiment, Metric, outcome, subjects};
use crate::{loans::read_file, replay::Customer};
use std::path::Path;

/// Reads them.
pub(super) fn experiment(path: &Path) -> anyhow::Result<Experiment> {
    let customers = read_file(path)?;
    let rewards = |customer: &Customer| vec![outcome(customer, "take_up"), outcome(customer, "interest")];
    Ok(Experiment {
        name: "loans",
        // A class has as many arms as its cap leaves.
        subjects: subjects(&customers, |customer| customer.eligible.len(), rewards),
        // The most that a loan earned was 13,482 rand.
        metrics: vec![Metric { id: "take_up", max: 1.0 }, Metric { id: "interest", max: 13_500.0 }],
        logging: |_, arms| {
            let dearest = 1.0 - (arms as f64 - 1.0) / 6.0;
            (0..arms).map(|arm| if arm == arms - 1 { dearest } else { 1.0 / 6.0 }).collect()
        },
        targets: vec![
            ("always cheapest", |_, arms| only(0, arms)),
            ("always dearest", |_, arms| only(arms - 1, arms)),
            ("dearest for high risk", |_, arms| only(if arms == 4 { 3 } else { 0 }, arms)),
            ("even", |_, arms| vec![1.0 / arms as f64; arms]),
        ],
    })
}

fn only(arm: usize, arms: usize) -> Vec<f64> {
    (0..arms).map(|own| f64::from(u8::from(own == arm))).collect()
}
