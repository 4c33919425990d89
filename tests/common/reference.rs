//! What tests need to know and the service does not: normal models, rank and slate distributions of one joint draw,
//! and probabilities of being highest when arms share their weights.

use offer_ranker::engine::{
    math::{
        beta::{self, Tails},
        gamma::ln_gamma,
        normal,
        quadrature::GaussLegendre,
    },
    pmf::{distribution::ScoreDistribution, reference::integrate},
};
use std::{collections::BTreeMap, sync::LazyLock};

static RULE_10: LazyLock<GaussLegendre<10>> = LazyLock::new(GaussLegendre::new);
static RULE_16: LazyLock<GaussLegendre<16>> = LazyLock::new(GaussLegendre::new);

/// Mean and precision after normal observations of known variance, from a normal prior.
pub(crate) fn known_variance(data: &[f64], mean: f64, precision: f64, noise_variance: f64) -> (f64, f64) {
    let after = precision + data.len() as f64 / noise_variance;
    ((mean * precision + data.iter().sum::<f64>() / noise_variance) / after, after)
}

/// Mean given variance is N(mu, variance / kappa); the variance is inverse-gamma(alpha, beta). Murphy (2007).
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormalInverseGamma {
    pub(crate) mu: f64,
    pub(crate) kappa: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
}

impl NormalInverseGamma {
    pub(crate) fn after(self, data: &[f64]) -> Self {
        let count = data.len() as f64;
        let mean = data.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = data.iter().map(|value| (value - mean) * (value - mean)).sum();
        let kappa = self.kappa + count;
        Self {
            mu: (self.kappa * self.mu + count * mean) / kappa,
            kappa,
            alpha: self.alpha + 0.5 * count,
            beta: self.beta + 0.5 * (squares + self.kappa * count * (mean - self.mu) * (mean - self.mu) / kappa),
        }
    }

    /// Degrees of freedom, location and scale of the mean.
    pub(crate) fn mean_student_t(self) -> (f64, f64, f64) {
        (2.0 * self.alpha, self.mu, libm::sqrt(self.beta / (self.alpha * self.kappa)))
    }

    /// Degrees of freedom, location and scale of the next observation.
    pub(crate) fn predictive_student_t(self) -> (f64, f64, f64) {
        (2.0 * self.alpha, self.mu, libm::sqrt(self.beta * (self.kappa + 1.0) / (self.alpha * self.kappa)))
    }

    pub(crate) fn log_marginal_likelihood(self, data: &[f64]) -> f64 {
        let after = self.after(data);
        ln_gamma(after.alpha) - ln_gamma(self.alpha) + self.alpha * libm::log(self.beta)
            - after.alpha * libm::log(after.beta)
            + 0.5 * libm::log(self.kappa / after.kappa)
            - 0.5 * data.len() as f64 * libm::log(core::f64::consts::TAU)
    }
}

/// P(arm has rank k) of one joint draw, for each arm and the first `ranks` ranks from 0.
pub(crate) fn p_rank(arms: &[ScoreDistribution], ranks: usize) -> Vec<Vec<f64>> {
    // One more column for all later ranks, so that an arm's columns add up to its density.
    let columns = ranks + 1;
    let total = |cdf: &[f64]| cdf.iter().sum::<f64>();
    let sums = integrate(arms, arms.len() * columns, total, |cdf, density, out| {
        for (arm, row) in out.chunks_exact_mut(columns).enumerate() {
            row.fill(0.0);
            row[0] = density[arm];
            // How many others are higher: each is so with probability 1 - F; counts stop at the last column.
            for (_, below) in cdf.iter().enumerate().filter(|&(other, _)| other != arm) {
                let above = 1.0 - below;
                row[ranks] += row[ranks - 1] * above;
                for rank in (0..ranks).rev() {
                    row[rank] *= below;
                    if rank > 0 {
                        row[rank] += row[rank - 1] * above;
                    }
                }
            }
        }
    });
    sums.chunks_exact(columns).map(|row| row[..ranks].to_vec()).collect()
}

/// Probabilities of the first `slots` arms of one joint draw in order, best first; slates not present have none.
pub(crate) fn ordered_slates(arms: &[ScoreDistribution], slots: usize) -> BTreeMap<Vec<usize>, f64> {
    let mesh = Mesh::new(arms);
    let mut slates = BTreeMap::new();
    mesh.extend(&mut Vec::new(), &vec![1.0; mesh.weights.len()], slots, &mut slates);
    slates
}

