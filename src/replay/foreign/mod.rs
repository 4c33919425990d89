//! Logs that other systems wrote: what they say of a choice, in one form.
//!
//! A choice is one action out of some, in one position; what else a system writes is left where it is. [`rows`] are what
//! choices come to under a target, such as a [`policy`].

pub mod dsjson;
mod encoding;
pub mod mapping;
pub mod open_bandit;
pub mod policy;
pub mod rows;
pub mod table;

use super::files::mistakes::Mistakes;
use crate::engine::{context::AttributeValue, instant::Instant};
use std::sync::Arc;

/// One choice of a foreign log.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What was known of user and moment, by name.
    pub context: Vec<(Arc<str>, AttributeValue)>,
    /// What could be chosen, no two equal.
    pub actions: Arc<[Arc<str>]>,
    /// Which of them was, as an index.
    pub action: usize,
    /// The probability with which it was, in (0, 1]; `None`: not told, so that it has to be estimated.
    pub propensity: Option<f64>,
    /// The probabilities of all of them; `None`: not told.
    pub probabilities: Option<Vec<f64>>,
    /// What it earned; `None`: not told.
    pub reward: Option<f64>,
    /// In which position, from 0.
    pub position: usize,
    /// When.
    pub at: Option<Instant>,
    /// Whose it was.
    pub user: Option<String>,
}

/// Choices one by one, or everything that is wrong with them.
pub type Result<T> = std::result::Result<T, Mistakes>;

/// The start of a text, to quote it.
fn quoted(text: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(text).chars().take(40).collect::<String>())
}

/// An instant as RFC 3339 writes it, also with a space for its T.
fn instant(text: &[u8]) -> Option<Instant> {
    let timestamp: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(Instant::from_ms(timestamp.as_millisecond()))
}
