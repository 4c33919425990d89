//! Chance that can be asked again: every number depends on the seed and on what it is for, never on the order in
//! which a concurrent run happens to ask.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// The random stream of one purpose, such as `["user", "17"]`.
pub(super) fn stream(seed: u64, purpose: &[&str]) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_be_bytes());
    for part in purpose {
        // The length keeps ["ab", "c"] and ["a", "bc"] apart.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// The uniform number in [0, 1) that decides whether this user takes this offer, whatever else happens.
pub(super) fn luck(seed: u64, user: usize, offer_id: &str) -> f64 {
    stream(seed, &["luck", &user.to_string(), offer_id]).random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_depends_on_seed_user_and_offer_only() {
        assert_eq!(luck(1, 2, "annual"), luck(1, 2, "annual"));
        let others = [luck(2, 2, "annual"), luck(1, 3, "annual"), luck(1, 2, "monthly")];
        assert!(others.iter().all(|&other| other != luck(1, 2, "annual")));
    }
}
