//! Scenarios of the whole engine, without I/O, in simulated time.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod conditions;
mod basics;
mod retries;
mod waiting;
mod needs;
mod order;
mod guards;
mod doors;
mod definitions;
mod refusals;
mod plugins;
mod people;
mod load;
mod crashes;
