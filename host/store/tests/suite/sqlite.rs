//! SQLite in the suite, and what only it can be asked: sharing commits, the lock, the disk, a broken file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use trapjaw_engine::event::Event;
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{EventFilter, Ledger, Store, StoreError};
use trapjaw_engine::record::Reply;
use trapjaw_store::{OpenError, Settings, Sqlite, open};

use crate::make::{START, append, deduped, event, run, settle, success, with_runs};
use crate::{Maker, Opened, appended, page};

/// Stores in files.
pub(crate) struct Files;

#[async_trait]
impl Maker for Files {
    async fn open(&self, home: &Path) -> Opened {
        let sqlite = open(settings(home)).await.unwrap();
        let store = Arc::new(sqlite.clone());
        let close = Box::pin(async move { sqlite.close().await.unwrap() });
        Opened { store: store.clone(), ledger: store.clone(), catalog: store, close }
    }
}

fn settings(home: &Path) -> Settings {
    // The machine that runs the tests may have little room, and that is another test's business.
    Settings { bytes_free_min: 0, ..Settings::new(home.join("data")) }
}

async fn n_events(store: &Sqlite) -> usize {
    store.events(EventFilter::default(), page(1_000)).await.unwrap().rows.len()
}

#[tokio::test]
async fn calls_that_wait_share_a_commit() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    let before = store.gauges();
    let calls = (0..200).map(|n| store.commit(vec![append(event(&n.to_string()))]));
    let replies = join_all(calls).await;
    assert!(replies.iter().all(|reply| matches!(reply.as_deref(), Ok([Reply::Appended(_)]))));
    let after = store.gauges();
    assert_eq!((after.calls - before.calls, after.commands - before.commands, after.queued), (200, 200, 0));
    assert!(after.commits - before.commits < 20, "{} commits", after.commits - before.commits);
    assert_eq!(after.commit_times.iter().map(|(_, n)| n).sum::<u64>(), after.commits);
    assert_eq!(n_events(&store).await, 200);
    store.close().await.unwrap();
}

#[tokio::test]
async fn batches_have_bounds() {
    let home = tempfile::tempdir().unwrap();
    let store = open(Settings { batch_commands_max: 10, ..settings(home.path()) }).await.unwrap();
    let large: Vec<_> = (0..25).map(|n| append(event(&n.to_string()))).collect();
    let calls = (0..50).map(|n| store.commit(vec![append(event(&n.to_string()))]));
    join_all(calls).await;
    assert!(store.gauges().commits >= 5);
    assert_eq!(store.commit(large).await.unwrap().len(), 25, "one call is never split");
    assert_eq!(store.gauges().batch_last, 25);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_commit_is_all_or_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    for n in 0..40 {
        let commands = (0..5).map(|i| append(event(&format!("{n}-{i}")))).collect();
        let commit = store.commit(commands);
        // Polled a few times and dropped, at another place each time.
        tokio::select! {
            biased;
            _ = commit => {}
            () = async { for _ in 0..n { tokio::task::yield_now().await } } => {}
        }
    }
    // A commit that follows is answered after all that were taken before it.
    store.commit(vec![append(event("last"))]).await.unwrap();
    let n = n_events(&store).await;
    assert_eq!((n - 1) % 5, 0, "{n} events");
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_log_stays_short() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    for n in 0..120 {
        let mut new = event(&n.to_string());
        let mut large = Event::new("shop", "t", n.to_string(), START);
        large.data = vec![7; 1 << 20].into();
        new.event = Arc::new(large);
        store.commit(vec![append(new)]).await.unwrap();
    }
    assert!(store.gauges().checkpoints >= 2, "{:?}", store.gauges());
    let n_bytes = std::fs::metadata(home.path().join("data/trapjaw.db-wal")).unwrap().len();
    assert!(n_bytes < 64 << 20, "{n_bytes} bytes");
    store.close().await.unwrap();
    assert!(!home.path().join("data/trapjaw.db-wal").exists());
}

#[tokio::test]
async fn long_reads_are_ended() {
    let home = tempfile::tempdir().unwrap();
    let store = open(Settings { read_time_max: Duration::ZERO, ..settings(home.path()) }).await.unwrap();
    store.commit((0..5_000).map(|n| append(event(&n.to_string()))).collect()).await.unwrap();
    let none = EventFilter { source: Some("none".into()), ..EventFilter::default() };
    for _ in 0..10 {
        let answer = store.events(none.clone(), page(1)).await;
        assert!(matches!(answer, Err(StoreError::Read(_))), "{answer:?}");
    }
    assert_eq!(store.events(EventFilter::default(), page(1)).await.unwrap().rows.len(), 1, "a short one is not");
    store.close().await.unwrap();
}

#[tokio::test]
async fn people_who_read_do_not_delay_the_engine() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    let mut listings: Vec<_> = (0..20).map(|_| store.events(EventFilter::default(), page(1_000))).collect();
    for listing in &mut listings {
        // It has a reader now, or waits for one; it is not polled again, as if it took long.
        let _not_ready = futures_util::FutureExt::now_or_never(listing);
    }
    let sends = tokio::time::timeout(Duration::from_secs(60), store.sends(TaskId::of(1))).await;
    assert!(matches!(sends, Ok(Ok(_))), "{sends:?}");
    drop(listings);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    let Err(err) = open(settings(home.path())).await else { panic!("it was opened twice") };
    assert!(matches!(&err, OpenError::InUse(dir) if *dir == home.path().join("data")), "{err:?}");
    assert!(err.to_string().contains(&*home.path().to_string_lossy()), "{err}");
    store.close().await.unwrap();
    open(settings(home.path())).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    let mode = std::fs::metadata(home.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let answer = store.commit(vec![append(event("1"))]).await;
    assert!(matches!(answer, Err(StoreError::Closed("the store is closed"))), "{answer:?}");
    assert!(store.events(EventFilter::default(), page(1)).await.is_err());
}

