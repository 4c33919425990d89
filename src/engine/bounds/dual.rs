//! The dual of a projection: multipliers of the sets, by Newton's method.

use super::{
    layout::{Arm, CellShare, Layout, exponent, sets_of},
    projection::{CONTRADICTION_MIN, Infeasible, Polytope, RESIDUAL_MAX, normalised},
};
use crate::engine::math::{
    cholesky::{packed_len, row_start},
    ldl::{factor_in_place, solve_in_place},
};

/// Steps until a projection is given up: most need two to six, the hardest of a hundred thousand eighty.
const STEPS_MAX: usize = 1_000;
/// Steps after which multipliers are held back in proportion to what is left to do, and the dual has to fall in each.
/// Where most arms are at their floors and caps, curvature says little, and bold steps go in circles.
const BOLD_STEPS: usize = 15;
/// Steps after which contradictions are looked for: what is feasible is mostly solved before.
const TRUSTING_STEPS: usize = 4;
/// The longest step of a multiplier: a factor of e^8.
const STEP_LONGEST: f64 = 8.0;
/// The longest step that need not bend.
const UNBENT_LONGEST: f64 = 1e-7;
/// What is left of a cell's free mass, at least, where a step bends: straight on there may be less than nothing left.
const LEFT_MIN: f64 = 0.1;
/// Halvings of a step until it is given up.
const HALVINGS_MAX: usize = 40;

/// The dual problem of one projection: one multiplier for each set, and the last for the sum of all arms.
struct Dual<'a> {
    /// Smallest and largest total of each set.
    totals: &'a [(f64, f64)],
    layout: &'a Layout,
}

/// The projection of one policy onto whatever totals, and where it came to: from there it is not far to others.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    layout: Layout,
    point: Point,
    step: Step,
}

/// Multipliers, and what they make of the arms.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    multipliers: Vec<f64>,
    /// Of the dual function; 0 where a multiplier need not move.
    gradient: Vec<f64>,
    cells: Vec<CellShare>,
}

/// A step as it is worked out, kept because allocating would take as long as all the rest.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    /// The multipliers that move, and where to.
    rows: Vec<usize>,
    direction: Vec<f64>,
    /// How the way there bends.
    bend: Vec<f64>,
    /// The Hessian in all multipliers.
    curvature: Vec<f64>,
    /// In those that move, as its factor L D L'.
    hessian: Vec<f64>,
    /// Whether there is that factor.
    is_newton: bool,
    /// Where that leads.
    next: Point,
}

impl Near {
    /// Prepares the projection of `p`, which is above 0 everywhere, from where floors and caps alone scale it to.
    pub(super) fn new(polytope: &Polytope, p: &[f64], scale: f64) -> Box<Self> {
        let layout = Layout::of(polytope, p);
        let (sets, exponent) = (polytope.totals.len(), libm::log(scale));
        let mut multipliers = Vec::with_capacity(sets + 1);
        multipliers.resize(sets, 0.0);
        multipliers.push(exponent);
        let share = CellShare { exponent, factor: scale, total: 0.0, free: 0.0 };
        let mut point = Point { gradient: multipliers.clone(), multipliers, cells: vec![share; layout.cells.len()] };
        layout.share(&mut point.cells);
        let step = Step::from(&point);
        Box::new(Self { layout, point, step })
    }

    /// Goes to the nearest distribution inside these totals.
    pub(super) fn solve(mut self: Box<Self>, totals: &[(f64, f64)]) -> Result<Box<Self>, Infeasible> {
        let Self { layout, point, step } = &mut *self;
        Dual { totals, layout }.solve(point, step)?;
        Ok(self)
    }

    /// The distribution that was come to.
    pub(super) fn pmf(&self) -> Vec<f64> {
        let Self { layout, point, .. } = self;
        let probability = |arm: &Arm| (arm.p * point.cells[arm.cell].factor).clamp(arm.floor, arm.cap);
        normalised(layout.arms.iter().map(probability).collect())
    }

