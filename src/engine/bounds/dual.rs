//! The dual of a projection: multipliers of the sets, by Newton's method.

use super::projection::{CONTRADICTION_MIN, Infeasible, Polytope, RESIDUAL_MAX, normalised};
use crate::engine::math::cholesky::Cholesky;

/// Steps until a projection is given up: most need ten, one in ten thousand of the hardest hundreds.
const STEPS_MAX: usize = 1_000;
/// Steps after which multipliers are held back in proportion to what is left to do. Where most arms are at their floors
/// and caps, curvature says little, and bold steps go in circles.
const BOLD_STEPS: usize = 15;
/// The longest step of a multiplier: a factor of e^8.
const STEP_LONGEST: f64 = 8.0;
/// The largest exponent of a factor: beyond it every probability is at its cap.
const EXPONENT_MAX: f64 = 600.0;
/// Halvings of a step until it is given up.
const HALVINGS_MAX: usize = 40;

/// The dual problem of one projection: one multiplier for each set, and the last for the sum of all arms.
pub(super) struct Dual<'a> {
    polytope: &'a Polytope,
    p: &'a [f64],
    /// ln(floor / p) and ln(cap / p): where an arm starts and ends to move.
    ends: Vec<(f64, f64)>,
    /// Distinct combinations of sets among the arms, and each arm's one.
    cells: Vec<u64>,
    cell_of: Vec<usize>,
}

/// Multipliers, and what they make of the arms.
#[derive(Clone)]
struct Point {
    multipliers: Vec<f64>,
    q: Vec<f64>,
    /// Of the dual function; 0 where a multiplier need not move.
    gradient: Vec<f64>,
    value: f64,
}

impl<'a> Dual<'a> {
    /// Prepares the projection of `p`, which is above 0 everywhere.
    pub(super) fn new(polytope: &'a Polytope, p: &'a [f64]) -> Self {
        let mut cells = polytope.members.clone();
        cells.sort_unstable();
        cells.dedup();
        let cell = |members: &u64| cells.partition_point(|cell| cell < members);
        let cell_of = polytope.members.iter().map(cell).collect();
        let end = |(p, (floor, cap)): (&f64, (&f64, &f64))| (libm::log(floor / p), libm::log(cap / p));
        let ends = p.iter().zip(polytope.floors.iter().zip(&polytope.caps)).map(end).collect();
        Self { polytope, p, ends, cells, cell_of }
    }

