//! When things happen: windows of decisions, exposure and learning.

use super::findings::Findings;
use crate::{
    catalog::path::Path,
    engine::catalog::{Learning, LearningMode, REVISION_WINDOW_MAX_S, WindowLengths},
    proto,
};

/// Attribution window where none is declared: 7 days.
const ATTRIBUTION_DEFAULT_S: u64 = 7 * 24 * 60 * 60;
/// Grace where none is declared: 1 day.
const GRACE_DEFAULT_S: u64 = 24 * 60 * 60;
/// Shortest and longest half-life: a minute, and a hundred years of 365 days.
const HALF_LIFE_BOUNDS_S: (u64, u64) = (60, 100 * 365 * 24 * 60 * 60);

/// Checks how long the windows of a placement's decisions stay open.
pub(super) fn windows(path: &Path, placement: &proto::Placement, findings: &mut Findings) -> WindowLengths {
    let attribution_s = placement.attribution_window_s.unwrap_or(ATTRIBUTION_DEFAULT_S);
    let grace_s = placement.grace_s.unwrap_or(GRACE_DEFAULT_S);
    let attribution_path = path.field("attribution_window_s");
    let attribution = findings.check_range(&attribution_path, attribution_s, 1, REVISION_WINDOW_MAX_S);
    let grace = findings.check_range(&path.field("grace_s"), grace_s, 0, REVISION_WINDOW_MAX_S);
    let closed_s = attribution_s.saturating_add(grace_s);
    if attribution && grace && closed_s > REVISION_WINDOW_MAX_S {
        let description =
            format!("is {closed_s} together with grace_s, must be at most {REVISION_WINDOW_MAX_S}, 400 days");
        findings.refuse(&attribution_path, description);
    }
    let revision_s = placement.revision_window_s.unwrap_or(closed_s);
    if placement.revision_window_s.is_some() {
        let path = path.field("revision_window_s");
        if revision_s < closed_s {
            let description = format!("is {revision_s}, must be at least attribution window and grace, {closed_s}");
            findings.refuse(&path, description);
        } else if revision_s > REVISION_WINDOW_MAX_S {
            let description = format!("is {revision_s}, must be at most {REVISION_WINDOW_MAX_S}, 400 days");
            findings.refuse(&path, description);
        }
    }
    WindowLengths { attribution_s, grace_s, revision_s }
}

/// Checks whether slots count as shown before anybody says so.
pub(super) fn exposure_assumed(path: &Path, number: i32, findings: &mut Findings) -> bool {
    match proto::ExposureMode::try_from(number) {
        Ok(proto::ExposureMode::Unspecified | proto::ExposureMode::Assumed) => true,
        Ok(proto::ExposureMode::Confirmed) => false,
        Err(_) => {
            findings.refuse_number(path, number);
            true
        }
    }
}

/// Checks what is learned when.
pub(super) fn learning(path: &Path, declared: Option<&proto::Learning>, findings: &mut Findings) -> Learning {
    let &proto::Learning { mode, slots, half_life_s } = declared.unwrap_or(&proto::Learning::default());
    let mode = match proto::LearningMode::try_from(mode) {
        Ok(proto::LearningMode::Unspecified | proto::LearningMode::Immediate) => LearningMode::Immediate,
        Ok(proto::LearningMode::AtMaturity) => LearningMode::AtMaturity,
        Err(_) => {
            findings.refuse_number(&path.field("mode"), mode);
            LearningMode::Immediate
        }
    };
    let all_slots = match proto::LearnedSlots::try_from(slots) {
        Ok(proto::LearnedSlots::Unspecified | proto::LearnedSlots::Lead) => false,
        Ok(proto::LearnedSlots::All) => true,
        Err(_) => {
            findings.refuse_number(&path.field("slots"), slots);
            false
        }
    };
    if let Some(half_life_s) = half_life_s {
        let (min, max) = HALF_LIFE_BOUNDS_S;
        findings.check_range(&path.field("half_life_s"), half_life_s, min, max);
    }
    Learning { mode, all_slots, half_life_ms: half_life_s.map(|half_life_s| half_life_s.saturating_mul(1000)) }
}
