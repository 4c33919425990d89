//! An export that is killed at any moment, and started again, exports the log.
//!
//! The real binary exports a log in chunks so small that it takes a while, and is killed with signal 9 once it has come
//! so far, by seed. What stands in the folder then reads as the start of the log, and the export that runs to its end
//! afterwards leaves exactly the log.
//!
//! Then it is imported, in chunks of the usual size, and the imported store's log is the same, and audits equal.
//!
//! 4 kills by default, 40 where everything is asked for.

use crate::{
    house::{Habit, House, LOG, Posterior, catalog},
    scale,
};
use offer_ranker::{
    log::archive::Archive,
    store::{Store as _, embedded::EmbeddedStore},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_millis(1);

fn exporter(store: &Path, folder: &Path, chunk: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_offer-ranker"))
        .args(["log", "export", "--chunk", chunk, "--store"])
        .arg(format!("embedded:{}", store.display()))
        .arg("--out")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The log in a folder as far as it reaches; nothing where there is no archive yet.
fn archived(folder: &Path) -> Vec<Arc<[u8]>> {
    let mut records = Vec::new();
    let Ok(archive) = Archive::open(folder) else { return records };
    let end = archive.logs().find(|(_, log, _)| *log == LOG).map_or(0, |(_, _, end)| end);
    while (records.len() as u64) < end {
        records.extend(archive.read(LOG, records.len() as u64, 1000).unwrap());
    }
    records
}

fn end_of(folder: &Path) -> u64 {
    Archive::open(folder).ok().and_then(|archive| archive.logs().map(|(_, _, end)| end).next()).unwrap_or(0)
}

#[tokio::test]
async fn an_export_that_is_killed_and_started_again_exports_the_log() {
    let mut house = House::open(&catalog("thompson: {}", Posterior::Linear, "{ mode: IMMEDIATE }")).await;
    house.live(Habit::RefreshAtTheEnd, 600).await;
    let store = house.path();
    let log = {
        let opened = EmbeddedStore::open_read_only(&store).unwrap();
        let end = opened.log_ends().await.unwrap()[0].1 as usize;
        let records = opened.read_log(LOG, 0, end).await.unwrap();
        assert_eq!(records.len(), end);
        records
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("export");
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut struck = 0;
    for _ in 0..scale::tenth_of(40) {
        let goal = end_of(&folder) + rng.random_range(0..40);
        let mut child = exporter(&store, &folder, "2");
        while end_of(&folder) < goal && child.try_wait().unwrap().is_none() {
            thread::sleep(LOOK);
        }
        struck += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let archived = archived(&folder);
        assert_eq!(archived, log[..archived.len()]);
    }
    assert!(struck > 0, "no kill found the export running");
    assert!(exporter(&store, &folder, "100").wait().unwrap().success());
    assert_eq!(archived(&folder), log);
    house.close().await;

    let usual = folder.with_file_name("usual");
    assert!(exporter(&store, &usual, "10000").wait().unwrap().success());
    let copy = folder.with_file_name("copy.db");
    let address = format!("embedded:{}", copy.display());
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(args).args(["--store", &address]).stdout(Stdio::null());
        command
    };
    let mut import = run(&["log", "import"]);
    assert!(import.arg("--in").arg(&usual).status().unwrap().success());
    assert!(run(&["audit"]).status().unwrap().success());
    assert!(!import.status().unwrap().success(), "an import replaces nothing");
    let imported = EmbeddedStore::open_read_only(&copy).unwrap().read_log(LOG, 0, log.len() + 1).await.unwrap();
    assert_eq!(imported, log);
}
