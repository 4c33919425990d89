//! Orders that share positions out among groups by rule, and probabilities that are moved by rule: what others do, and
//! the service does not.
//!
//! The orders are those of Geyik et al. (2019), algorithms 1 to 3, as PyPI's `reranking` runs them where the paper leaves
//! something open: where a group that is due has no item left, the best of what remains is taken.

use offer_ranker::engine::fairness::attention;
use std::collections::BTreeMap;

/// Which group is due, of those that are not below their minimum and may have another item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The one with the best item.
    Best,
    /// The one whose maximum is reached last, in positions.
    Conservative,
    /// Of those whose next minimum comes first, in whole positions, the one with the best item.
    Relaxed,
}

/// Items by group, and the share of positions that each group wants.
struct Shelves {
    /// Ranks of a group's items, best first; groups stand in the order of their best items.
    ranks: Vec<Vec<usize>>,
    wanted: Vec<f64>,
}

/// The ranks of at most `k` items, in the order that a greedy rule gives them. `groups` are those of the items by rank.
pub(crate) fn det_greedy(groups: &[&str], desired: &BTreeMap<&str, f64>, k: usize, due: Due) -> Vec<usize> {
    let k = k.min(groups.len());
    let Some(shelves) = Shelves::new(groups, desired) else { return (0..k).collect() };
    let mut taken = vec![0; shelves.ranks.len()];
    let mut order = Vec::with_capacity(k);
    for position in 1..=k {
        let group = shelves.due(position, &taken, due).unwrap_or_else(|| shelves.with_best(&taken));
        order.push(shelves.ranks[group][taken[group]]);
        taken[group] += 1;
    }
    order
}

/// The same, where each group's minimum is a deadline before which its items may move up (algorithm 3). Items that meet
/// one deadline are placed together, so there may be more than `k`.
pub(crate) fn det_const_sort(groups: &[&str], desired: &BTreeMap<&str, f64>, k: usize) -> Vec<usize> {
    let k = k.min(groups.len());
    let Some(shelves) = Shelves::new(groups, desired) else { return (0..k).collect() };
    let mut taken = vec![0; shelves.ranks.len()];
    // Ranks, and the last position that each may have.
    let mut placed: Vec<(usize, usize)> = Vec::new();
    let mut deadline = 0;
    while placed.len() < k && shelves.want_more(&taken) {
        deadline += 1;
        let is_due = |&group: &usize| shelves.minimum(group, deadline) > shelves.minimum(group, deadline - 1);
        let next = |group: usize| Some((*shelves.ranks[group].get(taken[group])?, group));
        let mut due: Vec<(usize, usize)> = (0..taken.len()).filter(is_due).filter_map(next).collect();
        // The worst first: each is then moved up past what is worse and may wait.
        due.sort_unstable_by(|one, other| other.cmp(one));
        for (rank, group) in due {
            placed.push((rank, deadline));
            taken[group] += 1;
            let mut at = placed.len() - 1;
            while at > 0 && placed[at - 1].1 >= at && placed[at - 1].0 > placed[at].0 {
                placed.swap(at - 1, at);
                at -= 1;
            }
        }
    }
    placed.into_iter().map(|(rank, _)| rank).collect()
}

