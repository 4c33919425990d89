//! `offer-ranker history import`: tells a running server what is known of users from before.

use super::{
    client::{ClientError, LONG_CALL_TIMEOUT, TargetArgs},
    progress,
};
use crate::{
    clock::{Clock as _, SystemClock},
    engine::instant::Instant,
    proto::{self, user_service_client::UserServiceClient},
    service::users::UserFacts,
};
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write},
    path::{Path, PathBuf},
};

/// Users of one call.
const BATCH: usize = 500;
/// Mistakes that are shown; the rest is counted.
const SHOWN_MAX: usize = 50;

/// Tell what is known of users from before
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Import a file of users; one that was interrupted may be imported again
    Import {
        /// CSV with a header, or JSON lines (.jsonl): user_id, trial_used_at, plan, subscribed_at, lapsed_at
        file: PathBuf,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Why users could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is wrong with the file; nothing of it was imported.
    #[error("{}: {count} mistakes, nothing was imported\n{}", file.display(), shown.join("\n"))]
    Invalid {
        /// Which.
        file: PathBuf,
        /// How many mistakes there are.
        count: usize,
        /// The first of them, with their lines.
        shown: Vec<String>,
    },
    /// The server did not take them all.
    #[error("{taken} of {count} users are imported; import the file again, what is in stays in")]
    Interrupted {
        /// How many are in.
        taken: usize,
        /// How many there are.
        count: usize,
        /// What the server says.
        #[source]
        source: ClientError,
    },
    /// The server cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// A user as a file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    user_id: String,
    trial_used_at: Option<String>,
    plan: Option<String>,
    subscribed_at: Option<String>,
    lapsed_at: Option<String>,
}

/// Imports.
///
/// # Errors
/// Everything that is wrong with the file, or what the server says.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), HistoryError> {
    let Command::Import { file, target } = args.command;
    // Twice through the file: all mistakes are told before anything is sent.
    let count = check(&file, SystemClock.now())?;
    let mut client = UserServiceClient::new(target.connect_for(LONG_CALL_TIMEOUT).await?);
    let bar = progress::bar(count as u64, "{bar:40} {pos}/{len} users, {eta} left");
    let mut taken = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut rows = rows(&file)?;
    loop {
        let row = rows.next();
        let ended = row.is_none();
        batch.extend(row.and_then(|(_, row)| row.ok()).map(message));
        if batch.len() == BATCH || (ended && !batch.is_empty()) {
            let sent = batch.len();
            let request = proto::RecordHistoryRequest { users: std::mem::take(&mut batch) };
            let told = client.record_history(request).await.map_err(ClientError::refused("RecordHistory"));
            told.map_err(|source| HistoryError::Interrupted { taken, count, source })?;
            taken += sent;
            bar.inc(sent as u64);
        }
        if ended {
            break;
        }
    }
    bar.finish_and_clear();
    writeln!(out, "{taken} users are imported")?;
    Ok(())
}

/// How many users a file has, or everything that is wrong with it at `now`.
fn check(file: &Path, now: Instant) -> Result<usize, HistoryError> {
    let (mut count, mut mistakes, mut shown) = (0, 0, Vec::new());
    for (line, row) in rows(file)? {
        count += 1;
        let found = match row {
            Ok(row) => {
                let violations = facts(&row).violations("", now).into_iter();
                violations.map(|violation| format!("{} {}", violation.field, violation.description)).collect()
            }
            Err(description) => vec![description],
        };
        mistakes += found.len();
        shown
            .extend(found.into_iter().map(|mistake| format!("  line {line}: {mistake}")).take(SHOWN_MAX - shown.len()));
    }
    if mistakes == 0 {
        return Ok(count);
    }
    if mistakes > shown.len() {
        shown.push(format!("  and {} more", mistakes - shown.len()));
    }
    Err(HistoryError::Invalid { file: file.to_owned(), count: mistakes, shown })
}

/// A row by its line, or what keeps it from being read.
type Read = (u64, Result<Row, String>);

