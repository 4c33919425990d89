//! How the arms of a projection lie in its sets: cells of arms that are in the same ones.

use super::projection::Polytope;

/// The largest exponent of a factor: beyond it every probability is at its cap.
const EXPONENT_MAX: f64 = 600.0;

/// The arms of a projection, whatever their totals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) arms: Vec<Arm>,
    /// The sets that the arms of each cell are in.
    pub(super) cells: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arm {
    pub(super) p: f64,
    pub(super) floor: f64,
    pub(super) cap: f64,
    /// Its cell: arms that are in the same sets share an exponent, so that all but clipping is done once for all of them.
    pub(super) cell: usize,
}

/// What multipliers make of the arms of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CellShare {
    pub(super) exponent: f64,
    /// The exponential of the exponent.
    pub(super) factor: f64,
    /// What its arms come to.
    pub(super) total: f64,
    /// What those between floor and cap come to.
    pub(super) free: f64,
}

impl Layout {
    pub(super) fn of(polytope: &Polytope, p: &[f64]) -> Self {
        let Polytope { floors, caps, members, .. } = polytope;
        let (mut arms, mut cells) = (Vec::with_capacity(p.len()), Vec::with_capacity(p.len()));
        for (((&p, &floor), &cap), sets) in p.iter().zip(floors).zip(caps).zip(members) {
            let known = cells.iter().position(|known| known == sets);
            let cell = known.unwrap_or_else(|| {
                cells.push(*sets);
                cells.len() - 1
            });
            arms.push(Arm { p, floor, cap, cell });
        }
        Self { arms, cells }
    }

    /// What multipliers make of each cell.
    pub(super) fn scale(&self, multipliers: &[f64], cells: &mut [CellShare]) {
        for (&sets, share) in self.cells.iter().zip(&mut *cells) {
            let exponent = exponent(sets, multipliers);
            *share = CellShare { exponent, factor: libm::exp(exponent.min(EXPONENT_MAX)), total: 0.0, free: 0.0 };
        }
        self.share(cells);
    }

    /// Adds up what the arms of each cell come to.
    pub(super) fn share(&self, cells: &mut [CellShare]) {
        for &Arm { p, floor, cap, cell } in &self.arms {
            let share = &mut cells[cell];
            let probability = p * share.factor;
            share.total += probability.clamp(floor, cap);
            share.free += if floor < probability && probability < cap { probability } else { 0.0 };
        }
    }
}

/// The exponent of arms that are in these sets: the multipliers of the sum and of the sets, added up.
pub(super) fn exponent(sets: u64, multipliers: &[f64]) -> f64 {
    sets_of(sets).fold(multipliers[multipliers.len() - 1], |z, set| z + multipliers[set])
}

/// The numbers of the bits that are set.
pub(super) fn sets_of(mut sets: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let set = (sets != 0).then(|| sets.trailing_zeros() as usize)?;
        sets &= sets - 1;
        Some(set)
    })
}
