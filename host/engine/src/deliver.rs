//! Delivering: the one door out. Every send, from a trigger or a plugin, passes here.
//!
//! In order: is the connection paused, is its breaker open, is its rate used up, is there a place among its sends; then
//! the sink, with a time limit; and what came of it is noted for the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::breaker::{Breaker, Gate};
use crate::plan::ConnectionPlan;
use crate::ports::{Clock, Message, Receipt, Refusal, SendError};
use crate::rate::Bucket;
use crate::record::TaskState;
use crate::time::Time;

/// How long a paused connection is left alone before it is looked at again; a resume wakes its tasks at once.
const PAUSE_LOOK: Duration = Duration::from_secs(60);
/// How soon a connection whose places are all taken is tried again.
const CROWDED_LOOK: Duration = Duration::from_millis(20);

/// The doors to all connections, by name.
pub struct Doors {
    clock: Arc<dyn Clock>,
    doors: Mutex<HashMap<Arc<str>, Door>>,
}

#[derive(Default)]
struct Door {
    breaker: Breaker,
    bucket: Bucket,
    n_sending: u32,
    /// The remote refused our credentials, with this version of the connection.
    unauthorized_at: Option<i64>,
    counts: DoorCounts,
}

/// What went through a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Sends that the remote confirmed.
    pub n_confirmed: u64,
    /// Sends that it did not.
    pub n_failed: u64,
}

/// A door, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorView {
    /// The connection.
    pub name: Arc<str>,
    /// What it holds back, if anything.
    pub blocked: Option<TaskState>,
    /// Whether it is paused because the remote refused our credentials.
    pub is_unauthorized: bool,
    /// Sends under way.
    pub n_sending: u32,
    /// What went through.
    pub counts: DoorCounts,
}

/// What stands before a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What it is.
    pub state: TaskState,
    /// When to look again.
    pub until: Time,
}

/// A send that was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// It was not made.
    Blocked(Blocked),
    /// It was made, and failed.
    Failed(SendError),
}

impl Doors {
    /// Doors that nothing has passed yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, doors: Mutex::default() }
    }

    /// What stands before a send on this connection, without taking a place.
    pub fn peek(&self, connection: &ConnectionPlan) -> Option<Blocked> {
        let now = self.clock.now();
        self.lock().entry(Arc::clone(&connection.name)).or_default().blocked(connection, now)
    }

    /// Sends, if nothing stands before it. `Ok` means that the remote confirmed.
    pub async fn deliver(
        &self,
        connection: &ConnectionPlan,
        message: &Message,
        limit: Duration,
    ) -> Result<Receipt, NotSent> {
        let place = self.enter(connection).map_err(NotSent::Blocked)?;
        // A call that the limit cuts off counts for the breaker, which it would not if it were dropped from outside.
        let limit = limit.min(connection.timeout);
        let sent = tokio::time::timeout(limit, connection.sink.send(message)).await;
        let sent = sent.unwrap_or_else(|_| Err(timed_out(limit)));
        place.leave(connection, &sent);
        sent.map_err(NotSent::Failed)
    }

    /// A test of the connection passed: whatever held it back is lifted.
    pub fn admit(&self, name: &str) {
        if let Some(door) = self.lock().get_mut(name) {
            door.breaker.close();
            door.unauthorized_at = None;
        }
    }

    /// All doors that were used, for people.
    pub fn view(&self) -> Vec<DoorView> {
        let view = |(name, door): (&Arc<str>, &Door)| DoorView {
            name: Arc::clone(name),
            blocked: match (door.unauthorized_at, door.breaker.is_open()) {
                (Some(_), _) => Some(TaskState::WaitingPaused),
                (None, true) => Some(TaskState::WaitingBreaker),
                (None, false) => None,
            },
            is_unauthorized: door.unauthorized_at.is_some(),
            n_sending: door.n_sending,
            counts: door.counts,
        };
        let mut views: Vec<_> = self.lock().iter().map(view).collect();
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn enter(&self, connection: &ConnectionPlan) -> Result<Place<'_>, Blocked> {
        let now = self.clock.now();
        let mut doors = self.lock();
        let door = doors.entry(Arc::clone(&connection.name)).or_default();
        if let Some(blocked) = door.blocked(connection, now) {
            return Err(blocked);
        }
        // The breaker comes last: what it lets through as its one try has to be made.
        if let Gate::Until(until) = door.breaker.gate(now) {
            return Err(Blocked { state: TaskState::WaitingBreaker, until });
        }
        if let Some(rate) = connection.rate {
            door.bucket.take(rate, now).map_err(|until| Blocked { state: TaskState::WaitingRate, until })?;
        }
        door.n_sending += 1;
        Ok(Place { doors: self, name: Arc::clone(&connection.name), has_left: false })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Door>> {
        self.doors.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Door {
    /// What stands before a send. A pause by the remote's refusal ends with the connection's next version, too.
    fn blocked(&self, connection: &ConnectionPlan, now: Time) -> Option<Blocked> {
        if connection.is_paused || self.unauthorized_at == Some(connection.version) {
            return Some(Blocked { state: TaskState::WaitingPaused, until: now + PAUSE_LOOK });
        }
        if let Gate::Until(until) = self.breaker.clone().gate(now) {
            return Some(Blocked { state: TaskState::WaitingBreaker, until });
        }
        if let Some(rate) = connection.rate
            && let Err(until) = self.bucket.peek(rate, now)
        {
            return Some(Blocked { state: TaskState::WaitingRate, until });
        }
        let is_crowded = connection.concurrency.is_some_and(|most| self.n_sending >= most);
        is_crowded.then(|| Blocked { state: TaskState::WaitingRate, until: now + CROWDED_LOOK })
    }
}

/// A place among a connection's sends. A send that is dropped gives it back.
struct Place<'a> {
    doors: &'a Doors,
    name: Arc<str>,
    has_left: bool,
}

impl Place<'_> {
    fn leave(mut self, connection: &ConnectionPlan, sent: &Result<Receipt, SendError>) {
        self.has_left = true;
        let now = self.doors.clock.now();
        let mut doors = self.doors.lock();
        let Some(door) = doors.get_mut(&self.name) else { return };
        door.n_sending -= 1;
        match sent {
            // Credentials of a later version were taken: the refusal is over.
            Ok(_) if door.unauthorized_at.is_some_and(|version| version != connection.version) => {
                door.counts.n_confirmed += 1;
                door.unauthorized_at = None;
            }
            Ok(_) => door.counts.n_confirmed += 1,
            Err(_) => door.counts.n_failed += 1,
        }
        // A remote that refuses one message works; only what another try may get past counts against it.
        let is_up = !matches!(sent, Err(SendError { refusal: Refusal::Retry(_), .. }));
        if door.breaker.note(now, is_up) {
            tracing::warn!(connection = &*self.name, "the breaker opened: most sends fail");
        }
        if matches!(sent, Err(SendError { refusal: Refusal::Unauthorized, .. })) {
            door.unauthorized_at = Some(connection.version);
            tracing::error!(
                connection = &*self.name,
                "paused: the remote refuses our credentials; it goes on when they change or a test passes"
            );
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.has_left
            && let Some(door) = self.doors.lock().get_mut(&self.name)
        {
            door.n_sending -= 1;
        }
    }
}

fn timed_out(limit: Duration) -> SendError {
    SendError {
        refusal: Refusal::Retry(None),
        message: format!("no answer within {}", crate::time::format_span(limit)),
        status: None,
        answer: bytes::Bytes::new(),
    }
}
