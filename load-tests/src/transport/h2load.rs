//! A second opinion on the generator: h2load, which nghttp2 brings, loads the same server with the same request.
//!
//! h2load sends one body over and over and looks at HTTP statuses alone: a refused call counts as answered there. So the
//! generator here sends the same one request while it is compared, and refuses to go on where a call fails.

use anyhow::{Context as _, bail};
use serde::Serialize;
use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// What a stranger says of the generator.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecondOpinion {
    /// Calls answered in a second, by round: with the generator here, and with h2load.
    Rounds(Vec<[f64; 2]>),
    /// It is not there.
    Missing(String),
}

/// How h2load is run.
#[derive(Clone, Debug)]
pub(crate) struct H2load {
    /// Its executable.
    pub(crate) program: PathBuf,
    pub(crate) connections: u16,
    pub(crate) in_flight: u16,
    pub(crate) length: Duration,
}

impl H2load {
    /// Why it cannot be run here; `None` where it can.
    ///
    /// # Errors
    /// Where it is there and fails.
    pub(crate) async fn missing(&self) -> anyhow::Result<Option<String>> {
        match Command::new(&self.program).arg("--version").output().await {
            Ok(output) if output.status.success() => Ok(None),
            Ok(output) => bail!("{} --version ends with {}", self.program.display(), output.status),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let program = self.program.display();
                Ok(Some(format!("{program} is not there; on Debian: apt-get install nghttp2-client")))
            }
            Err(error) => Err(error).with_context(|| format!("cannot run {}", self.program.display())),
        }
    }

    /// Calls of a method answered in a second, all with this body.
    ///
    /// # Errors
    /// Where a call fails, or h2load says something else than it used to.
    pub(crate) async fn load(&self, address: &str, method: &str, body: &[u8], folder: &Path) -> anyhow::Result<f64> {
        let file = folder.join("body");
        fs::write(&file, body).context("cannot write the body that h2load sends")?;
        let streams = (self.in_flight / self.connections).max(1);
        let output = Command::new(&self.program)
            .args(["--threads", "1", "--clients", &self.connections.to_string()])
            .args(["--max-concurrent-streams", &streams.to_string()])
            .args(["--warm-up-time", "1", "--duration", &self.length.as_secs().max(1).to_string()])
            .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
            .arg("--data")
            .arg(&file)
            .arg(format!("http://{address}{method}"))
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        per_second(&said).with_context(|| format!("h2load ended with {} and said:\n{said}", output.status))
    }
}

/// The throughput that h2load tells; `None` where calls failed or it tells none.
fn per_second(said: &str) -> Option<f64> {
    let requests = said.lines().find(|line| line.starts_with("requests: "))?;
    if ["failed", "errored", "timeout"].iter().any(|what| count(requests, what) != Some(0)) {
        return None;
    }
    let finished = said.lines().find(|line| line.starts_with("finished in "))?;
    let rate = finished.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    rate.parse().ok().filter(|&rate: &f64| rate > 0.0)
}

/// The number before a word in a line of such numbers.
fn count(line: &str, what: &str) -> Option<u64> {
    let part = line.split(", ").find(|part| part.ends_with(what))?;
    part.split(' ').next()?.parse().ok()
}

impl SecondOpinion {
    /// One line for people.
    pub(crate) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(out, "\n{self}")
    }
}

impl fmt::Display for SecondOpinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "Nobody confirms the generator: {why}."),
            Self::Rounds(rounds) => {
                let median = |of: fn(&[f64; 2]) -> f64| {
                    let mut values: Vec<f64> = rounds.iter().map(of).collect();
                    values.sort_by(f64::total_cmp);
                    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
                };
                write!(
                    f,
                    "The first scenario with one request over and over: {:.0} calls/s with this generator, {:.0} with \
                     h2load (ratio {:.2}).",
                    median(|[ours, _]| *ours),
                    median(|[_, theirs]| *theirs),
                    median(|[ours, theirs]| ours / theirs)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
finished in 2.00s, 31415.50 req/s, 21.01MB/s
requests: 62831 total, 62895 started, 62831 done, 62831 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 62831 2xx, 0 3xx, 0 4xx, 0 5xx
";

    #[test]
    fn throughput_is_read_and_not_where_calls_failed() {
        assert_eq!(per_second(SAID), Some(31415.5));
        for (good, bad) in [(" 0 failed", " 3 failed"), (" 0 errored", " 1 errored"), ("31415.50 req/s", "0.00 req/s")]
        {
            assert_eq!(per_second(&SAID.replace(good, bad)), None, "{bad}");
        }
        assert_eq!(per_second(""), None);
    }
}
