//! The engine: from an event that comes in to the effects that it has, and nothing of how either is carried.
//!
//! ```text
//! intake    accept(events): check, bound, name what was seen before
//!   │
//! route     which triggers match: one index over the patterns of all of them
//!   │
//! judge     do the conditions hold: Go | No (the condition that decided) | Again | Dead
//!   │       within a budget; what is undecided then is judged after the append
//! append    ONE group commit: events, evaluations, runs, tasks; only now is the event acknowledged
//!   │
//! dispatch  which task is next: from memory, a lane a trigger, in turn, in order by key
//!   │
//! perform   one attempt: a send, or a plugin with hands
//!   │
//! deliver   the one door out: paused? breaker? rate? a place? then the sink, with a time limit
//!   │
//! settle    what follows: Done | Skipped | RetryAt | ResumeAt | Dead | Cancelled; in the next group commit
//! ```
//!
//! There is a file for each verb, and they read in that order. Of the rest, [`engine`] is the face that the daemon
//! uses, `drive` the one task that owns the open work, [`plan`] what users defined, compiled, and [`ports`] what the
//! engine asks of the world.
//!
//! The words: an **event** is a fact that happened. A **trigger** says which events it is about, which **conditions**
//! have to hold, and which **actions** follow. One event, trigger and subject make a **run**; an action of a run is a
//! **task**; one try of it is an **attempt**; a message that it hands to a **connection** is a **send**. What used up
//! its tries is a **dead letter** and waits for a person.
//!
//! What is deliberately missing: the engine does no I/O. It has no SQL, no HTTP and no WebAssembly in it, reads no clock
//! and rolls no dice of its own; it is given all of these through its ports. Decisions are functions of values.
//! `drive` alone puts them to work.

pub mod intake;
pub mod route;
pub mod judge;
pub mod append;
pub mod dispatch;
pub mod perform;
pub mod deliver;
pub mod settle;

pub mod engine;
mod drive;
pub mod plan;
pub mod ports;

pub mod definition;
pub mod evaluation;
pub mod event;
pub mod id;
pub mod problem;
pub mod record;
pub mod run;
pub mod secret;
pub mod time;

pub mod expr;
pub mod pattern;
pub mod template;

pub mod breaker;
pub mod limits;
pub mod rate;
pub mod tasks;
