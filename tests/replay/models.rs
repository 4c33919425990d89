//! Reward models: what they find, and that nobody's own outcome is in what is said of him.

use crate::scene::rng;
use offer_ranker::replay::models::{CrossFitted, Example, Kind, ModelError, cross_fit};
use rand::RngExt as _;

const KINDS: [Kind; 3] = [Kind::ArmMean, Kind::Ridge(1.0), Kind::Logistic(1.0)];

/// Features, arm and reward of `n` rows; the reward is 1 with a probability of .2 + .6 x for arm 0 and .5 for arm 1.
fn rows(n: u64, seed: u64) -> Vec<([f64; 1], usize, f64)> {
    let mut rng = rng(seed);
    let one = |_| {
        let (x, arm): (f64, usize) = (rng.random(), usize::from(rng.random::<bool>()));
        let rate = if arm == 0 { 0.2 + 0.6 * x } else { 0.5 };
        ([x], arm, f64::from(u8::from(rng.random::<f64>() < rate)))
    };
    (0..n).map(one).collect()
}

/// Two rows of each user.
fn examples(rows: &[([f64; 1], usize, f64)]) -> Vec<Example<'_>> {
    let examples = rows.iter().enumerate();
    examples
        .map(|(index, (features, arm, reward))| Example {
            cluster: index as u64 / 2,
            arm: *arm,
            features,
            reward: *reward,
        })
        .collect()
}

fn fitted(kind: Kind, rows: &[([f64; 1], usize, f64)]) -> CrossFitted {
    cross_fit(kind, &examples(rows), 3, 5).unwrap()
}

#[test]
fn regressions_find_the_slope_and_means_the_mean() {
    let rows = rows(40_000, 1);
    let [mean, ridge, logistic] = KINDS.map(|kind| fitted(kind, &rows));
    // 16,000 rows an arm and fold: the standard error of a mean is .004, at the ends of a line twice that.
    for (model, tolerance, low, high) in
        [(&mean, 0.02, 0.5, 0.5), (&ridge, 0.04, 0.2, 0.8), (&logistic, 0.04, 0.2, 0.8)]
    {
        assert!((model.predict(0, &[0.0], 0) - low).abs() < tolerance);
        assert!((model.predict(0, &[1.0], 0) - high).abs() < tolerance);
        assert!((model.predict(0, &[0.3], 1) - 0.5).abs() < 0.02);
    }
    // Never drawn: like all together.
    for model in [&mean, &ridge, &logistic] {
        assert!((model.predict(0, &[0.5], 2) - 0.5).abs() < 0.02);
    }
}

#[test]
fn what_is_said_of_a_user_does_not_depend_on_the_user_s_own_rewards() {
    let rows = rows(200, 2);
    let mut turned = rows.clone();
    turned[20].2 = 1.0 - turned[20].2;
    turned[21].2 = 1.0 - turned[21].2;
    for kind in KINDS {
        let [before, after] = [&rows, &turned].map(|rows| fitted(kind, rows));
        let own = |model: &CrossFitted| [0, 1].map(|arm| model.predict(10, &[0.4], arm).to_bits());
        assert_eq!(own(&before), own(&after));
        let others = |model: &CrossFitted| -> Vec<u64> {
            (0..100).map(|cluster| model.predict(cluster, &[0.4], rows[20].1).to_bits()).collect()
        };
        assert_ne!(others(&before), others(&after));
    }
}

#[test]
fn the_same_rows_give_the_same_model_to_the_last_bit() {
    let rows = rows(500, 3);
    for kind in KINDS {
        let said = || fitted(kind, &rows).predict(3, &[0.7], 0).to_bits();
        assert_eq!(said(), said());
    }
}

#[test]
fn separable_rewards_and_constant_features_do_no_harm() {
    let rows: Vec<([f64; 1], usize, f64)> = (0..50).map(|index| ([1.0], index % 2, (index % 2) as f64)).collect();
    for kind in KINDS {
        let model = fitted(kind, &rows);
        let said = [0, 1].map(|arm| model.predict(1, &[1.0], arm));
        assert!((0.0..0.2).contains(&said[0]) && said[1] > 0.8, "{kind:?}: {said:?}");
    }
}

#[test]
fn what_no_model_can_be_fitted_on_is_refused() {
    let one = [([0.0], 0, 1.0)];
    let refused = cross_fit(Kind::ArmMean, &examples(&one), 1, 5).unwrap_err();
    assert_eq!(refused, ModelError::OneFold { rows: 1, folds: 5 });
    let spend = [([0.0], 0, 1.0), ([0.0], 0, 1.0), ([0.0], 0, 7.5)];
    let refused = cross_fit(Kind::Logistic(1.0), &examples(&spend), 1, 2).unwrap_err();
    assert_eq!(refused, ModelError::NoShare { row: 2, reward: 7.5 });
}
