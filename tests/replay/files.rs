//! Files of somebody else: what is accepted, and that every mistake is told with its place, at once.

use flate2::{Compression, write::GzEncoder};
use offer_ranker::replay::{
    files::{self, Sources, table::Source},
    row::{Outcome, Row},
    slates,
};
use std::io::Write as _;

const ROUNDS: &str = "t,action,position,reward,pscore,noise\n0,1,0,1.5,0.5,x\n1,0,0,,0.25,y\n";
const TARGET: &str = "t,position,a0,a1\n0,0,0.25,0.75\n1,0,1.0,0.0\n";

fn source(name: &str, content: impl AsRef<[u8]>) -> Source {
    Source { name: name.to_owned(), content: Box::new(std::io::Cursor::new(content.as_ref().to_vec())) }
}

fn sources(rounds: impl AsRef<[u8]>, target: impl AsRef<[u8]>, rewards: Option<&str>) -> Sources {
    Sources {
        rounds: source("rounds.csv", rounds),
        target: source("pi_e.csv", target),
        rewards: rewards.map(|rewards| source("q_hat.csv", rewards)),
        cluster: None,
        day: None,
        floor: None,
        reward: None,
    }
}

fn read(sources: Sources) -> Result<(Vec<Row>, f64), String> {
    let mut rows = Vec::new();
    let bound = files::read(sources, |row, _| rows.push(*row)).map_err(|mistakes| mistakes.to_string())?;
    Ok((rows, bound))
}

fn told(sources: Sources) -> String {
    read(sources).expect_err("mistakes")
}

#[test]
fn rounds_and_probabilities_are_read_side_by_side() {
    let (rows, bound) = read(sources(ROUNDS, TARGET, None)).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].arm, rows[0].propensity, rows[0].target), (1, 0.5, 0.75));
    assert_eq!((rows[0].outcome, rows[1].outcome), (Outcome::Reward(1.5), Outcome::Missing));
    // The largest probability of the target over the smallest propensity.
    assert_eq!(bound, 4.0);
}

#[test]
fn arms_are_told_by_the_names_of_their_columns_wherever_those_stand() {
    let target = "a1,t,a0,position\n0.75,0,0.25,0\n0.0,1,1.0,0\n";
    assert_eq!(read(sources(ROUNDS, target, None)).unwrap(), read(sources(ROUNDS, TARGET, None)).unwrap());
}

#[test]
fn a_table_without_rounds_holds_for_all_of_them_position_by_position() {
    let rounds = "reward,pscore,t,action,position\n1,0.5,7,0,1\n0,0.5,8,1,0\n";
    let target = "position,action,pi_e\n0,0,0.3\n0,1,0.7\n1,0,0.9\n1,1,0.1\n";
    let rewards = "action,position,anything\n0,0,1\n1,0,2\n0,1,3\n1,1,4\n";
    let (rows, _) = read(sources(rounds, target, Some(rewards))).unwrap();
    assert_eq!(rows.iter().map(|row| row.target).collect::<Vec<_>>(), [0.9, 0.7]);
    let model = rows[0].model.unwrap();
    assert_eq!((model.logged, model.target), (3.0, 0.9 * 3.0 + 0.1 * 4.0));
}

#[test]
fn zipped_files_are_told_by_their_content_and_positions_may_be_left_out() {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(b"t,action,reward,pscore\n0,1,1,0.5\n").unwrap();
    let (rows, _) = read(sources(zipped.finish().unwrap(), "action,p\n0,0.5\n1,0.5\n", None)).unwrap();
    assert_eq!((rows[0].arm, rows[0].position), (1, 0));
}

#[test]
fn clusters_and_days_are_columns_by_name() {
    let rounds = "t,action,reward,pscore,user,date\n0,0,1,1,anna,mon\n1,0,1,1,berta,mon\n2,0,1,1,anna,tue\n";
    let named = Sources {
        cluster: Some("user".to_owned()),
        day: Some("date".to_owned()),
        ..sources(rounds, "action,p\n0,1\n", None)
    };
    let (rows, _) = read(named).unwrap();
    assert_eq!(rows[0].cluster, rows[2].cluster);
    assert_ne!(rows[0].cluster, rows[1].cluster);
    assert_eq!(rows.iter().map(|row| row.day).collect::<Vec<_>>(), [0, 0, 1].map(|day| Some(4_000_000_000 + day)));
    let rounds = "t,action,reward,pscore,date\n0,0,1,1,2027-01-16\n1,0,1,1,2027-01-15\n2,0,1,1,2027-01-16T09:00:00Z\n";
    let dated = Sources { day: Some("date".to_owned()), ..sources(rounds, "action,p\n0,1\n", None) };
    let days: Vec<_> = read(dated).unwrap().0.iter().map(|row| row.day.unwrap()).collect();
    assert_eq!(days, [20_834, 20_833, 20_834], "in the order of dates, wherever they stand");
}

