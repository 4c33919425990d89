//! Draws from probabilities: one stream of random numbers for every purpose, all from the decision's seed.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// Fills the key beside the seed: other users of ChaCha with the same seed get other numbers.
const DOMAIN: [u8; 24] = *b"offer-ranker/streams/v1\0";

/// The uniform number in [0, 1) that draws a slot, from 1: the first 53 bits of the slot's own stream.
#[must_use]
pub fn uniform(seed: u64, slot: u32) -> f64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..].copy_from_slice(&DOMAIN);
    let mut stream = ChaCha12Rng::from_seed(key);
    stream.set_stream(u64::from(slot));
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The index that `uniform` falls on by inverse CDF, in the order of `pmf`, which sums to 1 and is not empty.
#[must_use]
pub fn draw(pmf: &[f64], uniform: f64) -> usize {
    let mut cumulated = 0.0;
    for (index, probability) in pmf.iter().enumerate() {
        cumulated += probability;
        if uniform < cumulated {
            return index;
        }
    }
    // Rounding left the sum below `uniform`: the last index that can be drawn at all takes the rest.
    pmf.iter().rposition(|&probability| probability > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        assert_ne!(uniform(7, 1), uniform(7, 2));
        assert_ne!(uniform(7, 1), uniform(8, 1));
        assert_eq!(uniform(7, 1), uniform(7, 1));
    }

    #[test]
    fn an_arm_without_probability_is_never_drawn() {
        let almost_one = 1.0 - f64::EPSILON / 2.0;
        assert_eq!(draw(&[0.0, 1.0, 0.0], 0.0), 1);
        assert_eq!(draw(&[0.0, 1.0 - 1e-15, 0.0], almost_one), 1);
    }

    #[test]
    fn draws_follow_the_cumulated_probabilities() {
        assert_eq!(draw(&[0.25, 0.5, 0.25], 0.2499), 0);
        assert_eq!(draw(&[0.25, 0.5, 0.25], 0.25), 1);
        assert_eq!(draw(&[0.25, 0.5, 0.25], 0.75), 2);
    }
}
