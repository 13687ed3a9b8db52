//! How often a trigger ran for a subject: counted with every append, limited by guards, given back on release.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{Error, Row};
use trapjaw_engine::limits::CAP_RUNS_MAX;
use trapjaw_engine::record::{Guard, NewEvent};
use trapjaw_engine::time::Time;

use super::batch::Batch;
use super::rows::{read_times, write_times};

/// A trigger by number, and a subject.
type Of = (i64, Arc<str>);

/// What the batch knows of activities and what it changes; written once, at its end.
#[derive(Default)]
pub(super) struct Activities(HashMap<Of, Count>);

/// One activity: as it is when it was loaded, else what the batch adds to it.
#[derive(Default)]
struct Count {
    is_loaded: bool,
    is_changed: bool,
    count: i64,
    last: Option<i64>,
    /// When the runs began that a guard let through and may have to count again, oldest first.
    times: Vec<i64>,
}

/// What a run has reserved, as it stands in its row.
pub(super) struct Reserved {
    pub(super) at: Time,
    /// Whose activity it counts in besides its own subject's.
    pub(super) guard: Option<Arc<str>>,
}

/// A guard said no.
pub(super) struct Refused;

impl Activities {
    /// Checks the guard and counts the run. The guard's activity is loaded.
    pub(super) fn reserve(
        &mut self,
        trigger: i64,
        subject: &Arc<str>,
        guard: Option<&Guard>,
        now: Time,
    ) -> Result<Option<Reserved>, Refused> {
        let Some(guard) = guard else {
            if subject.is_empty() {
                return Ok(None);
            }
            self.of(trigger, subject).add(now.0);
            return Ok(Some(Reserved { at: now, guard: None }));
        };
        let counted = self.of(trigger, &guard.subject);
        if !counted.lets_through(guard, now) {
            return Err(Refused);
        }
        counted.add(now.0);
        counted.keep_time(guard, now);
        let is_own = *guard.subject == **subject;
        if !is_own && !subject.is_empty() {
            self.of(trigger, subject).add(now.0);
        }
        let is_named = !is_own || subject.is_empty();
        Ok(Some(Reserved { at: now, guard: is_named.then(|| Arc::clone(&guard.subject)) }))
    }

    fn of(&mut self, trigger: i64, subject: &Arc<str>) -> &mut Count {
        self.0.entry((trigger, Arc::clone(subject))).or_default()
    }
}

impl Count {
    fn lets_through(&self, guard: &Guard, now: Time) -> bool {
        let has_room = match guard.limit {
            None => true,
            Some((n_max, None)) => self.count < i64::from(n_max),
            Some((n_max, Some(window))) => {
                let from = (now - window).0;
                self.times.iter().filter(|time| **time > from).count() < n_max as usize
            }
        };
        let is_cool = match (guard.cooldown, self.last) {
            (Some(gap), Some(last)) => now.since(Time(last)) >= gap,
            (Some(_) | None, _) => true,
        };
        has_room && is_cool
    }

    fn add(&mut self, at: i64) {
        self.count += 1;
        self.last = self.last.max(Some(at));
        self.is_changed = true;
    }

    /// Keeps the time of the run, and of those before it that may have to be counted again. The last one before the
    /// span stays too, so that a release can tell what was the last run then.
    fn keep_time(&mut self, guard: &Guard, now: Time) {
        let window = guard.limit.and_then(|(_, window)| window);
        let Some(span) = window.max(guard.cooldown) else { return };
        let from = (now - span).0;
        let n_old = self.times.iter().filter(|time| **time <= from).count();
        self.times.sort_unstable();
        self.times.drain(..n_old.saturating_sub(1));
        self.times.push(now.0);
        // One beside the window's: see above.
        let n_max = CAP_RUNS_MAX as usize + 1;
        self.times.drain(..self.times.len().saturating_sub(n_max));
    }

