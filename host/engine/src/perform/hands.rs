//! The hands of a plugin: what an action may do through the host while it is performed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::message::idempotency_key;
use super::{Attempt, Tools};
use crate::deliver::{Blocked, NotSent};
use crate::limits::{STATE_KEY_BYTES_MAX, STATE_KEYS_MAX, STATE_VALUE_BYTES_MAX};
use crate::plan::{Act, ConnectionPlan, PluginPlan};
use crate::ports::{Activity, Failure, Hands, Message, Past, Receipt, Refusal, SendRequest, StateOp, StoreError};
use crate::record::{Command, SendRecord};

/// The most changes of state in one attempt.
const STATE_OPS_MAX: usize = 1_000;

/// The plugin's labels, each with its connection.
type Labels = std::collections::BTreeMap<String, Arc<ConnectionPlan>>;

pub(super) struct PluginHands {
    tools: Tools,
    attempt: Attempt,
    /// What earlier tries sent, by idempotency key, and whether this one made the same send.
    recorded: HashMap<Box<str>, (Receipt, AtomicUsize)>,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// How often a send of this content was confirmed, so that two alike are two.
    confirmed: HashMap<[u8; 32], u32>,
    /// What this attempt sent, by idempotency key: the same `dedup-key` again is the same send.
    made: HashMap<String, Receipt>,
    state: Vec<StateOp>,
    /// The state as this attempt sees it.
    seen: HashMap<String, Option<Vec<u8>>>,
    blocked: Option<Blocked>,
}

impl PluginHands {
    pub(super) async fn new(tools: &Tools, attempt: &Attempt) -> Result<Self, StoreError> {
        let sends = if attempt.is_again { tools.store.sends(attempt.task).await? } else { Vec::new() };
        Ok(Self {
            tools: tools.clone(),
            attempt: attempt.clone(),
            recorded: sends.into_iter().map(|(key, receipt)| (key, (receipt, AtomicUsize::new(0)))).collect(),
            work: Mutex::default(),
        })
    }

    /// The door that was shut, if one was.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        self.work().blocked
    }

    /// Recorded sends that this try did not make.
    pub(super) fn diverged(&self) -> Vec<String> {
        let unmade = self.recorded.iter().filter(|(_, (_, made))| made.load(Ordering::Relaxed) == 0);
        unmade.map(|(key, _)| key.to_string()).collect()
    }

    pub(super) fn take_state(&self) -> Vec<StateOp> {
        std::mem::take(&mut self.work().state)
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> Result<(&Arc<PluginPlan>, &Labels), Failure> {
        match &self.attempt.trigger.actions[self.attempt.action_at].act {
            Act::Plugin { plugin, connections, .. } => Ok((plugin, connections)),
            Act::Send(_) => Err(Failure::rejected("not a plugin's action")),
        }
    }

    /// What a send is known by, and, where it is named by what it says, the hash of that.
    fn key_of(&self, connection: &ConnectionPlan, request: &SendRequest) -> (String, Option<[u8; 32]>) {
        let mut name = Vec::new();
        let content = match &request.dedup_key {
            Some(key) => {
                name.extend_from_slice(b"dedup\0");
                // The length keeps a connection's name apart from the key.
                name.extend_from_slice(&(connection.name.len() as u64).to_be_bytes());
                name.extend_from_slice(connection.name.as_bytes());
                name.extend_from_slice(key.as_bytes());
                None
            }
            None => {
                let content = content_hash(connection, &request.message);
                // Those before it that were confirmed. One that failed and is sent once more is the same send.
                let occurrence = self.work().confirmed.get(&content).copied().unwrap_or_default() + 1;
                name.extend_from_slice(b"content\0");
                name.extend_from_slice(&content);
                name.extend_from_slice(&occurrence.to_be_bytes());
                Some(content)
            }
        };
        (idempotency_key(self.attempt.task, &name), content)
    }

    fn count(&self, content: Option<[u8; 32]>) {
        if let Some(content) = content {
            *self.work().confirmed.entry(content).or_default() += 1;
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(value) = self.work().seen.get(key) {
            return Ok(value.clone());
        }
        let (plugin, _) = self.parts()?;
        let now = self.tools.clock.now();
        let value = self.tools.store.state(&plugin.name, &self.attempt.trigger.name, key, now).await;
        value.map_err(|err| Failure::transient(err.to_string()))
    }

    /// Refuses a new value where there is no room for it. The commit would refuse it too, but as a conflict, which is
    /// tried again.
    async fn check_room(&self, plugin: &str) -> Result<(), Failure> {
        let now = self.tools.clock.now();
        let is_full = self.tools.store.is_state_full(plugin, &self.attempt.trigger.name, now).await;
        if is_full.map_err(|err| Failure::transient(err.to_string()))? {
            return Err(Failure::permanent(format!("a plugin may keep {STATE_KEYS_MAX} values for a trigger")));
        }
        Ok(())
    }
}

/// A send that has no name of its own is named by what it says and where it goes.
fn content_hash(connection: &ConnectionPlan, message: &Message) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(connection.name.as_bytes());
    part(&message.body);
    part(message.content_type.as_bytes());
    part(message.key.as_deref().unwrap_or_default().as_bytes());
    for (name, value) in &message.headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(serde_json::Value::Object(message.options.clone()).to_string().as_bytes());
    hash.finalize().into()
}

