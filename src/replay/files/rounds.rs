//! What was drawn and what it earned, round by round.

use super::{
    ROUNDING,
    mistakes::Mistakes,
    table::{Opening, Table},
};
use crate::replay::{
    day,
    evaluation::Range,
    row::{Outcome, Row},
};
use std::collections::HashMap;

/// What was declared of all rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The smallest probability of any arm.
    pub(super) floor: Option<f64>,
    /// What rewards can be.
    pub(super) reward: Option<Range>,
}

/// The table of rounds.
pub(super) struct Rounds {
    table: Table,
    t: usize,
    action: usize,
    position: Option<usize>,
    reward: usize,
    pscore: usize,
    cluster: Option<usize>,
    day: Option<usize>,
    /// Days that are neither dates nor numbers, by when they first came.
    days: HashMap<Vec<u8>, u32>,
    count: u64,
}

/// One round.
pub(super) struct Round {
    /// Its number; NaN, which equals nothing, where that is wrong.
    pub(super) t: f64,
    /// Its slot; `None` where that is wrong.
    pub(super) position: Option<usize>,
    /// The row without what the target says; `None` after a mistake.
    pub(super) drawn: Option<Row>,
}

impl Rounds {
    pub(super) fn open(
        opening: Opening,
        cluster: Option<&str>,
        day: Option<&str>,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let table = Table::open(opening, mistakes)?;
        let [t, action, reward, pscore] = ["t", "action", "reward", "pscore"].map(|name| table.require(name, mistakes));
        let [cluster, day] = [cluster, day].map(|name| name.map(|name| table.require(name, mistakes)));
        Some(Self {
            t: t?,
            action: action?,
            reward: reward?,
            pscore: pscore?,
            position: table.column("position"),
            cluster: match cluster {
                None => None,
                Some(column) => Some(column?),
            },
            day: match day {
                None => None,
                Some(column) => Some(column?),
            },
            days: HashMap::new(),
            count: 0,
            table,
        })
    }

    pub(super) fn name(&self) -> String {
        self.table.name.clone()
    }

    /// The next round of `arms` arms; `None` at the end.
    pub(super) fn next(&mut self, arms: usize, limits: Limits, mistakes: &mut Mistakes) -> Option<Round> {
        if !self.table.next(mistakes) {
            return None;
        }
        self.count += 1;
        let t = self.table.checked(self.t, "a number", f64::is_finite, mistakes).unwrap_or(f64::NAN);
        let position = self.position.map_or(Some(0), |column| self.table.index(column, mistakes));
        let arm = self.arm(arms, mistakes);
        let propensity = self.propensity(limits.floor, mistakes);
        let outcome = self.outcome(limits.reward, mistakes);
        let (cluster, day) = (self.cluster(), self.day());
        let row = |((arm, propensity), (outcome, position))| Row {
            cluster,
            day,
            arm,
            position,
            propensity,
            target: 0.0,
            unsupported: 0.0,
            weight_max: 0.0,
            outcome,
            model: None,
        };
        Some(Round { t, position, drawn: arm.zip(propensity).zip(outcome.zip(position)).map(row) })
    }

    fn arm(&self, arms: usize, mistakes: &mut Mistakes) -> Option<usize> {
        let arm = self.table.index(self.action, mistakes)?;
        if arm >= arms {
            self.table.mistake(self.action, format_args!("is {arm}, but the target has {arms} arms, from 0"), mistakes);
        }
        (arm < arms).then_some(arm)
    }

    fn propensity(&self, floor: Option<f64>, mistakes: &mut Mistakes) -> Option<f64> {
        let least = floor.unwrap_or(0.0) * (1.0 - ROUNDING);
        let accepts = |p| p > 0.0 && p >= least && p <= 1.0 + ROUNDING;
        match floor {
            Some(floor) => {
                let must = format_args!("a probability from the logging floor of {floor} to 1");
                self.table.checked(self.pscore, must, accepts, mistakes)
            }
            None => self.table.checked(self.pscore, "a probability above 0, up to 1", accepts, mistakes),
        }
    }

    fn outcome(&self, range: Option<Range>, mistakes: &mut Mistakes) -> Option<Outcome> {
        if self.table.number(self.reward).is_none() && self.table.text(self.reward).is_empty() {
            return Some(Outcome::Missing);
        }
        let reward = match range {
            Some(Range { min, max }) => {
                let must = format_args!("a number from {min} to {max}, the declared range of rewards, or empty");
                self.table.checked(self.reward, must, |reward| (min..=max).contains(&reward), mistakes)
            }
            None => self.table.checked(self.reward, "a finite number, or empty", f64::is_finite, mistakes),
        };
        reward.map(Outcome::Reward)
    }

    fn cluster(&self) -> u64 {
        match self.cluster.map(|column| self.table.text(column)) {
            // Who is not told is somebody else.
            None => self.count,
            Some([]) => fnv1a(&self.count.to_le_bytes()),
            Some(text) => fnv1a(text),
        }
    }

    fn day(&mut self) -> Option<u32> {
        let label = self.table.text(self.day?);
        if let Some(number) = day::number(label).or_else(|| self.days.get(label).copied()) {
            return Some(number);
        }
        // Nothing else tells an order; no date has such a number.
        let number = UNORDERED.checked_add(u32::try_from(self.days.len()).ok()?)?;
        self.days.insert(label.to_vec(), number);
        Some(number)
    }
}

/// The number of the first day that is neither a date nor a number.
const UNORDERED: u32 = 4_000_000_000;

/// Fowler, Noll and Vo's hash of 64 bits: users are only told apart by it.
fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
