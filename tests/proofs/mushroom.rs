//! Linear Thompson sampling learns which mushrooms to eat, through the very code that serves: `engine::decide` draws,
//! statistics are folded by `PartitionStatistics::fold`, posteriors are derived by `PlacementSnapshot::build`.
//!
//! The task of Blundell et al. (2015) on the UCI mushrooms: each step shows one of 8,124 mushrooms, drawn with
//! replacement, by its 22 categories. Eating a good one earns 5, a poisonous one 5 or -35 with equal chance, leaving it
//! nothing. Regret is what the oracle, who eats exactly the good ones, expects to earn more. Uniform choice loses 2.5
//! on a good mushroom and 7.5 on a poisonous one, 4.9 a step.
//!
//! The data stands beside the checkout and is not part of it; without it the tests say so and pass, but not in
//! continuous integration, where nobody would read it.
//!
//! One run of 50,000 steps and three of 5,000 by default, eight of 50,000 for each batch where everything is asked for.

use crate::{
    scale,
    scene::{self, NOW},
};
use flate2::read::GzDecoder;
use offer_ranker::engine::{
    catalog::{Catalog, Placement},
    context::AttributeValue,
    decide::decide,
    learn::{Change, PartitionStatistics},
    ledger::LedgerState,
    snapshot::PlacementSnapshot,
    user::UserState,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeSet, fs::File, path::Path, sync::Arc};

/// As in the paper.
const STEPS: u64 = 50_000;
/// Decisions between two derivations of the posterior: few, and as a server that learns once a second has them at
/// 128 a second.
///
/// Over 50,000 steps and seeds 1 to 8, batches of 20 came to 1.2 to 3.6 % of uniform's regret (mean 2.2 %) and batches
/// of 128 to 0.8 to 2.1 % (1.3 %). That smaller batches vary more is the model's doing: another implementation, which
/// updates inverses instead of refitting, has the same spread (0.6 to 3.9 % with 20). In the bad seeds no poison was
/// eaten any more, and the regret came of good mushrooms that were never tried: the posterior of eating is sure of
/// itself before every kind was.
const BATCHES: [u64; 2] = [20, 128];
/// The largest share of uniform's regret, of the mean over seeds.
const REGRET_SHARE_MAX: f64 = 0.03;
/// The largest share of any one seed: half as much again as the worst that was seen, 4.5 %, rounded down.
const REGRET_SHARE_MAX_OF_ANY: f64 = 0.06;
/// A short run, in which most regret is that of finding out: the other implementation came to 5.5 to 9.8 % (standard
/// deviation 1.3 % around 7.6 %) after so many steps, and three standard deviations more are allowed.
const SHORT_STEPS: u64 = 5_000;
const SHORT_REGRET_SHARE_MAX: f64 = 0.12;

struct Mushroom {
    words: Vec<Arc<str>>,
    poisonous: bool,
}

struct Mushrooms {
    columns: Vec<String>,
    rows: Vec<Mushroom>,
}

/// Where the data is, as seen from a directory that the checkout is in.
const DATA: &str = "shared/data/uci_mushroom/mushroom_raw.csv.gz";

/// `None` where the data is not beside the checkout, nor beside a directory that holds it.
fn read() -> Option<Mushrooms> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(1);
    let file = above.filter_map(|directory| File::open(directory.join(DATA)).ok()).next()?;
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let columns = reader.headers().unwrap().iter().skip(1).map(|name| name.replace('-', "_")).collect();
    let row = |record: csv::StringRecord| Mushroom {
        poisonous: &record[0] == "p",
        words: record.iter().skip(1).map(Arc::from).collect(),
    };
    let rows = reader.records().map(|record| row(record.unwrap())).collect();
    Some(Mushrooms { columns, rows })
}

/// Every column is a category; the priors are those of the published runs: a = b = 6, precision 0.25.
fn world(mushrooms: &Mushrooms) -> (Arc<Catalog>, Arc<Placement>) {
    let mut attributes = String::new();
    for (index, column) in mushrooms.columns.iter().enumerate() {
        let words: BTreeSet<&str> = mushrooms.rows.iter().map(|row| &*row.words[index]).collect();
        let words = words.into_iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        attributes.push_str(&format!("        - {{ name: {column}, category: {{ values: [{words}] }} }}\n"));
    }
    scene::placement(&format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
metrics: [{{ id: payoff, kind: NUMBER }}]
offers:
  - {{ id: eat, kind: STANDARD, plan: dinner, prices: {{ SE: {{ price: {{ currency_code: SEK, amount_minor: 0 }} }} }} }}
  - {{ id: leave, kind: NONE }}
placements:
  - id: forest
    offers: [eat, leave]
    context:
      attributes:
{attributes}
    policy:
      thompson: {{}}
      linear: {{ precision: 0.25, a: 6, b: 6 }}
    reward: {{ terms: [{{ metric: payoff }}] }}
"
    ))
}