    fn remove(&mut self, at: i64) {
        self.count = (self.count - 1).max(0);
        if let Some(place) = self.times.iter().rposition(|time| *time == at) {
            self.times.remove(place);
        }
        if self.last == Some(at) {
            // Without kept times what came before is not known; then the old value stays, unless there is nothing left.
            self.last = self.times.iter().max().copied().or(self.last.filter(|_| self.count > 0));
        }
        self.is_changed = true;
    }
}

impl Batch<'_> {
    /// Loads what the guards of these events count.
    pub(super) async fn load_guards(&mut self, events: &[&NewEvent]) -> Result<(), Error> {
        let runs = events.iter().flat_map(|new| &new.runs);
        let guards = runs.filter_map(|run| Some((&run.trigger, &run.guard.as_ref()?.subject)));
        let wanted = guards.map(|(trigger, subject)| (self.names.intern(trigger), Arc::clone(subject))).collect();
        self.load_activities(wanted).await
    }

    pub(super) async fn load_activities(&mut self, mut wanted: Vec<Of>) -> Result<(), Error> {
        wanted.retain(|of| self.activities.0.get(of).is_none_or(|count| !count.is_loaded));
        wanted.sort_unstable();
        wanted.dedup();
        let found = self.statements.activity_find.fetch(self.conn, &wanted, |args, (trigger, subject)| {
            args.add(&**subject)?;
            args.add(*trigger)
        });
        for row in found.await? {
            let subject: Arc<str> = row.try_get::<&str, _>(0)?.into();
            let count = self.activities.of(row.try_get(1)?, &subject);
            count.count += row.try_get::<i64, _>(2)?;
            count.last = count.last.max(row.try_get(3)?);
            count.times = read_times(row.try_get::<Option<&[u8]>, _>(4)?.unwrap_or_default());
        }
        for of in wanted {
            self.activities.0.entry(of).or_default().is_loaded = true;
        }
        Ok(())
    }

    /// Gives back what a run reserved, if it did.
    pub(super) async fn release(&mut self, run: i64) -> Result<(), Error> {
        self.flush().await?;
        let find = "SELECT trigger, subject, guard, reserved FROM run WHERE seq = ? AND reserved IS NOT NULL";
        let Some(row) = sqlx::query(find).bind(run).fetch_optional(&mut *self.conn).await? else { return Ok(()) };
        let (trigger, at): (i64, i64) = (row.try_get(0)?, row.try_get(3)?);
        let own = Some(row.try_get::<&str, _>(1)?).filter(|subject| !subject.is_empty());
        let of: Vec<Of> =
            own.into_iter().chain(row.try_get::<Option<&str>, _>(2)?).map(|s| (trigger, s.into())).collect();
        self.load_activities(of.clone()).await?;
        for (trigger, subject) in of {
            self.activities.of(trigger, &subject).remove(at);
        }
        let forget = "UPDATE run SET reserved = NULL, guard = NULL WHERE seq = ?";
        sqlx::query(forget).bind(run).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Writes what the batch changed.
    pub(super) async fn flush_activities(&mut self) -> Result<(), Error> {
        let changed = self.activities.0.drain().filter(|(_, count)| count.is_changed);
        let mut changed: Vec<(Of, Count)> = changed.collect();
        changed.sort_unstable_by(|(a, _), (b, _)| (&a.1, a.0).cmp(&(&b.1, b.0)));
        let (known, added): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, count)| count.is_loaded);
        let add = self.statements.activity_add.execute(self.conn, &added, |args, ((trigger, subject), count)| {
            args.add(&**subject)?;
            args.add(*trigger)?;
            args.add(count.count)?;
            args.add(count.last)
        });
        add.await?;
        let set = self.statements.activity_set.execute(self.conn, &known, |args, ((trigger, subject), count)| {
            args.add(&**subject)?;
            args.add(*trigger)?;
            args.add(count.count)?;
            args.add(count.last)?;
            args.add_blob(&write_times(&count.times))
        });
        set.await?;
        Ok(())
    }
}
