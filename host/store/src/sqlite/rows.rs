//! Between columns and the engine's types. Every format here is stored: it carries a version where it may change.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::Receipt;
use trapjaw_engine::record::{AttemptResult, RunState, TaskState};
use trapjaw_engine::time::Time;

/// Version 1 of an event's head: the content type (its length plus one, or 0 for none), then name and value of each
/// extension; lengths are u32, little-endian.
const HEAD_VERSION: u8 = 1;

/// The content type and the extensions of an event; none when it has neither.
pub(super) fn write_head(event: &Event) -> Option<Vec<u8>> {
    if event.content_type.is_none() && event.extensions.is_empty() {
        return None;
    }
    let mut head = vec![HEAD_VERSION];
    let length = |text: &str| u32::try_from(text.len()).expect("attributes are bounded").to_le_bytes();
    match &event.content_type {
        Some(text) => {
            head.extend((u32::from_le_bytes(length(text)) + 1).to_le_bytes());
            head.extend(text.as_bytes());
        }
        None => head.extend(0u32.to_le_bytes()),
    }
    for text in event.extensions.iter().flat_map(|(name, value)| [name, value]) {
        head.extend(length(text));
        head.extend(text.as_bytes());
    }
    Some(head)
}

fn read_head(event: &mut Event, head: &[u8]) -> Option<()> {
    let (version, mut rest) = head.split_first()?;
    if *version != HEAD_VERSION {
        return None;
    }
    let (length, after) = rest.split_first_chunk()?;
    rest = after;
    if let Some(n) = u32::from_le_bytes(*length).checked_sub(1) {
        event.content_type = Some(read_text(&mut rest, n)?);
    }
    while !rest.is_empty() {
        let mut next = || {
            let (length, after) = rest.split_first_chunk()?;
            rest = after;
            read_text(&mut rest, u32::from_le_bytes(*length))
        };
        event.extensions.push((next()?, next()?));
    }
    Some(())
}

fn read_text(rest: &mut &[u8], n: u32) -> Option<Box<str>> {
    let (text, after) = rest.split_at_checked(usize::try_from(n).ok()?)?;
    *rest = after;
    Some(std::str::from_utf8(text).ok()?.into())
}

/// The columns of an event that [`read_event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str =
    "event.source, event.type, event.id, event.time, event.subject, event.head, event.data";

/// Reads an event from [`EVENT_COLUMNS`], the first of which is at `at`.
pub(super) fn read_event(row: &SqliteRow, at: usize) -> Result<Event, Error> {
    let (source, kind, id): (&str, &str, &str) = (row.try_get(at)?, row.try_get(at + 1)?, row.try_get(at + 2)?);
    let mut event = Event::new(source, kind, id, Time(row.try_get(at + 3)?));
    event.subject = row.try_get::<Option<&str>, _>(at + 4)?.map(Into::into);
    if let Some(head) = row.try_get::<Option<&[u8]>, _>(at + 5)? {
        read_head(&mut event, head).ok_or_else(|| Error::Protocol("read the head of an event".into()))?;
    }
    event.data = read_bytes(row, at + 6)?;
    Ok(event)
}

/// A blob; empty for NULL.
pub(super) fn read_bytes(row: &SqliteRow, at: usize) -> Result<Bytes, Error> {
    Ok(row.try_get::<Option<Vec<u8>>, _>(at)?.unwrap_or_default().into())
}

pub(super) fn read_run_state(number: u8) -> Result<RunState, Error> {
    RunState::from_number(number).ok_or_else(|| Error::Protocol(format!("read run state {number}")))
}

pub(super) fn read_task_state(number: u8) -> Result<TaskState, Error> {
    TaskState::from_number(number).ok_or_else(|| Error::Protocol(format!("read task state {number}")))
}

pub(super) fn read_result(number: u8) -> Result<AttemptResult, Error> {
    Ok(match number {
        1 => AttemptResult::Succeeded,
        2 => AttemptResult::Skipped,
        3 => AttemptResult::Resumed,
        4 => AttemptResult::Failed,
        5 => AttemptResult::Dead,
        6 => AttemptResult::Cancelled,
        7 => AttemptResult::Redriven,
        other => return Err(Error::Protocol(format!("read attempt result {other}"))),
    })
}

/// Reads a receipt from `receipt, status, content_type, body`, the first of which is at `at`.
pub(super) fn read_receipt(row: &SqliteRow, at: usize) -> Result<Receipt, Error> {
    Ok(Receipt {
        id: row.try_get(at)?,
        status: row.try_get(at + 1)?,
        content_type: row.try_get(at + 2)?,
        body: read_bytes(row, at + 3)?,
        replayed: true,
    })
}

/// Times as they stand in `activity.times`.
pub(super) fn write_times(times: &[i64]) -> Vec<u8> {
    times.iter().flat_map(|time| time.to_le_bytes()).collect()
}

pub(super) fn read_times(blob: &[u8]) -> Vec<i64> {
    blob.as_chunks().0.iter().map(|time| i64::from_le_bytes(*time)).collect()
}

/// A list of numbers as one argument, for `IN (SELECT value FROM json_each(?))`.
pub(super) fn number_list(numbers: &[i64]) -> String {
    serde_json::to_string(numbers).expect("numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        let check = |content_type: Option<&str>, extensions: &[(&str, &str)]| {
            let mut event = Event::new("s", "t", "1", Time(0));
            event.content_type = content_type.map(Into::into);
            event.extensions = extensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let mut read = Event::new("s", "t", "1", Time(0));
            if let Some(head) = write_head(&event) {
                assert_eq!(read_head(&mut read, &head), Some(()));
            }
            assert_eq!((read.content_type, read.extensions), (event.content_type, event.extensions));
        };
        check(None, &[]);
        check(Some(""), &[]);
        check(Some("text/plain"), &[]);
        check(None, &[("traceparent", "00-ä"), ("empty", "")]);
        check(Some("a/b"), &[("x", "1"), ("y", "2")]);
    }

    #[test]
    fn cut_heads_are_refused() {
        let mut event = Event::new("s", "t", "1", Time(0));
        event.content_type = Some("text/plain".into());
        event.extensions = vec![("name".into(), "value".into())];
        let head = write_head(&event).unwrap();
        let whole = head.len();
        for n in (0..whole).filter(|n| ![whole - 17].contains(n)) {
            let mut read = Event::new("s", "t", "1", Time(0));
            assert_eq!(read_head(&mut read, &head[..n]), None, "{n} of {whole}");
        }
    }
}
