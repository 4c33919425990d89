//! Nothing of users in the clear, wherever anything is written: Redis' append-only file and snapshot, the spool, the log.

use crate::{
    away::{DURABLE, folder, spool_files},
    instance::{PLACEMENT, SHOP, conversion, request, start},
    redis::{Server, wait_until},
};
use offer_ranker::proto::{ForgetUserRequest, LinkUnitRequest, RankRequest, user_service_client::UserServiceClient};
use prost_types::{Value, value::Kind};
use std::{
    fs,
    path::{Path, PathBuf},
};

const USER: &str = "canary-user-5d1f";
const UNIT: &str = "canary-unit-77ab";
const REQUEST: &str = "canary-request-90ce";
/// A word that the catalog does not have, and a number that no rounding makes.
const CHANNEL: &str = "canary-channel-5be0";
const AGE: f64 = 31.415_926_535_897_93;

fn catalog() -> String {
    let channel = "        - { name: channel, category: { values: [email], unknown_bucket: true, default: email } }\n";
    let (before, after) = SHOP.split_once("    policy:").expect("the catalog has a placement with a context");
    let keeping = "    lease_s: 600\n    policy:";
    format!("{before}{channel}{keeping}{after}\nhistory: {{ subscribed_metrics: [conversion] }}\n")
}

fn marked(request_id: &str) -> RankRequest {
    let attributes = [("channel", Kind::StringValue(CHANNEL.to_owned())), ("age", Kind::NumberValue(AGE))];
    let attributes = attributes.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    RankRequest { unit_id: UNIT.to_owned(), attributes: attributes.into(), ..request(USER, request_id) }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Holds every file below a folder to having nothing of the user, and one at least to having what was offered.
fn assert_silent(folder: &Path) {
    let (mut told, words) = (false, [USER, UNIT, REQUEST, CHANNEL].map(str::as_bytes));
    let age = AGE.to_le_bytes();
    for file in files(folder) {
        let bytes = fs::read(&file).unwrap();
        let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        for word in words.iter().copied().chain([&age[..], b"31.41592"]) {
            assert!(!holds(word), "{} holds {}", file.display(), String::from_utf8_lossy(word));
        }
        told |= holds(PLACEMENT.as_bytes());
    }
    assert!(told, "nothing was written below {}", folder.display());
}

#[tokio::test]
async fn nothing_that_is_written_tells_of_a_user() {
    // Without compression, which would hide what is there.
    let plain = ["--rdbcompression", "no", "--aof-use-rdb-preamble", "no"];
    let server = Server::start(&[&DURABLE[..], &plain].concat());
    let spool = folder();
    let arguments = ["--spool", spool.path().to_str().unwrap()];
    let instance = start(&server.url("?prefix=p"), &catalog(), &arguments);
    let client = &instance.client;
    let answer = client.rank(marked(REQUEST)).await.unwrap();
    client.rank(marked("")).await.unwrap();
    client.report(conversion("o1", &answer.decision_id)).await.unwrap();
    let mut users = UserServiceClient::new(client.channel());
    let link = LinkUnitRequest { unit_id: UNIT.to_owned(), user_id: USER.to_owned() };
    users.link_unit(link).await.unwrap();
    server.command("SAVE");
    assert_silent(server.directory());
    let forgotten = users.forget_user(ForgetUserRequest { user_id: USER.to_owned() }).await.unwrap().into_inner();
    assert_eq!(forgotten.decisions, 2);
    server.command("SAVE");
    assert_silent(server.directory());
    server.kill();
    client.rank(marked("another-canary")).await.unwrap();
    wait_until("the decision is spooled", || spool_files(spool.path()) > 0);
    assert_silent(spool.path());
    let log = instance.log();
    assert!([USER, UNIT, REQUEST, CHANNEL].iter().all(|word| !log.contains(word)), "{log}");
}