/// What a run earned less than the oracle, and what uniform choice would have.
#[derive(Clone, Copy, Debug, Default)]
struct Regret {
    learned: f64,
    uniform: f64,
}

impl Regret {
    fn add(&mut self, mushroom: &Mushroom, eaten: bool) {
        // Expected payoffs of eating: 5, and (5 - 35) / 2.
        let (learned, uniform) = match (mushroom.poisonous, eaten) {
            (true, true) => (15.0, 7.5),
            (false, false) => (5.0, 2.5),
            (true, false) => (0.0, 7.5),
            (false, true) => (0.0, 2.5),
        };
        self.learned += learned;
        self.uniform += uniform;
    }
}

/// The regret of a whole run.
fn run(mushrooms: &Mushrooms, seed: u64, batch: u64, steps: u64) -> Regret {
    let (catalog, placement) = world(mushrooms);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut statistics = PartitionStatistics::default();
    let mut snapshot = scene::snapshot(&catalog, &statistics);
    let mut regret = Regret::default();
    for step in 0..steps {
        if step % batch == 0 {
            snapshot = scene::snapshot(&catalog, &statistics);
        }
        let mushroom = &mushrooms.rows[rng.random_range(0..mushrooms.rows.len())];
        let eaten = eats(&snapshot, &mut statistics, mushroom, &placement, &mut rng);
        regret.add(mushroom, eaten);
    }
    regret
}

/// Decides about one mushroom, and learns what comes of it as the log would tell it: the slot was shown, and then
/// its outcome arrived.
fn eats(
    snapshot: &PlacementSnapshot,
    statistics: &mut PartitionStatistics,
    mushroom: &Mushroom,
    placement: &Placement,
    rng: &mut ChaCha8Rng,
) -> bool {
    let attributes: Vec<_> = mushroom.words.iter().cloned().map(AttributeValue::Category).collect();
    let context = placement.context.encode(&attributes);
    let decision = decide(snapshot, &scene::request(placement, attributes), &UserState::default(), NOW, rng.random());
    let drawn = &decision.drawn(&decision.slots[0]).offer_id;
    let eaten = &**drawn == "eat";
    let unlucky = mushroom.poisonous && rng.random();
    let payoff = match (eaten, unlucky) {
        (false, _) => 0.0,
        (true, false) => 5.0,
        (true, true) => -35.0,
    };
    let rewarded = scene::shown(drawn, "payoff", payoff);
    let mut unrewarded: LedgerState = rewarded.clone();
    unrewarded.slots[0].totals.clear();
    let context = context.as_slice();
    statistics.fold(placement, &Change { decided_at: NOW, before: None, after: &unrewarded, context, holdout: false });
    statistics.fold(
        placement,
        &Change { decided_at: NOW, before: Some(&unrewarded), after: &rewarded, context, holdout: false },
    );
    eaten
}

impl Regret {
    /// Of uniform's.
    fn share(self) -> f64 {
        self.learned / self.uniform
    }
}

/// The mushrooms, or `None` where tests may do without.
fn mushrooms() -> Option<Mushrooms> {
    let found = read();
    match &found {
        Some(mushrooms) => assert_eq!((mushrooms.rows.len(), mushrooms.columns.len()), (8124, 22)),
        None => {
            let told = format!("there is no ../{DATA} beside the checkout");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{told}");
            scale::tell(&format!("skipped: {told}"));
        }
    }
    found
}

#[test]
fn linear_thompson_reaches_three_percent_of_uniforms_regret_on_mushrooms() {
    let Some(mushrooms) = mushrooms() else { return };
    // A tenth is one seed of the batch a server has.
    let seeds = scale::tenth_of(10).min(8);
    let batches = if seeds == 1 { &BATCHES[1..] } else { &BATCHES[..] };
    for &batch in batches {
        let mut sum = 0.0;
        for seed in 1..=seeds {
            let share = run(&mushrooms, seed, batch, STEPS).share();
            let told = format!("batches of {batch}, seed {seed}: {share:.4} of uniform's regret");
            scale::tell(&told);
            assert!(share <= REGRET_SHARE_MAX_OF_ANY, "{told}");
            sum += share;
        }
        let mean = sum / seeds as f64;
        assert!(mean <= REGRET_SHARE_MAX, "batches of {batch}: {mean:.4} of uniform's regret over {seeds} seeds");
    }
}

#[test]
fn linear_thompson_that_learns_often_finds_out_about_mushrooms_soon() {
    let Some(mushrooms) = mushrooms() else { return };
    for seed in 1..=3 {
        let share = run(&mushrooms, seed, BATCHES[0], SHORT_STEPS).share();
        let told = format!("{SHORT_STEPS} steps, batches of {}, seed {seed}: {share:.4}", BATCHES[0]);
        scale::tell(&told);
        assert!(share <= SHORT_REGRET_SHARE_MAX, "{told}");
    }
}
