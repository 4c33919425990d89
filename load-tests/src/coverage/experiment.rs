//! A randomised experiment, as something to make logs of.

use crate::replay::Customer;
use prost_types::value::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// An experiment.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) name: &'static str,
    pub(super) subjects: Vec<Subject>,
    pub(super) metrics: Vec<Metric>,
    /// The policy whose logs are made: a segment's probabilities of its arms.
    pub(super) logging: Policy,
    pub(super) targets: Vec<(&'static str, Policy)>,
}

/// The probabilities of a segment's arms, of which there are so many.
pub(super) type Policy = fn(segment: usize, arms: usize) -> Vec<f64>;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) id: &'static str,
    /// The most that anybody can earn, as declared.
    pub(super) max: f64,
}

/// One customer.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) features: Vec<f64>,
    /// What policies tell customers by.
    pub(super) segment: usize,
    /// How many arms were possible.
    pub(super) arms: usize,
    /// The one that was drawn.
    pub(super) arm: usize,
    /// The experiment's own probability of it, as its stratum's frequencies have it.
    pub(super) propensity: f64,
    /// By metric.
    pub(super) rewards: Vec<f64>,
}

impl Experiment {
    /// What a policy would have earned of each metric, by everybody's outcomes.
    pub(super) fn value(&self, policy: Policy, metric: usize) -> f64 {
        let weight = |subject: &Subject| policy(subject.segment, subject.arms)[subject.arm] / subject.propensity;
        let weights: f64 = self.subjects.iter().map(weight).sum();
        self.subjects.iter().map(|subject| weight(subject) * subject.rewards[metric]).sum::<f64>() / weights
    }
}

/// Customers as subjects: segments by what `segment` says, rewards by what `rewards` does.
pub(super) fn subjects(
    customers: &[Customer],
    segment: impl Fn(&Customer) -> usize,
    rewards: impl Fn(&Customer) -> Vec<f64>,
) -> Vec<Subject> {
    let mut counts: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    let mut strata: BTreeMap<usize, f64> = BTreeMap::new();
    for customer in customers {
        *counts.entry((customer.stratum, customer.logged)).or_default() += 1.0;
        *strata.entry(customer.stratum).or_default() += 1.0;
    }
    let columns = columns(customers);
    let subject = |customer: &Customer| Subject {
        features: columns.iter().map(|column| column.of(customer)).collect(),
        segment: segment(customer),
        arms: customer.eligible.len(),
        arm: customer.eligible.iter().position(|arm| *arm == customer.logged).unwrap_or_default(),
        propensity: counts[&(customer.stratum, customer.logged)] / strata[&customer.stratum],
        rewards: rewards(customer),
    };
    customers.iter().map(subject).collect()
}

/// What a customer did; 0 if nothing is told.
pub(super) fn outcome(customer: &Customer, metric: &str) -> f64 {
    customer.outcomes.iter().find(|(own, _)| *own == metric).map_or(0.0, |(_, value)| *value)
}

/// A feature: a number, or whether an attribute has one of its values.
struct Column {
    attribute: String,
    value: Option<String>,
}

fn columns(customers: &[Customer]) -> Vec<Column> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in customers.iter().flat_map(|customer| &customer.attributes) {
        let values = values.entry(name).or_default();
        if let Some(Kind::StringValue(text)) = &value.kind {
            values.insert(text);
        }
    }
    let mut columns = Vec::new();
    for (attribute, values) in values {
        let column = |value: Option<&str>| Column { attribute: attribute.to_owned(), value: value.map(str::to_owned) };
        // The first value is what the others differ from.
        match values.len() {
            0 => columns.push(column(None)),
            _ => columns.extend(values.into_iter().skip(1).map(|value| column(Some(value)))),
        }
    }
    columns
}

impl Column {
    fn of(&self, customer: &Customer) -> f64 {
        let kind = customer.attributes.get(&self.attribute).and_then(|value| value.kind.as_ref());
        match (kind, &self.value) {
            (Some(Kind::NumberValue(number)), None) => *number,
            (Some(Kind::BoolValue(truth)), None) => f64::from(u8::from(*truth)),
            (Some(Kind::StringValue(text)), Some(value)) => f64::from(u8::from(text == value)),
            _ => 0.0,
        }
    }
}
