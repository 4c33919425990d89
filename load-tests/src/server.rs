//! A server of our own: a child process with a free port of this machine and a store that is gone afterwards.

use anyhow::{Context as _, bail};
use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

/// A server that does not listen by then never will.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a starting server is tried.
const START_POLL: Duration = Duration::from_millis(20);
/// Where the server's output goes, in its folder.
const LOG: &str = "log";
/// Drivers wait for the learner after every batch, so it should not wait for anything.
const REFRESH_MS: &str = "5";
/// How much of a failed server's log is worth showing, in bytes.
const LOG_TAIL_BYTES: usize = 4000;

/// A running server; it ends, and its store vanishes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    _child: Child,
    directory: TempDir,
    channel: Channel,
}

impl Server {
    /// Starts `binary` with a catalog and an empty store, and waits until it listens.
    pub(crate) async fn start(binary: &Path, catalog: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let catalog_file = directory.path().join("catalog.yaml");
        fs::write(&catalog_file, catalog).context("cannot write the catalog")?;
        let log = File::create(directory.path().join(LOG)).context("cannot write the server's log")?;
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--catalog")
            .arg(&catalog_file)
            .args(["--listen", "127.0.0.1:0", "--refresh-ms", REFRESH_MS])
            .arg("--store")
            .arg(format!("embedded:{}", directory.path().join("store.db").display()))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the server's log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}; build it with: cargo build --release", binary.display()))?;
        let address = wait_until_listening(&mut child, directory.path()).await?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect_lazy();
        Ok(Self { _child: child, directory, channel })
    }

    /// A connection that many calls can share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The end of what the server said, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        log_tail(self.directory.path())
    }
}

/// The address that the server took and told.
async fn wait_until_listening(child: &mut Child, directory: &Path) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let log = fs::read_to_string(directory.join(LOG)).unwrap_or_default();
        let address = log.lines().find_map(|line| line.split_once(" listens on "));
        if let Some((_, address)) = address {
            return Ok(address.to_owned());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status}:\n{}", log_tail(directory));
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("the server does not listen after {} s:\n{}", START_TIMEOUT.as_secs(), log_tail(directory));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

fn log_tail(directory: &Path) -> String {
    let log = fs::read(directory.join(LOG)).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}