    /// What a set comes to in it.
    pub(super) fn total_of(&self, set: usize) -> f64 {
        let (mut inside, mut all) = (0.0, 0.0);
        for (sets, share) in self.layout.cells.iter().zip(&self.point.cells) {
            inside += if sets >> set & 1 == 1 { share.total } else { 0.0 };
            all += share.total;
        }
        inside / all
    }
}

impl Dual<'_> {
    /// Goes from a point's multipliers to the solution.
    fn solve(&self, point: &mut Point, step: &mut Step) -> Result<(), Infeasible> {
        self.descend(point);
        for count in 0..STEPS_MAX {
            if point.residual() <= RESIDUAL_MAX {
                return Ok(());
            }
            // Where multipliers grow without end it is along a proof, which a step comes nearer to than all steps together do.
            // Where single rows moved it may not be one yet, and the next step of all is.
            if count >= TRUSTING_STEPS && self.contradicts(&point.away_from(&step.next)) {
                return Err(Infeasible);
            }
            step.rows.clear();
            step.rows.extend((0..point.multipliers.len()).filter(|&row| point.acts(row)));
            // Where all at once do not get nearer, one after the other does, until nothing moves any more.
            let bold = count < BOLD_STEPS;
            if !self.advance(point, step, if bold { 0.0 } else { 1.0 }, bold) && !self.one_by_one(point, step) {
                break;
            }
        }
        // As near as numbers go, or hopeless.
        if point.residual() <= CONTRADICTION_MIN { Ok(()) } else { Err(Infeasible) }
    }

    /// The gradient of the dual function.
    fn descend(&self, point: &mut Point) {
        let (Point { multipliers, gradient, cells }, totals) = (point, self.totals);
        gradient.fill(0.0);
        for (&sets, share) in self.layout.cells.iter().zip(&*cells) {
            sets_of(sets).for_each(|set| gradient[set] += share.total);
            gradient[totals.len()] += share.total;
        }
        gradient[totals.len()] -= 1.0;
        for ((sum, &multiplier), &(min, max)) in gradient.iter_mut().zip(&*multipliers).zip(totals) {
            // An end that every distribution keeps has no part in anything, least of all in contradictions: while the sum is
            // not 1 yet, totals may be beyond it.
            *sum = if multiplier > 0.0 || multiplier == 0.0 && min > 0.0 && *sum < min {
                *sum - min
            } else if multiplier < 0.0 || max < 1.0 && *sum > max {
                *sum - max
            } else {
                0.0
            };
        }
    }

    /// The dual function at a point.
    fn value(&self, point: &Point) -> f64 {
        let mut value = -self.promised(&point.multipliers);
        for &Arm { p, floor, cap, cell } in &self.layout.arms {
            let CellShare { exponent, factor, .. } = point.cells[cell];
            let probability = p * factor;
            // The integral of the probability over the exponent.
            value += if cap <= 0.0 {
                0.0
            } else if probability <= floor && floor > 0.0 {
                floor + floor * (exponent - libm::log(floor / p))
            } else if probability >= cap {
                cap + cap * (exponent - libm::log(cap / p))
            } else {
                probability
            };
        }
        value
    }

    /// What totals inside their bounds are worth at least, weighted by their multipliers.
    fn promised(&self, multipliers: &[f64]) -> f64 {
        let of_set = |(&multiplier, &(min, max)): (&f64, &(f64, f64))| {
            if multiplier > 0.0 { multiplier * min } else { multiplier * max }
        };
        multipliers[self.totals.len()] + multipliers.iter().zip(self.totals).map(of_set).sum::<f64>()
    }

    /// A step of Newton's method on the step's rows, held back by `caution`; `false` where it does not get nearer.
    fn advance(&self, point: &mut Point, step: &mut Step, caution: f64, bold: bool) -> bool {
        self.turn(point, step, caution);
        if point.residual_of(&step.rows) == 0.0 {
            return false;
        }
        self.bend(point, step);
        let mut value = None;
        let mut length = 1.0;
        for _ in 0..HALVINGS_MAX {
            self.walk(point, step, length);
            // Most steps need no look at the dual function: what is left to do shrinks.
            let left = step.next.residual_of(&step.rows) / point.residual_of(&step.rows);
            if bold && left < 0.5 || self.falls(point, step, length, left, &mut value) {
                std::mem::swap(point, &mut step.next);
                return true;
            }
            length /= 2.0;
        }
        false
    }

    /// Where so much of a step leads.
    fn walk(&self, point: &Point, step: &mut Step, length: f64) {
        let Step { rows, direction, bend, next, .. } = step;
        next.multipliers.copy_from_slice(&point.multipliers);
        for ((&row, by), aside) in rows.iter().zip(&*direction).zip(&*bend) {
            let moved = point.multipliers[row] + length * (by + length * aside);
            let crosses = row < self.totals.len() && point.multipliers[row] * moved < 0.0;
            // Where a multiplier changes sign its bound changes: it stops in between.
            next.multipliers[row] = if crosses { 0.0 } else { moved };
        }
        self.layout.scale(&next.multipliers, &mut next.cells);
        self.descend(next);
    }

    /// Whether the dual function falls as much as can be asked for. `value` keeps what it was before.
    fn falls(&self, point: &Point, step: &Step, length: f64, left: f64, value: &mut Option<f64>) -> bool {
        let before = *value.get_or_insert_with(|| self.value(point));
        let after = self.value(&step.next);
        // Near the solution values differ by less than they are rounded by, and gradients still tell.
        after < before - 1e-4 * length * step.slope(point) || left < 0.9 && after <= before + RESIDUAL_MAX
    }

    fn one_by_one(&self, point: &mut Point, step: &mut Step) -> bool {
        let mut moved = false;
        for row in 0..point.multipliers.len() {
            step.rows.clear();
            step.rows.push(row);
            moved |= point.acts(row) && self.advance(point, step, 0.0, false);
        }
        moved
    }

    /// Finds the direction, and leaves the rows that move along it: a multiplier of 0 can only move against its gradient,
    /// or waits.
    fn turn(&self, point: &Point, step: &mut Step, caution: f64) {
        self.curve(point, &mut step.curvature);
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

    /// Bends a step, so that the distance left is of the third order.
    ///
    /// Straight on, a cell's free mass would have to grow by the step's exponent x in proportion, to 1 + x times what it is,
    /// for totals to be right; it grows to e^x. So its exponent should be ln(1 + x), and is as near to it as multipliers
    /// allow: by least squares weighted with the free mass, whose normal equations have the Hessian again. To the second
    /// order that is Chebyshev's method; where every cell that is free can have its own exponent, one step is enough.
    fn bend(&self, point: &Point, step: &mut Step) {
        let Step { rows, direction, bend, hessian, is_newton, next, .. } = step;
        bend.clear();
        bend.resize(rows.len(), 0.0);
        // Of the second order alone what is left of a short step is less than anything that counts.
        if !*is_newton || largest(direction) < UNBENT_LONGEST {
            return;
        }
        // Of all multipliers, where the next point will be worked out.
        let Point { multipliers: along, gradient: aside, .. } = next;
        along.fill(0.0);
        rows.iter().zip(&*direction).for_each(|(&row, &by)| along[row] = by);
        aside.fill(0.0);
        for (&sets, share) in self.layout.cells.iter().zip(&point.cells).filter(|(_, share)| share.free > 0.0) {
            let straight = exponent(sets, along);
            let by = share.free * (libm::log1p(straight.max(LEFT_MIN - 1.0)) - straight);
            sets_of(sets).for_each(|set| aside[set] += by);
            aside[self.totals.len()] += by;
        }
        rows.iter().zip(&mut *bend).for_each(|(&row, bend)| *bend = aside[row]);
        solve_in_place(hessian, bend);
    }

    /// The Hessian of the dual function in all multipliers.
    fn curve(&self, point: &Point, curvature: &mut Vec<f64>) {
        let sum = self.totals.len();
        curvature.clear();
        curvature.resize(packed_len(sum + 1), 0.0);
        for (&sets, share) in self.layout.cells.iter().zip(&point.cells) {
            for set in sets_of(sets) {
                curvature[row_start(sum) + set] += share.free;
                let row = &mut curvature[row_start(set)..];
                sets_of(sets & (u64::MAX >> (63 - set))).for_each(|other| row[other] += share.free);
            }
            curvature[row_start(sum) + sum] += share.free;
        }
    }

    /// Newton's direction: minus the inverse of the Hessian times the gradient, no longer than a step may be.
    fn point_downwards(&self, point: &Point, step: &mut Step, caution: f64) {
        let Step { rows, direction, curvature, hessian, is_newton, .. } = step;
        hessian.clear();
        for (index, &row) in rows.iter().enumerate() {
            hessian.extend(rows[..=index].iter().map(|&other| curvature[row_start(row) + other]));
        }
        direction.clear();
        direction.extend(rows.iter().map(|&row| -point.gradient[row]));
        *is_newton = factor_with_ridge(rows.len(), hessian, caution * point.residual_of(rows));
        if *is_newton {
            solve_in_place(hessian, direction);
        }
        let longest = largest(direction);
        if longest > STEP_LONGEST {
            direction.iter_mut().for_each(|by| *by *= STEP_LONGEST / longest);
        }
    }

    /// Whether what arms can give at most is less than what totals promise, both weighted by these multipliers: a proof
    /// that nothing is inside.
    fn contradicts(&self, multipliers: &[f64]) -> bool {
        let given = |arm: &Arm| {
            let z = exponent(self.layout.cells[arm.cell], multipliers);
            z * if z > 0.0 { arm.cap } else { arm.floor }
        };
        let given: f64 = self.layout.arms.iter().map(given).sum();
        let size: f64 = multipliers.iter().map(|multiplier| multiplier.abs()).sum();
        given < self.promised(multipliers) - CONTRADICTION_MIN * size
    }
}

