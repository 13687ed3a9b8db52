//! Posts events at a steady rate. What is not acknowledged is posted again under the same id until it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use trapjaw_tests::Api;

use crate::options::Options;
use crate::payloads::Payloads;
use crate::tally::Tally;

/// How often it is looked how many posts are due.
const TICK: Duration = Duration::from_millis(5);
/// The most posts under way; beyond it the feed falls behind, which the figures show.
const POSTS_MAX: usize = 4_096;
/// How long a sender waits before it posts again, and how long it goes on to.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(120);
/// Every so many events are sent twice, as GitHub does when someone asks for a redelivery.
const TWICE: usize = 50;

/// Posts all events, and returns when each is acknowledged.
pub(crate) async fn feed(api: Api, payloads: &Payloads, options: &Options, tally: Arc<Tally>) -> anyhow::Result<()> {
    let n_events = options.rate as usize * options.seconds as usize;
    let begin = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut posts = JoinSet::new();
    let mut n_posted = 0;
    while n_posted < n_events {
        ticks.tick().await;
        let due = begin.elapsed().as_micros() * u128::from(options.rate) / 1_000_000;
        let due = usize::try_from(due).unwrap_or(usize::MAX).min(n_events);
        for n in n_posted..due {
            let id = format!("demo-{n}");
            let (event, expected) = payloads.event(n, &id);
            tally.posted(&id, expected);
            posts.spawn(post(api.clone(), id, event, n % TWICE == 0, tally.clone()));
            while posts.len() >= POSTS_MAX {
                finish(posts.join_next().await)?;
            }
        }
        n_posted = due.max(n_posted);
        while let Some(ended) = posts.try_join_next() {
            finish(Some(ended))?;
        }
    }
    while let Some(ended) = posts.join_next().await {
        finish(Some(ended))?;
    }
    Ok(())
}

fn finish(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    match ended {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn post(api: Api, id: String, event: Bytes, is_twice: bool, tally: Arc<Tally>) -> anyhow::Result<()> {
    for _ in 0..=u8::from(is_twice) {
        let begin = Instant::now();
        loop {
            match api.publish(event.clone()).await {
                Ok(answer) if answer.status == 202 => {
                    tally.acknowledged(&id, answer.json()["duplicates"].as_u64().unwrap_or(0));
                    break;
                }
                Ok(answer) if ![429, 503, 507].contains(&answer.status) => {
                    bail!("post {id}: the daemon answered {}: {}", answer.status, answer.json());
                }
                Ok(_) | Err(_) => tally.count(|counts| counts.posts_again += 1),
            }
            if begin.elapsed() > AGAIN_MAX {
                bail!("post {id}: not acknowledged within {AGAIN_MAX:?}");
            }
            sleep(AGAIN).await;
        }
    }
    Ok(())
}