    /// The nearest distribution, from the multiplier of the sum that floors and caps alone lead to.
    pub(super) fn solve(&self, sum_multiplier: f64) -> Result<Vec<f64>, Infeasible> {
        let mut multipliers = vec![0.0; self.polytope.totals.len()];
        multipliers.push(sum_multiplier);
        let mut point = self.at(multipliers);
        for count in 0..STEPS_MAX {
            if point.residual() <= RESIDUAL_MAX {
                return Ok(normalised(point.q));
            }
            if let Some(infeasible) = self.contradiction(&point) {
                return Err(infeasible);
            }
            let acting: Vec<usize> = (0..point.multipliers.len()).filter(|&row| point.acts(row)).collect();
            point = match self.step(&point, &acting, if count < BOLD_STEPS { 0.0 } else { 1.0 }) {
                Some(next) => next,
                // Where all at once do not get nearer, one after the other does, until nothing moves any more.
                None => match self.one_by_one(&point, &acting) {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        // As near as numbers go, or hopeless.
        if point.residual() <= CONTRADICTION_MIN {
            Ok(normalised(point.q))
        } else {
            Err(self.conflict(point.multipliers))
        }
    }

    /// Everything that follows from multipliers.
    fn at(&self, multipliers: Vec<f64>) -> Point {
        let totals = &self.polytope.totals;
        let exponents = self.exponents(&multipliers);
        let factors: Vec<f64> = exponents.iter().map(|&z| libm::exp(z.min(EXPONENT_MAX))).collect();
        let mut sums = vec![0.0; multipliers.len()];
        let mut value = 0.0;
        let mut q = Vec::with_capacity(self.p.len());
        for (arm, &cell) in self.cell_of.iter().enumerate() {
            let (floor, cap) = (self.polytope.floors[arm], self.polytope.caps[arm]);
            let (z, (starts, ends)) = (exponents[cell], self.ends[arm]);
            let probability = (self.p[arm] * factors[cell]).clamp(floor, cap);
            // The integral of the probability over the exponent.
            value += if z < starts {
                floor + floor * (z - starts)
            } else if z > ends {
                cap + cap * (z - ends)
            } else {
                probability
            };
            for (set, sum) in sums[..totals.len()].iter_mut().enumerate() {
                if self.cells[cell] >> set & 1 == 1 {
                    *sum += probability;
                }
            }
            sums[totals.len()] += probability;
            q.push(probability);
        }
        let gradient = |(row, &sum): (usize, &f64)| match totals.get(row) {
            None => sum - 1.0,
            // What every distribution keeps has no part in anything, least of all in contradictions.
            Some(&(min, max)) if min <= 0.0 && max >= 1.0 => 0.0,
            Some(&(min, _)) if multipliers[row] > 0.0 || multipliers[row] == 0.0 && sum < min => sum - min,
            Some(&(_, max)) if multipliers[row] < 0.0 || sum > max => sum - max,
            Some(_) => 0.0,
        };
        let gradient = sums.iter().enumerate().map(gradient).collect();
        value -= self.promised(&multipliers);
        Point { multipliers, q, gradient, value }
    }

    /// The exponent z of each cell.
    fn exponents(&self, multipliers: &[f64]) -> Vec<f64> {
        let (sum, sets) = multipliers.split_last().expect("invariant: there is one for the sum");
        let of_cell = |&cell: &u64| {
            let inside = sets.iter().enumerate().filter(|&(set, _)| cell >> set & 1 == 1);
            inside.fold(*sum, |z, (_, multiplier)| z + multiplier)
        };
        self.cells.iter().map(of_cell).collect()
    }

    /// What totals inside their bounds are worth at least, weighted by their multipliers.
    fn promised(&self, multipliers: &[f64]) -> f64 {
        let (sum, sets) = multipliers.split_last().expect("invariant: there is one for the sum");
        let of_set = |(&multiplier, &(min, max)): (&f64, &(f64, f64))| {
            if multiplier > 0.0 { multiplier * min } else { multiplier * max }
        };
        sum + sets.iter().zip(&self.polytope.totals).map(of_set).sum::<f64>()
    }

    /// A step of Newton's method on some multipliers, held back by `caution`; `None` where it does not get nearer.
    fn step(&self, point: &Point, rows: &[usize], caution: f64) -> Option<Point> {
        let (rows, direction) = self.descent(point, rows.to_vec(), caution);
        let mut length = 1.0;
        for _ in 0..HALVINGS_MAX {
            let mut multipliers = point.multipliers.clone();
            for (&row, step) in rows.iter().zip(&direction) {
                let moved = multipliers[row] + length * step;
                let crosses = row < self.polytope.totals.len() && multipliers[row] * moved < 0.0;
                // Where a multiplier changes sign its bound changes: it stops in between.
                multipliers[row] = if crosses { 0.0 } else { moved };
            }
            let next = self.at(multipliers);
            let falls = next.value < point.value - 1e-4 * length * self.slope(point, &rows, &direction);
            // Near the solution values differ by less than they are rounded by, and gradients still tell.
            let flattens = next.residual_of(&rows) < 0.9 * point.residual_of(&rows);
            if falls || flattens && next.value <= point.value + RESIDUAL_MAX {
                return Some(next);
            }
            length /= 2.0;
        }
        None
    }

    /// The rows that move, and where to: a multiplier of 0 can only move against its gradient, or waits.
    fn descent(&self, point: &Point, mut rows: Vec<usize>, caution: f64) -> (Vec<usize>, Vec<f64>) {
        loop {
            let direction = self.direction(point, &rows, caution);
            let moves =
                |(&row, step): (&usize, &f64)| point.multipliers[row] != 0.0 || step * point.gradient[row] < 0.0;
            let waiting: Vec<bool> = rows.iter().zip(&direction).map(|moving| !moves(moving)).collect();
            if !waiting.contains(&true) {
                return (rows, direction);
            }
            let mut waiting = waiting.into_iter();
            rows.retain(|_| waiting.next() == Some(false));
        }
    }

    /// How steeply the dual falls along a direction, above 0.
    fn slope(&self, point: &Point, rows: &[usize], direction: &[f64]) -> f64 {
        -rows.iter().zip(direction).map(|(&row, step)| point.gradient[row] * step).sum::<f64>()
    }

    fn one_by_one(&self, point: &Point, rows: &[usize]) -> Option<Point> {
        let mut current = point.clone();
        let mut moved = false;
        for &row in rows {
            if let Some(next) = current.acts(row).then(|| self.step(&current, &[row], 0.0)).flatten() {
                (current, moved) = (next, true);
            }
        }
        moved.then_some(current)
    }

    /// Newton's direction: minus the inverse of the Hessian times the gradient, no longer than a step may be.
    fn direction(&self, point: &Point, rows: &[usize], caution: f64) -> Vec<f64> {
        let sets = self.polytope.totals.len();
        let is_in = |row: usize, arm: usize| row == sets || self.polytope.members[arm] >> row & 1 == 1;
        let exponents = self.exponents(&point.multipliers);
        let mut hessian = vec![0.0; rows.len() * (rows.len() + 1) / 2];
        for (arm, &q) in point.q.iter().enumerate() {
            let (z, (starts, ends)) = (exponents[self.cell_of[arm]], self.ends[arm]);
            if z <= starts || z >= ends {
                continue;
            }
            let pairs = rows.iter().enumerate().flat_map(|(i, &row)| rows[..=i].iter().map(move |&other| (row, other)));
            for (entry, (row, other)) in hessian.iter_mut().zip(pairs) {
                if is_in(row, arm) && is_in(other, arm) {
                    *entry += q;
                }
            }
        }
        let mut direction = solve_with_ridge(
            hessian,
            caution * point.residual_of(rows),
            rows.iter().map(|&row| -point.gradient[row]).collect(),
        );
        let longest = direction.iter().fold(0.0_f64, |longest, step| longest.max(step.abs()));
        if longest > STEP_LONGEST {
            direction.iter_mut().for_each(|step| *step *= STEP_LONGEST / longest);
        }
        direction
    }

    /// What contradicts itself, where the multipliers prove that nothing is inside.
    fn contradiction(&self, point: &Point) -> Option<Infeasible> {
        self.contradicts(&point.multipliers).then(|| self.conflict(point.multipliers.clone()))
    }

    /// Whether what arms can give at most is less than what totals promise, both weighted by these multipliers.
    fn contradicts(&self, multipliers: &[f64]) -> bool {
        let exponents = self.exponents(multipliers);
        let given = |(arm, &cell): (usize, &usize)| {
            let z = exponents[cell];
            if z > 0.0 { z * self.polytope.caps[arm] } else { z * self.polytope.floors[arm] }
        };
        let given: f64 = self.cell_of.iter().enumerate().map(given).sum();
        let size: f64 = multipliers.iter().map(|multiplier| multiplier.abs()).sum();
        given < self.promised(multipliers) - CONTRADICTION_MIN * size
    }

    /// What takes part in a contradiction: whatever it is none without.
    fn conflict(&self, mut multipliers: Vec<f64>) -> Infeasible {
        let sets = self.polytope.totals.len();
        let mut by_size: Vec<usize> = (0..sets).filter(|&set| multipliers[set] != 0.0).collect();
        by_size.sort_by(|&one, &other| multipliers[one].abs().total_cmp(&multipliers[other].abs()));
        for set in by_size {
            let multiplier = std::mem::take(&mut multipliers[set]);
            if !self.contradicts(&multipliers) {
                multipliers[set] = multiplier;
            }
        }
        let exponents = self.exponents(&multipliers);
        let caps = &self.polytope.caps;
        let is_capped = |(arm, &cell): (usize, &usize)| caps[arm] < 1.0 && exponents[cell] > 0.0;
        Infeasible {
            sets: (0..sets).filter(|&set| multipliers[set] != 0.0).collect(),
            caps: self.cell_of.iter().enumerate().any(is_capped),
        }
    }
}

impl Point {
    fn residual(&self) -> f64 {
        self.gradient.iter().fold(0.0_f64, |largest, gradient| largest.max(gradient.abs()))
    }

    fn residual_of(&self, rows: &[usize]) -> f64 {
        rows.iter().fold(0.0_f64, |largest, &row| largest.max(self.gradient[row].abs()))
    }

    fn acts(&self, row: usize) -> bool {
        self.multipliers[row] != 0.0 || self.gradient[row] != 0.0
    }
}

/// Solves a positive semidefinite system, its lower triangle by rows, with a ridge where it is singular.
fn solve_with_ridge(mut packed: Vec<f64>, ridge: f64, right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    let diagonal = |row: usize| row * (row + 3) / 2;
    let trace: f64 = (0..size).map(|row| packed[diagonal(row)]).sum();
    // Small against curvatures that matter, and never nothing: where no arm moves, a step is as long as it may be.
    (0..size).for_each(|row| packed[diagonal(row)] += ridge + 1e-13 * trace + 1e-18);
    match Cholesky::factor(size, packed) {
        Ok(factors) => factors.solve(&right),
        // Rounding took more than the ridge: the way straight down.
        Err(_) => right,
    }
}