impl Step {
    /// Nowhere yet.
    fn from(point: &Point) -> Self {
        let rows = point.multipliers.len();
        Self {
            rows: Vec::with_capacity(rows),
            direction: Vec::with_capacity(rows),
            bend: Vec::with_capacity(rows),
            curvature: Vec::with_capacity(packed_len(rows)),
            hessian: Vec::with_capacity(packed_len(rows)),
            is_newton: false,
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
        largest(&self.gradient)
    }

    fn residual_of(&self, rows: &[usize]) -> f64 {
        rows.iter().fold(0.0_f64, |largest, &row| largest.max(self.gradient[row].abs()))
    }

    /// How far multipliers are from another point's.
    fn away_from(&self, other: &Self) -> Vec<f64> {
        self.multipliers.iter().zip(&other.multipliers).map(|(own, other)| own - other).collect()
    }

    fn acts(&self, row: usize) -> bool {
        self.multipliers[row] != 0.0 || self.gradient[row] != 0.0
    }
}

/// Factors a packed positive semidefinite matrix, with a ridge where it is singular. `false` where rounding took more than
/// the ridge, and the way straight down is left.
fn factor_with_ridge(rows: usize, packed: &mut [f64], ridge: f64) -> bool {
    let diagonal = |row: usize| row_start(row) + row;
    let trace: f64 = (0..rows).map(|row| packed[diagonal(row)]).sum();
    // Small against curvatures that matter, and never nothing: where no arm moves, a step is as long as it may be.
    (0..rows).for_each(|row| packed[diagonal(row)] += ridge + 1e-14 * trace + 1e-18);
    factor_in_place(rows, packed)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()))
}
