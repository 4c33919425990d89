//! A server of our own: a child process with a free port of this machine and a store that is gone afterwards.

use anyhow::{Context as _, bail};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
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
/// How much of a failed server's log is worth showing, in bytes.
const LOG_TAIL_BYTES: usize = 4000;

/// A running server; it ends, and its store vanishes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    channel: Channel,
}

impl Server {
    /// Starts `binary` with a catalog and an empty store, and waits until it listens.
    pub(crate) async fn start(binary: &Path, catalog: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let catalog_file = directory.path().join("catalog.yaml");
        fs::write(&catalog_file, catalog).context("cannot write the catalog")?;
        let address = free_address()?;
        let log = File::create(directory.path().join("log")).context("cannot write the server's log")?;
        let child = Command::new(binary)
            .arg("serve")
            .arg("--catalog")
            .arg(&catalog_file)
            .args(["--listen", &address])
            .arg("--store")
            .arg(format!("embedded:{}", directory.path().join("store.db").display()))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the server's log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}; build it with: cargo build --release", binary.display()))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut server = Self { child, directory, channel: endpoint.connect_lazy() };
        server.wait_until_listening(&endpoint).await?;
        Ok(server)
    }

    /// A connection that many calls can share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The end of what the server said, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    async fn wait_until_listening(&mut self, endpoint: &Endpoint) -> anyhow::Result<()> {
        let begun = Instant::now();
        while endpoint.connect().await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_tail());
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("the server does not listen after {} s:\n{}", START_TIMEOUT.as_secs(), self.log_tail());
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(())
    }
}

/// An address that was free a moment ago. Another process may take it first; then the server says so and ends.
fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}
