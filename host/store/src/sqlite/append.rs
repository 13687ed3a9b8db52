//! Appending: an event, the runs that it causes and their tasks.

use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::record::{Appended, AppendedRun, NewEvent, NewRun, NewTask, Reply};
use trapjaw_engine::time::Time;

use super::batch::Batch;
use super::dedup::Numbered;
use super::names::write_actions;
use super::pending::{EventRow, RunRow, TaskRow};

impl<'a> Batch<'a> {
    /// Appends a numbered event whose guards are loaded.
    pub(super) fn append(&mut self, new: &'a NewEvent, numbered: Numbered) -> Reply {
        if let Some(first) = numbered.first {
            return Reply::Duplicate(EventId::of(first));
        }
        let run_first = self.ids.run;
        let runs = new.runs.iter().map(|run| self.append_run(numbered.seq, new.received, run)).collect();
        let run_count = self.ids.run - run_first;
        self.pending.events.push(EventRow { seq: numbered.seq, new, run_first, run_count });
        Reply::Appended(Appended { event: EventId::of(numbered.seq), runs })
    }

    fn append_run(&mut self, event: i64, now: Time, run: &'a NewRun) -> AppendedRun {
        let trigger = self.names.intern(&run.trigger);
        // A run that is yet to be judged reserves when the judgement says that it acts.
        let is_judging = run.tasks.iter().any(|task| task.ordinal == trapjaw_engine::record::TASK_JUDGE);
        let reserved = if is_judging {
            None
        } else {
            match self.activities.reserve(trigger, &run.subject, run.guard.as_ref(), now) {
                Ok(reserved) => reserved,
                Err(_refused) => return AppendedRun { run: None, task_first: TaskId::of(self.ids.task) },
            }
        };
        let seq = self.ids.take_run();
        let (actions, task_first) = self.append_tasks(seq, trigger, &run.tasks);
        self.pending.runs.push(RunRow { seq, event, run, trigger, created: now, actions, task_first, reserved });
        AppendedRun { run: Some(RunId::of(seq)), task_first: TaskId::of(task_first) }
    }

    /// Appends the tasks of a run; the list of their actions and the first of their numbers.
    pub(super) fn append_tasks(&mut self, run: i64, trigger: i64, tasks: &[NewTask]) -> (i64, i64) {
        write_actions(tasks, &mut self.actions);
        let actions = self.names.intern(&self.actions);
        let task_first = self.ids.take_tasks(tasks.len());
        for (seq, task) in (task_first..).zip(tasks) {
            self.pending.add_task(TaskRow { seq, run, trigger, progress: task.progress });
        }
        (actions, task_first)
    }
}