impl Shelves {
    /// Groups that nobody wants, and wanted ones without items, count as one. `None` where the shares make no
    /// distribution over the items, so that these keep their order.
    fn new(groups: &[&str], desired: &BTreeMap<&str, f64>) -> Option<Self> {
        let is_known = |group: &str| desired.contains_key(group) && groups.contains(&group);
        let known: f64 = desired.iter().filter(|(group, _)| is_known(group)).map(|(_, share)| share).sum();
        let is_missing = desired.keys().any(|group| !is_known(group));
        let is_unwanted = groups.iter().any(|group| !is_known(group));
        let total: f64 = desired.values().sum();
        if total > 1.0 + 1e-6 || !groups.iter().any(|group| is_known(group)) || is_missing && !is_unwanted {
            return None;
        }
        let mut names: Vec<Option<&str>> = Vec::new();
        let mut ranks: Vec<Vec<usize>> = Vec::new();
        for (rank, &group) in groups.iter().enumerate() {
            let name = is_known(group).then_some(group);
            let shelf = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                ranks.push(Vec::new());
                names.len() - 1
            });
            ranks[shelf].push(rank);
        }
        let of_others = if is_missing { 1.0 - known } else { 0.0 };
        let wanted = names.iter().map(|name| name.map_or(of_others, |name| desired[name])).collect();
        Some(Self { ranks, wanted })
    }

    /// Items that a group must have at least among so many.
    fn minimum(&self, group: usize, positions: usize) -> usize {
        (positions as f64 * self.wanted[group]).floor() as usize
    }

    fn maximum(&self, group: usize, positions: usize) -> usize {
        (positions as f64 * self.wanted[group]).ceil() as usize
    }

    /// The group that is due at a position; `None` where none is, or one that is has no item left.
    fn due(&self, position: usize, taken: &[usize], due: Due) -> Option<usize> {
        let all = 0..taken.len();
        let below_minimum: Vec<usize> =
            all.clone().filter(|&group| taken[group] < self.minimum(group, position)).collect();
        if !below_minimum.is_empty() {
            return self.best_of(&below_minimum, taken);
        }
        let below_maximum: Vec<usize> = all.filter(|&group| taken[group] < self.maximum(group, position)).collect();
        let reach = |group: usize| self.maximum(group, position) as f64 / self.wanted[group];
        match due {
            Due::Best => self.best_of(&below_maximum, taken),
            Due::Conservative => {
                // The reference asks whether the last of them has an item left, and not the one that it takes.
                let last = *below_maximum.last()?;
                self.ranks[last].get(taken[last])?;
                // Of equals the first.
                let due = below_maximum.into_iter().rev().max_by(|&a, &b| reach(a).total_cmp(&reach(b)))?;
                self.best_of(&[due], taken)
            }
            Due::Relaxed => {
                let first = below_maximum.iter().map(|&group| reach(group).ceil()).reduce(f64::min)?;
                let due: Vec<usize> = below_maximum.into_iter().filter(|&group| reach(group).ceil() == first).collect();
                self.best_of(&due, taken)
            }
        }
    }

    /// Of these groups the one with the best item; `None` where there is none, or one of them has no item left.
    fn best_of(&self, groups: &[usize], taken: &[usize]) -> Option<usize> {
        let next = groups.iter().map(|&group| Some((*self.ranks[group].get(taken[group])?, group)));
        let next: Vec<(usize, usize)> = next.collect::<Option<_>>()?;
        next.into_iter().min().map(|(_, group)| group)
    }

    /// The group with the best item of all that remain.
    fn with_best(&self, taken: &[usize]) -> usize {
        let left: Vec<usize> = (0..taken.len()).filter(|&group| taken[group] < self.ranks[group].len()).collect();
        self.best_of(&left, taken).expect("no more positions than items")
    }

    /// Whether any group that wants positions has items left.
    fn want_more(&self, taken: &[usize]) -> bool {
        (0..taken.len()).any(|group| self.wanted[group] > 0.0 && taken[group] < self.ranks[group].len())
    }
}

/// How often, up to each position, some group is below its minimum, and how many groups are, added up.
pub(crate) fn infeasible(groups: &[&str], desired: &BTreeMap<&str, f64>) -> (usize, usize) {
    let below = |length: usize| {
        let count = |group: &str| groups[..length].iter().filter(|other| **other == group).count();
        desired.iter().filter(|(group, share)| count(group) < (length as f64 * **share).floor() as usize).count()
    };
    let below: Vec<usize> = (1..=groups.len()).map(below).collect();
    (below.iter().filter(|&&count| count > 0).count(), below.iter().sum())
}

/// Discounted cumulative gain of an order, gains being scores, as a share of what the best order of as many items has
/// (Järvelin and Kekäläinen, 2002).
pub(crate) fn ndcg(order: &[usize], scores: &[f64]) -> f64 {
    let dcg = |gains: &[f64]| gains.iter().zip(1..).map(|(gain, position)| gain * attention(position)).sum::<f64>();
    let mut best = scores.to_vec();
    best.sort_by(|one, other| other.total_cmp(one));
    let gains: Vec<f64> = order.iter().map(|&rank| scores[rank]).collect();
    dcg(&gains) / dcg(&best[..gains.len()])
}

/// Raises what is below a floor, and takes that from the rest in proportion to what they have above it (Zhan et al.,
/// 2021). Not the nearest distribution: ratios change.
pub(crate) fn floor_redistribute(p: &[f64], floor: f64) -> Vec<f64> {
    let raised: Vec<f64> = p.iter().map(|&p| p.max(floor)).collect();
    let above: f64 = raised.iter().map(|p| p - floor).sum();
    let share = (raised.iter().sum::<f64>() - 1.0) / above;
    raised.into_iter().map(|p| p - share * (p - floor)).collect()
}

/// A policy that is uniform once in 1 / `epsilon` times.
pub(crate) fn mixture(p: &[f64], epsilon: f64) -> Vec<f64> {
    let uniform = 1.0 / p.len() as f64;
    p.iter().map(|p| (1.0 - epsilon) * p + epsilon * uniform).collect()
}

/// What top-two Thompson sampling plays: with probability `beta` the best of one draw, else the best of the first draw
/// whose best is another (Russo, 2020).
pub(crate) fn top_two(p_best: &[f64], beta: f64) -> Vec<f64> {
    let others = |arm: usize| {
        let leaders = p_best.iter().enumerate().filter(|&(leader, _)| leader != arm);
        leaders.map(|(_, p)| p / (1.0 - p)).sum::<f64>()
    };
    p_best.iter().enumerate().map(|(arm, p)| p * (beta + (1.0 - beta) * others(arm))).collect()
}
