//! How fairly slates share out attention among kinds of items, compared with shares that are wanted, and how evenly.

use super::bounds::projection::PROBABILITY_MIN;
use std::collections::BTreeMap;

/// What a position is worth, from 1: 1 / log2(1 + position), as in discounted cumulative gain (Järvelin and Kekäläinen,
/// 2002).
#[must_use]
pub fn attention(position: usize) -> f64 {
    1.0 / libm::log2(1.0 + position as f64)
}

/// The share of each kind among items.
#[must_use]
pub fn shares<K: Ord>(items: impl IntoIterator<Item = K>) -> BTreeMap<K, f64> {
    let (mut shares, mut count) = (BTreeMap::new(), 0.0);
    for item in items {
        *shares.entry(item).or_insert(0.0) += 1.0;
        count += 1.0;
    }
    shares.values_mut().for_each(|share| *share /= count);
    shares
}

/// ln of a kind's share over its wanted share (Geyik et al., 2019): 0 where they are the same, minus infinity where the
/// kind is wanted and missing; `None` where it is not wanted.
#[must_use]
pub fn skew<K: Ord>(shares: &BTreeMap<K, f64>, kind: &K, wanted: &BTreeMap<K, f64>) -> Option<f64> {
    let wanted = wanted.get(kind).copied().filter(|&share| share > 0.0)?;
    Some(libm::log(shares.get(kind).copied().unwrap_or(0.0) / wanted))
}

/// Slates in sums: their attention, skew and NDKL, whatever shares are wanted in the end.
#[derive(Clone, Debug)]
pub struct Slates<K> {
    count: u64,
    /// By slot, from the first: items of each kind.
    slots: Vec<BTreeMap<K, u64>>,
    /// By kind: what its shares s of the beginnings of slates sum up to, s ln s and s, each weighted by its attention.
    divergences: BTreeMap<K, (f64, f64)>,
}

