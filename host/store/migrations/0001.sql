-- Schema 1.
--
-- What shapes it: an event whose runs go well costs one insert into event, dedup_log, run, task and attempt each, one
-- update of run and one delete from task, all at the right edge of their trees. Hence no index that the
-- hot path would have to feed, and rows as narrow as can be:
--   * task holds open tasks only. What a closed task came to stands in its last attempt, or in task_end where it was
--     closed without one, or in dead.
--   * A task's action is not written with the task: run.actions names the list of the run's actions, and tasks of a
--     run are numbered without a gap from run.task_first.
--   * name holds what repeats: triggers, lists of actions, connections, plugins. Never what events bring.
--   * dedup, the tree of all keys, would be written at random; keys wait in memory and in dedup_log until many are
--     merged at once. Old keys are swept out range by range (day: of receipt, in days since 1970).
-- Numbers of event, run and task are never given twice: meta holds marks above all that were given.
-- Times are microseconds since 1970, UTC. States and results are the numbers of the engine's enums.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE event (
    seq         INTEGER PRIMARY KEY,
    received    INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    source      TEXT NOT NULL,
    id          TEXT NOT NULL,
    type        TEXT NOT NULL,
    run_first   INTEGER NOT NULL,
    run_count   INTEGER NOT NULL,
    subject     TEXT,
    head        BLOB,            -- content type and extensions, format of rows.rs; absent when there are none
    data        BLOB NOT NULL,
    evaluations BLOB
) STRICT;

CREATE TABLE dedup (
    key   BLOB PRIMARY KEY,
    event INTEGER NOT NULL,
    day   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dedup_log (
    event INTEGER PRIMARY KEY,
    day   INTEGER NOT NULL,
    key   BLOB NOT NULL
) STRICT;

CREATE TABLE run (
    seq        INTEGER PRIMARY KEY,
    event      INTEGER NOT NULL,
    trigger    INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    ended      INTEGER,
    actions    INTEGER NOT NULL,
    task_first INTEGER NOT NULL,
    task_count INTEGER NOT NULL,
    subject_no INTEGER NOT NULL DEFAULT 0,
    subject    TEXT NOT NULL DEFAULT '',
    order_key  TEXT,
    reserved   INTEGER,          -- when it was counted in activity; absent when it was not, or when that was released
    guard      TEXT,             -- whose activity it was counted in besides its subject's
    evaluation BLOB
) STRICT;

-- Ends that people look for. Runs that go well never enter it; open runs are found through task.
CREATE INDEX run_ended ON run (state, seq) WHERE state IN (10, 11, 12);

CREATE TABLE task (
    seq     INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    state   INTEGER NOT NULL DEFAULT 2,
    tries   INTEGER NOT NULL DEFAULT 0,
    resumes INTEGER NOT NULL DEFAULT 0,
    due     INTEGER
) STRICT;

CREATE INDEX task_due ON task (due, seq) WHERE due IS NOT NULL;

CREATE TABLE task_end (
    task  INTEGER PRIMARY KEY,
    state INTEGER NOT NULL
) STRICT;

CREATE TABLE attempt (
    task    INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended   INTEGER NOT NULL,
    result  INTEGER NOT NULL,
    state   INTEGER NOT NULL,    -- of the task, after it
    detail  BLOB,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE send (
    task         INTEGER NOT NULL,
    key          TEXT NOT NULL,
    connection   INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    receipt      TEXT,
    status       INTEGER,
    content_type TEXT,
    body         BLOB,
    PRIMARY KEY (task, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead (
    task     INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL,
    event    INTEGER NOT NULL,
    trigger  INTEGER NOT NULL,
    action   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    cause    TEXT NOT NULL
) STRICT;

CREATE INDEX dead_trigger ON dead (trigger, task);
CREATE INDEX dead_cause ON dead (cause, task);

CREATE TABLE activity (
    subject TEXT NOT NULL,
    trigger INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    last    INTEGER,
    times   BLOB,                -- of the runs that a guard let through and may have to count again, i64 little-endian
    PRIMARY KEY (subject, trigger)
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin_state (
    plugin  INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    key     TEXT NOT NULL,
    value   BLOB NOT NULL,
    expires INTEGER,
    PRIMARY KEY (plugin, trigger, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE object_version (
    seq      INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    removed  INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    body     BLOB NOT NULL,
    UNIQUE (kind, name, version)
) STRICT;

CREATE TABLE plugin_version (
    seq     INTEGER PRIMARY KEY,
    plugin  TEXT NOT NULL,
    version TEXT NOT NULL,
    digest  TEXT NOT NULL,
    size    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    about   BLOB NOT NULL,
    UNIQUE (plugin, version)
) STRICT;

CREATE TABLE component (
    digest TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
) STRICT;
