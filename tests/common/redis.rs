//! Redis servers and Clusters of a test's own: processes on free ports of 127.0.0.1, with a directory each.
//!
//! Nothing outlives the test, however it ends: a shell waits beside each server for the end of a pipe that only the
//! test process holds, and then kills the server and removes its directory. Most tests share one server, or one
//! Cluster, and have a prefix each.

#![allow(dead_code, clippy::allow_attributes, reason = "every test binary uses its own part of this")]

#[path = "ports.rs"]
mod ports;

use offer_ranker::store::redis::RedisUrl;
use ports::free_port;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that a test waits for: far more than it does, on any machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a server and waits until the test says a word or is gone; "keep" keeps the directory.
const SUPERVISE: &str = r#"
"$@" >/dev/null 2>&1 &
echo $!
read -r word
kill -9 $! 2>/dev/null
wait
[ "$word" = keep ] || rm -rf "$DIRECTORY"
"#;

/// The slots that each of a Cluster's three nodes has.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

/// A server process.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    supervisor: Child,
    pid: String,
}

/// A Cluster of three primaries.
pub(crate) struct Cluster {
    nodes: Vec<Server>,
}

static SHARED_SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));
static SHARED_CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);
static PREFIXES: AtomicU64 = AtomicU64::new(0);

/// The address of an empty store on the server that the tests of this process share.
pub(crate) fn standalone_url() -> RedisUrl {
    SHARED_SERVER.url(&format!("?prefix={}", unused_prefix()))
}

/// The address of an empty store on the Cluster that the tests of this process share.
pub(crate) fn cluster_url() -> RedisUrl {
    SHARED_CLUSTER.url(&unused_prefix())
}

fn unused_prefix() -> String {
    format!("test-{}", PREFIXES.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {} s", DEADLINE.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}

impl Server {
    /// Starts a server that keeps nothing on the disk unless these arguments say so.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made").keep();
        Self::start_in(directory, arguments)
    }

    /// Starts a server in a directory that is there already, and which goes with it.
    pub(crate) fn start_in(directory: PathBuf, arguments: &[&str]) -> Self {
        loop {
            let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let mut server = Self::run(free_port(), directory.clone(), arguments);
            // Another process may have taken the port in between.
            if server.wait_until_up() {
                return server;
            }
            server.tell("keep");
        }
    }

    fn run(port: u16, directory: PathBuf, arguments: Vec<String>) -> Self {
        let port_text = port.to_string();
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISE, "sh", "redis-server"])
            .args(["--bind", "127.0.0.1", "--save", "", "--logfile", "log", "--dir"])
            .arg(&directory)
            .args(["--port", if arguments.iter().any(|argument| argument == "--tls-port") { "0" } else { &port_text }])
            .args(arguments.iter().map(|argument| if argument == "PORT" { &port_text } else { argument }))
            .env("DIRECTORY", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be run");
        let mut pid = String::new();
        let output = supervisor.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut pid).expect("the supervisor tells the server's process");
        Self { port, directory, arguments, supervisor, pid: pid.trim().to_owned() }
    }

    /// Waits until the server answers; `false` where it ended instead.
    fn wait_until_up(&self) -> bool {
        let begun = Instant::now();
        loop {
            // Refusing who it does not know is an answer too. A TLS server hangs up on plain text.
            let up = if self.arguments.iter().any(|argument| argument == "--tls-port") {
                TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            } else {
                ask(self.port, "PING").is_some_and(|answer| !answer.starts_with("-LOADING"))
            };
            // Where it ended, somebody else answers on its port.
            if !Path::new(&format!("/proc/{}", self.pid)).exists() {
                return false;
            }
            if up {
                return true;
            }
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "redis-server does not answer: {}", log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address with what follows the port.
    pub(crate) fn url(&self, rest: &str) -> RedisUrl {
        format!("redis://127.0.0.1:{}/{rest}", self.port).parse().expect("an address")
    }

    /// Where it keeps its files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes one command of words without spaces; what the server says.
    pub(crate) fn command(&self, command: &str) -> String {
        ask(self.port, command).unwrap_or_else(|| panic!("no answer to {command}"))
    }

    /// A connection of the driver's own, for what a test does behind the store's back.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address");
        client.get_connection().expect("the server is up")
    }

    /// Ends the process on the spot, as a crash would.
    pub(crate) fn kill(&self) {
        let status = Command::new("kill").args(["-9", &self.pid]).status().expect("kill can be run");
        assert!(status.success());
        let process = format!("/proc/{}/exe", self.pid);
        wait_until("the server is gone", || fs::read_link(&process).is_err());
    }

    /// Sends the process a signal: `-STOP` makes it silent, `-CONT` lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid]).status().expect("kill can be run");
        assert!(status.success());
    }

    /// Starts it on the same port and files, after it was killed.
    pub(crate) fn start_again(&mut self) {
        self.tell("keep");
        let again = Self::run(self.port, self.directory.clone(), self.arguments.clone());
        assert!(again.wait_until_up(), "the port is still free");
        *self = again;
    }

    /// Ends the supervisor with a word.
    fn tell(&mut self, word: &str) {
        if let Some(mut input) = self.supervisor.stdin.take() {
            let _ = writeln!(input, "{word}");
            drop(input);
            let _ = self.supervisor.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell("");
    }
}

impl Cluster {
    /// Starts three servers that keep nothing on the disk and makes one Cluster of them.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts three servers with these arguments and makes one Cluster of them.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let cluster = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port"];
        let start = |_| {
            let bus = free_port().to_string();
            Server::start(&[&cluster[..], &[&bus], arguments].concat())
        };
        let nodes: Vec<Server> = (0..3).map(start).collect();
        let (first, bus) = (nodes[0].port, &nodes[0].arguments[5]);
        for (epoch, (node, (from, to))) in (1..).zip(nodes.iter().zip(SLOTS)) {
            assert!(node.command(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).starts_with("+OK"));
            assert!(node.command(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).starts_with("+OK"));
            assert!(node.command(&format!("CLUSTER MEET 127.0.0.1 {first} {bus}")).starts_with("+OK"));
        }
        for node in &nodes {
            wait_until("the nodes have met", || {
                let info = node.command("CLUSTER INFO");
                ["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"].iter().all(|line| info.contains(line))
            });
        }
        Self { nodes }
    }

    /// The address of one node, and a prefix.
    pub(crate) fn url(&self, prefix: &str) -> RedisUrl {
        self.nodes[0].url(&format!("?prefix={prefix}"))
    }

    /// The servers.
    pub(crate) fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Which of the servers has a key.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let answer = self.nodes[0].command(&format!("CLUSTER KEYSLOT {key}"));
        let slot: u16 = answer.trim().trim_start_matches(':').parse().expect("a slot");
        SLOTS.iter().position(|(from, to)| (*from..=*to).contains(&slot)).expect("every slot has a node")
    }

    /// The servers, to end and start them.
    pub(crate) fn nodes_mut(&mut self) -> &mut [Server] {
        &mut self.nodes
    }
}

/// Sends one inline command and reads the beginning of the answer.
fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}
