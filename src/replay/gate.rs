//! The gate: whether a log can answer, by several diagnostics, none of which suffices alone.
//!
//! An honest log trips each family of tests with a probability of at most [`ALARM`], however many arms or days it has;
//! the other thresholds are where intervals stop covering. docs/replay.md has them with their reasons.

use super::{
    day,
    intervals::cressie_read,
    support::{Support, groups::Division},
};
use crate::engine::math::{double_double::Dd, normal, student_t};
use serde::Serialize;

/// With what probability a test may speak against a log whose propensities are right.
pub const ALARM: f64 = 1e-4;
/// Fewer equal weights than this cannot carry an interval.
pub const EFFECTIVE_MIN: f64 = 50.0;
/// The largest share of all weight that one row may carry.
pub const SHARE_MAX: f64 = 0.1;
/// The largest shape of the weights' tail: means over heavier ones converge too slowly for any sample.
pub const PARETO_SHAPE_MAX: f64 = 0.7;
/// The target's largest share of probability where the log never goes.
pub const UNSUPPORTED_MAX: f64 = 0.01;
/// An arm that was drawn less often says nothing by itself.
pub const RARE_DRAWS: u64 = 10;
/// The target's largest share of probability on arms that were drawn fewer than [`RARE_DRAWS`] times.
pub const RARE_MAX: f64 = 0.2;
/// The largest share of rows without an outcome, and the largest share whose window is open.
pub const UNKNOWN_MAX: f64 = 0.05;
/// With fewer rewarded rows, counted by their weights, an interval is mostly what the design allows.
pub const REWARDED_MIN: f64 = 10.0;
/// Weights that were not seen and are as far from 1 as the design allows, on the side that the mean of the others lacks: so
/// many keep [`ALARM`] where weights take two values and the rarer was hardly seen, however rare it is (at most 7.4e-5 by the
/// binomial distribution, from 50 to 20,000 rows; with one 7e-3).
const UNSEEN: f64 = 4.0;
/// What six digits of a propensity leave open.
const SIX_DIGITS: f64 = 5e-7;
/// What they leave open of the mean of inverse propensities, and of weights.
const ROUNDING: f64 = 1e-4;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// What was found, and what is required.
    pub found: String,
    /// What would help.
    pub help: &'static str,
}

/// What the gate says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the log cannot answer.
    pub refused: bool,
    /// Why it cannot.
    pub reasons: Vec<Finding>,
    /// What to bear in mind if it can.
    pub warnings: Vec<Finding>,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What rows look like.
    pub support: &'a Support,
    /// Sums over the clusters' weights.
    pub weights: &'a cressie_read::Sums,
    /// How much clusters carry; `None` where every row is a cluster of its own.
    pub clusters: Option<Carried>,
    /// The largest weight by design.
    pub weight_max: f64,
    /// The shape of the weights' tail; `None`: there are too few to tell.
    pub tail_shape: Option<f64>,
    /// Units by measurement group, for each division of them that was declared, and under each policy alone.
    pub divisions: &'a [Division],
    /// Whether the range of rewards was declared, or is a matter of course.
    pub reward_declared: bool,
    /// Whether propensities were fitted, because the log does not tell them.
    pub fitted_propensities: bool,
}

/// How much of the weight single ones carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Carried {
    /// How many equal ones would know as much.
    pub effective: f64,
    /// The largest one's share of all weight, in [0, 1].
    pub largest_share: f64,
}

/// Judges.
#[must_use]
pub fn judge(case: &Case<'_>) -> Verdict {
    let refusals = [
        case.overlap(),
        case.rare_arms(),
        case.effective_size(),
        case.largest_weight(),
        case.heavy_tail(),
        case.mean_weight(),
        case.mean_weight_by_day(),
        case.propensities(),
        case.inverse_propensities(),
        case.groups(),
        case.missing(),
        case.immature(),
    ];
    let warnings = [
        case.some_overlap(),
        case.few_rewards(),
        case.drift(),
        case.left_open(),
        case.several_slots(),
        case.undeclared(),
        case.fitted(),
    ];
    let reasons: Vec<Finding> = refusals.into_iter().flatten().collect();
    Verdict { refused: !reasons.is_empty(), reasons, warnings: warnings.into_iter().flatten().collect() }
}

