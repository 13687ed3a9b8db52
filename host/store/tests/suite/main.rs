//! What every store has to do, written against the ports. A store joins with one line at the end of this file.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of this is a test, also what helps it")]

mod catalog;
mod dead;
mod events;
mod guards;
mod judging;
mod make;
mod reading;
mod settling;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use trapjaw_engine::id::{RunId, TaskId};
use trapjaw_engine::ports::{Catalog, Ledger, Page, RunView, Store};
use trapjaw_engine::record::{Appended, Command, NewEvent, Reply};

/// Opens a store of one kind for the tests.
#[async_trait]
pub(crate) trait Maker: Send + Sync {
    /// Opens the store that lives at `home`; what was there stays.
    async fn open(&self, home: &Path) -> Opened;
}

/// An open store through its three ports.
pub(crate) struct Opened {
    store: Arc<dyn Store>,
    ledger: Arc<dyn Ledger>,
    catalog: Arc<dyn Catalog>,
    close: futures_util::future::BoxFuture<'static, ()>,
}

/// A store with a home of its own, that can be closed and opened again.
pub(crate) struct Bench<'m> {
    maker: &'m dyn Maker,
    home: tempfile::TempDir,
    open: Opened,
}

impl<'m> Bench<'m> {
    async fn new(maker: &'m dyn Maker) -> Self {
        let home = tempfile::tempdir().unwrap();
        let open = maker.open(home.path()).await;
        Self { maker, home, open }
    }

    async fn reopen(self) -> Self {
        let Self { maker, home, open } = self;
        open.close.await;
        let open = maker.open(home.path()).await;
        Self { maker, home, open }
    }

    fn store(&self) -> &dyn Store {
        &*self.open.store
    }

    fn ledger(&self) -> &dyn Ledger {
        &*self.open.ledger
    }

    fn catalog(&self) -> &dyn Catalog {
        &*self.open.catalog
    }

    async fn commit(&self, commands: Vec<Command>) -> Vec<Reply> {
        self.store().commit(commands).await.unwrap()
    }

    async fn one(&self, command: Command) -> Reply {
        self.commit(vec![command]).await.pop().unwrap()
    }

    async fn append(&self, event: NewEvent) -> Appended {
        appended(self.one(make::append(event)).await)
    }

    /// Appends an event with one run; the run and its first task.
    async fn start(&self, run: trapjaw_engine::record::NewRun) -> (RunId, TaskId) {
        let appended = self.append(make::with_runs(make::event("1"), vec![run])).await;
        (appended.runs[0].run.unwrap(), appended.runs[0].task_first)
    }

    async fn run(&self, id: RunId) -> RunView {
        self.ledger().run(id).await.unwrap().unwrap()
    }

    async fn activity(&self, trigger: &str, subject: &str) -> u32 {
        self.store().activity(trigger, subject).await.unwrap().count
    }
}

pub(crate) fn appended(reply: Reply) -> Appended {
    match reply {
        Reply::Appended(appended) => appended,
        other => panic!("not appended: {other:?}"),
    }
}

/// The newest rows.
pub(crate) fn page(rows_max: u32) -> Page {
    Page { before: None, rows_max }
}

/// Runs every test of the suite on one kind of store.
macro_rules! suite {
    ($store:ident, $maker:expr; $($area:ident: $($test:ident)*;)*) => {
        mod $store {
            $(mod $area {
                $(#[tokio::test]
                async fn $test() {
                    let maker = $maker;
                    crate::$area::$test(crate::Bench::new(&maker).await).await;
                })*
            })*
        }
    };
}

macro_rules! all {
    ($store:ident, $maker:expr) => {
        suite! { $store, $maker;
            events: ids_grow_in_commit_order duplicates_write_nothing events_read_back filters_and_pages
                a_page_of_events_is_bounded_in_bytes
                reopening_keeps_everything numbers_are_never_given_twice;
            guards: limits_count_runs_ever windows_slide cooldown_is_a_gap release_gives_back
                guards_hold_within_a_batch triggers_can_be_limited subjects_are_counted;
            judging: acting_brings_tasks refused_acts_end ends_end ends_release again_waits dead_judgements_can_be_redriven
                reservations_are_made_once;
            settling: success_closes retries_stay_open others_move_along events_come_along state_ops_apply values_of_state_are_bounded_in_number
                state_conflicts_write_nothing settles_of_one_batch_keep_their_order sends_are_kept_once
                first_and_last_attempts_are_shown;
            dead: dead_letters_wait redriven_tasks_begin_anew dropped_tasks_give_back followers_of_dropped_tasks_stay_open unknown_tasks_are_skipped
                dead_letters_are_filtered;
            reading: work_comes_in_pages a_page_of_work_is_bounded_in_bytes work_is_found_by_due
                work_brings_events_and_outputs runs_are_filtered unknown_ids_are_none
                a_page_of_runs_is_bounded_in_bytes the_attempts_of_a_run_are_bounded_in_bytes open_runs_are_counted;
            catalog: versions_grow conflicts_write_nothing removed_objects_come_back plugins_are_published_once;
        }
    };
}

all!(on_sqlite, crate::sqlite::Files);
