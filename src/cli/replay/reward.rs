//! What rewards can be, as flags say it.

use crate::replay::evaluation::Range;

/// The range of rewards, both ends or none.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct RewardArgs {
    /// The smallest reward there can be; default: 0 where all are in [0, 1], else the smallest there is
    #[arg(long, value_name = "REWARD", requires = "reward_max", allow_negative_numbers = true)]
    reward_min: Option<f64>,
    /// The largest reward there can be; default: 1 where all are in [0, 1], else the largest there is
    #[arg(long, value_name = "REWARD", requires = "reward_min", allow_negative_numbers = true)]
    reward_max: Option<f64>,
}

/// Why that is no range, or not that of the rewards there are.
#[derive(Debug, thiserror::Error)]
pub(super) enum RewardError {
    /// Nothing is in it.
    #[error("--reward-min is {min} and --reward-max is {max}: both must be finite, and the first below the second")]
    NoRange {
        /// As given.
        min: f64,
        /// As given.
        max: f64,
    },
    /// Rewards are outside.
    #[error(
        "{outside} of {all} rewards are outside of {min} to {max}, as --reward-min and --reward-max have it, such as \
         {first}; declare what rewards can be, not what most are, or leave both out"
    )]
    Outside {
        /// How many.
        outside: usize,
        /// Of how many.
        all: usize,
        /// The first.
        first: f64,
        /// As declared.
        min: f64,
        /// As declared.
        max: f64,
    },
}

impl RewardArgs {
    pub(super) fn range(self) -> Result<Option<Range>, RewardError> {
        let range = self.reward_min.zip(self.reward_max).map(|(min, max)| Range { min, max });
        match range {
            Some(Range { min, max }) if !(min < max && (max - min).is_finite()) => {
                Err(RewardError::NoRange { min, max })
            }
            range => Ok(range),
        }
    }

    /// The range, where all of these are in it.
    pub(super) fn range_of(self, rewards: impl Iterator<Item = f64>) -> Result<Option<Range>, RewardError> {
        let Some(range @ Range { min, max }) = self.range()? else { return Ok(None) };
        let (mut all, mut outside) = (0, Vec::new());
        for reward in rewards {
            all += 1;
            outside.extend((!(min..=max).contains(&reward)).then_some(reward));
        }
        match outside.first() {
            None => Ok(Some(range)),
            Some(&first) => Err(RewardError::Outside { outside: outside.len(), all, first, min, max }),
        }
    }
}
