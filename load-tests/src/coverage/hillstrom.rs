//! The e-mail test: logs of a policy that prefers the e-mail of the category that a customer bought.

use super::experiment::{Experiment, Metric, outcome, subjects};
use crate::{hillstrom::read_file, replay::Customer};
use prost_types::value::Kind;
use std::path::Path;

const MENS: usize = 0;
const WOMENS: usize = 1;
const NONE: usize = 2;

/// Reads it.
pub(super) fn experiment(path: &Path) -> anyhow::Result<Experiment> {
    let customers = read_file(path)?;
    let rewards = |customer: &Customer| {
        let spend = outcome(customer, "spend");
        vec![outcome(customer, "visit"), f64::from(u8::from(spend > 0.0)), spend]
    };
    Ok(Experiment {
        name: "e-mails",
        subjects: subjects(&customers, category, rewards),
        // The dearest basket was 499 dollars.
        metrics: vec![
            Metric { id: "visit", max: 1.0 },
            Metric { id: "conversion", max: 1.0 },
            Metric { id: "spend", max: 500.0 },
        ],
        logging: |category, _| (0..3).map(|arm| if arm == category { 4.0 / 6.0 } else { 1.0 / 6.0 }).collect(),
        targets: vec![
            ("always men's", |_, _| always(MENS)),
            ("always women's", |_, _| always(WOMENS)),
            ("always none", |_, _| always(NONE)),
            ("by past category", |category, _| always(category)),
            ("against past category", |category, _| always(1 - category)),
            ("even", |_, _| vec![1.0 / 3.0; 3]),
        ],
    })
}

fn always(arm: usize) -> Vec<f64> {
    (0..3).map(|own| f64::from(u8::from(own == arm))).collect()
}

/// Men's, who bought that; everybody else bought women's.
fn category(customer: &Customer) -> usize {
    match customer.attributes.get("mens").and_then(|value| value.kind.as_ref()) {
        Some(Kind::BoolValue(true)) => MENS,
        _ => WOMENS,
    }
}
