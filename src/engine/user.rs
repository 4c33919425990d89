//! What is known of the user's subscription: what the caller states of it.
//!
//! Eligibility reads nothing else of a user but this and the attributes of the request. It is logged with the decision
//! as it was read, so that deciding again needs neither the caller nor a store.

use super::{group::Group, instant::Instant, unit::state::UnitView};
use std::sync::Arc;

/// Longest name of a plan, in bytes.
pub const PLAN_BYTES_MAX: usize = 128;

/// What is known of the user's subscription and kept of the unit; the default is that of a user who never had one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserState {
    /// Whether a trial of any plan was ever used: there is one in a lifetime.
    pub trial_used: bool,
    /// The plan that the user has; `None`: none, as far as known. Never empty.
    pub current_plan: Option<Arc<str>>,
    /// When the last subscription ended; `None`: there was none, as far as known. In the future where an end is
    /// already certain: there is no lapse before it.
    pub lapsed_at: Option<Instant>,
    /// What is kept of the unit at the placement.
    pub unit: UnitView,
    /// The measurement group of the unit at the placement.
    pub group: Group,
}

/// What a caller states of the user; `None` where nothing is stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatedUser {
    /// Whether a trial was ever used.
    pub trial_used: Option<bool>,
    /// The plan that the user has; empty: none.
    pub current_plan: Option<Arc<str>>,
    /// When the last subscription ended.
    pub lapsed_at: Option<Instant>,
}

impl StatedUser {
    /// The state where nothing but this is known.
    #[must_use]
    pub fn into_state(self) -> UserState {
        UserState {
            trial_used: self.trial_used.unwrap_or(false),
            current_plan: self.current_plan.filter(|plan| !plan.is_empty()),
            lapsed_at: self.lapsed_at,
            unit: UnitView::default(),
            group: Group::default(),
        }
    }
}

impl UserState {
    /// How long ago the subscription ended, in milliseconds; `None` where none has, or where the user has a plan again.
    #[must_use]
    pub fn lapse_ms(&self, now: Instant) -> Option<u64> {
        let lapsed_at = self.lapsed_at.filter(|_| self.current_plan.is_none())?;
        u64::try_from(now.as_ms().saturating_sub(lapsed_at.as_ms())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_ms(1_000_000);

    #[test]
    fn what_is_not_stated_counts_as_never_having_subscribed() {
        assert_eq!(StatedUser::default().into_state(), UserState::default());
        let none = StatedUser { current_plan: Some("".into()), ..StatedUser::default() };
        assert_eq!(none.into_state().current_plan, None);
    }

    #[test]
    fn a_lapse_counts_from_the_end_of_the_subscription_until_there_is_a_plan_again() {
        let lapsed = UserState { lapsed_at: Some(Instant::from_ms(400_000)), ..UserState::default() };
        assert_eq!(lapsed.lapse_ms(NOW), Some(600_000));
        assert_eq!(UserState { current_plan: Some("basic".into()), ..lapsed }.lapse_ms(NOW), None);
        assert_eq!(UserState::default().lapse_ms(NOW), None);
    }

    #[test]
    fn an_end_that_is_yet_to_come_is_no_lapse() {
        let ending = UserState { lapsed_at: Some(Instant::from_ms(1_000_001)), ..UserState::default() };
        assert_eq!(ending.lapse_ms(NOW), None);
    }
}
