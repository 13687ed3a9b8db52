//! Measures the whole life of events through the port, beside what the disk gives: events a second and CPU an event.
//!
//! `cargo run --release -p trapjaw-store --example commit -- [DIR] [SECONDS] [BATCH]`
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::Store;
use trapjaw_engine::record::{
    AttemptRecord, AttemptResult, Command, NewEvent, NewRun, NewTask, Progress, Reply, RunState, Settle, TaskState,
    TaskTo,
};
use trapjaw_engine::time::Time;
use trapjaw_store::{Settings, open};

/// About the size of a small webhook.
const DATA_BYTES: usize = 500;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = args.next().map_or(Ok(3), |text| text.parse())?;
    let span = Duration::from_secs(seconds);
    let batches = args.next().map_or(Ok(vec![1, 16, 64, 256, 1024]), |text| text.parse().map(|n| vec![n]))?;
    println!("fsync of 8 KiB appended: {:.0}/s", fsync_rate(&dir, span.min(Duration::from_secs(1)))?);
    for subject in ["", "with subjects"] {
        println!("whole life {subject}: batch, events/s, CPU µs/event, mean COMMIT µs, checkpoints, log MiB");
        for n in &batches {
            let home = tempfile::tempdir_in(&dir)?;
            measure(home.path(), *n, span, !subject.is_empty()).await?;
        }
    }
    Ok(())
}

fn fsync_rate(dir: &Path, span: Duration) -> std::io::Result<f64> {
    let home = tempfile::tempdir_in(dir)?;
    let mut file = OpenOptions::new().create(true).append(true).open(home.path().join("fsync"))?;
    let (began, mut n) = (Instant::now(), 0u32);
    while began.elapsed() < span {
        file.write_all(&[7; 8_192])?;
        file.sync_data()?;
        n += 1;
    }
    Ok(f64::from(n) / began.elapsed().as_secs_f64())
}

/// Each commit carries a batch of new events, and the ends of the batch before.
async fn measure(dir: &Path, n: usize, span: Duration, subjects: bool) -> Result<(), Box<dyn std::error::Error>> {
    let store = open(Settings::new(dir)).await?;
    let data = Bytes::from(vec![b'x'; DATA_BYTES]);
    let (mut key, mut ends, mut n_events) = (0u128, Vec::new(), 0u64);
    let (began, cpu_began) = (Instant::now(), cpu());
    while began.elapsed() < span {
        let mut commands = std::mem::take(&mut ends);
        for _ in 0..n {
            key += 1;
            commands.push(append(key, &data, subjects));
        }
        for reply in store.commit(commands).await? {
            if let Reply::Appended(appended) = reply {
                n_events += 1;
                ends.extend(appended.runs.iter().filter_map(|run| Some(settle(run.run?, run.task_first, key))));
            }
        }
    }
    let (took, cpu) = (began.elapsed(), cpu() - cpu_began);
    let gauges = store.gauges();
    let mean = gauges.commit_time.as_micros() / u128::from(gauges.commits.max(1));
    println!(
        "{n:>6} {:>9.0} {:>7.2} {mean:>7} {:>4} {:>4}",
        n_events as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / n_events as f64,
        gauges.checkpoints,
        std::fs::metadata(dir.join("trapjaw.db-wal"))?.len() >> 20,
    );
    store.close().await?;
    Ok(())
}

fn append(key: u128, data: &Bytes, subjects: bool) -> Command {
    let time = Time(1_790_000_000_000_000 + key as i64);
    let mut event = Event::new("https://shop.example.com", "com.example.order.paid", key.to_string(), time);
    event.data = data.clone();
    let subject: Arc<str> = if subjects { format!("customer-{}", key % 10_000).into() } else { "".into() };
    let task = NewTask { action: "crm".into(), ordinal: 0, progress: Progress::READY };
    let run = NewRun {
        trigger: "shop.vip-order-paid".into(),
        trigger_version: 7,
        subject,
        subject_no: 0,
        order_key: None,
        state: RunState::Running,
        guard: None,
        tasks: vec![task],
    };
    // Keys are hashes in real life: spread over the tree.
    let dedup = key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).rotate_left(64);
    let evaluations = Bytes::from_static(&[1; 40]);
    Command::Append(Arc::new(NewEvent {
        event: Arc::new(event),
        received: time,
        dedup: Some(dedup),
        evaluations,
        runs: vec![run],
    }))
}

fn settle(run: trapjaw_engine::id::RunId, task: trapjaw_engine::id::TaskId, key: u128) -> Command {
    let now = Time(1_790_000_000_000_500 + key as i64);
    let attempt = AttemptRecord {
        number: 1,
        started: now,
        result: AttemptResult::Succeeded,
        detail: Bytes::from_static(&[1; 60]),
    };
    Command::Settle(Box::new(Settle {
        task,
        run,
        now,
        attempt: Some(attempt),
        to: TaskTo::Closed(TaskState::Succeeded),
        run_state: RunState::Succeeded,
        others: Vec::new(),
        release: false,
        state: Vec::new(),
        state_of: None,
        events: Vec::new(),
    }))
}

/// The CPU time of the whole process, SQLite's threads included.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
