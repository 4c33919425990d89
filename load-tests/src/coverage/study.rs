//! Makes logs, evaluates them, and counts what held.

use super::{
    experiment::{Experiment, Metric, Policy, Subject},
    report::{Cell, Tally},
};
use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    estimators::Grids,
    evaluation::Range,
    models::{CrossFitted, Example, Kind, cross_fit},
    report::Report,
    row::{Outcome, Prediction, Row},
    support::arms::Pmfs,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::thread;

/// What intervals leave outside.
const ALPHA: f64 = 0.05;
/// Of the reward models: a ridge regression for every arm.
const PENALTY: f64 = 10.0;
const FOLDS: u64 = 5;

/// What every log has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Study {
    pub(super) rows: usize,
    pub(super) replicates: usize,
    pub(super) seed: u64,
}

/// One log: the customers that were kept.
struct Log<'a> {
    subjects: Vec<(u64, &'a Subject)>,
}

impl Study {
    /// Every target and metric of an experiment, over so many logs; half of them on another thread.
    pub(super) fn run(&self, experiment: &Experiment, repetitions: u64, done: impl Fn(u64) + Sync) -> Vec<Cell> {
        let half = repetitions / 2;
        let some = |seeds: std::ops::Range<u64>| {
            let mut tallies = Vec::new();
            for repetition in seeds {
                self.repeat(experiment, repetition, &mut tallies);
                done(1);
            }
            tallies
        };
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| some(half..repetitions));
            // Panics of the other thread are panics of this one.
            (some(0..half), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut cells = cells(experiment);
        let tallies = [first, second].into_iter().filter(|tallies| !tallies.is_empty());
        for tallies in tallies {
            cells.iter_mut().zip(tallies).for_each(|(cell, tally)| cell.add(tally));
        }
        cells
    }

    fn repeat(&self, experiment: &Experiment, repetition: u64, tallies: &mut Vec<Tally>) {
        let log = self.log(experiment, repetition);
        let reports = experiment.targets.iter().flat_map(|(_, target)| {
            (0..experiment.metrics.len()).map(|metric| self.report(experiment, &log, *target, metric))
        });
        let reports: Vec<(Report, f64)> = reports.collect();
        tallies.resize_with(reports.len(), Tally::default);
        tallies.iter_mut().zip(&reports).for_each(|(tally, (report, matches))| tally.add(report, *matches));
    }

    /// Customers in random order, each kept with a probability in proportion to logging over the experiment's own.
    fn log<'a>(&self, experiment: &'a Experiment, repetition: u64) -> Log<'a> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(repetition);
        let ratio =
            |subject: &Subject| (experiment.logging)(subject.segment, subject.arms)[subject.arm] / subject.propensity;
        let most = experiment.subjects.iter().map(ratio).fold(0.0, f64::max);
        let mut order: Vec<usize> = (0..experiment.subjects.len()).collect();
        let mut subjects = Vec::with_capacity(self.rows);
        while subjects.len() < self.rows && !order.is_empty() {
            let index = order.swap_remove(rng.random_range(0..order.len()));
            let subject = &experiment.subjects[index];
            if rng.random::<f64>() * most < ratio(subject) {
                subjects.push((index as u64, subject));
            }
        }
        Log { subjects }
    }

    /// The report, and how many rows the target would have drawn alike and that earned something.
    fn report(&self, experiment: &Experiment, log: &Log<'_>, target: Policy, metric: usize) -> (Report, f64) {
        let Metric { max, .. } = experiment.metrics[metric];
        let model = log.model(metric);
        let mut assessment = Assessment::new(Plan {
            grids: Grids::of(&[]),
            families: Vec::new(),
            model: true,
            clustered: false,
            reward: Some(Range { min: 0.0, max }),
            alpha: ALPHA,
            replicates: self.replicates,
            seed: self.seed,
            fitted_propensities: false,
        });
        let mut matches = 0.0;
        for &(index, subject) in &log.subjects {
            let (logged, target) =
                ((experiment.logging)(subject.segment, subject.arms), target(subject.segment, subject.arms));
            let row = row(index, subject, &logged, &target, subject.rewards[metric], &model);
            matches += if row.reward() > Some(0.0) { row.target } else { 0.0 };
            assessment.observe(&row, &Pmfs { logged: Some(&logged), target: Some(&target) });
        }
        (assessment.report(0.0, true), matches)
    }
}

impl Log<'_> {
    fn model(&self, metric: usize) -> CrossFitted {
        let example = |&(cluster, subject): &(u64, &'_ Subject)| (cluster, subject.arm, subject.rewards[metric]);
        let examples: Vec<Example<'_>> = self
            .subjects
            .iter()
            .map(|pair| {
                let (cluster, arm, reward) = example(pair);
                Example { cluster, arm, features: &pair.1.features, reward }
            })
            .collect();
        let arms = self.subjects.iter().map(|(_, subject)| subject.arms).max().unwrap_or(0);
        cross_fit(Kind::Ridge(PENALTY), &examples, arms, FOLDS).expect("a log has customers in all folds")
    }
}

fn row(index: u64, subject: &Subject, logged: &[f64], target: &[f64], reward: f64, model: &CrossFitted) -> Row {
    let said: Vec<f64> = (0..subject.arms).map(|arm| model.predict(index, &subject.features, arm)).collect();
    let ratios = target.iter().zip(logged).map(|(target, logged)| target / logged);
    Row {
        cluster: index,
        day: None,
        arm: subject.arm,
        position: 0,
        propensity: logged[subject.arm],
        target: target[subject.arm],
        unsupported: 0.0,
        weight_max: ratios.fold(0.0, f64::max),
        outcome: Outcome::Reward(reward),
        model: Some(Prediction {
            logged: said[subject.arm],
            target: target.iter().zip(&said).map(|(p, q)| p * q).sum(),
        }),
    }
}

fn cells(experiment: &Experiment) -> Vec<Cell> {
    let cell = |(target, policy): &(&'static str, Policy)| {
        let metrics = experiment.metrics.iter().enumerate();
        let cell = |(index, metric): (usize, &Metric)| {
            Cell::new(experiment.name, target, metric.id, metric.max <= 1.0, experiment.value(*policy, index))
        };
        metrics.map(cell).collect::<Vec<_>>()
    };
    experiment.targets.iter().flat_map(cell).collect()
}
