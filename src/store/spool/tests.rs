//! What a spool keeps, through kills, damage and a full folder. A folder that is copied while its spool is open is what
//! a kill -9 would have left at that moment.

use super::{Put, Spool, Waiting, entry::tests::spooled};
use crate::store::{DecisionKey, LogId};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

const EPOCH: [u8; 16] = [5; 16];
const ROOM: u64 = 1 << 20;

fn open(folder: &Path) -> Arc<Spool> {
    Arc::new(Spool::open(folder, ROOM, EPOCH).unwrap())
}

async fn put(spool: &Spool, number: u8) -> Put {
    spool.put(spooled(number)).await.unwrap()
}

/// A folder with these decisions, as a kill would leave it.
async fn killed_with(numbers: impl IntoIterator<Item = u8>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    for number in numbers {
        assert_eq!(put(&spool, number).await, Put::Kept);
    }
    copy(folder.path())
}

fn copy(folder: &Path) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
    }
    copied
}

/// The files of a folder with this extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

async fn waiting(spool: &Arc<Spool>) -> Vec<Waiting> {
    spool.waiting(None, usize::MAX, &BTreeSet::new()).await
}

/// The numbers of what waits, in order, each read back as it was kept.
async fn numbers(spool: &Arc<Spool>) -> Vec<u8> {
    let number = |waiting: Waiting| {
        let number = waiting.decision[0];
        assert_eq!(waiting.spooled, Some(spooled(number)));
        number
    };
    waiting(spool).await.into_iter().map(number).collect()
}

#[tokio::test]
async fn what_was_kept_waits_in_its_order_after_a_kill() {
    let folder = killed_with([9, 2, 7, 4]).await;
    let spool = open(folder.path());
    assert_eq!(numbers(&spool).await, [9, 2, 7, 4]);
    assert_eq!(put(&spool, 1).await, Put::Kept);
    assert_eq!(numbers(&spool).await, [9, 2, 7, 4, 1]);
    assert_eq!(spool.read([7; 20]).await, Some(spooled(7)));
}