/// Cdfs and densities on panels between all arms' quantiles.
struct Mesh {
    /// Half a panel's width by panel.
    halves: Vec<f64>,
    /// Weight of each node.
    weights: Vec<f64>,
    /// By arm and node.
    cdfs: Vec<Vec<f64>>,
    densities: Vec<Vec<f64>>,
    /// Weights by which node values integrate from a node to the panel's end, for half widths of 1.
    tails: [[f64; 16]; 16],
}

impl Mesh {
    fn new(arms: &[ScoreDistribution]) -> Self {
        // Betas of one scale are smooth by their logit, whatever their shapes.
        let logits = arms.iter().all(|arm| matches!(arm, ScoreDistribution::Beta { scale, .. } if *scale == 1.0));
        let position = |arm: &ScoreDistribution, tails: Tails| match *arm {
            ScoreDistribution::Beta { alpha, beta, .. } if logits => beta::logit_quantile(alpha, beta, tails),
            _ if tails.lower <= 0.5 => arm.quantile(tails.lower),
            _ => 2.0 * arm.quantile(0.5) - arm.quantile(tails.upper),
        };
        let levels = [1e-16, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5];
        let both = levels.iter().map(|&level| Tails { lower: level, upper: 1.0 - level });
        let mut breaks: Vec<f64> = arms
            .iter()
            .flat_map(|arm| {
                both.clone().flat_map(move |tails| [tails, tails.swapped()].map(|tails| position(arm, tails)))
            })
            .collect();
        breaks.sort_by(f64::total_cmp);
        breaks.dedup();
        let mut mesh = Self {
            halves: Vec::new(),
            weights: Vec::new(),
            cdfs: vec![Vec::new(); arms.len()],
            densities: vec![Vec::new(); arms.len()],
            tails: tail_weights(),
        };
        for ends in breaks.windows(2) {
            mesh.halves.push(0.5 * (ends[1] - ends[0]));
            for (at, weight) in RULE_16.on(ends[0], ends[1]) {
                mesh.weights.push(weight);
                for (index, arm) in arms.iter().enumerate() {
                    let (cdf, density) = match *arm {
                        ScoreDistribution::Beta { alpha, beta: other, .. } if logits => {
                            let (x, y) = beta::logit_to_point(at);
                            (beta::tails(alpha, other, x, y).lower, beta::logit_density(alpha, other, x, y))
                        }
                        _ => (arm.cdf(at), arm.pdf(at)),
                    };
                    mesh.cdfs[index].push(cdf);
                    mesh.densities[index].push(density);
                }
            }
        }
        mesh
    }

    /// Adds every slate that starts with `chosen`; `above` is, by node, the probability that the chosen are above it in
    /// their order.
    fn extend(&self, chosen: &mut Vec<usize>, above: &[f64], slots: usize, slates: &mut BTreeMap<Vec<usize>, f64>) {
        for arm in (0..self.cdfs.len()).filter(|arm| !chosen.contains(arm)).collect::<Vec<_>>() {
            let joint: Vec<f64> =
                self.densities[arm].iter().zip(above).map(|(density, above)| density * above).collect();
            chosen.push(arm);
            if chosen.len() == slots {
                let rest = |node: usize| {
                    let others = (0..self.cdfs.len()).filter(|other| !chosen.contains(other));
                    others.map(|other| self.cdfs[other][node]).product::<f64>()
                };
                let sum =
                    joint.iter().zip(&self.weights).enumerate().map(|(node, (value, w))| w * value * rest(node)).sum();
                slates.insert(chosen.clone(), sum);
            } else {
                self.extend(chosen, &self.integral_above(&joint), slots, slates);
            }
            chosen.pop();
        }
    }

    /// By node, the integral of node values from there on.
    fn integral_above(&self, values: &[f64]) -> Vec<f64> {
        let mut integrals = vec![0.0; values.len()];
        let mut beyond = 0.0;
        for (panel, &half) in self.halves.iter().enumerate().rev() {
            let nodes = panel * 16..(panel + 1) * 16;
            for (integral, tail) in integrals[nodes.clone()].iter_mut().zip(&self.tails) {
                *integral = beyond + half * tail.iter().zip(&values[nodes.clone()]).map(|(t, v)| t * v).sum::<f64>();
            }
            beyond += values[nodes.clone()].iter().zip(&self.weights[nodes]).map(|(v, w)| v * w).sum::<f64>();
        }
        integrals
    }
}

