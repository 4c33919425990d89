//! The result: ratios of the service to bare transport.

use super::h2load::SecondOpinion;
use crate::output;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::io::{self, Write};

/// What one server did under load as fast as answers come.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    /// Calls answered in a second.
    pub(crate) per_second: f64,
    /// CPU time of a call in microseconds; `None` where the system does not tell.
    pub(crate) cpu_us: Option<f64>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Both servers in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) service: Load,
    pub(crate) echo: Load,
    pub(crate) service_latency: Latency,
    pub(crate) echo_latency: Latency,
}

/// All rounds of a scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) scenario: &'static str,
    pub(crate) rounds: Vec<Round>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Whether servers and generator had a core each.
    pub(crate) pinned: bool,
    pub(crate) in_flight: u16,
    pub(crate) connections: u16,
    pub(crate) measured: Vec<Measured>,
    /// What h2load says, if it was to be asked.
    pub(crate) second_opinion: Option<SecondOpinion>,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self { p50_us: histogram.value_at_quantile(0.5), p99_us: histogram.value_at_quantile(0.99) }
    }
}

impl Round {
    /// A round from loads and latencies of the service, then of the echo.
    pub(crate) fn new(service: (Load, &Histogram<u64>), echo: (Load, &Histogram<u64>)) -> Self {
        Self {
            service: service.0,
            echo: echo.0,
            service_latency: Latency::of(service.1),
            echo_latency: Latency::of(echo.1),
        }
    }
}

impl Measured {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl output::Report for Report {
    /// A table, one scenario a line.
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        let cores = if self.pinned { "server on one core, generator on another" } else { "NOT pinned to cores" };
        writeln!(out, "{} connections, {} calls in flight; {cores}.\n", self.connections, self.in_flight)?;
        writeln!(
            out,
            "| scenario | calls/s | bare | **ratio** | CPU us | bare | p50 us | bare | ratio | p99 us | bare | ratio |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for measured in &self.measured {
            let median = |of: fn(&Round) -> f64| measured.median(of);
            writeln!(
                out,
                "| {} | {:.0} | {:.0} | **{:.2}** | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} |",
                measured.scenario,
                median(|round| round.service.per_second),
                median(|round| round.echo.per_second),
                median(|round| round.service.per_second / round.echo.per_second),
                median(|round| round.service.cpu_us.unwrap_or(f64::NAN)),
                median(|round| round.echo.cpu_us.unwrap_or(f64::NAN)),
                median(|round| round.service_latency.p50_us as f64),
                median(|round| round.echo_latency.p50_us as f64),
                median(|round| round.service_latency.p50_us as f64 / round.echo_latency.p50_us as f64),
                median(|round| round.service_latency.p99_us as f64),
                median(|round| round.echo_latency.p99_us as f64),
                median(|round| round.service_latency.p99_us as f64 / round.echo_latency.p99_us as f64),
            )?;
        }
        self.second_opinion.as_ref().map_or(Ok(()), |opinion| opinion.write(out))
    }
}
