//! Bounds of a placement: floors and caps of arms, totals of sets, and bands.

use super::{
    findings::{Findings, RESOURCE, Seen},
    placements::ArmIds,
    units::{self, Surroundings},
};
use crate::{
    catalog::path::Path,
    engine::bounds::{BANDS_MAX, Band, BandInForce, Bounds, Conflict, TOTALS_MAX, TotalBound, projection::Polytope},
    proto,
};
use std::{collections::BTreeSet, sync::Arc};

/// How far floors may sum above 1: ten times 0.1 does not make 1 in binary.
const FLOOR_SUM_TOLERANCE: f64 = 1e-9;

/// What explanations and reports call the floors and caps of offers, which no set or band may be called.
const RESERVED: [&str; 4] = ["cap", "caps", "floor", "floors"];

/// The bounds of a placement, in the order of the engine's arms.
pub(super) struct Draft {
    /// Smallest probability of each arm.
    pub(super) floors: Vec<f64>,
    /// Largest probability of each arm.
    pub(super) caps: Vec<f64>,
    /// The sets that each arm is in.
    pub(super) sets: Vec<u64>,
    /// Everything else.
    pub(super) bounds: Bounds,
}

/// Checks the bounds of a placement, each by itself and all together.
pub(super) fn bounds(
    path: &Path,
    declared: Option<&proto::Bounds>,
    has_protected: bool,
    surroundings: &Surroundings<'_>,
    findings: &mut Findings,
) -> Draft {
    let arm_ids = surroundings.arm_ids;
    let count = arm_ids.sorted().len();
    let nothing = proto::Bounds::default();
    let declared = declared.unwrap_or(&nothing);
    let before = findings.count();
    let floors = floors(path, declared, arm_ids, findings);
    let caps = caps(path, declared, &floors, arm_ids, findings);
    let mut draft = Draft { floors, caps, sets: vec![0; count], bounds: Bounds::default() };
    let mut seen = Seen::new();
    findings.check_count(&path.field("sets"), declared.sets.len(), TOTALS_MAX);
    findings.check_count(&path.field("bands"), declared.bands.len(), BANDS_MAX);
    for (index, set) in declared.sets.iter().take(TOTALS_MAX).enumerate() {
        let path = path.field("sets").index(index);
        check_id(&path.field("id"), &set.id, &mut seen, findings);
        let members = units::offers(&path, (&set.offers, &set.tags), surroundings, true, findings);
        draft.put(index, &members, arm_ids);
        draft.bounds.totals.push(total(&path, set, findings));
    }
    for (index, band) in declared.bands.iter().take(BANDS_MAX).enumerate() {
        let path = path.field("bands").index(index);
        check_id(&path.field("id"), &band.id, &mut seen, findings);
        let members = units::offers(&path, (&band.offers, &band.tags), surroundings, true, findings);
        if members.len() == count && count > 0 {
            findings.refuse(&path, "names every offer of the placement: nothing is left to tell a benefit from");
        }
        draft.put(draft.bounds.totals.len() + index, &members, arm_ids);
        draft.bounds.bands.push(self::band(&path, band, has_protected, findings));
    }
    if findings.count() == before && count > 0 {
        check_feasible(path, &draft, findings);
    }
    draft
}

fn check_id<'a>(path: &Path, id: &'a str, seen: &mut Seen<'a>, findings: &mut Findings) {
    findings.check_id(path, id, &RESOURCE, seen);
    if RESERVED.contains(&id) {
        let description = format!("is {id:?}, which is what explanations call an offer's own bound: choose another id");
        findings.refuse(path, description);
    }
}

impl Draft {
    fn put(&mut self, set: usize, members: &BTreeSet<&str>, arm_ids: &ArmIds<'_>) {
        for (sets, id) in self.sets.iter_mut().zip(arm_ids.sorted()) {
            *sets |= u64::from(members.contains(id)) << set;
        }
    }
}

fn floors(path: &Path, declared: &proto::Bounds, arm_ids: &ArmIds<'_>, findings: &mut Findings) -> Vec<f64> {
    let proto::Bounds { floor, floors: own, .. } = declared;
    let mut accepted = findings.check_range(&path.field("floor"), *floor, 0.0, 1.0);
    for (id, &floor) in own {
        let path = path.field("floors").key(id);
        arm_ids.check(&path, id, findings);
        accepted &= findings.check_range(&path, floor, 0.0, 1.0);
    }
    let floors: Vec<f64> = arm_ids.sorted().iter().map(|&id| own.get(id).copied().unwrap_or(*floor)).collect();
    let sum: f64 = floors.iter().sum();
    if accepted && sum > 1.0 + FLOOR_SUM_TOLERANCE {
        let count = floors.len();
        // Rounded as people write it: 0.4 + 0.8 is 1.2000000000000002.
        let sum = libm::round(sum * 1e6) / 1e6;
        findings.refuse(path, format!("has floors that sum to {sum} over {count} offers, must sum to at most 1"));
    }
    floors
}

fn caps(
    path: &Path,
    declared: &proto::Bounds,
    floors: &[f64],
    arm_ids: &ArmIds<'_>,
    findings: &mut Findings,
) -> Vec<f64> {
    let mut caps = vec![1.0; floors.len()];
    for (id, &cap) in &declared.caps {
        let path = path.field("caps").key(id);
        arm_ids.check(&path, id, findings);
        let Ok(arm) = arm_ids.sorted().binary_search(&id.as_str()) else { continue };
        if findings.check_range(&path, cap, 0.0, 1.0) && cap < floors[arm] {
            findings.refuse(&path, format!("is {cap}, must be at least the offer's floor, {}", floors[arm]));
        }
        caps[arm] = cap;
    }
    caps
}