#[tokio::test]
async fn without_room_events_are_refused_and_work_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    let new = with_runs(event("1"), vec![run("t", &["a"])]);
    let first = appended(store.commit(vec![append(new)]).await.unwrap().remove(0)).runs[0];
    store.close().await.unwrap();
    let store = open(Settings { bytes_free_min: u64::MAX, ..settings(home.path()) }).await.unwrap();
    let answer = store.commit(vec![append(event("2"))]).await;
    assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
    let end = settle(success(first.run.unwrap(), first.task_first));
    assert_eq!(store.commit(vec![end]).await.unwrap(), [Reply::Done]);
    assert_eq!(n_events(&store).await, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn keys_are_known_in_memory_and_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { dedup_keys_merged: 40, ..settings(home.path()) };
    let mut store = open(settings.clone()).await.unwrap();
    // Spread over the range of keys, the ends of it included.
    let key = |n: u128| n.wrapping_mul(u128::MAX / 299);
    let mut ids = Vec::new();
    for n in 0..300 {
        let reply = store.commit(vec![append(deduped(&n.to_string(), key(n)))]).await.unwrap().remove(0);
        ids.push(appended(reply).event);
        let earlier = (n * 7 + 3) % (n + 1);
        let again = store.commit(vec![append(deduped("again", key(earlier)))]).await.unwrap();
        assert_eq!(again, [Reply::Duplicate(ids[earlier as usize])], "{earlier} after {n}");
        if n % 50 == 49 {
            store.close().await.unwrap();
            store = open(settings.clone()).await.unwrap();
        }
    }
    store.close().await.unwrap();
    let n_merged = count(home.path(), "SELECT count(*) FROM dedup").await;
    let n_logged = count(home.path(), "SELECT count(*) FROM dedup_log").await;
    assert!(n_merged > 200 && n_logged < 100, "{n_merged} keys are merged, {n_logged} are in the log");
}

#[tokio::test]
async fn keys_are_bounded_in_number() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { dedup_keys_merged: 40, dedup_keys_max: 100, ..settings(home.path()) };
    let store = open(settings).await.unwrap();
    let key = |n: u128| n.wrapping_mul(u128::MAX / 999);
    for n in 0..1_000 {
        store.commit(vec![append(deduped(&n.to_string(), key(n)))]).await.unwrap();
    }
    let n_dropped = store.gauges().dedup_keys_dropped;
    assert!(n_dropped > 500, "{n_dropped} are dropped");
    for n in 900..1_000 {
        let again = store.commit(vec![append(deduped("again", key(n)))]).await.unwrap();
        assert!(matches!(again[0], Reply::Duplicate(_)), "the newest are known: {n}");
    }
    let again = store.commit(vec![append(deduped("again", key(0)))]).await.unwrap();
    assert!(matches!(again[0], Reply::Appended(_)), "the oldest is forgotten");
    store.close().await.unwrap();
    let n_merged = count(home.path(), "SELECT count(*) FROM dedup").await;
    assert!(n_merged < 400, "{n_merged} are kept");
}

async fn count(home: &Path, sql: &'static str) -> i64 {
    use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(home.join("data/trapjaw.db"));
    let mut conn = options.connect().await.unwrap();
    sqlx::query(sql).fetch_one(&mut conn).await.unwrap().get(0)
}

/// Changes the database from outside.
async fn tamper(home: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(home.join("data/trapjaw.db"));
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_write_poisons_the_store() {
    let home = tempfile::tempdir().unwrap();
    let store = open(settings(home.path())).await.unwrap();
    store.commit(vec![append(deduped("1", 1))]).await.unwrap();
    tamper(home.path(), "ALTER TABLE event RENAME TO gone").await;
    let calls = (2..5).map(|n| store.commit(vec![append(deduped(&n.to_string(), n))]));
    for answer in join_all(calls).await {
        assert!(matches!(answer, Err(StoreError::Fatal(_))), "{answer:?}");
    }
    assert!(store.failed().await.contains("event"));
    tamper(home.path(), "ALTER TABLE gone RENAME TO event").await;
    let answer = store.commit(vec![append(deduped("6", 6))]).await;
    assert!(matches!(answer, Err(StoreError::Fatal(_))), "the cause is gone, but to go on would be to guess");
    assert!(store.close().await.is_err());
    drop(store);
    let store = open(settings(home.path())).await.unwrap();
    assert_eq!(n_events(&store).await, 1);
    let answer = store.commit(vec![append(deduped("2", 2))]).await.unwrap();
    assert!(matches!(answer[0], Reply::Appended(_)), "nothing of the failed transaction is left");
    store.close().await.unwrap();
}

#[tokio::test]
async fn unknown_schemas_are_refused() {
    let check = async |sql: &'static str, expected: &str| {
        let home = tempfile::tempdir().unwrap();
        open(settings(home.path())).await.unwrap().close().await.unwrap();
        tamper(home.path(), sql).await;
        let Err(err) = open(settings(home.path())).await else { panic!("it was opened after {sql}") };
        assert!(err.to_string().contains(expected), "{err}");
    };
    check("PRAGMA user_version = 1000", "schema 1000 is newer").await;
    check("PRAGMA application_id = 7", "not a database of trapjaw's").await;
}