/// How many standard errors any of `tests` may be off before it counts.
fn alarm(tests: usize) -> f64 {
    -normal::quantile(ALARM / (2.0 * tests.max(1) as f64))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn finding(check: &'static str, help: &'static str, found: String) -> Finding {
    Finding { check, found, help }
}

const MORE: &str = "log with a larger floor, or evaluate a target that is closer to the logging policy";
const WRONG: &str =
    "the propensities are not the probabilities that rows were drawn with: check how they were logged and joined";

impl Case<'_> {
    fn rows(&self) -> f64 {
        self.support.rows() as f64
    }

    fn overlap(&self) -> Option<Finding> {
        let share = self.support.target_unlogged();
        let help = "log a policy that draws these arms, or evaluate a target without them";
        (share > UNSUPPORTED_MAX).then(|| {
            let (share, most) = (percent(share), percent(UNSUPPORTED_MAX));
            finding(
                "overlap",
                help,
                format!("{share} of the target's draws are of arms that the log never drew, at most {most}"),
            )
        })
    }

    fn some_overlap(&self) -> Option<Finding> {
        let share = self.support.target_unlogged();
        let help = "the estimate leaves these draws out: allow for as much of the largest reward";
        (share > 0.0 && share <= UNSUPPORTED_MAX).then(|| {
            finding(
                "overlap",
                help,
                format!("{} of the target's draws are of arms that the log never drew", percent(share)),
            )
        })
    }

    fn rare_arms(&self) -> Option<Finding> {
        let share = self.support.arms.target_below(RARE_DRAWS);
        (share > RARE_MAX).then(|| {
            let (share, most) = (percent(share), percent(RARE_MAX));
            let found = format!(
                "{share} of the target's draws are of arms drawn fewer than {RARE_DRAWS} times, at most {most}"
            );
            finding("rare_arms", MORE, found)
        })
    }

    fn effective_size(&self) -> Option<Finding> {
        let rows = self.support.weight.effective();
        let users = self.clusters.map_or(f64::INFINITY, |clusters| clusters.effective);
        let (effective, ones) = if users < rows { (users, "users") } else { (rows, "rows") };
        (effective < EFFECTIVE_MIN).then(|| {
            let found = format!("the weights know as much as {effective:.1} equal {ones}, at least {EFFECTIVE_MIN}");
            finding("effective_sample_size", "a longer log, or a target that is closer to the logging policy", found)
        })
    }

    fn largest_weight(&self) -> Option<Finding> {
        let row = self.support.weight.largest_share()?;
        let user = self.clusters.map_or(0.0, |clusters| clusters.largest_share);
        let (share, one) = if user > row { (user, "user") } else { (row, "row") };
        (share > SHARE_MAX).then(|| {
            let (share, most) = (percent(share), percent(SHARE_MAX));
            finding("largest_weight", MORE, format!("one {one} carries {share} of all weight, at most {most}"))
        })
    }

    fn heavy_tail(&self) -> Option<Finding> {
        let shape = self.tail_shape?;
        (shape > PARETO_SHAPE_MAX).then(|| {
            let most = PARETO_SHAPE_MAX;
            let found = format!(
                "the largest weights have a tail of shape {shape:.2}, at most {most}: a longer log will hold larger ones"
            );
            finding("heavy_tail", MORE, found)
        })
    }

    fn mean_weight(&self) -> Option<Finding> {
        let mean = self.support.weight.mean()?;
        let off = off_by_more_than_chance(self.weights, self.weight_max, 1) || self.lacks_weight(mean);
        off.then(|| finding("mean_weight", WRONG, off_mean(mean)))
    }

    /// Where no weight exceeds 1 all are 1, but for what the target does where the log never goes, and for the rounding of
    /// propensities that are written with six digits.
    fn lacks_weight(&self, mean: f64) -> bool {
        let rounding = ROUNDING.max(SIX_DIGITS * self.support.inverse_propensity.max);
        self.weight_max <= 1.0 && mean < 1.0 - self.support.target_unlogged() - rounding
    }

    fn mean_weight_by_day(&self) -> Option<Finding> {
        let days = &self.support.days;
        let off = |(day, tally): (&u32, &super::support::tally::Tally)| {
            let (weight, weight_weight) = tally.sums();
            let zero = Dd::ZERO;
            let n = tally.count as f64;
            let sums =
                cressie_read::Sums { n, weight, weight_weight, value: zero, weight_value: zero, value_value: zero };
            off_by_more_than_chance(&sums, self.weight_max, days.len()).then(|| (*day, tally.mean()))
        };
        let (day, mean) = days.iter().find_map(off)?;
        let help = "propensities of that day are not those that acted: look for a change of policy or of logging";
        Some(finding(
            "mean_weight_by_day",
            help,
            format!("on day {} the mean weight is {:.3}, which must be 1 but for chance", day::named(day), mean?),
        ))
    }

    fn propensities(&self) -> Option<Finding> {
        let worst = self.support.arms.worst_misfit()?;
        (worst.distance.abs() > alarm(self.support.arms.count())).then(|| {
            let (arm, position, distance) = (worst.arm, worst.position, worst.distance.abs());
            let side = if worst.distance > 0.0 { "more" } else { "less" };
            let found = format!(
                "arm {arm} in position {position} was drawn {distance:.1} standard errors {side} often than its \
                 propensities say"
            );
            finding("propensities", WRONG, found)
        })
    }

    /// Over draws from any PMF, the inverse of the drawn arm's probability has the number of possible arms for its mean.
    fn inverse_propensities(&self) -> Option<Finding> {
        let inverse = &self.support.inverse_propensity;
        let (mean, most) = (inverse.mean()?, self.support.arms.mean_count()?);
        // Where all are alike there is no chance in it, only rounding.
        let error = inverse.standard_error().unwrap_or(0.0) + most * ROUNDING;
        ((mean - most) / error > alarm(1)).then(|| {
            let found = format!("inverse propensities average to {mean:.2}, and there are {most:.2} arms at most");
            finding("inverse_propensities", WRONG, found)
        })
    }

    fn groups(&self) -> Option<Finding> {
        let tests: usize = self.divisions.iter().map(|division| division.units.len()).sum();
        let compared = self.divisions.iter().filter_map(|division| Some((division, division.chance()?)));
        let (Division { of, units }, chance) = compared.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (chance < ALARM / (2.0 * tests as f64)).then(|| {
            let help = "units were lost or gained between assignment and log, and those that are left may not be alike";
            let units: Vec<String> =
                units.iter().map(|(counted, share)| format!("{counted} for {}", percent(*share))).collect();
            let found = format!(
                "the units {of} are not in their groups' declared shares, but for chance (at most one honest log in \
                 {:.0}): {}",
                1.0 / ALARM,
                units.join(", "),
            );
            finding("sample_ratio", help, found)
        })
    }

    fn missing(&self) -> Option<Finding> {
        let share = self.support.missing as f64 / self.rows();
        (share > UNKNOWN_MAX).then(|| {
            let found = format!("{} of rows have no outcome, at most {}", percent(share), percent(UNKNOWN_MAX));
            finding(
                "missing_outcomes",
                "report outcomes of every row, nought too: those that are missing may not be like the others",
                found,
            )
        })
    }

    fn immature(&self) -> Option<Finding> {
        let share = self.support.immature as f64 / self.rows();
        if self.rows() == 0.0 && self.support.left_open > 0 {
            let found = format!("no decision makes a row; the windows of {} are still open", self.support.left_open);
            return Some(finding("immature_window", "wait until they close", found));
        }
        (share > UNKNOWN_MAX).then(|| {
            let found =
                format!("the windows of {} of rows are still open, at most {}", percent(share), percent(UNKNOWN_MAX));
            finding("immature_window", "wait until they close, or leave the last days out", found)
        })
    }

    /// Those that are too young are left out whatever they earned, so that the others are not another kind.
    fn left_open(&self) -> Option<Finding> {
        let open = self.support.left_open as f64;
        let share = open / (self.rows() + open);
        (share > UNKNOWN_MAX && self.rows() > 0.0).then(|| {
            let (open, rows) = (self.support.left_open, self.support.rows());
            let found =
                format!("the windows of {open} decisions are still open, which are left out beside {rows} rows");
            finding("open_windows", "the value is that of older decisions; wait until windows close", found)
        })
    }

    /// Where slots are rows, the estimate is of one slot.
    fn several_slots(&self) -> Option<Finding> {
        let slots = self.support.arms.slots();
        (slots > 1).then(|| {
            let found = format!(
                "rows are of {slots} positions: the estimate is the mean reward of one, with what the log drew in others"
            );
            let help = "for the reward of whole slates evaluate slates; and say whose rows are: those of one slate are alike";
            finding("several_slots", help, found)
        })
    }

    fn few_rewards(&self) -> Option<Finding> {
        let rewarded = self.support.rewarded.effective();
        (rewarded < REWARDED_MIN).then(|| {
            let found = format!("only {rewarded:.1} rewarded rows carry the estimate, by their weights");
            finding("few_rewards", "read the interval, not the value; it is mostly what the design allows", found)
        })
    }

    fn drift(&self) -> Option<Finding> {
        let rewards: Vec<_> = self.support.rewards.values().collect();
        let (first, second) = rewards.split_at(rewards.len() / 2);
        let half = |days: &[&super::support::tally::Tally]| {
            let count: f64 = days.iter().map(|day| day.count as f64).sum();
            let mean = days.iter().map(|day| day.sum()).sum::<f64>() / count;
            let squares: f64 = days.iter().map(|day| day.squares()).sum();
            (mean, (squares / count - mean * mean).max(0.0) / count)
        };
        let ((early, early_error), (late, late_error)) = (half(first), half(second));
        let distance = (late - early) / libm::sqrt(early_error + late_error);
        (distance.abs() > alarm(1)).then(|| {
            let found =
                format!("rewards went from {early:.4} a row in the first half of the days to {late:.4} in the second");
            finding("drift", "the value is that of the logged days as a whole, and need not be tomorrow's", found)
        })
    }

    fn fitted(&self) -> Option<Finding> {
        let help = "log propensities; what decided and is not in the log biases what was fitted, and no check shows it";
        let found = || "propensities were fitted, because the log does not tell them".to_owned();
        self.fitted_propensities.then(|| finding("fitted_propensities", help, found()))
    }

    fn undeclared(&self) -> Option<Finding> {
        (!self.reward_declared).then(undeclared)
    }
}

