//! Do intervals of replay hold what they promise? Logs are made from randomised experiments with a logging policy that is
//! known and skewed, evaluated as any log is, and compared with the experiment's own values.

mod experiment;
mod hillstrom;
mod loans;
mod report;
mod study;

use crate::output;
use report::Report;
use std::{io::Write, path::PathBuf, time::Instant};
use study::Study;

/// How often intervals of replay hold the value of real experiments
///
/// Of every customer the experiment drew an arm with known probabilities. A log of a skewed policy is made by keeping a
/// customer with a probability in proportion to how much likelier that policy would have drawn the same arm. The value of
/// every target policy is known from all customers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The e-mail test, a gzipped CSV file
    #[arg(long, value_name = "FILE", default_value = "../shared/data/hillstrom/hillstrom.csv.gz")]
    hillstrom: PathBuf,
    /// The loan offers, a gzipped CSV file
    #[arg(long, value_name = "FILE", default_value = "../shared/data/kz2008_loan_offers/kz_demandelasts_aer08.csv.gz")]
    loans: PathBuf,
    /// How many logs are made of each experiment
    #[arg(long, value_name = "N", default_value_t = 400)]
    repetitions: u64,
    /// Rows of a log
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    rows: usize,
    /// Replicates of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 200)]
    replicates: usize,
    /// Decides which customers are drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Studies both experiments and prints what came of it.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let begun = Instant::now();
    let experiments = [hillstrom::experiment(&args.hillstrom)?, loans::experiment(&args.loans)?];
    let study = Study { rows: args.rows, replicates: args.replicates, seed: args.seed };
    let bar = output::progress_bar(2 * args.repetitions, "logs");
    let mut cells = Vec::new();
    for experiment in &experiments {
        bar.set_message(experiment.name);
        cells.extend(study.run(experiment, args.repetitions, |count| bar.inc(count)));
    }
    bar.finish_and_clear();
    let report = Report {
        repetitions: args.repetitions,
        rows: args.rows,
        seed: args.seed,
        elapsed_s: begun.elapsed().as_secs_f64(),
        cells,
    };
    output::print(&report, args.json, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A seeded tenth of the study, where the data are beside the checkout.
    fn cells(data: &str, experiment: fn(&Path) -> anyhow::Result<experiment::Experiment>) -> Vec<report::Cell> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(data);
        if !path.exists() {
            return Vec::new();
        }
        let study = Study { rows: 2_000, replicates: 0, seed: 1 };
        study.run(&experiment(&path).unwrap(), 40, |_| {})
    }

    #[test]
    fn a_tenth_of_the_study_covers() {
        let hillstrom = cells("hillstrom/hillstrom.csv.gz", hillstrom::experiment);
        let loans = cells("kz2008_loan_offers/kz_demandelasts_aer08.csv.gz", loans::experiment);
        for cell in hillstrom.iter().chain(&loans).filter(|cell| cell.rewarded_matches >= 10.0) {
            let [default, normal] = ["cressie_read", "normal"].map(|name| cell.interval("snips", name));
            // What is asked of 400 logs, .93 of shares and .90 of amounts, less two standard errors of 40: .034 each.
            let least = if cell.share { 0.93 } else { 0.90 } - 2.0 * 0.034;
            assert!(default.coverage >= least, "{} {} {}: {default:?}", cell.experiment, cell.target, cell.metric);
            assert!(!cell.share || default.width <= 1.4 * normal.width, "{cell:?}");
            // Three standard errors of the mean error.
            let ips = cell.estimator("ips");
            assert!(ips.bias.abs() < 3.0 * ips.rmse / 40.0_f64.sqrt(), "{cell:?}");
        }
    }
}
