//! Remotes and plugins that do what a test says, and remember what was asked of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use trapjaw_engine::ports::{
    CallError, CallLog, Failure, Hands, JudgeCall, Message, Outcome, Past, PerformCall, Plugin, Receipt, Refusal,
    Report, SendError, SendRequest, Sink, Verdict, World,
};

/// What a remote does with a message.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ok,
    Retry(Option<Duration>),
    Permanent,
    Unauthorized,
    Hang,
    /// Confirms after this long.
    Slow(Duration),
}

/// A message that came to a remote.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at_ms: u64,
    pub(crate) message: Message,
    pub(crate) text: String,
}

type Script = Box<dyn Fn(&Sent, usize) -> Step + Send + Sync>;

/// A remote.
pub(crate) struct SimSink {
    began: Instant,
    script: Script,
    sent: Mutex<Vec<Sent>>,
    n_now: AtomicUsize,
    n_most: AtomicUsize,
}

impl SimSink {
    pub(crate) fn new(began: Instant, script: Script) -> Arc<Self> {
        let (n_now, n_most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { began, script, sent: Mutex::default(), n_now, n_most })
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.n_most.load(Ordering::SeqCst)
    }
}

/// A send under way; however it ends, it ends.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn refused(refusal: Refusal, status: u16) -> SendError {
    SendError { refusal, message: format!("status {status}"), status: Some(status), answer: bytes::Bytes::new() }
}

#[async_trait]
impl Sink for SimSink {
    async fn send(&self, message: &Message) -> Result<Receipt, SendError> {
        let _under_way = UnderWay(&self.n_now);
        let n_now = self.n_now.fetch_add(1, Ordering::SeqCst) + 1;
        self.n_most.fetch_max(n_now, Ordering::SeqCst);
        let sent = Sent {
            at_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap(),
            message: message.clone(),
            text: String::from_utf8_lossy(&message.body).into_owned(),
        };
        let step = {
            let mut all = self.sent.lock().unwrap();
            let step = (self.script)(&sent, all.len());
            all.push(sent);
            step
        };
        match step {
            Step::Ok => {}
            Step::Slow(span) => tokio::time::sleep(span).await,
            Step::Retry(after) => return Err(refused(Refusal::Retry(after), 503)),
            Step::Permanent => return Err(refused(Refusal::Permanent, 400)),
            Step::Unauthorized => return Err(refused(Refusal::Unauthorized, 401)),
            Step::Hang => std::future::pending().await,
        }
        Ok(Receipt { id: Some("r".into()), status: Some(200), ..Receipt::default() })
    }

    async fn probe(&self) -> Result<(), SendError> {
        Ok(())
    }
}

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Judge = Box<dyn Fn(JudgeCall, Arc<dyn Past>) -> Boxed<Result<Verdict, CallError>> + Send + Sync>;
type Perform = Box<dyn Fn(PerformCall, Arc<dyn Hands>) -> Boxed<Result<Outcome, CallError>> + Send + Sync>;

/// A version of a plugin.
pub(crate) enum SimPlugin {
    Condition(Judge),
    Action(Perform),
}

impl SimPlugin {
    /// A condition that answers like this, after this long.
    pub(crate) fn condition(
        span: Duration,
        judge: impl Fn(&JudgeCall) -> Result<bool, CallError> + Send + Sync + 'static,
    ) -> Self {
        Self::Condition(Box::new(move |call, _| {
            let answer = judge(&call).map(|matched| Verdict { matched, reason: None });
            Box::pin(async move {
                if !span.is_zero() {
                    tokio::time::sleep(span).await;
                }
                answer
            })
        }))
    }

    /// An action that does this.
    pub(crate) fn action<F>(perform: impl Fn(PerformCall, Arc<dyn Hands>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Outcome, CallError>> + Send + 'static,
    {
        Self::Action(Box::new(move |call, hands| Box::pin(perform(call, hands))))
    }
}

fn report<T>(answer: Result<T, CallError>) -> Report<T> {
    Report { answer, log: CallLog::default(), cpu: Duration::ZERO }
}

fn wrong_world<T>() -> Report<T> {
    report(Err(CallError::Host("the component does not export that".into())))
}

#[async_trait]
impl Plugin for SimPlugin {
    fn world(&self) -> World {
        match self {
            Self::Condition(_) => World::Condition,
            Self::Action(_) => World::Action,
        }
    }

    fn reads_past(&self) -> bool {
        false
    }

    async fn judge(&self, call: JudgeCall, past: Arc<dyn Past>) -> Report<Verdict> {
        match self {
            Self::Condition(judge) => report(judge(call, past).await),
            Self::Action(_) => wrong_world(),
        }
    }

    async fn perform(&self, call: PerformCall, hands: Arc<dyn Hands>) -> Report<Outcome> {
        match self {
            Self::Action(perform) => report(perform(call, hands).await),
            Self::Condition(_) => wrong_world(),
        }
    }
}

/// A message with this body for the connection that is bound to `out`.
pub(crate) fn request(body: &str) -> SendRequest {
    let message = Message { body: body.to_owned().into(), content_type: "text/plain".into(), ..Message::default() };
    SendRequest { label: "out".into(), message, dedup_key: None, secret_headers: Vec::new() }
}

/// A failure of a door, passed on by the guest.
pub(crate) fn passed_on(failure: Failure) -> CallError {
    CallError::Failed(failure)
}

pub(crate) fn trap() -> CallError {
    CallError::Trap { message: "unreachable".into(), backtrace: "at rule".into() }
}

pub(crate) fn done() -> Result<Outcome, CallError> {
    Ok(Outcome::Done(String::new()))
}
