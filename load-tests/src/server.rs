//! A server of our own: a child process with a free port of this machine and a store that is gone afterwards.

use anyhow::{Context as _, bail};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
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
/// How much of a failed server's log is worth showing, in bytes.
const LOG_TAIL_BYTES: usize = 4000;

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// The executable and the arguments before its own, such as a command that pins it to a core.
    pub(crate) command: Vec<String>,
    /// The catalog that seeds the store.
    pub(crate) catalog: String,
    /// More arguments of `serve`.
    pub(crate) arguments: Vec<String>,
    /// The store's address; `None`: an embedded one in a folder that vanishes.
    pub(crate) store: Option<String>,
}

/// A running server; it ends, and its store vanishes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    address: String,
    channel: Channel,
}

impl Launch {
    /// A server of this executable.
    pub(crate) fn new(binary: &Path, catalog: String) -> Self {
        Self { command: vec![binary.display().to_string()], catalog, ..Self::default() }
    }

    /// With these arguments, too.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }
}

impl Server {
    /// Starts a server with an empty store, and waits until it listens.
    pub(crate) async fn start(launch: &Launch) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let catalog_file = directory.path().join("catalog.yaml");
        fs::write(&catalog_file, &launch.catalog).context("cannot write the catalog")?;
        let embedded = || format!("embedded:{}", directory.path().join("store.db").display());
        let mut command = command(&launch.command)?;
        command
            .arg("serve")
            .arg("--catalog")
            .arg(&catalog_file)
            .args(["--listen", "127.0.0.1:0"])
            .arg("--store")
            .arg(launch.store.clone().unwrap_or_else(embedded))
            .args(&launch.arguments)
            // What is measured is the service with its store: no answer goes without it, however busy the two are.
            .env("OFFER_RANKER_APPEND_TIMEOUT_MS", "60000");
        Self::spawn(command, directory).await
    }

    /// Starts any program that says on its first line where it listens.
    pub(crate) async fn start_other(words: &[String]) -> anyhow::Result<Self> {
        Self::spawn(command(words)?, tempfile::tempdir().context("cannot make a temporary directory")?).await
    }

    async fn spawn(mut command: Command, directory: TempDir) -> anyhow::Result<Self> {
        let log = File::create(directory.path().join(LOG)).context("cannot write the server's log")?;
        let mut child = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the server's log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}; build it with: cargo build --release"))?;
        let address = wait_until_listening(&mut child, directory.path()).await?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect_lazy();
        Ok(Self { child, directory, address, channel })
    }

    /// Where it listens, as host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process, while it runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.child.id()
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

fn command(words: &[String]) -> anyhow::Result<Command> {
    let (program, first) = words.split_first().context("a command has a program")?;
    let mut command = Command::new(program);
    command.args(first);
    Ok(command)
}

/// The server's executable, where it was built together with this one.
pub(crate) fn server_beside_us() -> anyhow::Result<PathBuf> {
    let ourselves =
        env::current_exe().context("cannot find this executable's folder; name the server with --server")?;
    Ok(ourselves.with_file_name(format!("offer-ranker{}", env::consts::EXE_SUFFIX)))
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
