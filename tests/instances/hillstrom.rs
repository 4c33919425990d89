//! Two instances over Redis learn a real e-mail test (MineThatData, K. Hillstrom, 2008) to the bits that one learns
//! over a file.
//!
//! The first customers of the test are ranked and reported on through both instances at once. Whatever order their
//! records have come to stand in, the logs are then copied into an embedded store record by record, and a service
//! there learns them from the start: in batches of other sizes, without a lease that moves, from another backend. All
//! statistics must be the same bytes.
//!
//! The data stands beside the checkout and is not part of it; without it the test says so and passes.

use crate::{
    instance::{Client, audit, audited, start_all},
    redis::standalone_url,
};
use flate2::read::GzDecoder;
use futures_util::future::join_all;
use offer_ranker::{
    clock::SystemClock,
    log::{
        ledger_codec::{decode_ledger, encode_ledger},
        record::LogRecord,
    },
    proto::{
        Exposure, FeedbackCode, Outcome, RankRequest, RankResponse, RecordExposuresRequest, RecordOutcomesRequest,
    },
    service::{Service, Settings},
    store::{
        AdvanceOutcome, AppendOutcome, DecisionAppend, LedgerAdvance, LogId, Store, StoredDecision,
        embedded::EmbeddedStore, redis::RedisStore,
    },
};
use prost_types::{Value, value::Kind};
use std::{collections::BTreeSet, fs::File, path::Path, sync::Arc, time::Duration};

/// Where the data is, as seen from a directory that the checkout is in.
const DATA: &str = "shared/data/hillstrom/hillstrom.csv.gz";
/// How many customers come, and how many of them before anything is reported on them.
const CUSTOMERS: usize = 3000;
const BATCH: usize = 250;
/// The catalog of the driver that judges policies by these data.
const CATALOG: &str = include_str!("../../load-tests/src/hillstrom/catalog.yaml");
/// The placements, each with its policy; customers alternate between them.
const PLACEMENTS: [(&str, &str); 2] = [
    ("email", "{ thompson: {}, linear: { precision: 1, a: 1, b: 0.1 } }"),
    ("email-beta", "{ thompson: {}, beta: {} }"),
];
/// Records or decisions read at a time.
const READ: usize = 500;

/// A customer: what was known, what was sent, and what came of it.
struct Customer {
    number: usize,
    known: Vec<(&'static str, Kind)>,
    sent: &'static str,
    visited: bool,
    spent: f64,
}

/// `None` where the data is not beside the checkout, nor beside a directory that holds it.
fn customers() -> Option<Vec<Customer>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(1);
    let file = above.filter_map(|directory| File::open(directory.join(DATA)).ok()).next()?;
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let columns = reader.headers().unwrap().clone();
    let read = |(number, line): (usize, csv::Result<csv::StringRecord>)| {
        let line = line.unwrap();
        let word = |name: &str| line[columns.iter().position(|column| column == name).unwrap()].to_owned();
        let number_of = |name: &str| word(name).parse::<f64>().unwrap();
        let text = |name| (name, Kind::StringValue(word(name)));
        let amount = |name| (name, Kind::NumberValue(number_of(name)));
        let truth = |name| (name, Kind::BoolValue(number_of(name) == 1.0));
        let sent = match word("segment").as_str() {
            "Mens E-Mail" => "mens_email",
            "Womens E-Mail" => "womens_email",
            _ => "no_email",
        };
        let known = vec![
            amount("recency"),
            amount("history"),
            truth("mens"),
            truth("womens"),
            text("zip_code"),
            truth("newbie"),
            text("channel"),
        ];
        Customer { number, known, sent, visited: number_of("visit") == 1.0, spent: number_of("spend") }
    };
    Some(reader.records().take(CUSTOMERS).enumerate().map(read).collect())
}

/// The driver's catalog with two placements instead of one.
fn catalog() -> String {
    let (rest, placement) = CATALOG.split_once("placements:\n").unwrap();
    let placements =
        PLACEMENTS.map(|(id, policy)| placement.replace("id: email", &format!("id: {id}")).replace("$POLICY", policy));
    format!("{rest}placements:\n{}", placements.concat())
}