fn rows(file: &Path) -> Result<Box<dyn Iterator<Item = Read>>, HistoryError> {
    let unreadable = |source| HistoryError::Unreadable { file: file.to_owned(), source };
    let opened = File::open(file).map_err(unreadable)?;
    if file.extension().is_some_and(|extension| extension == "jsonl") {
        let lines = (1..).zip(BufReader::new(opened).lines());
        let row = |line: io::Result<String>| {
            let line = line.map_err(|error| format!("cannot be read: {error}"))?;
            serde_json::from_str(&line).map_err(|error| format!("is no user: {error}"))
        };
        let blank = |line: &io::Result<String>| line.as_ref().is_ok_and(|line| line.trim().is_empty());
        return Ok(Box::new(
            lines.filter(move |(_, line)| !blank(line)).map(move |(number, line)| (number, row(line))),
        ));
    }
    let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(opened);
    let row = |row: Result<Row, csv::Error>| {
        let line = |error: &csv::Error| error.position().map_or(1, csv::Position::line);
        row.map_err(|error| (line(&error), format!("is no user: {error}")))
    };
    let mut rows = reader.into_deserialize::<Row>();
    Ok(Box::new(std::iter::from_fn(move || {
        let line = rows.reader().position().line();
        Some(match row(rows.next()?) {
            Ok(row) => (line.max(2), Ok(row)),
            Err((line, description)) => (line, Err(description)),
        })
    })))
}

/// A text that is there.
fn some(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn timestamp(text: Option<&String>) -> Result<Option<prost_types::Timestamp>, String> {
    let parse = |text: &str| {
        text.parse().map_err(|_| format!("is {text:?}, must be a time such as 2026-11-27T00:00:00Z, or empty"))
    };
    some(text).map(parse).transpose()
}

/// As the service judges it.
fn facts(row: &Row) -> UserFacts {
    let time = |text| {
        let at: Option<prost_types::Timestamp> = timestamp(text)?;
        Ok(at.map(|at| Instant::from_ms(at.seconds.saturating_mul(1000))))
    };
    UserFacts {
        user_id: row.user_id.clone(),
        trial_used_at: time(row.trial_used_at.as_ref()),
        plan: some(row.plan.as_ref()).unwrap_or_default().to_owned(),
        subscribed_at: time(row.subscribed_at.as_ref()),
        lapsed_at: time(row.lapsed_at.as_ref()),
    }
}

fn message(row: Row) -> proto::UserFacts {
    let time = |text: &Option<String>| timestamp(text.as_ref()).ok().flatten();
    proto::UserFacts {
        trial_used_at: time(&row.trial_used_at),
        subscribed_at: time(&row.subscribed_at),
        lapsed_at: time(&row.lapsed_at),
        plan: row.plan.unwrap_or_default(),
        user_id: row.user_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, text: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        // 2026-11-27T00:00:00Z.
        check(&file, Instant::from_ms(1_795_737_600_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_of_users_is_read_by_its_header_or_line_by_line() {
        let csv = "plan,user_id,subscribed_at\nbasic,anna,2026-01-01T00:00:00Z\n,berta,\n";
        assert_eq!(checked("users.csv", csv), Ok(2));
        let lines = "{\"user_id\": \"anna\", \"lapsed_at\": \"2026-01-01T00:00:00Z\"}\n\n{\"user_id\": \"berta\"}\n";
        assert_eq!(checked("users.jsonl", lines), Ok(2));
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let csv = "user_id,plan,subscribed_at,lapsed_at\n,,,\nanna,basic,,\nberta,,,yesterday\ncarla,,\n";
        let told = checked("users.csv", csv).unwrap_err();
        for says in [
            "4 mistakes, nothing was imported",
            "line 2: user_id is empty",
            "line 3: subscribed_at is missing",
            "line 4: lapsed_at is \"yesterday\"",
            "line 5: is no user",
        ] {
            assert!(told.contains(says), "{says}: {told}");
        }
        let csv = "user_id,trial_used_at,plan,subscribed_at,lapsed_at\n\
            anna,2226-01-01T00:00:00Z,basic,2100-01-01T00:00:00Z,2026-11-27T00:05:01Z\n\
            berta,2026-11-27T00:05:00Z,basic,2026-11-27T00:05:00Z,2026-11-27T00:05:00Z\n";
        let told = checked("users.csv", csv).unwrap_err();
        let limit = "must be at most 2026-11-27T00:05:00Z, 300 s ahead of the clock here";
        for says in [
            "3 mistakes, nothing was imported".to_owned(),
            format!("line 2: trial_used_at is 2226-01-01T00:00:00Z, {limit}"),
            format!("line 2: subscribed_at is 2100-01-01T00:00:00Z, {limit}"),
            format!("line 2: lapsed_at is 2026-11-27T00:05:01Z, {limit}"),
        ] {
            assert!(told.contains(&says), "{says}: {told}");
        }
        let told = checked("users.csv", "user,plan\nanna,basic\n").unwrap_err();
        assert!(told.contains("unknown field `user`"), "{told}");
        let told = checked("users.jsonl", "{\"user_id\": 1}\n").unwrap_err();
        assert!(told.contains("line 1: is no user"), "{told}");
    }
}
