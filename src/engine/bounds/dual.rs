//! The dual of a projection: multipliers of the sets, by Newton's method.

use super::projection::{CONTRADICTION_MIN, Infeasible, Polytope, Projected, RESIDUAL_MAX, normalised};
use crate::engine::math::cholesky::{factor_in_place, packed_len, row_start, solve_in_place};

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
    /// Smallest and largest total of each set.
    totals: &'a [(f64, f64)],
    layout: Layout,
}

/// The arms of a projection, whatever their totals.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    arms: Vec<Arm>,
    cells: Vec<Cell>,
}

/// Where a projection came to: from here it is not far to others of the same policy that differ in totals alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    layout: Layout,
    multipliers: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Arm {
    p: f64,
    floor: f64,
    cap: f64,
    /// The exponent at which it leaves its floor: ln(floor / p).
    leaves: f64,
    cell: usize,
}

/// Arms that are in the same sets: they share an exponent, so that all but clipping is done once for all of them.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    sets: u64,
    /// Sums over its arms.
    floors: f64,
    caps: f64,
    /// Whether any of them has a cap of its own.
    is_capped: bool,
}

/// Multipliers, and what they make of the arms.
#[derive(Clone)]
struct Point {
    multipliers: Vec<f64>,
    /// Of the dual function; 0 where a multiplier need not move.
    gradient: Vec<f64>,
    value: f64,
    /// By cell: what its arms between floor and cap come to.
    free: Vec<f64>,
    /// By cell: exponent, factor and total.
    cells: Vec<(f64, f64, f64)>,
}

/// A step as it is worked out, kept because allocating would take as long as all the rest.
struct Step {
    /// The multipliers that move, and where to.
    rows: Vec<usize>,
    direction: Vec<f64>,
    hessian: Vec<f64>,
    /// Where that leads.
    next: Point,
}

impl<'a> Dual<'a> {
    /// Prepares the projection of `p`, which is above 0 everywhere.
    pub(super) fn new(polytope: &'a Polytope, p: &[f64]) -> Self {
        let mut cells: Vec<Cell> = Vec::new();
        let bounds = polytope.floors.iter().zip(&polytope.caps);
        let arm = |((&p, &sets), (&floor, &cap)): ((&f64, &u64), (&f64, &f64))| {
            let cell = cells.iter().position(|cell| cell.sets == sets).unwrap_or_else(|| {
                cells.push(Cell { sets, floors: 0.0, caps: 0.0, is_capped: false });
                cells.len() - 1
            });
            cells[cell].floors += floor;
            cells[cell].caps += cap;
            cells[cell].is_capped |= cap < 1.0;
            Arm { p, floor, cap, leaves: libm::log(floor / p), cell }
        };
        let arms = p.iter().zip(&polytope.members).zip(bounds).map(arm).collect();
        Self { totals: &polytope.totals, layout: Layout { arms, cells } }
    }

    /// The same inside these totals, from where another one came to.
    pub(super) fn solve_from(totals: &'a [(f64, f64)], near: Near) -> Result<Projected, Infeasible> {
        Self { totals, layout: near.layout }.solve(near.multipliers)
    }

    /// The nearest distribution, from multipliers that may be near: one for each set, and one for the sum.
    pub(super) fn solve(self, multipliers: Vec<f64>) -> Result<Projected, Infeasible> {
        let mut point = self.at(multipliers);
        let mut step = Step::from(&point);
        for count in 0..STEPS_MAX {
            if point.residual() <= RESIDUAL_MAX {
                return Ok(self.projected(point));
            }
            if self.contradicts(&point.multipliers) {
                return Err(self.conflict(point.multipliers));
            }
            step.rows.clear();
            step.rows.extend((0..point.multipliers.len()).filter(|&row| point.acts(row)));
            let caution = if count < BOLD_STEPS { 0.0 } else { 1.0 };
            // Where all at once do not get nearer, one after the other does, until nothing moves any more.
            if !self.advance(&mut point, &mut step, caution) && !self.one_by_one(&mut point, &mut step) {
                break;
            }
        }
        // As near as numbers go, or hopeless.
        if point.residual() <= CONTRADICTION_MIN {
            Ok(self.projected(point))
        } else {
            Err(self.conflict(point.multipliers))
        }
    }

    fn at(&self, multipliers: Vec<f64>) -> Point {
        let mut point = Point {
            gradient: vec![0.0; multipliers.len()],
            multipliers,
            value: 0.0,
            free: vec![0.0; self.layout.cells.len()],
            cells: vec![(0.0, 0.0, 0.0); self.layout.cells.len()],
        };
        self.evaluate(&mut point);
        point
    }