impl Customer {
    fn placement(&self) -> &'static str {
        PLACEMENTS[self.number % PLACEMENTS.len()].0
    }

    fn request(&self) -> RankRequest {
        let value = |kind: &Kind| Value { kind: Some(kind.clone()) };
        RankRequest {
            placement: self.placement().to_owned(),
            user_id: format!("customer-{}", self.number),
            attributes: self.known.iter().map(|(name, kind)| ((*name).to_owned(), value(kind))).collect(),
            ..Default::default()
        }
    }

    /// What was sent was shown, and what this led to was done; of everything else nobody knows.
    fn reports(&self, decision: &RankResponse) -> (Exposure, Vec<Outcome>) {
        let decision_id = decision.decision_id.clone();
        let matched = decision.offers[0].offer_id == self.sent;
        let exposure = Exposure { decision_id: decision_id.clone(), slots: Vec::from_iter(matched.then_some(1)) };
        let outcome = |metric: &str, value, currency: &str| Outcome {
            outcome_id: metric.to_owned(),
            decision_id: decision_id.clone(),
            metric: metric.to_owned(),
            value,
            currency: currency.to_owned(),
            ..Default::default()
        };
        let visit = (matched && self.visited).then(|| outcome("visit", 1.0, ""));
        let spend = (matched && self.spent > 0.0).then(|| outcome("spend", self.spent, "USD"));
        (exposure, visit.into_iter().chain(spend).collect())
    }
}