/// The finding that the range of rewards is not known.
pub(super) fn undeclared() -> Finding {
    let help = "declare it: the interval must allow for a reward that was not seen yet";
    finding("reward_range", help, "the range of rewards is taken from the sample".to_owned())
}

/// The finding that the weights of an estimator of slates are off 1, which may be for lack of one that was not seen.
pub(super) fn slate_off(name: &str, mean: f64) -> Finding {
    let help = "a large weight may not have been seen, or probabilities are not those that acted; self-normalised twins \
                allow for either";
    finding("slate_mean_weight", help, format!("{name}: the mean weight is {mean:.3}, and 1 is expected"))
}

/// The finding that the weights of an estimator of slates do not average to 1.
pub(super) fn slate_mean(name: &str, mean: f64) -> Finding {
    finding("mean_weight", WRONG, format!("{name}: {}", off_mean(mean)))
}

fn off_mean(mean: f64) -> String {
    let honest = 1.0 / ALARM;
    format!("the mean weight is {mean:.4}, which must be 1 but for chance (at most one honest log in {honest:.0})")
}

/// The finding that an estimator of slates has weights that cannot carry a number.
pub(super) fn slate_weights(name: &str, effective: f64, share: f64) -> Finding {
    let share = percent(share);
    let found = format!(
        "{name}: the weights know as much as {effective:.1} equal slates, at least {EFFECTIVE_MIN}; one carries \
         {share} of all weight, at most {}",
        percent(SHARE_MAX)
    );
    finding("slate_weights", "a longer log, or an estimator that assumes more of how slots act on each other", found)
}

/// Whether weights that should average to 1 do not, where one that was not seen may be as large as the design allows.
pub(super) fn off_by_more_than_chance(weights: &cressie_read::Sums, weight_max: f64, tests: usize) -> bool {
    let above = |sums: &cressie_read::Sums| sums.weight.to_f64() > sums.n;
    let unseen = if above(weights) { 0.0 } else { weight_max };
    if weights.n < 2.0 || weight_max <= 1.0 || unseen.is_infinite() {
        return false;
    }
    let more = Dd::from(UNSEEN - 1.0);
    let sums = cressie_read::Sums {
        n: weights.n + UNSEEN - 1.0,
        weight: weights.weight + more * unseen,
        weight_weight: weights.weight_weight + more * Dd::product(unseen, unseen),
        ..*weights
    };
    let quantile = student_t::quantile(weights.n, 1.0 - ALARM / (2.0 * tests as f64));
    above(&sums) == above(weights) && cressie_read::weight_statistic(&sums, 0.0, weight_max) > quantile * quantile
}