    /// Everything that follows from a point's multipliers.
    fn evaluate(&self, point: &mut Point) {
        let Point { multipliers, gradient, value, free, cells } = point;
        for (cell, entry) in self.layout.cells.iter().zip(cells.iter_mut()) {
            let z = exponent(cell.sets, multipliers);
            *entry = (z, libm::exp(z.min(EXPONENT_MAX)), 0.0);
        }
        free.fill(0.0);
        *value = -self.promised(multipliers);
        for &Arm { p, floor, cap, leaves, cell } in &self.layout.arms {
            let (z, factor, total) = &mut cells[cell];
            let probability = p * *factor;
            // The value is the integral of the probability over the exponent.
            if probability <= floor && floor > 0.0 {
                *total += floor;
                *value += floor + floor * (*z - leaves);
            } else if probability >= cap {
                *total += cap;
                *value += cap + cap * (*z - libm::log(cap / p));
            } else {
                *total += probability;
                free[cell] += probability;
                *value += probability;
            }
        }
        self.descend(multipliers, gradient, cells);
    }

    /// The gradient of the dual function.
    fn descend(&self, multipliers: &[f64], gradient: &mut [f64], cells: &[(f64, f64, f64)]) {
        let totals = self.totals;
        gradient.fill(0.0);
        for (cell, &(_, _, total)) in self.layout.cells.iter().zip(cells) {
            sets_of(cell.sets).for_each(|set| gradient[set] += total);
            gradient[totals.len()] += total;
        }
        gradient[totals.len()] -= 1.0;
        for ((sum, &multiplier), &(min, max)) in gradient.iter_mut().zip(multipliers).zip(totals) {
            // What every distribution keeps has no part in anything, least of all in contradictions.
            *sum = if min <= 0.0 && max >= 1.0 {
                0.0
            } else if multiplier > 0.0 || multiplier == 0.0 && *sum < min {
                *sum - min
            } else if multiplier < 0.0 || *sum > max {
                *sum - max
            } else {
                0.0
            };
        }
    }

    fn projected(self, point: Point) -> Projected {
        let arms = self.layout.arms.iter();
        let pmf = arms.map(|arm| (arm.p * point.cells[arm.cell].1).clamp(arm.floor, arm.cap)).collect();
        let near = Near { layout: self.layout, multipliers: point.multipliers };
        Projected { pmf: normalised(pmf), near: Some(near) }
    }

    /// What totals inside their bounds are worth at least, weighted by their multipliers.
    fn promised(&self, multipliers: &[f64]) -> f64 {
        let of_set = |(&multiplier, &(min, max)): (&f64, &(f64, f64))| {
            if multiplier > 0.0 { multiplier * min } else { multiplier * max }
        };
        multipliers[self.totals.len()] + multipliers.iter().zip(self.totals).map(of_set).sum::<f64>()
    }

    /// A step of Newton's method on the step's rows, held back by `caution`; `false` where it does not get nearer.
    fn advance(&self, point: &mut Point, step: &mut Step, caution: f64) -> bool {
        self.turn(point, step, caution);
        let slope = step.slope(point);
        let mut length = 1.0;
        for _ in 0..HALVINGS_MAX {
            let Step { rows, direction, next, .. } = step;
            next.multipliers.copy_from_slice(&point.multipliers);
            for (&row, by) in rows.iter().zip(direction.iter()) {
                let moved = point.multipliers[row] + length * by;
                let crosses = row < self.totals.len() && point.multipliers[row] * moved < 0.0;
                // Where a multiplier changes sign its bound changes: it stops in between.
                next.multipliers[row] = if crosses { 0.0 } else { moved };
            }
            self.evaluate(next);
            let falls = next.value < point.value - 1e-4 * length * slope;
            // Near the solution values differ by less than they are rounded by, and gradients still tell.
            let flattens = next.residual_of(rows) < 0.9 * point.residual_of(rows);
            if falls || flattens && next.value <= point.value + RESIDUAL_MAX {
                std::mem::swap(point, next);
                return true;
            }
            length /= 2.0;
        }
        false
    }

    fn one_by_one(&self, point: &mut Point, step: &mut Step) -> bool {
        let mut moved = false;
        for row in 0..point.multipliers.len() {
            step.rows.clear();
            step.rows.push(row);
            moved |= point.acts(row) && self.advance(point, step, 0.0);
        }
        moved
    }

    /// Finds the direction, and leaves the rows that move along it: a multiplier of 0 can only move against its gradient,
    /// or waits.
    fn turn(&self, point: &Point, step: &mut Step, caution: f64) {
        loop {
            self.point_downwards(point, step, caution);
            let (mut moves, count) = (step.direction.iter(), step.rows.len());
            step.rows.retain(|&row| {
                let by = moves.next().copied().unwrap_or_default();
                point.multipliers[row] != 0.0 || by * point.gradient[row] < 0.0
            });
            if step.rows.len() == count {
                return;
            }
        }
    }

