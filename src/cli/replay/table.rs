//! A report for people.

use crate::{
    cli::client::plain_table,
    replay::{
        gate::{Finding, Verdict},
        report::{EstimatorReport, Report},
        slates::report::{LeftOut, SlateReport},
    },
};
use std::io::{self, Write};

/// Prints the verdict first, then the numbers there are.
pub(super) fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    print_verdict(&report.verdict, report.warning, out)?;
    let diagnostics = &report.diagnostics;
    writeln!(
        out,
        "{} rows that know as much as {:.1} equal ones; mean weight {}, largest {} of at most {:.2}\n",
        diagnostics.n,
        diagnostics.ess_kish,
        short(diagnostics.mean_w),
        short(diagnostics.max_w),
        report.settings.weight_max,
    )?;
    let Some(estimators) = &report.estimators else { return Ok(()) };
    // As many digits as tell 99.9 % from all.
    let level = format!("{} % interval", (1e7 * (1.0 - report.settings.alpha)).round() / 1e5);
    let header = ["estimator", "value", &level, "standard error", "gain", "interval of the gain"];
    let mut table = plain_table(&header, &[1, 2, 3, 4, 5]);
    for (name, EstimatorReport { value, interval, standard_error, gain, .. }) in estimators {
        table.add_row([
            name.clone(),
            short(*value),
            range(*interval),
            short(*standard_error),
            short(gain.map(|gain| gain.value)),
            range(gain.and_then(|gain| gain.interval)),
        ]);
    }
    writeln!(out, "{table}")?;
    let slope = report.slope.iter().flatten().map(|(family, lambda)| format!("{family}[{lambda:?}]"));
    let slope: Vec<String> = slope.collect();
    if !slope.is_empty() {
        writeln!(out, "\nSLOPE takes {}", slope.join(", "))?;
    }
    Ok(())
}

/// Prints the verdict first, then the numbers there are.
pub(super) fn print_slates(report: &SlateReport, out: &mut impl Write) -> io::Result<()> {
    print_verdict(&report.verdict, report.warning, out)?;
    let mut table = plain_table(&["weights", "slates", "mean", "know as much as", "largest share"], &[1, 2, 3, 4]);
    for (name, weights) in &report.diagnostics {
        let (mean, share) = (short(weights.mean_w), short(weights.share_of_max_w));
        table.add_row([(*name).to_owned(), weights.n.to_string(), mean, short(Some(weights.ess_kish)), share]);
    }
    writeln!(out, "{table}\n")?;
    for (name, LeftOut { slates, why, help }) in &report.left_out {
        writeln!(out, "left out {name}, for {slates} slates: {why}\n    would help: {help}\n")?;
    }
    let Some(estimators) = &report.estimators else { return Ok(()) };
    let mut table = plain_table(&["estimator", "value", "interval", "standard error"], &[1, 2, 3]);
    for (name, EstimatorReport { value, interval, standard_error, .. }) in estimators {
        table.add_row([(*name).to_owned(), short(*value), range(*interval), short(*standard_error)]);
    }
    writeln!(out, "{table}")
}

fn print_verdict(verdict: &Verdict, warning: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    match warning {
        Some(warning) => writeln!(out, "WARNING: {warning}\n")?,
        None if verdict.refused => writeln!(out, "refused: the log cannot answer\n")?,
        None => {}
    }
    findings("because", &verdict.reasons, out)?;
    findings("mind", &verdict.warnings, out)
}

fn findings(word: &str, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for Finding { check, found, help } in findings {
        writeln!(out, "{word}: {found}\n    [{check}] {help}\n")?;
    }
    Ok(())
}

/// Six significant digits.
fn short(number: Option<f64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    // Of 0 and of what is smaller than that in any practice, none.
    let places = if number.abs() < 1e-9 { 0.0 } else { 5.0 - number.abs().log10().floor().min(5.0) };
    format!("{number:.0$}", places as usize)
}

fn range(interval: Option<[f64; 2]>) -> String {
    interval
        .map_or_else(|| "-".to_owned(), |[lower, upper]| format!("{} to {}", short(Some(lower)), short(Some(upper))))
}