/// For each node, the integrals from it to 1 of the polynomials that are 1 at one node and 0 at the others.
fn tail_weights() -> [[f64; 16]; 16] {
    let nodes = RULE_16.nodes;
    let polynomial = |of: usize, at: f64| -> f64 {
        (0..16).filter(|&other| other != of).map(|other| (at - nodes[other]) / (nodes[of] - nodes[other])).product()
    };
    core::array::from_fn(|from| {
        core::array::from_fn(|of| RULE_16.on(nodes[from], 1.0).map(|(at, weight)| weight * polynomial(of, at)).sum())
    })
}

/// Jointly normal scores: means, and loadings on independent standard normals, one row for each arm.
pub(crate) struct JointScores {
    pub(crate) means: Vec<f64>,
    loadings: Vec<Vec<f64>>,
}

impl JointScores {
    /// Scores x'theta of a normal theta.
    pub(crate) fn of_weights(mean: &[f64], covariance: &[Vec<f64>], arms: &[Vec<f64>]) -> Self {
        let root = root(covariance);
        let times = |x: &Vec<f64>, column: usize| dot(x, &root.iter().map(|row| row[column]).collect::<Vec<_>>());
        Self {
            means: arms.iter().map(|x| dot(x, mean)).collect(),
            loadings: arms.iter().map(|x| (0..mean.len()).map(|column| times(x, column)).collect()).collect(),
        }
    }

    pub(crate) fn of_covariance(means: Vec<f64>, covariance: &[Vec<f64>]) -> Self {
        Self { means, loadings: root(covariance) }
    }

    pub(crate) fn covariance(&self) -> Vec<Vec<f64>> {
        self.loadings.iter().map(|row| self.loadings.iter().map(|other| dot(row, other)).collect()).collect()
    }