    /// Newton's direction: minus the inverse of the Hessian times the gradient, no longer than a step may be.
    fn point_downwards(&self, point: &Point, step: &mut Step, caution: f64) {
        let Step { rows, direction, hessian, .. } = step;
        let sets = self.totals.len();
        hessian.clear();
        hessian.resize(packed_len(rows.len()), 0.0);
        for (cell, &free) in self.layout.cells.iter().zip(&point.free).filter(|(_, free)| **free > 0.0) {
            let is_in = |row: usize| row == sets || cell.sets >> row & 1 == 1;
            for (index, _) in rows.iter().enumerate().filter(|(_, row)| is_in(**row)) {
                let entries = &mut hessian[row_start(index)..row_start(index + 1)];
                entries.iter_mut().zip(&rows[..index]).for_each(|(entry, &other)| {
                    if is_in(other) {
                        *entry += free
                    }
                });
                entries[index] += free;
            }
        }
        direction.clear();
        direction.extend(rows.iter().map(|&row| -point.gradient[row]));
        solve_with_ridge(hessian, caution * point.residual_of(rows), direction);
        let longest = direction.iter().fold(0.0_f64, |longest, by| longest.max(by.abs()));
        if longest > STEP_LONGEST {
            direction.iter_mut().for_each(|by| *by *= STEP_LONGEST / longest);
        }
    }

    /// Whether what arms can give at most is less than what totals promise, both weighted by these multipliers: a proof
    /// that nothing is inside.
    fn contradicts(&self, multipliers: &[f64]) -> bool {
        let given = |cell: &Cell| {
            let z = exponent(cell.sets, multipliers);
            z * if z > 0.0 { cell.caps } else { cell.floors }
        };
        let given: f64 = self.layout.cells.iter().map(given).sum();
        let size: f64 = multipliers.iter().map(|multiplier| multiplier.abs()).sum();
        given < self.promised(multipliers) - CONTRADICTION_MIN * size
    }

    /// What takes part in a contradiction: whatever it is none without.
    fn conflict(&self, mut multipliers: Vec<f64>) -> Infeasible {
        let sets = self.totals.len();
        let mut by_size: Vec<usize> = (0..sets).filter(|&set| multipliers[set] != 0.0).collect();
        by_size.sort_by(|&one, &other| multipliers[one].abs().total_cmp(&multipliers[other].abs()));
        for set in by_size {
            let multiplier = std::mem::take(&mut multipliers[set]);
            if !self.contradicts(&multipliers) {
                multipliers[set] = multiplier;
            }
        }
        let is_capped = |cell: &Cell| cell.is_capped && exponent(cell.sets, &multipliers) > 0.0;
        Infeasible {
            sets: (0..sets).filter(|&set| multipliers[set] != 0.0).collect(),
            caps: self.layout.cells.iter().any(is_capped),
        }
    }
}

impl Step {
    /// Nowhere yet.
    fn from(point: &Point) -> Self {
        let rows = point.multipliers.len();
        Self {
            rows: Vec::with_capacity(rows),
            direction: Vec::with_capacity(rows),
            hessian: Vec::with_capacity(packed_len(rows)),
            next: point.clone(),
        }
    }

    /// How steeply the dual falls along the direction, above 0.
    fn slope(&self, point: &Point) -> f64 {
        -self.rows.iter().zip(&self.direction).map(|(&row, by)| point.gradient[row] * by).sum::<f64>()
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

/// The exponent of arms that are in these sets: the multipliers of the sum and of the sets, added up.
fn exponent(sets: u64, multipliers: &[f64]) -> f64 {
    sets_of(sets).fold(multipliers[multipliers.len() - 1], |z, set| z + multipliers[set])
}

/// The numbers of the bits that are set.
fn sets_of(mut sets: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let set = (sets != 0).then(|| sets.trailing_zeros() as usize)?;
        sets &= sets - 1;
        Some(set)
    })
}

/// Solves a positive semidefinite system, its lower triangle by rows, in place of its right side, with a ridge where it is
/// singular.
fn solve_with_ridge(packed: &mut [f64], ridge: f64, right: &mut [f64]) {
    let diagonal = |row: usize| row_start(row) + row;
    let trace: f64 = (0..right.len()).map(|row| packed[diagonal(row)]).sum();
    // Small against curvatures that matter, and never nothing: where no arm moves, a step is as long as it may be.
    (0..right.len()).for_each(|row| packed[diagonal(row)] += ridge + 1e-13 * trace + 1e-18);
    // Where rounding took more than the ridge, the way straight down is left.
    if factor_in_place(right.len(), packed).is_ok() {
        solve_in_place(packed, right);
    }
}
