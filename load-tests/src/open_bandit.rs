//! The Open Bandit Dataset's own experiment: two policies were shown at random, so what each log says of the other
//! policy can be compared with what that one earned itself.

use crate::output;
use anyhow::Context as _;
use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    estimators::Grids,
    evaluation::Range,
    files::table::Source,
    foreign::{Choice, open_bandit},
    row::{Outcome, Row},
    support::arms::Pmfs,
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution as _};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Positions of a recommendation.
const POSITIONS: usize = 3;

/// What either of two policies would have earned by the other's log, in the Open Bandit Dataset
///
/// Bernoulli Thompson sampling with the priors that are published with the data, and uniform draws; by campaign.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder with random/ and bts/, each by campaign, and prior_bts.yaml
    #[arg(long, value_name = "FOLDER", default_value = "../shared/data/obd")]
    data: PathBuf,
    /// Joint draws that Thompson sampling's probabilities are counted from
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    draws: u32,
    /// Decides the draws
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What is believed of a campaign's items.
#[derive(Debug, Deserialize)]
struct Priors {
    alpha: Vec<f64>,
    beta: Vec<f64>,
}

/// Every campaign both ways.
#[derive(Debug, Serialize)]
struct Report {
    draws: u32,
    seed: u64,
    evaluations: Vec<Evaluated>,
}

/// One policy by the log of the other.
#[derive(Debug, Serialize)]
struct Evaluated {
    campaign: &'static str,
    log: &'static str,
    target: &'static str,
    rows: u64,
    /// The click rate of the target's own log, and of this one.
    own: f64,
    logged: f64,
    /// Estimates with intervals, forced where they were refused.
    estimates: BTreeMap<&'static str, (f64, [f64; 2])>,
    effective: f64,
    largest_share: f64,
    refused: Vec<&'static str>,
}

/// Evaluates and prints.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let file = args.data.join("prior_bts.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let priors: BTreeMap<String, Priors> = serde_saphyr::from_str(&text)?;
    let mut evaluations = Vec::new();
    for campaign in ["men", "women"] {
        let [random, thompson] =
            ["random", "bts"].map(|policy| choices(&args.data.join(policy).join(campaign), campaign));
        let (random, thompson) = (random?, thompson?);
        let priors = priors.get(campaign).with_context(|| format!("no priors of {campaign}"))?;
        let ranks = ranks(priors, args)?;
        let even = vec![vec![1.0 / ranks[0].len() as f64; ranks[0].len()]; POSITIONS];
        evaluations.push(evaluated((campaign, "random", "Thompson sampling"), (&random, &thompson), &ranks));
        evaluations.push(evaluated((campaign, "Thompson sampling", "uniform"), (&thompson, &random), &even));
    }
    output::print(&Report { draws: args.draws, seed: args.seed, evaluations }, args.json, out)
}

fn choices(folder: &Path, campaign: &str) -> anyhow::Result<Vec<Choice>> {
    let source = |file: PathBuf| -> anyhow::Result<Source> {
        let content = File::open(&file).with_context(|| file.display().to_string())?;
        Ok(Source { name: file.display().to_string(), content: Box::new(content) })
    };
    let (items, rows) = (source(folder.join("item_context.csv"))?, source(folder.join(format!("{campaign}.csv.gz")))?);
    let mut choices = Vec::new();
    open_bandit::read(items, rows, |choice| choices.push(choice))?;
    Ok(choices)
}

/// By position, how often each item has that rank among joint draws.
fn ranks(priors: &Priors, args: &Args) -> anyhow::Result<Vec<Vec<f64>>> {
    let beliefs = priors.alpha.iter().zip(&priors.beta).map(|(&alpha, &beta)| Beta::new(alpha, beta));
    let beliefs: Vec<Beta<f64>> = beliefs.collect::<Result<_, _>>()?;
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut counts = vec![vec![0.0; beliefs.len()]; POSITIONS];
    let mut order: Vec<usize> = Vec::new();
    for _ in 0..args.draws {
        let draws: Vec<f64> = beliefs.iter().map(|belief| belief.sample(&mut rng)).collect();
        order.clear();
        order.extend(0..draws.len());
        order.select_nth_unstable_by(POSITIONS, |&a, &b| draws[b].total_cmp(&draws[a]));
        order[..POSITIONS].sort_by(|&a, &b| draws[b].total_cmp(&draws[a]));
        counts.iter_mut().zip(&order).for_each(|(counts, &item)| counts[item] += 1.0 / f64::from(args.draws));
    }
    Ok(counts)
}

fn evaluated(
    (campaign, log, target): (&'static str, &'static str, &'static str),
    (choices, own): (&[Choice], &[Choice]),
    probabilities: &[Vec<f64>],
) -> Evaluated {
    let mut assessment = Assessment::new(Plan {
        grids: Grids::default(),
        families: Vec::new(),
        model: false,
        clustered: false,
        reward: Some(Range::UNIT),
        alpha: 0.05,
        replicates: 0,
        seed: 1,
        fitted_propensities: false,
    });
    let floor = choices.iter().filter_map(|choice| choice.propensity).fold(1.0, f64::min);
    let most = probabilities.iter().flatten().copied().fold(0.0, f64::max);
    for (cluster, choice) in (0..).zip(choices) {
        let target = &probabilities[choice.position];
        let row = Row {
            cluster,
            day: None,
            arm: choice.action,
            position: choice.position,
            propensity: choice.propensity.unwrap_or(1.0),
            target: target[choice.action],
            unsupported: 0.0,
            weight_max: most / floor,
            outcome: choice.reward.map_or(Outcome::Missing, Outcome::Reward),
            model: None,
        };
        assessment.observe(&row, &Pmfs { logged: None, target: Some(target) });
    }
    let report = assessment.report(most / floor, true);
    let wanted = |name: &str| ["ips", "snips"].into_iter().find(|own| *own == name);
    let estimates = report
        .estimators
        .iter()
        .flatten()
        .filter_map(|(name, estimate)| Some((wanted(name)?, (estimate.value?, estimate.interval?))));
    let mean =
        |choices: &[Choice]| choices.iter().filter_map(|choice| choice.reward).sum::<f64>() / choices.len() as f64;
    Evaluated {
        campaign,
        log,
        target,
        rows: report.diagnostics.n,
        own: mean(own),
        logged: mean(choices),
        estimates: estimates.collect(),
        effective: report.diagnostics.ess_kish,
        largest_share: report.diagnostics.share_of_max_w.unwrap_or(1.0),
        refused: report.verdict.reasons.iter().map(|finding| finding.check).collect(),
    }
}

impl output::Report for Report {
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| campaign | log | target | its own clicks | IPS | interval | SNIPS | equal rows | largest | refused |"
        )?;
        writeln!(out, "|---|---|---|--:|--:|:-:|--:|--:|--:|---|")?;
        for evaluated in &self.evaluations {
            let Evaluated { campaign, log, target, own, effective, largest_share, refused, .. } = evaluated;
            let of = |name| evaluated.estimates.get(name).copied().unwrap_or((f64::NAN, [f64::NAN; 2]));
            let ((ips, [lower, upper]), (snips, _)) = (of("ips"), of("snips"));
            let refused = if refused.is_empty() { "no".to_owned() } else { refused.join(", ") };
            writeln!(
                out,
                "| {campaign} | {log} | {target} | {own:.4} | {ips:.4} | {lower:.4} to {upper:.4} | {snips:.4} | \
                 {effective:.0} | {:.0} % | {refused} |",
                100.0 * largest_share,
            )?;
        }
        Ok(())
    }
}
