//! Which bounds contradict each other, for people who can change them.

use super::projection::Polytope;

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
        let mut takes_part = |take_away: &dyn Fn(&mut Self)| {
            let mut looser = least.clone();
            take_away(&mut looser);
            let needed = looser.is_feasible();
            if !needed {
                least = looser;
            }
            needed
        };
        let floors = takes_part(&|polytope| polytope.floors.fill(0.0));
        let caps = takes_part(&|polytope| polytope.caps.fill(1.0));
        let mut sets: Vec<usize> = (0..self.totals.len()).collect();
        sets.retain(|&set| takes_part(&|polytope| polytope.totals[set] = (0.0, 1.0)));
        Some(Conflict { floors, caps, sets })
    }
}
