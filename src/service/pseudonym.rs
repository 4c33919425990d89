//! Keyed hashes of ids: user and unit ids never reach a key or a log in the clear.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Makes keyed hashes, HMAC-SHA-256 under the store's key.
#[derive(Clone)]
pub struct Pseudonyms {
    keyed: Hmac<Sha256>,
}

impl Pseudonyms {
    /// Hashes under this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(key).expect("invariant: HMAC takes keys of any length") }
    }

    /// What a user is called in logs.
    #[must_use]
    pub fn user(&self, user_id: &str) -> [u8; 16] {
        first_half(self.hash("user", &[user_id.as_bytes()]))
    }

    /// What a unit is called in logs.
    #[must_use]
    pub fn unit(&self, unit_id: &str) -> [u8; 16] {
        first_half(self.hash("unit", &[unit_id.as_bytes()]))
    }

    /// What a value of a protected attribute is called in the logs of a placement.
    #[must_use]
    pub fn cohort(&self, placement: &str, attribute: &str, value: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] =
            self.hash("cohort", &[placement.as_bytes(), attribute.as_bytes(), value.as_bytes()]);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// What a request is called: one placement, one user, one request id.
    #[must_use]
    pub fn request(&self, placement: &str, user_id: &str, request_id: &str) -> [u8; 32] {
        self.hash("request", &[placement.as_bytes(), user_id.as_bytes(), request_id.as_bytes()])
    }

    /// What a request's body is called.
    #[must_use]
    pub fn body(&self, body: &[u8]) -> [u8; 32] {
        self.hash("body", &[body])
    }

    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = self.keyed.clone();
        hash.update(purpose.as_bytes());
        for part in parts {
            // Lengths keep ("a", "bc") apart from ("ab", "c").
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into_bytes().into()
    }
}

/// The partition, of `partitions`, that a unit belongs to.
#[must_use]
pub fn partition_of(unit_key: &[u8; 16], partitions: u32) -> u16 {
    let [a, b, c, d, e, f, g, h, ..] = *unit_key;
    // Partitions are at most 64, so the remainder fits and its bias is below 2^-57.
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(partitions.max(1))) as u16
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
