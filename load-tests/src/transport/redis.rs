//! A Redis server of our own: on a free port, with an append-only file that is gone afterwards.

use anyhow::{Context as _, bail};
use std::{
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// A server that does not listen by then never will.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running Redis; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct RedisServer {
    _child: Child,
    _directory: TempDir,
    port: u16,
}

impl RedisServer {
    /// Starts one as docs/redis.md recommends, on the generator's core; but what it has appended is not rewritten there,
    /// which would take half of that core for seconds, in whichever measurement it happens to come.
    pub(super) async fn start(binary: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new(binary)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"])
            .args(["--auto-aof-rewrite-percentage", "0", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}; --redis-server names another", binary.display()))?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}", binary.display());
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("{} does not listen after {} s", binary.display(), START_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { _child: child, _directory: directory, port })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
