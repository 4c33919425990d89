//! Policies: selections, posteriors with their priors, and what a reward must be for them.

use super::{findings::Findings, placements::ArmIds, reward};
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{Objective, Policy, PosteriorKind, Selection},
        posterior::{beta::BetaPrior, linear::LinearPrior},
    },
    proto::{
        self,
        policy::{Posterior as DeclaredPosterior, Selection as DeclaredSelection},
    },
};
use std::collections::BTreeMap;

/// Smallest and largest parameter of a prior: beyond them it is either no belief at all or no data changes it.
const PRIOR_BOUNDS: (f64, f64) = (1e-6, 1e9);

/// Steepest merit: beyond it exposure goes to the best arm alone.
const STEEPNESS_MAX: f64 = 1e6;

/// A policy and the Beta priors of the placement's arms.
pub(super) struct Draft<'a> {
    /// As the engine has it.
    pub(super) policy: Policy,
    /// Where arms start from that have no prior of their own.
    pub(super) beta_prior: BetaPrior,
    /// Where the others start from, by offer id.
    pub(super) arm_priors: BTreeMap<&'a str, BetaPrior>,
}

/// Checks the policy of a placement.
pub(super) fn policy<'a>(
    path: &Path,
    declared: Option<&'a proto::Policy>,
    arms: &ArmIds<'_>,
    findings: &mut Findings,
) -> Draft<'a> {
    let selection = declared.and_then(|policy| policy.selection.as_ref());
    let posterior = declared.and_then(|policy| policy.posterior.as_ref());
    let selection = selection.map_or(Selection::Thompson, |declared| selection_of(path, declared, arms, findings));
    let objective = objective(&path.field("objective"), declared.map_or(0, |policy| policy.objective), findings);
    let mut beta_prior = BetaPrior { alpha: 1.0, beta: 1.0 };
    let mut arm_priors = BTreeMap::new();
    let posterior = match posterior {
        None => PosteriorKind::Beta,
        Some(DeclaredPosterior::Linear(declared)) => {
            PosteriorKind::Linear(linear_prior(&path.field("linear"), declared, findings))
        }
        Some(DeclaredPosterior::Beta(declared)) => {
            let path = path.field("beta");
            if let Some(declared) = &declared.prior {
                beta_prior = beta_prior_of(&path.field("prior"), declared, findings);
            }
            let path = path.field("arm_priors");
            for (id, declared) in &declared.arm_priors {
                let path = path.key(id);
                arms.check(&path, id, findings);
                arm_priors.insert(id.as_str(), beta_prior_of(&path, declared, findings));
            }
            PosteriorKind::Beta
        }
    };
    Draft { policy: Policy { selection, posterior, objective }, beta_prior, arm_priors }
}

fn selection_of(path: &Path, declared: &DeclaredSelection, arms: &ArmIds<'_>, findings: &mut Findings) -> Selection {
    match declared {
        DeclaredSelection::Thompson(proto::ThompsonSelection {}) => Selection::Thompson,
        DeclaredSelection::Uniform(proto::UniformSelection {}) => Selection::Uniform,
        DeclaredSelection::EpsilonGreedy(proto::EpsilonGreedySelection { epsilon }) => {
            findings.check_range(&path.field("epsilon_greedy").field("epsilon"), *epsilon, 0.0, 1.0);
            Selection::EpsilonGreedy(*epsilon)
        }
        DeclaredSelection::Merit(proto::MeritSelection { steepness }) => {
            let steepness = steepness.unwrap_or(1.0);
            findings.check_range(&path.field("merit").field("steepness"), steepness, 0.0, STEEPNESS_MAX);
            Selection::Merit(steepness)
        }
        DeclaredSelection::Fixed(proto::FixedSelection { order }) => {
            Selection::Fixed(arms.order(&path.field("fixed").field("order"), order, findings))
        }
    }
}

fn objective(path: &Path, number: i32, findings: &mut Findings) -> Objective {
    match proto::Objective::try_from(number) {
        Ok(proto::Objective::Unspecified | proto::Objective::Reward) => Objective::Reward,
        Ok(proto::Objective::Value) => Objective::Value,
        Err(_) => {
            findings.refuse_number(path, number);
            Objective::Reward
        }
    }
}

fn beta_prior_of(path: &Path, declared: &proto::BetaPrior, findings: &mut Findings) -> BetaPrior {
    let &proto::BetaPrior { alpha, beta } = declared;
    for (name, value) in [("alpha", alpha), ("beta", beta)] {
        findings.check_range(&path.field(name), value, PRIOR_BOUNDS.0, PRIOR_BOUNDS.1);
    }
    BetaPrior { alpha, beta }
}

fn linear_prior(path: &Path, declared: &proto::LinearPosterior, findings: &mut Findings) -> LinearPrior {
    let mut parameter = |name, value: Option<f64>| {
        let value = value.unwrap_or(1.0);
        findings.check_range(&path.field(name), value, PRIOR_BOUNDS.0, PRIOR_BOUNDS.1);
        value
    };
    let precision = parameter("precision", declared.precision);
    LinearPrior { precision, a: parameter("a", declared.a), b: parameter("b", declared.b) }
}

/// Checks that a Beta posterior gets rewards that it is a belief about, and makes sure of it.
pub(super) fn fit_reward_to_beta(
    policy: &Policy,
    reward: &mut reward::Draft,
    placement: &Path,
    findings: &mut Findings,
) {
    /// How far weights may sum above 1: 0.1 + 0.2 + 0.7 does not make 1 in binary.
    const SUM_TOLERANCE: f64 = 1e-9;
    if policy.posterior != PosteriorKind::Beta {
        return;
    }
    let path = placement.field("reward");
    let unit = reward.reward.unit;
    if unit.total_cmp(&1.0).is_ne() {
        let description = format!("is {unit}, must be 1 or absent: a Beta posterior takes rewards as they are");
        findings.refuse(&path.field("unit"), description);
    }
    if let Some((lower, upper)) = reward.range
        && (lower < 0.0 || upper > 1.0 + SUM_TOLERANCE)
    {
        let description = format!(
            "goes from {} to {}, but the placement's Beta posterior (the default one) is for rewards from 0 to 1: \
             make every term an indicator with positive weights that sum to at most 1, or declare min 0 and max 1, \
             or take a linear posterior",
            spoken(lower),
            spoken(upper)
        );
        findings.refuse(&path, description);
    }
    // What rounding adds to a sum of weights must not become a negative count of failures.
    reward.reward.min = reward.reward.min.max(0.0);
    reward.reward.max = reward.reward.max.min(1.0);
}

fn spoken(bound: f64) -> String {
    match bound {
        f64::INFINITY => "infinity".to_owned(),
        f64::NEG_INFINITY => "minus infinity".to_owned(),
        _ => bound.to_string(),
    }
}
