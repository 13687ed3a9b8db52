//! Durable state: the only home of SQL. SQLite implements the engine's ports [`Store`], [`Ledger`] and [`Catalog`].
//!
//! The store takes no decision: it executes what the engine computed. One task writes, in batches that share a commit
//! (`sqlite/writer.rs`); a few connections read (`sqlite/readers.rs`).
//!
//! [`Store`]: trapjaw_engine::ports::Store
//! [`Ledger`]: trapjaw_engine::ports::Ledger
//! [`Catalog`]: trapjaw_engine::ports::Catalog

mod sqlite;

pub use sqlite::{Gauges, OpenError, Settings, Sqlite, open};
