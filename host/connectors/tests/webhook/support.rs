//! Contexts, clocks and resolvers of the tests.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use trapjaw_connectors::clients::{EgressPolicy, Resolve};
use trapjaw_connectors::sinks::{SinkContext, find};
use trapjaw_engine::ports::{Clock, Message, Sink};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::Time;

/// 2023-11-14 22:13:20 UTC.
pub(crate) const START: i64 = 1_700_000_000_000_000;

/// A clock that goes when it is told to.
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START)))
    }

    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

/// A resolver that gives its answers in turn, and the last one for ever.
pub(crate) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(crate) n_asked: AtomicUsize,
}

impl Names {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self { answers: Mutex::new(answers.collect()), n_asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.n_asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::Error::other("no such name"))
    }
}

pub(crate) fn context() -> SinkContext {
    SinkContext::new(Hand::new(), Names::new(&[&["127.0.0.1"]]), EgressPolicy::OPEN)
}

pub(crate) fn build(config: &Value, ctx: &SinkContext) -> Result<Arc<dyn Sink>, Vec<Problem>> {
    (find("webhook").unwrap().new)(config, ctx)
}

/// A webhook to a local URL with these further fields.
pub(crate) fn local(url: &str, more: Value) -> Arc<dyn Sink> {
    local_in(url, more, &context())
}

pub(crate) fn local_in(url: &str, more: Value, ctx: &SinkContext) -> Arc<dyn Sink> {
    let mut config = json!({"url": url, "allow_private": true});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    build(&config, ctx).map_err(|problems| format!("{problems:?}")).unwrap()
}

pub(crate) fn message(body: impl Into<Bytes>) -> Message {
    Message {
        body: body.into(),
        content_type: "application/json".into(),
        idempotency_key: "msg_1".into(),
        attempt: 1,
        ..Message::default()
    }
}