#[test]
fn every_mistake_is_told_with_its_line_and_column() {
    let rounds = "t,action,position,reward,pscore\n0,2,0,1,0.5\n1,0,0,inf,0\n2,0,0,1\n3,0,0,1,1.5\nx,0,0,1,1\n";
    let target = "t,position,a0,a1\n0,0,0.25,0.85\n1,0,-1,2\n9,0,1,0\n4,0,nan,1\n";
    let told = told(sources(rounds, target, None));
    for says in [
        "11 mistakes, nothing was estimated",
        "rounds.csv:2:3: action: is 2, but the target has 2 arms, from 0",
        "pi_e.csv:2: probabilities sum to 1.1, must sum to 1",
        "rounds.csv:3:7: reward: is \"inf\", must be a finite number, or empty",
        "rounds.csv:3:11: pscore: is \"0\", must be a probability above 0, up to 1",
        "pi_e.csv:3:5: a0: is \"-1\", must be a probability from 0 to 1",
        "pi_e.csv:3:8: a1: is \"2\", must be a probability from 0 to 1",
        "rounds.csv:4: has 4 fields, the header has 5",
        "rounds.csv:5:9: pscore: is \"1.5\"",
        "pi_e.csv:4:1: t: must be 3, as the rounds have it here",
        "rounds.csv:6:1: t: is \"x\", must be a number",
        "pi_e.csv:5:5: a0: is \"nan\"",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
}

#[test]
fn mistakes_far_down_are_told_with_their_own_lines() {
    // Three megabytes, which is several times what is read at a time, with lines that end within a field.
    let round = |t: usize| match t {
        120_000 => "120000,0,0,1,0,\"\"\n".to_owned(),
        _ if t % 1_000 == 7 => format!("{t},0,0,1,0.5,\"two\nlines\"\n"),
        _ => format!("{t},0,0,1,0.5,\"\"\n"),
    };
    let rounds: String = (0..150_000).map(round).collect();
    let target: String =
        (0..150_000).map(|t| format!("{t},0,{},0.0\n", if t == 144_000 { "x" } else { "1.0" })).collect();
    let told = told(sources(
        format!("t,action,position,reward,pscore,noise\n{rounds}"),
        format!("t,position,a0,a1\n{target}"),
        None,
    ));
    // The header and the rounds before it, 120 of which have one line more.
    assert!(told.contains("rounds.csv:120122:14: pscore: is \"0\""), "{told}");
    assert!(told.contains("pi_e.csv:144002:10: a0: is \"x\""), "{told}");
    assert!(told.starts_with("2 mistakes"), "{told}");
}

#[test]
fn tables_of_other_lengths_or_shapes_are_told() {
    for (sources, says) in [
        (sources(ROUNDS, "t,position,a0,a1\n0,0,0.5,0.5\n", None), "pi_e.csv: ends before round 1"),
        (sources(ROUNDS, format!("{TARGET}2,0,1,0\n"), None), "pi_e.csv:4: goes on after the last of the rounds"),
        (sources(ROUNDS, TARGET, Some("action,q\n0,1\n")), "q_hat.csv: has 1 arms, pi_e.csv has 2"),
        (sources("t,action,reward\n", TARGET, None), "there is no column \"pscore\", only t, action, reward"),
        (sources(ROUNDS, "a,b\n1,2\n", None), "pi_e.csv:1: there is no column \"action\""),
        (
            sources(ROUNDS, "action,b,c\n1,2,3\n", None),
            "must have a column t, or one column beside action and position",
        ),
        (sources(ROUNDS, "action,p\n1,1\n", None), "pi_e.csv: has no row for arm 0 of position 0"),
        (
            sources("t,action,position,reward,pscore\n0,1,1,1,0.5\n", "action,position,p\n0,0,1\n1,0,0\n0,1,1\n", None),
            "pi_e.csv: has no row for arm 1 of position 1",
        ),
        (
            sources(ROUNDS, "action,p\n0,1\n0,0\n1,0\n", None),
            "pi_e.csv:3:1: action: arm 0 of position 0 is given twice",
        ),
        (
            sources(ROUNDS, "action,position,p\n0,3,0\n1,3,1\n", None),
            "has no rows for position 0, which the rounds have",
        ),
        (sources("t,action,reward,pscore\n", "action,p\n0,1\n", None), "rounds.csv: has no rounds"),
        (sources("", TARGET, None), "there is no column \"t\""),
        (sources([0x1f, 0x8b, 1, 2], TARGET, None), "rounds.csv: cannot be read"),
        (sources([b't', 0xff, b'\n'], TARGET, None), "rounds.csv: cannot be read"),
        (sources("t,action,reward,pscore\r0,0,1,0.5\r", TARGET, None), "lines end with a carriage return alone"),
    ] {
        let told = told(sources);
        assert!(told.contains(says), "{says}\n{told}");
    }
}

#[test]
fn what_was_declared_of_rounds_must_hold() {
    let floor = Sources { floor: Some(0.3), ..sources(ROUNDS, TARGET, None) };
    assert!(
        told(floor)
            .contains("rounds.csv:3:8: pscore: is \"0.25\", must be a probability from the logging floor of 0.3")
    );
    let range = offer_ranker::replay::evaluation::Range { min: 0.0, max: 1.0 };
    let reward = Sources { reward: Some(range), ..sources(ROUNDS, TARGET, None) };
    assert!(told(reward).contains("reward: is \"1.5\", must be a number from 0 to 1, the declared range"));
}

#[test]
fn of_many_columns_some_are_named() {
    let columns = (0..40_000).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",");
    let told = told(sources(columns, "action,p\n0,1\n", None));
    assert!(told.contains("there is no column \"t\", only c0, c1, ") && told.len() < 1_000, "{told}");
    assert!(told.contains("c19 and 39980 more"), "{told}");
}