    /// P(arm has the highest score) for each arm.
    pub(crate) fn p_best(&self) -> Vec<f64> {
        (0..self.means.len()).map(|arm| Region::new(self, arm).probability()).collect()
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// A square root A with A A' = the matrix, which may be singular: Cholesky's algorithm with pivots (Higham, 1990).
fn root(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = matrix.len();
    let mut rest = matrix.to_vec();
    let mut root = vec![vec![0.0; size]; size];
    let largest = (0..size).map(|row| matrix[row][row]).fold(0.0, f64::max);
    for column in 0..size {
        let pivot = (0..size).max_by(|&a, &b| rest[a][a].total_cmp(&rest[b][b])).expect("a row");
        if rest[pivot][pivot] <= 1e-13 * largest {
            break;
        }
        let scale = libm::sqrt(rest[pivot][pivot]);
        let factor: Vec<f64> = rest.iter().map(|row| row[pivot] / scale).collect();
        for row in 0..size {
            root[row][column] = factor[row];
            for other in 0..size {
                rest[row][other] -= factor[row] * factor[other];
            }
        }
    }
    root
}

/// Where one arm is above all others: half-spaces c'z + offset > 0 of independent standard normals z, in coordinates
/// in which the first constraints involve the first coordinates only.
struct Region {
    rank: usize,
    constraints: Vec<(Vec<f64>, f64)>,
    /// For each coordinate, combinations of constraints whose meeting fixes it: weights of their values, coefficient.
    meetings: Vec<Vec<(Vec<f64>, f64)>>,
}

/// Beyond 6.5 standard deviations is 4e-11.
const FAR: f64 = 6.5;
/// Pieces this wide start the quadrature of a coordinate.
const PIECE: f64 = 6.5;
/// By how much the rules may disagree on a piece. Errors of analytic integrands fall geometrically with the nodes, so
/// that where 10 nodes are off by 1e-6, 16 are off by (1e-6)^1.6 = 3e-10.
const DISAGREEMENT: f64 = 1e-6;

impl Region {
    fn new(scores: &JointScores, arm: usize) -> Self {
        let difference = |other: usize| -> (Vec<f64>, f64) {
            let row = scores.loadings[arm].iter().zip(&scores.loadings[other]).map(|(a, b)| a - b).collect();
            (row, scores.means[arm] - scores.means[other])
        };
        let mut pending: Vec<(Vec<f64>, f64)> =
            (0..scores.means.len()).filter(|&other| other != arm).map(difference).collect();
        let scale = pending.iter().map(|(row, _)| dot(row, row)).fold(0.0, f64::max);
        let (mut basis, mut ordered): (Vec<Vec<f64>>, Vec<(Vec<f64>, f64)>) = (Vec::new(), Vec::new());
        // Gram-Schmidt, the row with the largest rest first; twice is enough (Kahan).
        let reduced = |row: &Vec<f64>, basis: &[Vec<f64>]| {
            let mut rest = row.clone();
            for direction in basis.iter().chain(basis) {
                let along = dot(&rest, direction);
                rest.iter_mut().zip(direction).for_each(|(value, d)| *value -= along * d);
            }
            rest
        };
        loop {
            let rests: Vec<Vec<f64>> = pending.iter().map(|(row, _)| reduced(row, &basis)).collect();
            let best =
                (0..rests.len()).max_by(|&a, &b| dot(&rests[a], &rests[a]).total_cmp(&dot(&rests[b], &rests[b])));
            let Some(best) = best.filter(|&best| dot(&rests[best], &rests[best]) > 1e-22 * scale) else { break };
            let length = libm::sqrt(dot(&rests[best], &rests[best]));
            basis.push(rests[best].iter().map(|value| value / length).collect());
            ordered.push(pending.remove(best));
        }
        let rank = basis.len();
        ordered.append(&mut pending);
        let threshold = 1e-11 * libm::sqrt(scale);
        let coordinates = |row: &Vec<f64>| -> Vec<f64> {
            basis
                .iter()
                .map(|direction| dot(row, direction))
                .map(|c| if c.abs() < threshold { 0.0 } else { c })
                .collect()
        };
        let constraints: Vec<(Vec<f64>, f64)> =
            ordered.iter().map(|(row, offset)| (coordinates(row), *offset)).collect();
        let meetings = (0..rank).map(|level| meetings(&constraints, level, rank)).collect();
        Self { rank, constraints, meetings }
    }

    fn probability(&self) -> f64 {
        let offsets: Vec<f64> = self.constraints.iter().map(|(_, offset)| *offset).collect();
        self.inner(0, &offsets, DISAGREEMENT)
    }

    /// The probability that the coordinates from `level` on satisfy all constraints, whose values without them are
    /// given; pieces may be off by `tolerance`.
    fn inner(&self, level: usize, values: &[f64], tolerance: f64) -> f64 {
        let fixed = |row: &[f64]| row[level..].iter().all(|&coefficient| coefficient == 0.0);
        if self.constraints.iter().zip(values).any(|((row, _), &value)| fixed(row) && value < 0.0) {
            return 0.0;
        }
        if level == self.rank {
            return 1.0;
        }
        let (mut low, mut high) = (-FAR, FAR);
        for ((row, _), &value) in self.constraints.iter().zip(values) {
            if row[level] != 0.0 && row[level + 1..].iter().all(|&coefficient| coefficient == 0.0) {
                let end = -value / row[level];
                if row[level] > 0.0 { low = low.max(end) } else { high = high.min(end) }
            }
        }
        if low >= high {
            return 0.0;
        }
        if level + 1 == self.rank {
            return if low > 0.0 {
                normal::cdf(-low) - normal::cdf(-high)
            } else {
                normal::cdf(high) - normal::cdf(low)
            };
        }
        let mut breaks = vec![low, high];
        breaks.extend(self.meetings[level].iter().map(|(weights, coefficient)| -dot(weights, values) / coefficient));
        breaks.retain(|at| (low..=high).contains(at));
        breaks.sort_by(f64::total_cmp);
        // Several sets of constraints meet in the same place, up to rounding.
        breaks.dedup_by(|next, kept| *next - *kept < 1e-11);
        let integrand = |z: f64| {
            let moved: Vec<f64> =
                self.constraints.iter().zip(values).map(|((row, _), value)| value + row[level] * z).collect();
            let density = normal::pdf(z);
            // Where the density is small, what it multiplies need not be known as well.
            density * self.inner(level + 1, &moved, tolerance / (4.0 * density))
        };
        let pieces = breaks.windows(2).flat_map(|ends| {
            let count = libm::ceil((ends[1] - ends[0]) / PIECE).max(1.0);
            let width = (ends[1] - ends[0]) / count;
            (0..count as usize).map(move |piece| ends[0] + width * piece as f64).map(move |from| (from, from + width))
        });
        pieces.map(|(from, to)| adaptive(&integrand, from, to, tolerance, 0)).sum()
    }
}

/// Where constraints meet so that coordinate `level` is determined, the earlier ones given: rows combined so that all
/// later coordinates cancel. Between such places the inner probability is analytic.
fn meetings(constraints: &[(Vec<f64>, f64)], level: usize, rank: usize) -> Vec<(Vec<f64>, f64)> {
    let free: Vec<usize> =
        (0..constraints.len()).filter(|&index| constraints[index].0[level..].iter().any(|&c| c != 0.0)).collect();
    let mut found = Vec::new();
    for subset in 1_u32..1 << free.len() {
        if subset.count_ones() as usize > rank - level {
            continue;
        }
        let chosen = free.iter().enumerate().filter(|(position, _)| subset >> position & 1 == 1);
        let mut rows: Vec<(Vec<f64>, Vec<f64>)> = chosen
            .map(|(_, &index)| {
                let mut weights = vec![0.0; constraints.len()];
                weights[index] = 1.0;
                (constraints[index].0[level..].to_vec(), weights)
            })
            .collect();
        for column in (1..rank - level).rev() {
            let Some(pivot) =
                (0..rows.len()).max_by(|&a, &b| rows[a].0[column].abs().total_cmp(&rows[b].0[column].abs()))
            else {
                break;
            };
            if rows[pivot].0[column] == 0.0 {
                continue;
            }
            let (pivot_row, pivot_weights) = rows.remove(pivot);
            for (row, weights) in &mut rows {
                let factor = row[column] / pivot_row[column];
                row.iter_mut().zip(&pivot_row).for_each(|(value, p)| *value -= factor * p);
                weights.iter_mut().zip(&pivot_weights).for_each(|(value, p)| *value -= factor * p);
                row[column] = 0.0;
            }
        }
        found.extend(rows.into_iter().filter(|(row, _)| row[0].abs() > 1e-9).map(|(row, weights)| (weights, row[0])));
    }
    found
}

/// Gauss-Legendre with 16 nodes where 10 agree, halved otherwise.
fn adaptive(integrand: &impl Fn(f64) -> f64, from: f64, to: f64, tolerance: f64, depth: usize) -> f64 {
    let coarse: f64 = RULE_10.on(from, to).map(|(z, weight)| weight * integrand(z)).sum();
    let fine: f64 = RULE_16.on(from, to).map(|(z, weight)| weight * integrand(z)).sum();
    if (fine - coarse).abs() < tolerance || depth == 30 {
        return fine;
    }
    let middle = 0.5 * (from + to);
    adaptive(integrand, from, middle, tolerance, depth + 1) + adaptive(integrand, middle, to, tolerance, depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_reference_of_shared_weights_knows_symmetry_and_singular_covariances() {
        // Equicorrelated scores share evenly.
        for count in 2..=5_usize {
            let covariance: Vec<Vec<f64>> =
                (0..count).map(|i| (0..count).map(|j| if i == j { 1.0 } else { 0.4 }).collect()).collect();
            for probability in JointScores::of_covariance(vec![0.0; count], &covariance).p_best() {
                assert!((probability * count as f64 - 1.0).abs() < 1e-8, "{count}: {probability}");
            }
        }
        // Directions at equal angles in a plane, more arms than weights: by symmetry each is highest equally often.
        let angles: Vec<f64> = (0..6).map(|arm| core::f64::consts::TAU * f64::from(arm) / 6.0).collect();
        let arms: Vec<Vec<f64>> = angles.iter().map(|&angle| vec![libm::cos(angle), libm::sin(angle), 0.3]).collect();
        let identity: Vec<Vec<f64>> = (0..3).map(|i| (0..3).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        for probability in JointScores::of_weights(&[0.0; 3], &identity, &arms).p_best() {
            assert!((probability * 6.0 - 1.0).abs() < 1e-8, "{probability}");
        }
        // Six arms, three weights, unequal means: exhaustive and exclusive.
        let arms =
            [[1.0, 0.5, 0.2], [1.0, -0.3, 0.6], [1.0, 0.1, -0.4], [0.2, 0.9, 0.3], [1.1, 0.0, 0.5], [0.4, -0.7, 1.0]];
        let arms: Vec<Vec<f64>> = arms.iter().map(|x| x.to_vec()).collect();
        let pmf = JointScores::of_weights(&[0.3, -0.2, 0.5], &identity, &arms).p_best();
        assert!((pmf.iter().sum::<f64>() - 1.0).abs() < 1e-8, "{pmf:?}");
    }
}
