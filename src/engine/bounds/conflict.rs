//! Which bounds contradict each other, for people who can change them.

use super::{Bound, projection::Polytope};

/// Bounds that leave nothing together, and something without any one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whether floors are among them.
    pub floors: bool,
    /// Whether caps are.
    pub caps: bool,
    /// The sets whose totals are.
    pub sets: Vec<usize>,
}

impl Polytope {
    /// What contradicts itself; `None` where some distribution is inside.
    ///
    /// One bound after the other is taken away, and put back where it is needed for there to be nothing (the deletion
    /// filter of Chinneck and Dravnieks, 1991). Of several conflicts one is named.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        if self.is_feasible() {
            return None;
        }
        let mut least = self.clone();
        let mut takes_part = |bound| {
            let mut looser = least.clone();
            looser.leave_out(bound);
            let needed = looser.is_feasible();
            if !needed {
                least = looser;
            }
            needed
        };
        let (floors, caps) = (takes_part(Bound::Floors), takes_part(Bound::Caps));
        let sets = (0..self.totals.len()).filter(|&set| takes_part(Bound::Set(set))).collect();
        Some(Conflict { floors, caps, sets })
    }
}
