//! Bad input gets a precise answer, and leaves nothing behind.

use crate::common::{
    START_MS, TestServer, attributes, boolean, conversion, number, request, revenue, shop, slate, text, upsell,
    violated_fields,
};
use offer_ranker::{
    log::record::LogRecord,
    proto::{self, FeedbackCode, Outcome, RankRequest},
};
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use tonic::{Code, Status};

/// Bytes that break keys, logs and terminals.
const NASTY: &str = "a\0{b}:\"c\"\r\n\u{202e}d";
/// Longest message of a status or result: a thousand bytes of text and an ellipsis.
const MESSAGE_BYTES_MAX: usize = 1003;

/// What a bad Rank must be answered with.
enum Answer {
    /// A decision: what looks bad is accepted as it is.
    Decided,
    /// INVALID_ARGUMENT with exactly these fields, in any order.
    Invalid(&'static [&'static str]),
    /// NOT_FOUND.
    NotFound,
    /// Refused by the transport before anything is decoded, with the limit in the message.
    TooLarge,
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn with(name: &str, value: Value) -> RankRequest {
    RankRequest { attributes: attributes([(name, value)]), ..request("paywall", "anna") }
}

fn instant(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn candidates<T: Into<String>>(ids: impl IntoIterator<Item = T>) -> RankRequest {
    RankRequest { candidate_offer_ids: ids.into_iter().map(Into::into).collect(), ..request("paywall", "anna") }
}

/// A list in a list in a list.
fn nested(depth: usize) -> Value {
    (0..depth).fold(number(1.0), |inner, _| value(Kind::ListValue(ListValue { values: vec![inner] })))
}

fn bad_ranks() -> Vec<(&'static str, RankRequest, Answer)> {
    use Answer::{Decided, Invalid, NotFound, TooLarge};
    let ask = || request("paywall", "anna");
    vec![
        // Numbers that are none, and numbers beyond all bounds.
        ("NaN", with("local_hour", number(f64::NAN)), Invalid(&["attributes.local_hour"])),
        ("infinity", with("local_hour", number(f64::INFINITY)), Invalid(&["attributes.local_hour"])),
        ("minus infinity", with("local_hour", number(f64::NEG_INFINITY)), Invalid(&["attributes.local_hour"])),
        ("a huge number", with("local_hour", number(1e300)), Invalid(&["attributes.local_hour"])),
        ("just below", with("local_hour", number(-f64::MIN_POSITIVE)), Invalid(&["attributes.local_hour"])),
        ("NaN that would be clipped", with("tenure_days", number(f64::NAN)), Invalid(&["attributes.tenure_days"])),
        (
            "infinity that would be clipped",
            with("tenure_days", number(f64::INFINITY)),
            Invalid(&["attributes.tenure_days"]),
        ),
        ("a huge number that is clipped", with("tenure_days", number(1e300)), Decided),
        ("minus zero", with("tenure_days", number(-0.0)), Decided),
        // Other types than declared.
        ("a number in a string", with("local_hour", text("0.9")), Invalid(&["attributes.local_hour"])),
        ("a boolean for a number", with("local_hour", boolean(true)), Invalid(&["attributes.local_hour"])),
        ("a number for a boolean", with("is_returning", number(1.0)), Invalid(&["attributes.is_returning"])),
        ("\"true\" for a boolean", with("is_returning", text("true")), Invalid(&["attributes.is_returning"])),
        ("a number for a word", with("channel", number(1.0)), Invalid(&["attributes.channel"])),
        ("null", with("local_hour", value(Kind::NullValue(0))), Invalid(&["attributes.local_hour"])),
        ("no value at all", with("local_hour", Value { kind: None }), Invalid(&["attributes.local_hour"])),
        ("a list", with("channel", value(Kind::ListValue(ListValue::default()))), Invalid(&["attributes.channel"])),
        ("an object", with("channel", value(Kind::StructValue(Struct::default()))), Invalid(&["attributes.channel"])),
        ("a bomb of lists", with("channel", nested(2000)), Invalid(&["attributes.channel"])),
        // Attributes that nobody declared, or that are missing.
        ("an unknown attribute", with("shoe_size", number(42.0)), Invalid(&["attributes.shoe_size"])),
        ("an attribute without a name", with("", number(42.0)), Invalid(&["attributes."])),
        (
            "an attribute with a nasty name",
            with(NASTY, number(42.0)),
            Invalid(&["attributes.a\\0{b}:\\\"c\\\"\\r\\n\\u{202e}d"]),
        ),
        ("a missing attribute", request("upsell", "anna"), Invalid(&["attributes.age"])),
        (
            "a mistyped name",
            RankRequest { attributes: attributes([("Age", number(4.0))]), ..request("upsell", "anna") },
            Invalid(&["attributes.Age", "attributes.age"]),
        ),
        ("an unknown word", with("device", text("toaster")), Invalid(&["attributes.device"])),
        ("a nasty word", with("device", text(NASTY)), Invalid(&["attributes.device"])),
        ("a nasty word for the bucket", with("channel", text(NASTY)), Decided),
        ("a long word for the bucket", with("channel", text(&"w".repeat(257))), Invalid(&["attributes.channel"])),
        ("a huge word", with("device", text(&"w".repeat(900_000))), Invalid(&["attributes.device"])),
        ("a huge word for the bucket", with("channel", text(&"w".repeat(900_000))), Invalid(&["attributes.channel"])),
        // Lists.
        ("a million candidates", candidates((0..1_000_000).map(|id| id.to_string())), TooLarge),
        ("300,000 candidates", candidates((0..300_000).map(|_| "a")), Invalid(&["candidate_offer_ids"])),
        ("257 candidates", candidates((0..257).map(|id| format!("o{id}"))), Invalid(&["candidate_offer_ids"])),
        ("256 unknown candidates", candidates((0..256).map(|id| format!("o{id}"))), Decided),
        ("a repeated candidate", candidates(["monthly", "yearly", "monthly"]), Invalid(&["candidate_offer_ids[2]"])),
        ("an empty candidate", candidates(["monthly", ""]), Invalid(&["candidate_offer_ids[1]"])),
        ("no candidates", candidates([""; 0]), Decided),
        (
            "nasty candidates",
            candidates([NASTY.to_owned(), "UPPER".to_owned(), "a".repeat(65), "-a".to_owned(), "ö".to_owned()]),
            Invalid(&[
                "candidate_offer_ids[0]",
                "candidate_offer_ids[1]",
                "candidate_offer_ids[2]",
                "candidate_offer_ids[3]",
                "candidate_offer_ids[4]",
            ]),
        ),
        // Ids.
        ("no user", request("paywall", ""), Invalid(&["user_id"])),
        ("a long user", request("paywall", &"u".repeat(257)), Invalid(&["user_id"])),
        ("a long user in few letters", request("paywall", &"ö".repeat(129)), Invalid(&["user_id"])),
        ("a user of 1 MB", request("paywall", &"u".repeat(1 << 20)), TooLarge),
        ("a user of almost 1 MB", request("paywall", &"u".repeat(1_000_000)), Invalid(&["user_id"])),
        ("a nasty user", request("paywall", NASTY), Decided),
        ("a long unit", RankRequest { unit_id: "u".repeat(257), ..ask() }, Invalid(&["unit_id"])),
        ("a long request id", RankRequest { request_id: "r".repeat(129), ..ask() }, Invalid(&["request_id"])),
        ("a nasty request id", RankRequest { request_id: NASTY.to_owned(), ..ask() }, Decided),
        (
            "a reused nasty request id",
            RankRequest { request_id: NASTY.to_owned(), slots: Some(1), ..ask() },
            Invalid(&["request_id"]),
        ),
        ("a nasty market", RankRequest { market: NASTY.to_owned(), ..ask() }, Invalid(&["market"])),
        ("a huge market", RankRequest { market: "M".repeat(900_000), ..ask() }, Invalid(&["market"])),
        ("a nasty platform", RankRequest { platform: NASTY.to_owned(), ..ask() }, Invalid(&["platform"])),
        ("a huge platform", RankRequest { platform: "p".repeat(900_000), ..ask() }, Invalid(&["platform"])),
        ("a long plan", RankRequest { current_plan: Some("p".repeat(129)), ..ask() }, Invalid(&["current_plan"])),
        ("a nasty plan", RankRequest { current_plan: Some(NASTY.to_owned()), ..ask() }, Decided),
        ("no instant", RankRequest { lapsed_at: instant(0, -1), ..ask() }, Invalid(&["lapsed_at"])),
        ("an instant beyond time", RankRequest { lapsed_at: instant(i64::MAX, 0), ..ask() }, Invalid(&["lapsed_at"])),
        ("the end of time", RankRequest { lapsed_at: instant(i64::MAX / 1000, 0), ..ask() }, Decided),
        ("no placement", request("", "anna"), Invalid(&["placement"])),
        ("a nasty placement", request(NASTY, "anna"), Invalid(&["placement"])),
        ("a huge placement", request(&"p".repeat(900_000), "anna"), Invalid(&["placement"])),
        ("another placement", request("sidebar", "anna"), NotFound),
        // Slots.
        ("no slots", RankRequest { slots: Some(0), ..ask() }, Invalid(&["slots"])),
        ("too many slots", RankRequest { slots: Some(u32::MAX), ..ask() }, Invalid(&["slots"])),
        // Everything at once.
        (
            "six mistakes",
            RankRequest {
                user_id: String::new(),
                market: "XX".to_owned(),
                platform: "the web".to_owned(),
                slots: Some(99),
                attributes: attributes([("local_hour", text("noon"))]),
                ..candidates(["monthly", "monthly"])
            },
            Invalid(&["attributes.local_hour", "candidate_offer_ids[1]", "market", "platform", "slots", "user_id"]),
        ),
    ]
}

fn check_status(name: &str, status: &Status, answer: &Answer) {
    assert!(status.message().len() <= MESSAGE_BYTES_MAX, "{name}: {} bytes", status.message().len());
    assert!(!status.message().contains(['\0', '\u{202e}', '\r']), "{name}: {:?}", status.message());
    let expected = match answer {
        Answer::Decided => panic!("{name}: {status:?}"),
        Answer::Invalid(fields) => {
            let mut violated = violated_fields(status);
            violated.sort();
            assert_eq!(violated, *fields, "{name}: {status:?}");
            Code::InvalidArgument
        }
        Answer::NotFound => Code::NotFound,
        // What tonic says of messages beyond the limit that it was given.
        Answer::TooLarge => {
            assert!(status.message().contains("1048576"), "{name}: {status:?}");
            Code::OutOfRange
        } // What tonic says of bytes that are not the message.
    };
    assert_eq!(status.code(), expected, "{name}: {status:?}");
}

/// Bad outcomes on a decision of `banner`, with their codes.
fn bad_outcomes(answer: &proto::RankResponse) -> Vec<(&'static str, Outcome, FeedbackCode)> {
    use FeedbackCode::{Invalid, Recorded, UnknownDecision};
    let fine = |id: &str| conversion(id, answer);
    let at = |seconds, nanos| Outcome { occurred_at: Some(Timestamp { seconds, nanos }), ..fine("at") };
    let now_s = START_MS / 1000;
    vec![
        ("NaN", Outcome { value: f64::NAN, ..fine("nan") }, Invalid),
        ("infinity", Outcome { value: f64::INFINITY, ..fine("inf") }, Invalid),
        ("minus infinity", revenue("ninf", answer, f64::NEG_INFINITY, "EUR"), Invalid),
        ("a huge value", revenue("huge", answer, 1e300, "EUR"), Invalid),
        ("a value just beyond", revenue("beyond", answer, 1.000001e12, "EUR"), Invalid),
        ("a negative count", Outcome { value: -1.0, ..fine("minus") }, Invalid),
        ("money without currency", revenue("bare", answer, 1.0, ""), Invalid),
        ("money without a rate", revenue("yen", answer, 1.0, "JPY"), Invalid),
        ("nasty currency", revenue("nasty", answer, 1.0, NASTY), Invalid),
        ("huge currency", revenue("huge", answer, 1.0, &"E".repeat(900_000)), Invalid),
        ("a count with currency", Outcome { currency: "EUR".to_owned(), ..fine("priced") }, Invalid),
        ("no metric", Outcome { metric: String::new(), ..fine("unmeasured") }, Invalid),
        ("a nasty metric", Outcome { metric: NASTY.to_owned(), ..fine("nasty") }, Invalid),
        ("a huge metric", Outcome { metric: "m".repeat(900_000), ..fine("huge") }, Invalid),
        ("no id", fine(""), Invalid),
        ("a long id", fine(&"i".repeat(129)), Invalid),
        ("an id of 1 MB", fine(&"i".repeat(1 << 20)), Invalid),
        ("a nasty id", fine(NASTY), Recorded),
        ("a long revised id", Outcome { revises_outcome_id: "i".repeat(129), ..fine("r") }, Invalid),
        ("a nasty offer", Outcome { offer_id: NASTY.to_owned(), ..fine("nasty") }, Invalid),
        ("no decision", Outcome { decision_id: String::new(), ..fine("lost") }, Invalid),
        ("a nasty decision", Outcome { decision_id: NASTY.to_owned(), ..fine("lost") }, UnknownDecision),
        ("a huge decision", Outcome { decision_id: "0".repeat(1 << 20), ..fine("lost") }, UnknownDecision),
        ("the end of time", at(i64::MAX, 0), Invalid),
        ("the last millisecond", at(i64::MAX / 1000, 0), Invalid),
        ("the beginning of time", at(i64::MIN, 0), Invalid),
        ("the first millisecond", at(i64::MIN / 1000, 0), Invalid),
        ("the year 10000", at(253_402_300_800, 0), Invalid),
        ("the year 0", at(-62_135_596_801, 0), Invalid),
        ("negative nanoseconds", at(now_s, -1), Invalid),
        ("too many nanoseconds", at(now_s, 1_000_000_000), Invalid),
    ]
}

fn is_finite(record: &LogRecord) -> bool {
    let text = format!("{record:?}");
    !text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "NaN" || word == "inf")
}