impl<K> Default for Slates<K> {
    fn default() -> Self {
        Self { count: 0, slots: Vec::new(), divergences: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Slates<K> {
    /// Counts a slate that has an item.
    pub fn add(&mut self, items: &[K]) {
        self.count += u64::from(!items.is_empty());
        self.slots.resize_with(self.slots.len().max(items.len()), BTreeMap::new);
        let norm: f64 = (1..=items.len()).map(attention).sum();
        for length in 1..=items.len() {
            *self.slots[length - 1].entry(items[length - 1].clone()).or_default() += 1;
            for (kind, share) in shares(items[..length].iter().cloned()) {
                let (entropy, sum) = self.divergences.entry(kind).or_default();
                let weight = attention(length) / norm;
                *entropy += weight * share * libm::log(share);
                *sum += weight * share;
            }
        }
    }

    /// How many slots the longest slate has.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.slots.len()
    }

    /// The share of each kind among the first `slots` items of all slates.
    #[must_use]
    pub fn shares(&self, slots: usize) -> BTreeMap<K, f64> {
        let mut counts: BTreeMap<K, u64> = BTreeMap::new();
        for (kind, count) in self.slots.iter().take(slots).flatten() {
            *counts.entry(kind.clone()).or_default() += count;
        }
        let all: u64 = counts.values().sum();
        counts.into_iter().map(|(kind, count)| (kind, count as f64 / all as f64)).collect()
    }

    /// Attention that each kind gets, summed over the positions of its items.
    #[must_use]
    pub fn exposure(&self) -> BTreeMap<K, f64> {
        let mut exposure: BTreeMap<K, f64> = BTreeMap::new();
        for (slot, kinds) in (1..).zip(&self.slots) {
            for (kind, &count) in kinds {
                *exposure.entry(kind.clone()).or_default() += attention(slot) * count as f64;
            }
        }
        exposure
    }

    /// The share of each kind in all attention.
    #[must_use]
    pub fn attention(&self) -> BTreeMap<K, f64> {
        let given = self.exposure();
        let all: f64 = given.values().sum();
        given.into_iter().map(|(kind, attention)| (kind, attention / all)).collect()
    }

    /// The normalised discounted cumulative KL divergence of slates from wanted shares, from 0, on average (Geyik et al.,
    /// 2019): of each beginning of a slate, the divergence of its shares from those wanted, weighted by attention. `None`
    /// without any slate. What is shown and not wanted would make it infinite, and counts as wanted by
    /// [`PROBABILITY_MIN`].
    #[must_use]
    pub fn ndkl(&self, wanted: &BTreeMap<K, f64>) -> Option<f64> {
        let of_kind = |(kind, (entropy, sum)): (&K, &(f64, f64))| {
            let wanted = wanted.get(kind).map_or(PROBABILITY_MIN, |wanted| wanted.max(PROBABILITY_MIN));
            entropy - sum * libm::log(wanted)
        };
        let sum: f64 = self.divergences.iter().map(of_kind).sum();
        // Rounding may leave less than nothing.
        (self.count > 0).then(|| (sum / self.count as f64).max(0.0))
    }
}

/// Shannon's entropy of probabilities, in nats (Shannon, 1948): 0 where one has them all, ln n where n share them evenly,
/// so that e to its power is how many there are in effect.
#[must_use]
pub fn entropy(probabilities: impl IntoIterator<Item = f64>) -> f64 {
    let positive = probabilities.into_iter().filter(|&probability| probability > 0.0);
    positive.map(|probability| -probability * libm::log(probability)).sum::<f64>().max(0.0)
}

/// Wilson's interval of a share (Wilson, 1927), for a normal quantile `z` such as 1.96; from 0 to 1 without trials.
#[must_use]
pub fn wilson(successes: f64, trials: f64, z: f64) -> (f64, f64) {
    if trials <= 0.0 {
        return (0.0, 1.0);
    }
    let (share, square) = (successes / trials, z * z / trials);
    let centre = (share + square / 2.0) / (1.0 + square);
    let half = z / (1.0 + square) * libm::sqrt(share * (1.0 - share) / trials + square / (4.0 * trials));
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// Newcombe's interval of a difference of two shares (Newcombe, 1998, method 10), each given as successes and trials.
#[must_use]
pub fn newcombe(one: (f64, f64), other: (f64, f64), z: f64) -> (f64, f64) {
    let share = |(successes, trials): (f64, f64)| if trials > 0.0 { successes / trials } else { 0.5 };
    let ((p, q), difference) = ((share(one), share(other)), share(one) - share(other));
    let ((low_p, high_p), (low_q, high_q)) = (wilson(one.0, one.1, z), wilson(other.0, other.1, z));
    let down = libm::sqrt((p - low_p).powi(2) + (high_q - q).powi(2));
    let up = libm::sqrt((high_p - p).powi(2) + (q - low_q).powi(2));
    ((difference - down).max(-1.0), (difference + up).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slates(slates: &[&[&'static str]]) -> Slates<&'static str> {
        let mut sums = Slates::default();
        slates.iter().for_each(|slate| sums.add(slate));
        sums
    }

    /// Of one order, by its definition.
    fn ndkl(items: &[&str], wanted: &BTreeMap<&str, f64>) -> f64 {
        let (mut sum, mut norm) = (0.0, 0.0);
        for length in 1..=items.len() {
            let divergence = |kind: &&str| {
                let share = items[..length].iter().filter(|item| *item == kind).count() as f64 / length as f64;
                let wanted = wanted.get(kind).map_or(1e-12, |wanted| wanted.max(1e-12));
                if share > 0.0 { share * libm::log(share / wanted) } else { 0.0 }
            };
            sum += attention(length) * ["a", "b", "c", "d"].iter().map(divergence).sum::<f64>();
            norm += attention(length);
        }
        sum / norm
    }

    #[test]
    fn shares_as_wanted_have_no_skew() {
        let wanted = BTreeMap::from([("a", 0.5), ("b", 0.5)]);
        assert_eq!(skew(&shares(["a", "b", "a", "b"]), &"a", &wanted), Some(0.0));
        assert_eq!(skew(&shares(["b", "b"]), &"a", &wanted), Some(f64::NEG_INFINITY));
        assert_eq!(skew(&shares(["a"]), &"c", &wanted), None);
        assert_eq!(slates(&[&[]]).ndkl(&wanted), None);
        // Worked out by hand: divergences ln 2 and 0, weights 1 and 1 / log2(3).
        let expected = libm::log(2.0) / (1.0 + 1.0 / libm::log2(3.0));
        assert!((slates(&[&["a", "b"]]).ndkl(&wanted).unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn many_slates_come_to_the_average_of_each() {
        let shown = [&["a", "b", "c"][..], &["b", "a"], &["c"], &["a", "c"]];
        let sums = slates(&shown);
        // Of "c", which is shown, nothing is wanted.
        let wanted = BTreeMap::from([("a", 0.5), ("b", 0.3), ("d", 0.2)]);
        let expected = shown.iter().map(|slate| ndkl(slate, &wanted)).sum::<f64>() / 4.0;
        // A dozen additions of numbers below 28.
        assert!((sums.ndkl(&wanted).unwrap() - expected).abs() < 1e-13);
        assert!(
            expected > 0.0 && slates(&[&["c"]]).ndkl(&BTreeMap::from([("c", 0.0)])).is_some_and(|ndkl| ndkl > 27.0)
        );
        assert_eq!((sums.longest(), sums.shares(1)), (3, shares(["a", "b", "c", "a"])));
        assert_eq!(sums.shares(3), shares(shown.iter().flat_map(|slate| slate.iter().copied())));
        let mut given: BTreeMap<&str, f64> = BTreeMap::new();
        for (kind, position) in shown.iter().flat_map(|slate| slate.iter().zip(1..)) {
            *given.entry(kind).or_default() += attention(position);
        }
        let all: f64 = given.values().sum();
        for (kind, share) in sums.attention() {
            assert!((share - given[kind] / all).abs() < 1e-15, "{kind}: {share}");
        }
        assert_eq!(Slates::<&str>::default().ndkl(&wanted), None);
    }

    #[test]
    fn entropy_counts_the_kinds_that_share_evenly() {
        assert_eq!(entropy([0.0, 1.0]), 0.0);
        // Four additions and logarithms of numbers below 2.
        assert!((entropy([0.25; 4]) - libm::log(4.0)).abs() < 1e-15);
        assert!(entropy([0.7, 0.2, 0.1]) < libm::log(3.0));
    }

    #[test]
    fn exposure_is_the_attention_of_all_positions_of_a_kind() {
        let expected = BTreeMap::from([("a", 1.0 + 0.5), ("b", attention(2))]);
        assert_eq!(slates(&[&["a", "b", "a"]]).exposure(), expected);
    }

    #[test]
    fn intervals_of_shares_are_those_of_their_authors() {
        // Newcombe (1998), table II: 56/70 against 48/80, method 10: 0.0524 to 0.3339, to four places.
        let (low, high) = newcombe((56.0, 70.0), (48.0, 80.0), 1.959_964);
        assert!((low - 0.0524).abs() < 5e-5 && (high - 0.3339).abs() < 5e-5, "{low} {high}");
        assert_eq!(wilson(0.0, 0.0, 1.96), (0.0, 1.0));
    }
}
