//! Logs of other systems are read for what they say, or every mistake in them is told by its line.

use offer_ranker::{
    engine::{context::AttributeValue, instant::Instant},
    replay::{
        files::{mistakes::Mistakes, table::Source},
        foreign::{Choice, dsjson, mapping::Mapping, open_bandit, table},
    },
};
use std::{
    fs::File,
    io::{Read, read_to_string},
    path::{Path, PathBuf},
};

fn source(name: &str, content: impl Read + Send + 'static) -> Source {
    Source { name: name.to_owned(), content: Box::new(content) }
}

fn inline(text: &'static str) -> Source {
    source("test", text.as_bytes())
}

fn collect(read: impl FnOnce(&mut dyn FnMut(Choice)) -> Result<(), Mistakes>) -> (Vec<Choice>, String) {
    let mut choices = Vec::new();
    let read = read(&mut |choice| choices.push(choice));
    (choices, read.err().map(|mistakes| mistakes.to_string()).unwrap_or_default())
}

/// Real data beside the checkout; `None` where they are not.
fn data(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    path.exists().then_some(path)
}

fn open_bandit_campaign(policy: &str, campaign: &str) -> Option<(Vec<Choice>, String)> {
    let folder = data("obd")?.join(policy).join(campaign);
    let open = |name: &str| source(name, File::open(folder.join(name)).unwrap());
    Some(collect(|take| open_bandit::read(open("item_context.csv"), open(&format!("{campaign}.csv.gz")), take)))
}

/// Published of this sample: rows, items, click rates on policy.
#[test]
fn the_open_bandit_sample_reads_as_published() {
    for (policy, campaign, items, clicks) in
        [("random", "men", 34, 46), ("bts", "men", 34, 69), ("random", "women", 46, 46), ("bts", "women", 46, 46)]
    {
        let Some((choices, mistakes)) = open_bandit_campaign(policy, campaign) else { return };
        assert_eq!(mistakes, "");
        assert_eq!((choices.len(), choices[0].actions.len()), (10_000, items), "{policy} {campaign}");
        let clicked = choices.iter().filter(|choice| choice.reward == Some(1.0)).count();
        assert_eq!(clicked, clicks, "{policy} {campaign}");
        assert!(choices.iter().all(|choice| choice.position < 3 && choice.at.is_some()));
        if policy == "random" {
            assert!(choices.iter().all(|choice| choice.propensity == Some(1.0 / items as f64)));
        }
    }
}

#[test]
fn an_open_bandit_row_is_read_field_by_field() {
    let items = inline("item_id,item_feature_0\n7,0.5\n9,0.1\n");
    let rows = inline(
        "timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0\n\
         2019-11-24 00:03:13.442536+00:00,9,3,1,0.25,abc,0.0\n",
    );
    let (choices, mistakes) = collect(|take| open_bandit::read(items, rows, take));
    assert_eq!(mistakes, "");
    let expected = Choice {
        context: vec![("user_feature_0".into(), AttributeValue::Category("abc".into()))],
        actions: ["7", "9"].map(Into::into).into(),
        action: 1,
        propensity: Some(0.25),
        probabilities: None,
        reward: Some(1.0),
        position: 2,
        at: Some(Instant::from_ms(1_574_553_793_442)),
        user: None,
    };
    assert_eq!(choices, [expected]);
}

#[test]
fn every_mistake_of_an_open_bandit_log_is_told_by_its_line() {
    let items = inline("item_id\n7\n");
    let rows = inline(
        "timestamp,item_id,position,click,propensity_score\n\
         2019-11-24 00:03:13+00:00,7,1,0,0.5\n\
         yesterday,8,0,x,0\n\
         2019-11-24 00:03:13+00:00,7,1,1,1.5\n",
    );
    let (choices, mistakes) = collect(|take| open_bandit::read(items, rows, take));
    assert_eq!(choices.len(), 1);
    for told in [":3:1: timestamp", ":3:11: item_id", ":3:13: position", ":3:15: click", ":3:17: propensity", ":4:"] {
        assert!(mistakes.contains(told), "{told} is not in {mistakes}");
    }
}

#[test]
fn real_decision_service_logs_are_read() {
    for (name, lines, actions) in [("dsjson_cb.json", 23, 4), ("decisionservice.json", 3, 12)] {
        let Some(path) = data("vw_logs") else { return };
        let text = read_to_string(File::open(path.join(name)).unwrap()).unwrap();
        let read: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (choices, mistakes) =
            collect(|take| dsjson::read(source(name, File::open(path.join(name)).unwrap()), take));
        assert_eq!((mistakes.as_str(), choices.len()), ("", lines), "{name}");
        for (choice, line) in choices.iter().zip(&read) {
            assert_eq!(choice.actions.len(), actions);
            assert_eq!(choice.action + 1, line["_label_Action"].as_u64().unwrap() as usize);
            assert_eq!(choice.reward, line["_label_cost"].as_f64().map(|cost| 0.0 - cost));
            assert_eq!(choice.propensity, line["p"][0].as_f64());
            // Twelve single-precision numbers below 1.
            let sum: f64 = choice.probabilities.as_ref().unwrap().iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            assert!(!choice.context.is_empty());
        }
    }
}