#[tokio::test]
async fn bad_input_is_answered_precisely_and_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let mut decided = 0;
    for (name, request, answer) in bad_ranks() {
        match server.try_rank(request).await {
            Ok(response) => {
                assert!(matches!(answer, Answer::Decided), "{name}: {response:?}");
                assert!(response.offers.iter().all(|offer| offer.propensity.is_finite()), "{name}: {response:?}");
                decided += 1;
            }
            Err(status) => check_status(name, &status, &answer),
        }
    }
    let good = server.rank(request("banner", "anna")).await;
    assert_eq!(slate(&good), ["yearly", "monthly", "trial"], "it still answers");
    decided += 1;

    let mut recorded = 0;
    for (name, outcome, code) in bad_outcomes(&good) {
        let result = server.report_all(vec![outcome]).await.remove(0);
        assert_eq!(result.code(), code, "{name}: {}", result.message);
        assert!(result.message.len() <= MESSAGE_BYTES_MAX, "{name}: {} bytes", result.message.len());
        assert!(!result.message.contains(['\0', '\u{202e}', '\r']), "{name}: {:?}", result.message);
        recorded += usize::from(code == FeedbackCode::Recorded);
    }
    assert_eq!(server.report(conversion("good", &good)).await, FeedbackCode::Recorded, "it still listens");
    recorded += 1;

    let records = server.records().await;
    let decisions = records.iter().filter(|(_, record)| matches!(record, LogRecord::Decision(_))).count();
    assert_eq!((decisions, records.len() - decisions), (decided, recorded), "only what was accepted is logged");
    assert!(records.iter().all(|(_, record)| is_finite(record)), "{records:#?}");
    server.assert_audit_equal().await;
    for arm in server.placement("banner").await.arms {
        let interval = arm.posterior_interval.expect("every arm has an interval");
        let numbers = [arm.posterior_mean, interval.lower, interval.upper, arm.probability_of_leading];
        assert!(numbers.iter().chain(arm.outcome_totals.values()).all(|number| number.is_finite()), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_request_wrong_in_thousands_of_ways_is_refused_briefly() {
    let server = TestServer::start().await;
    let unknown = (0..20_000).map(|index| (format!("attribute_{index}"), number(1.0)));
    let ask = RankRequest { attributes: unknown.collect(), ..request("paywall", "anna") };
    let status = server.try_rank(ask).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields = violated_fields(&status);
    // Details travel in a header, and common clients refuse headers above 8 KiB.
    assert!(fields.len() > 10 && status.details().len() < 6000, "{} in {}", fields.len(), status.details().len());
    assert!(status.message().contains("holds 20000 that placement paywall does not know"), "{}", status.message());
}

#[tokio::test]
async fn a_batch_beyond_the_message_limit_is_refused_by_the_transport() {
    let server = TestServer::start().await;
    let good = server.rank(request("banner", "anna")).await;
    let outcomes = (0..5).map(|index| conversion(&format!("{index}").repeat(1 << 20), &good)).collect();
    let request = proto::RecordOutcomesRequest { outcomes };
    let status = server.feedback.clone().record_outcomes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert_eq!(server.report(conversion("good", &good)).await, FeedbackCode::Recorded);
}

#[tokio::test]
async fn a_million_slots_shown_are_judged_as_a_set() {
    let server = TestServer::start().await;
    let good = server.rank(request("banner", "anna")).await;
    let many: Vec<u32> = (0..1_000_000).map(|index| index % 3 + 1).collect();
    assert_eq!(server.expose(&good.decision_id, &many).await, FeedbackCode::Recorded);
    assert_eq!(server.expose(&good.decision_id, &(1..1_000_000).collect::<Vec<_>>()).await, FeedbackCode::Invalid);
    server.assert_audit_equal().await;
}

#[tokio::test]
async fn bad_catalog_calls_are_refused_and_the_catalog_stands() {
    let server = TestServer::start().await;
    let before = server.served_catalog().await;
    for revision in [2, 1 << 40, u64::MAX] {
        let status = server.try_get_catalog(revision).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{revision}: {status:?}");
    }
    for placement in ["", NASTY, &"p".repeat(900_000)] {
        let request = proto::GetPlacementRequest { placement: placement.to_owned() };
        let status = server.catalog.clone().get_placement(request).await.unwrap_err();
        check_status("a placement", &status, &Answer::Invalid(&["placement"]));
    }
    let nothing = proto::ApplyCatalogRequest::default();
    let status = server.try_apply(nothing).await.unwrap_err();
    assert_eq!((status.code(), violated_fields(&status)), (Code::InvalidArgument, vec!["catalog".to_owned()]));
    let talkative =
        proto::ApplyCatalogRequest { catalog: Some(shop()), reason: "r".repeat(1 << 20), ..Default::default() };
    let status = server.try_apply(talkative).await.unwrap_err();
    assert_eq!((status.code(), violated_fields(&status)), (Code::InvalidArgument, vec!["reason".to_owned()]));
    let stale = proto::ApplyCatalogRequest { catalog: Some(shop()), etag: NASTY.to_owned(), ..Default::default() };
    let status = server.try_apply(stale).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(!status.message().contains(['\0', '\u{202e}', '\r']), "{:?}", status.message());
    for number in [f64::NAN, f64::INFINITY, 1e300, -1.0] {
        let mut catalog = shop();
        catalog.rates.insert("SEK".to_owned(), number);
        catalog.placements[0].bounds.as_mut().expect("bounds").floor = number;
        catalog.placements[0].reward.as_mut().expect("reward").terms[0].weight = Some(number);
        let request = proto::ApplyCatalogRequest { catalog: Some(catalog), ..Default::default() };
        let status = server.try_apply(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{number}");
        let fields = violated_fields(&status);
        for field in ["rates.SEK", "placements[0].bounds.floor"] {
            assert!(fields.iter().any(|violated| violated == field), "{field} in {fields:?}");
        }
    }
    assert_eq!(server.served_catalog().await, before);
    assert!(!server.rank(upsell("anna")).await.offers.is_empty());
}