#[test]
fn mistakes_without_end_are_counted() {
    let rounds = format!("t,action,reward,pscore\n{}", "0,0,1,7\n".repeat(1_000));
    let told = told(sources(rounds, "action,p\n0,1\n", None));
    assert!(told.starts_with("1000 mistakes") && told.ends_with("and 950 more"), "{told}");
}

#[test]
fn mistakes_in_slates_are_told_by_round() {
    let round = |pscore: &str, rewards: &str| {
        format!(r#"{{"slate": [0, 1], "reward": {rewards}, "pscore_joint": {pscore}, "eval_pscore_joint": 0.5}}"#)
    };
    let file = format!(r#"{{"rounds": [{}, {}]}}"#, round("0.0", "[1, 0]"), round("0.5", "[1]"));
    let told = slates::file::read("case.json", &file).unwrap_err().to_string();
    assert!(told.contains("rounds[0].pscore_joint[0]: is 0, must be a probability above 0"), "{told}");
    assert!(told.contains("rounds[1].reward: has 1 slots, must have 2"), "{told}");
    let cascade = |logged: &str, target: &str| {
        let joint = r#""pscore_joint": 0.1, "eval_pscore_joint": 0.5"#;
        let cascades = format!(r#""pscore_cascade": {logged}, "eval_pscore_cascade": {target}"#);
        format!(r#"{{"rounds": [{{"slate": [0, 1], "reward": [1, 0], {joint}, {cascades}}}]}}"#)
    };
    assert!(slates::file::read("case.json", &cascade("[0.2, 0.1]", "[0.5, 0.5]")).is_ok());
    let told = slates::file::read("case.json", &cascade("[0.05, 0.1]", "[0.6, 0.4]")).unwrap_err().to_string();
    assert!(told.contains("rounds[0].pscore_cascade[1]: is 0.1, must be at most the 0.05 before it"), "{told}");
    assert!(
        told.contains("eval_pscore_cascade: ends with 0.4, must end with eval_pscore_joint, which is 0.5"),
        "{told}"
    );
    for (file, says) in [("{", "case.json:1:1: is no file of slates"), (r#"{"rounds": []}"#, "rounds: there are none")]
    {
        let told = slates::file::read("case.json", file).unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
}