/// Ranks customers and reports on them through one instance.
async fn serve(client: &Client, customers: &[&Customer]) {
    let decisions = join_all(customers.iter().map(|customer| client.rank(customer.request()))).await;
    let reports = customers.iter().zip(decisions).map(|(customer, decision)| customer.reports(&decision.unwrap()));
    let (exposures, outcomes): (Vec<_>, Vec<_>) = reports.unzip();
    let outcomes = outcomes.concat();
    let (mut shows, mut happens) = (client.feedback(), client.feedback());
    // At once, so that both kinds of records mix in the logs.
    let (shown, happened) = tokio::join!(
        shows.record_exposures(RecordExposuresRequest { exposures }),
        happens.record_outcomes(RecordOutcomesRequest { outcomes })
    );
    let results = [shown.unwrap().into_inner().results, happened.unwrap().into_inner().results].concat();
    assert!(results.iter().all(|result| result.code() == FeedbackCode::Recorded), "{results:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_over_redis_learn_a_log_to_the_bits_that_one_learns_over_a_file() {
    let Some(customers) = customers() else {
        say("not run: the data is not beside the checkout");
        return;
    };
    let url = standalone_url();
    let instances = start_all::<2>(&url, &catalog());
    let clients = instances.each_ref().map(|instance| &instance.client);
    for batch in customers.chunks(BATCH) {
        let (one, other): (Vec<_>, Vec<_>) = batch.iter().partition(|customer| customer.number / 2 % 2 == 0);
        tokio::join!(serve(clients[0], &one), serve(clients[1], &other));
    }
    for (client, (placement, _)) in clients.into_iter().flat_map(|client| PLACEMENTS.map(|of| (client, of))) {
        client.learned_at(placement).await;
    }
    instances.into_iter().for_each(crate::instance::Instance::stop);
    let report = audit(&url);
    assert_eq!(audited(&report, "decisions"), CUSTOMERS as u64);

    let learned = RedisStore::open_read_only(&url).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let copied = Arc::new(EmbeddedStore::open(directory.path().join("store.db"), [7; 48]).unwrap());
    copy(&learned, &*copied).await;
    let settings = Settings {
        snapshot_max_age_ms: 10_000,
        backlog_max: 0,
        append_timeout: Duration::from_secs(60),
        not_yet_s: 60,
        identities_s: 400 * 86_400,
    };
    let service = Service::open(copied.clone(), Arc::new(SystemClock), settings, None).await.unwrap();
    for (placement, _) in PLACEMENTS {
        let served = service.serving().placement(placement).unwrap().clone();
        let model_id = &served.snapshot.version.model_id;
        assert!(served.statistics.len() > 1);
        let mut arms = BTreeSet::new();
        for partition in (0..).take(served.statistics.len()) {
            let log = served.log(partition);
            let there = learned.statistics(model_id, log).await.unwrap();
            let here = copied.statistics(model_id, log).await.unwrap();
            assert!(here.offset > 0, "{placement} {partition} learns");
            arms.extend(here.arms.iter().map(|(arm, _)| arm.clone()));
            assert_eq!((there.offset, there.shared), (here.offset, here.shared), "{placement} {partition}");
            assert_eq!(there.arms, here.arms, "{placement} {partition}");
        }
        assert_eq!(arms.len(), 3, "{placement} learns of every arm");
    }
    let report = offer_ranker::service::audit::audit(&*copied, |_| {}).await.unwrap();
    assert!(report.equal, "{:#?}", report.partitions);
}

/// Copies catalogs and logs: every record to where it stood, and every ledger to what it had become.
async fn copy(from: &dyn Store, to: &dyn Store) {
    let newest = from.catalog(None).await.unwrap().unwrap().revision;
    for revision in 1..=newest {
        assert!(to.append_catalog(from.catalog(Some(revision)).await.unwrap().unwrap()).await.unwrap());
    }
    for (log, end) in from.log_ends().await.unwrap() {
        copy_log(from, to, log, end).await;
    }
    assert_eq!(from.log_ends().await.unwrap(), to.log_ends().await.unwrap());
}

async fn copy_log(from: &dyn Store, to: &dyn Store, log: LogId, end: u64) {
    let mut offset = 0;
    while offset < end {
        let read = from.read_log(log, offset, READ).await.unwrap();
        let records: Vec<_> = read.iter().map(|bytes| (LogRecord::decode(bytes).unwrap(), bytes.to_vec())).collect();
        let keys: Vec<_> = records.iter().map(|(record, _)| *id_of(record)).collect();
        let stored = from.decisions(&keys).await.unwrap().into_iter().map(Option::unwrap);
        let records: Vec<_> = records.into_iter().zip(stored).collect();
        // Decisions are written together, and so are changes; neither before all that stands before them.
        for run in records.chunk_by(|one, next| is_decision(&one.0.0) == is_decision(&next.0.0)) {
            if is_decision(&run[0].0.0) {
                let appends = run.iter().map(|((record, bytes), stored)| append(log, record, bytes, stored));
                let outcomes = join_all(appends.map(|append| to.append_decision(append))).await;
                for (expected, outcome) in (offset..).zip(outcomes) {
                    assert_eq!(outcome.unwrap(), AppendOutcome::Appended { offset: expected });
                }
            } else {
                let changes = run.iter().map(|((record, bytes), stored)| change(log, record, bytes, stored)).collect();
                let outcomes = to.advance_ledgers(changes).await.unwrap();
                assert!(outcomes.iter().all(|outcome| *outcome == AdvanceOutcome::Advanced));
            }
            offset += run.len() as u64;
        }
    }
    let mut offset = 0;
    while offset < end {
        let copied = to.read_log(log, offset, READ).await.unwrap();
        let original = from.read_log(log, offset, copied.len()).await.unwrap();
        assert!(original.iter().eq(copied.iter().take(original.len())), "{log:?} from {offset}");
        offset += original.len() as u64;
    }
}

fn is_decision(record: &LogRecord) -> bool {
    matches!(record, LogRecord::Decision(_))
}

fn id_of(record: &LogRecord) -> &[u8; 20] {
    match record {
        LogRecord::Decision(decision) => decision.id.as_bytes(),
        LogRecord::Ledger(change) => change.decision.as_bytes(),
    }
}

fn append(log: LogId, record: &LogRecord, bytes: &[u8], stored: &StoredDecision) -> DecisionAppend {
    let LogRecord::Decision(decision) = record else { panic!("{record:?} is no decision") };
    let windows = decode_ledger(&stored.ledger, stored.offset).unwrap().windows;
    DecisionAppend {
        log,
        decision: *decision.id.as_bytes(),
        record: bytes.to_vec(),
        ledger: encode_ledger(&decision.first_ledger(0, windows)),
        closes_at: windows.closes_at,
        request: None,
        document: None,
        salt: None,
    }
}

fn change(log: LogId, record: &LogRecord, bytes: &[u8], stored: &StoredDecision) -> LedgerAdvance {
    let LogRecord::Ledger(change) = record else { panic!("{record:?} changes no ledger") };
    LedgerAdvance {
        log,
        decision: *change.decision.as_bytes(),
        from_sequence: change.sequence - 1,
        ledger: stored.ledger.clone(),
        records: vec![bytes.to_vec()],
        closed: decode_ledger(&stored.ledger, stored.offset).unwrap().closed,
    }
}

#[expect(clippy::print_stderr, reason = "a test has no other place to say that it did not run")]
fn say(words: &str) {
    eprintln!("{words}");
}