#[tokio::test]
async fn of_a_file_that_was_cut_off_anywhere_every_whole_entry_is_there() {
    let folder = killed_with([1, 2, 3]).await;
    let whole = fs::read(&files(folder.path(), "spool")[0]).unwrap();
    let mut seen = BTreeSet::new();
    for length in 0..=whole.len() {
        let torn = copy(folder.path());
        let file = &files(torn.path(), "spool")[0];
        fs::write(file, &whole[..length]).unwrap();
        let kept = numbers(&open(torn.path())).await;
        assert_eq!(kept, [1, 2, 3][..kept.len()]);
        seen.insert(kept.len());
        assert_eq!(files(torn.path(), "damaged"), [] as [PathBuf; 0], "{length}");
        assert_eq!(files(torn.path(), "unreadable"), [] as [PathBuf; 0], "{length}");
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

#[tokio::test]
async fn zeros_that_a_power_cut_left_at_the_end_are_nothing() {
    let folder = killed_with([1, 2]).await;
    let file = &files(folder.path(), "spool")[0];
    let mut bytes = fs::read(file).unwrap();
    bytes.resize(bytes.len() + 4096, 0);
    fs::write(file, bytes).unwrap();
    assert_eq!(numbers(&open(folder.path())).await, [1, 2]);
    assert_eq!(files(folder.path(), "damaged"), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_damaged_entry_is_set_aside_and_takes_no_other_with_it() {
    let folder = killed_with([11, 12, 13]).await;
    let file = &files(folder.path(), "spool")[0];
    let bytes = fs::read(file).unwrap();
    for at in (24..bytes.len()).step_by(7) {
        let damaged = copy(folder.path());
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        fs::write(&files(damaged.path(), "spool")[0], flipped).unwrap();
        let left = numbers(&open(damaged.path())).await;
        assert_eq!(left.len(), 2, "{at}: {left:?}");
        // What damage at the end looks like, a kill may have left as well.
        let copies = files(damaged.path(), "damaged").len();
        assert!(copies == 1 || copies == 0 && left == [11, 12], "{at}: {copies}");
    }
}

#[tokio::test]
async fn what_is_damaged_while_it_waits_is_set_aside_once_and_waits_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    for number in [21, 22, 23] {
        put(&spool, number).await;
    }
    let (_, second) = spool.shared.index().find(&[22; 20]).unwrap();
    let file = &files(folder.path(), "spool")[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[second.end as usize - 1] ^= 0x40;
    fs::write(file, &bytes).unwrap();
    for _ in 0..2 {
        let readable = waiting(&spool).await.into_iter().filter_map(|waiting| waiting.spooled);
        assert_eq!(readable.map(|spooled| spooled.append.decision[0]).collect::<Vec<u8>>(), [21, 23]);
        assert_eq!((spool.len(), files(folder.path(), "damaged").len()), (2, 1));
    }
    assert_eq!(
        fs::read(&files(folder.path(), "damaged")[0]).unwrap(),
        bytes[second.start as usize..second.end as usize]
    );
}

#[tokio::test]
async fn what_is_done_does_not_wait_and_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    for number in 0..5 {
        put(&spool, number).await;
    }
    spool.done(&[[1; 20], [3; 20]]);
    assert_eq!(numbers(&spool).await, [0, 2, 4]);
    assert!(spool.holds(&[2; 20]) && !spool.holds(&[3; 20]));
    let left: Vec<DecisionKey> = waiting(&spool).await.into_iter().map(|waiting| waiting.decision).collect();
    spool.done(&left);
    assert!(spool.is_empty());
    drop(spool);
    assert_eq!(files(folder.path(), "spool"), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_full_spool_takes_nothing_until_something_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let large = |number: u16| {
        let mut large = spooled(2);
        large.append.decision[..2].copy_from_slice(&number.to_le_bytes());
        large.append.record = vec![1; 10_000];
        large
    };
    let mut kept = 0;
    while spool.put(large(kept)).await.unwrap() == Put::Kept {
        kept += 1;
    }
    let on_disk: u64 = files(folder.path(), "spool").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!((ROOM - 20_000..=ROOM).contains(&on_disk), "{on_disk}");
    assert_eq!(spool.put(large(kept)).await.unwrap(), Put::Full);
    let first: Vec<_> = waiting(&spool).await.into_iter().map(|waiting| waiting.decision).take(30).collect();
    spool.done(&first);
    assert_eq!(spool.put(large(kept)).await.unwrap(), Put::Kept);
}

#[tokio::test]
async fn of_calls_with_one_request_one_is_kept_and_the_others_are_told_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let spool = spool.clone();
        let mut call = spooled(1);
        call.append.decision = [number; 20];
        calls.spawn(async move { (number, spool.put(call).await.unwrap()) });
    }
    let answers = calls.join_all().await;
    let (winner, _) = answers.iter().find(|(_, answer)| *answer == Put::Kept).unwrap();
    let fingerprint = spooled(1).append.request.unwrap().fingerprint;
    let told = Put::Repeated { decision: [*winner; 20], fingerprint };
    assert!(answers.iter().all(|(number, answer)| number == winner || *answer == told), "{answers:?}");
    // Also after a kill.
    let mark = spooled(1).append.request.unwrap();
    let again = copy(folder.path());
    assert_eq!(open(again.path()).answered(&mark), Some(([*winner; 20], fingerprint)));
    // Until it is logged, when the store knows.
    spool.done(&[[*winner; 20]]);
    assert_eq!(spool.answered(&mark), None);
}

#[tokio::test]
async fn many_callers_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let mut calls = JoinSet::new();
    for number in (0..=254).step_by(2) {
        let spool = spool.clone();
        calls.spawn(async move { put(&spool, number).await });
    }
    assert!(calls.join_all().await.iter().all(|answer| *answer == Put::Kept));
    let again = copy(folder.path());
    let kept: BTreeSet<u8> = numbers(&open(again.path())).await.into_iter().collect();
    assert_eq!(kept, (0..=254).step_by(2).collect());
}

#[tokio::test]
async fn logs_that_are_away_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    for number in 0..6 {
        put(&spool, number).await;
    }
    let even = BTreeSet::from([LogId { placement: 7, partition: 0 }]);
    let odd = spool.waiting(None, 2, &even).await;
    assert_eq!(odd.iter().map(|waiting| waiting.decision[0]).collect::<Vec<_>>(), [1, 3]);
    let rest = spool.waiting(Some(odd[1].place), 9, &even).await;
    assert_eq!(rest.iter().map(|waiting| waiting.decision[0]).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn what_is_meant_for_another_store_or_is_no_spool_is_set_aside() {
    let folder = killed_with([1, 2]).await;
    fs::write(folder.path().join("00000000000000000009.spool"), "a letter that somebody put into the wrong folder")
        .unwrap();
    let other = Arc::new(Spool::open(folder.path(), ROOM, [6; 16]).unwrap());
    assert_eq!(numbers(&other).await, [0; 0]);
    assert_eq!(put(&other, 3).await, Put::Kept);
    assert_eq!(files(folder.path(), "of-another-store").len(), 1);
    assert_eq!(files(folder.path(), "unreadable").len(), 1);
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let Err(error) = Spool::open(folder.path(), ROOM, EPOCH) else { panic!("it has an owner") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    open(folder.path());
}

#[tokio::test]
async fn what_no_store_takes_is_copied_beside_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    put(&spool, 8).await;
    let copy = spool.set_aside(&[8; 20]).unwrap();
    assert_eq!(copy.parent(), Some(folder.path()));
    let read = super::entry::unframe(&fs::read(copy).unwrap()).map(|(content, _)| super::entry::decode(content));
    assert_eq!(read, Ok(Some(spooled(8))));
}