fn total(path: &Path, declared: &proto::SetBound, findings: &mut Findings) -> TotalBound {
    let (min, max) = (declared.min.unwrap_or(0.0), declared.max.unwrap_or(1.0));
    if declared.min.is_none() && declared.max.is_none() {
        findings.refuse(path, "has neither min nor max: set at least one of them");
    }
    let in_range =
        [("min", min), ("max", max)].map(|(name, end)| findings.check_range(&path.field(name), end, 0.0, 1.0));
    if in_range == [true, true] && min > max {
        findings.refuse(&path.field("min"), format!("is {min}, must be at most max, {max}"));
    }
    let every_slot = match proto::BoundedSlots::try_from(declared.slots) {
        Ok(proto::BoundedSlots::Unspecified | proto::BoundedSlots::Lead) => false,
        Ok(proto::BoundedSlots::Each) => true,
        Err(_) => {
            findings.refuse_number(&path.field("slots"), declared.slots);
            false
        }
    };
    TotalBound { id: Arc::from(declared.id.as_str()), min, max, every_slot }
}

fn band(path: &Path, declared: &proto::Band, has_protected: bool, findings: &mut Findings) -> Band {
    let &proto::Band { rate, max_gap, .. } = declared;
    let delta = declared.delta.unwrap_or_else(|| {
        let path = path.field("delta");
        findings.refuse(
            &path,
            "is missing: say how far from the rate a user's probability may be, from 0 to 1, such as 0.05",
        );
        1.0
    });
    if let Some(rate) = rate {
        findings.check_range(&path.field("rate"), rate, 0.0, 1.0);
    }
    let delta_is_valid = findings.check_range(&path.field("delta"), delta, 0.0, 1.0);
    if let Some(max_gap) = max_gap {
        let path = path.field("max_gap");
        // Written so that NaN is refused.
        if !(max_gap > 0.0 && (!delta_is_valid || max_gap < 2.0 * delta)) {
            let description =
                format!("is {max_gap}, must be above 0 and below {}: two delta are never exceeded", 2.0 * delta);
            findings.refuse(&path, description);
        }
        if !has_protected {
            let description =
                "is set, but the placement counts by no protected attribute: declare protected_attributes";
            findings.refuse(&path, description);
        }
    }
    Band { id: Arc::from(declared.id.as_str()), rate, delta, max_gap }
}

/// Checks that some distribution over all arms keeps all bounds of the lead, and names those that contradict each other.
fn check_feasible(path: &Path, draft: &Draft, findings: &mut Findings) {
    let Draft { floors, caps, sets, bounds } = draft;
    let arms: Vec<BoundedArm> = floors.iter().zip(caps).zip(sets).map(|((&f, &c), &s)| (f, c, s)).collect();
    let Some(conflict) = conflict(&arms, bounds) else { return };
    let names = names(&conflict, bounds);
    let description = match (&names[..], &conflict.sets[..]) {
        ([_], []) => "has caps that sum to less than 1: nothing could be drawn".to_owned(),
        ([name], _) => format!("has no solution: nothing that can be shown keeps {name}; loosen it"),
        _ => format!("has no solution: {} contradict each other; loosen one of them", names.join(", ")),
    };
    // At what serving would give up first: the set that was declared last, or the caps, or the last of the bands.
    let (sets, bands): (Vec<usize>, Vec<usize>) = conflict.sets.iter().partition(|&&set| set < bounds.totals.len());
    let place = match (sets.last(), conflict.caps, bands.last()) {
        (Some(&set), ..) => path.field("sets").index(set),
        (None, true, _) => path.field("caps"),
        (None, false, Some(&band)) => path.field("bands").index(band - bounds.totals.len()),
        (None, false, None) => path.clone(),
    };
    findings.refuse(&place, description);
}

/// Floor, cap and sets of an arm.
pub(super) type BoundedArm = (f64, f64, u64);

/// The bounds of the lead that contradict each other where these arms can be shown; `None` where some distribution keeps
/// them all.
pub(super) fn conflict(arms: &[BoundedArm], bounds: &Bounds) -> Option<Conflict> {
    let mut totals = bounds.totals_in(1);
    for (index, (total, band)) in totals[bounds.totals.len()..].iter_mut().zip(&bounds.bands).enumerate() {
        let inside = arms.iter().filter(|(_, _, sets)| sets >> (bounds.totals.len() + index) & 1 == 1).count();
        // Nobody can be held to it who can be shown its offers alone, or none of them.
        if let Some(rate) = band.rate.filter(|_| (1..arms.len()).contains(&inside)) {
            *total = BandInForce { rate, delta: band.delta }.ends();
        }
    }
    let polytope = Polytope {
        floors: arms.iter().map(|(floor, _, _)| *floor).collect(),
        caps: arms.iter().map(|(_, cap, _)| *cap).collect(),
        members: arms.iter().map(|(_, _, sets)| *sets).collect(),
        totals,
    };
    polytope.conflict()
}

/// What people call the bounds of a conflict.
pub(super) fn names(conflict: &Conflict, bounds: &Bounds) -> Vec<String> {
    let Conflict { floors, caps, sets } = conflict;
    let mut names: Vec<String> = sets.iter().map(|&set| format!("{:?}", bounds.id(set))).collect();
    names.extend(caps.then(|| "caps".to_owned()));
    names.extend(floors.then(|| "floors".to_owned()));
    names
}