#[async_trait]
impl Past for PluginHands {
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, Failure> {
        self.tools.store.activity(trigger, subject).await.map_err(|err| Failure::transient(err.to_string()))
    }
}

#[async_trait]
impl Hands for PluginHands {
    async fn send(&self, request: SendRequest) -> Result<Receipt, Failure> {
        let (plugin, connections) = self.parts()?;
        let Some(connection) = connections.get(&request.label) else {
            let known = connections.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Failure::rejected(format!(
                "no connection is bound to `{}`; bound are: {known}",
                request.label
            )));
        };
        let problems = connection.check_options(&request.message.options);
        if let Some(problem) = problems.first() {
            return Err(Failure::rejected(format!("options: {problem}")));
        }
        let (key, content) = self.key_of(connection, &request);
        if let Some(receipt) = self.work().made.get(&key) {
            return Ok(Receipt { replayed: true, ..receipt.clone() });
        }
        if let Some((receipt, made)) = self.recorded.get(key.as_str()) {
            made.fetch_add(1, Ordering::Relaxed);
            self.count(content);
            return Ok(Receipt { replayed: true, ..receipt.clone() });
        }
        let mut message = request.message;
        for header in request.secret_headers {
            let Some((_, secret)) = plugin.secrets.iter().find(|(name, _)| *name == header.secret) else {
                return Err(Failure::rejected(format!("the secret `{}` is not granted", header.secret)));
            };
            message.headers.push((header.name, format!("{}{}", header.prefix, secret.reveal())));
        }
        message.idempotency_key.clone_from(&key);
        message.attempt = self.attempt.tries + 1;
        message.traceparent = self.attempt.event.extension("traceparent").map(str::to_owned);
        let receipt = match self.tools.doors.deliver(connection, &message, connection.timeout).await {
            Ok(receipt) => receipt,
            Err(NotSent::Blocked(blocked)) => {
                self.work().blocked = Some(blocked);
                let why = blocked.state.words().1.unwrap_or("busy");
                let mut failure = Failure::transient(format!("the connection `{}` waits: {why}", connection.name));
                failure.after = Some(blocked.until.since(self.tools.clock.now()));
                return Err(failure);
            }
            Err(NotSent::Failed(err)) => {
                // A door that was shut before is not what keeps the plugin from its end now.
                self.work().blocked = None;
                return Err(match err.refusal {
                    Refusal::Retry(after) => Failure { after, ..Failure::transient(err.message) },
                    Refusal::Permanent => Failure::permanent(err.message),
                    Refusal::Unauthorized => {
                        // The connection is paused by it, and the attempt waits with it.
                        self.work().blocked = self.tools.doors.peek(connection);
                        Failure::transient(err.message)
                    }
                });
            }
        };
        // The guest sees the receipt when no later try can repeat the send.
        let record = SendRecord {
            task: self.attempt.task,
            key: key.as_str().into(),
            connection: Arc::clone(&connection.name),
            at: self.tools.clock.now(),
            receipt: receipt.clone(),
        };
        let recorded = self.tools.store.commit(vec![Command::Record(Box::new(record))]).await;
        recorded.map_err(|err| Failure::transient(err.to_string()))?;
        let mut work = self.work();
        work.blocked = None;
        work.made.insert(key, receipt.clone());
        drop(work);
        self.count(content);
        Ok(receipt)
    }

    async fn state_get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let (plugin, _) = self.parts()?;
        if !plugin.has_state {
            return Err(Failure::rejected("state is not granted"));
        }
        self.read(key).await
    }

    async fn state_change(&self, op: StateOp) -> Result<i64, Failure> {
        let (plugin, _) = self.parts()?;
        if !plugin.has_state {
            return Err(Failure::rejected("state is not granted"));
        }
        if op.key().len() > STATE_KEY_BYTES_MAX {
            return Err(Failure::permanent(format!("a key of state may have {STATE_KEY_BYTES_MAX} bytes")));
        }
        let current = self.read(op.key()).await?;
        let (value, answer) = match &op {
            StateOp::Set { value, .. } => (Some(value.clone()), 0),
            StateOp::CompareAndSet { expected, value, .. } => {
                if *expected != current {
                    return Ok(0);
                }
                (Some(value.clone()), 1)
            }
            StateOp::Increment { by, .. } => {
                let sum = number(current.as_deref())?.checked_add(*by);
                let sum = sum.ok_or_else(|| Failure::permanent("the sum is out of range"))?;
                (Some(sum.to_string().into_bytes()), sum)
            }
            StateOp::Remove { .. } => (None, 0),
        };
        if value.as_ref().is_some_and(|value| value.len() > STATE_VALUE_BYTES_MAX) {
            return Err(Failure::permanent(format!("a value of state may have {STATE_VALUE_BYTES_MAX} bytes")));
        }
        if current.is_none() && value.is_some() {
            self.check_room(&plugin.name).await?;
        }
        let mut work = self.work();
        if work.state.len() >= STATE_OPS_MAX {
            return Err(Failure::permanent(format!("an attempt may change state {STATE_OPS_MAX} times")));
        }
        work.seen.insert(op.key().to_owned(), value);
        work.state.push(op);
        Ok(answer)
    }
}

fn number(value: Option<&[u8]>) -> Result<i64, Failure> {
    let Some(value) = value else { return Ok(0) };
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Failure::permanent("the value is not a decimal number"))
}