#[test]
fn a_decision_service_line_is_read_field_by_field() {
    let line = r#"{"_label_cost":-2.5,"_label_probability":0.7,"_label_Action":2,"Timestamp":"2021-02-04T16:31:29.2460000Z",
        "a":[2,1],"p":[0.7,0.3],"c":{"User":{"age":30,"_hidden":1},"From":[{"day":"Mon"}],"new":true,
        "_multi":[{"i":{"id":"tea"}},{"_tag":"coffee"}]}}"#;
    let line: &'static str = line.replace('\n', " ").leak();
    let (choices, mistakes) = collect(|take| dsjson::read(inline(line), take));
    assert_eq!(mistakes, "");
    let mut expected = Choice {
        context: vec![
            ("From.day".into(), AttributeValue::Category("Mon".into())),
            ("User.age".into(), AttributeValue::Number(30.0)),
            ("new".into(), AttributeValue::Boolean(true)),
        ],
        actions: ["tea", "coffee"].map(Into::into).into(),
        action: 1,
        propensity: Some(0.7),
        probabilities: Some(vec![0.3, 0.7]),
        reward: Some(2.5),
        position: 0,
        at: Some(Instant::from_ms(1_612_456_289_246)),
        user: None,
    };
    let mut read = choices[0].clone();
    read.context.sort_by(|a, b| a.0.cmp(&b.0));
    expected.context.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!((choices.len(), read), (1, expected));
}

#[test]
fn every_mistake_of_a_decision_service_log_is_told_by_its_line() {
    let log = r#"{"EventId":"late","RewardValue":1}
{"a":[1,2],"p":[0.5,0.5],"c":{}}
{"a":[1,1],"p":[0.5,0.5],"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0.5],"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0.5,0.6],"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0,1],"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0.5,0.5],"_label_probability":0.4,"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0.5,0.5],"pdrop":0.5,"c":{"_multi":[{},{}]}}
{"a":[1,2],"p":[0.5,0.5],"Timestamp":"noon","c":{"_multi":[{},{}]}}
no json
{"a":[2,1],"p":[0.5,0.5],"c":{"_multi":[{},{}]}}"#;
    let (choices, mistakes) = collect(|take| dsjson::read(inline(log), take));
    assert_eq!((choices.len(), choices[0].reward, choices[0].action), (1, None, 1));
    assert_eq!(mistakes.lines().count(), 10, "nine mistakes and a heading: {mistakes}");
    for (line, told) in [(2, "c._multi"), (3, "each of them once"), (4, "1 probabilities"), (5, "sum to 1.1")] {
        assert!(mistakes.contains(&format!("test:{line}: ")) && mistakes.contains(told), "{told}: {mistakes}");
    }
}

const MAPPING: &str = "
action: offer
actions: [annual, monthly]
reward: paid
propensity: p
user: customer
time: at
position: slot
context: { age: number, channel: category, back: boolean }
";

#[test]
fn a_plain_table_is_read_by_its_mapping() {
    let rows = inline(
        "offer,paid,p,customer,at,slot,age,channel,back,ignored\n\
         monthly,9.5,0.25,anna,2027-01-15T08:00:00Z,2,40,email,1,x\n\
         annual,,1,bert,2027-01-15T08:00:01Z,1,41.5,ads,false,y\n",
    );
    let mapping: Mapping = MAPPING.parse().unwrap();
    let (choices, mistakes) = collect(|take| table::read(rows, &mapping, take));
    assert_eq!((mistakes.as_str(), choices.len()), ("", 2));
    let expected = Choice {
        context: vec![
            ("age".into(), AttributeValue::Number(40.0)),
            ("back".into(), AttributeValue::Boolean(true)),
            ("channel".into(), AttributeValue::Category("email".into())),
        ],
        actions: ["annual", "monthly"].map(Into::into).into(),
        action: 1,
        propensity: Some(0.25),
        probabilities: None,
        reward: Some(9.5),
        position: 1,
        at: Some(Instant::from_ms(1_800_000_000_000)),
        user: Some("anna".to_owned()),
    };
    assert_eq!(choices[0], expected);
    assert_eq!((choices[1].reward, choices[1].action), (None, 0), "an empty reward is not told");
    let rows = inline(
        "offer,paid,p,customer,at,slot,age,channel,back\n\
         monthly,1,0.5,,2027-01-15T08:00:00Z,1,40,email,1\n",
    );
    let (choices, _) = collect(|take| table::read(rows, &mapping, take));
    assert_eq!(choices[0].user, None, "nor is an empty user");
}

#[test]
fn a_table_without_propensities_says_so() {
    let mapping: Mapping = "{ action: a, actions: [x, y], reward: r }".parse().unwrap();
    let (choices, mistakes) = collect(|take| table::read(inline("a,r\nx,1\ny,0\n"), &mapping, take));
    assert_eq!(mistakes, "");
    assert!(choices.iter().all(|choice| choice.propensity.is_none()) && choices.len() == 2);
}

#[test]
fn what_a_table_or_its_mapping_lacks_is_told() {
    let unknown = "{ action: a, actions: [x], reward: r, propensty: p }".parse::<Mapping>().unwrap_err().to_string();
    assert!(unknown.contains("propensty"), "{unknown}");
    let twice = "{ action: a, actions: [x, x], reward: r }".parse::<Mapping>().unwrap_err().to_string();
    assert!(twice.contains("none twice"), "{twice}");

    let mapping: Mapping = MAPPING.parse().unwrap();
    let (_, mistakes) = collect(|take| table::read(inline("offer,paid\nannual,1\n"), &mapping, take));
    for column in ["p", "customer", "at", "slot", "age", "channel", "back"] {
        assert!(mistakes.contains(&format!("\"{column}\"")), "{column}: {mistakes}");
    }
    let rows = inline(
        "offer,paid,p,customer,at,slot,age,channel,back\n\
         weekly,NaN,0,anna,now,0,old,email,perhaps\n",
    );
    let (choices, mistakes) = collect(|take| table::read(rows, &mapping, take));
    assert!(choices.is_empty());
    for column in ["offer", "paid", "p", "at", "slot", "age", "back"] {
        assert!(mistakes.contains(&format!(": {column}: ")), "{column}: {mistakes}");
    }
}
