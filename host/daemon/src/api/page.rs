//! Pages of listings: `?limit=&cursor=` in, `{"items": […], "next": …}` out.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trapjaw_engine::limits::PAGE_ROWS_MAX;
use trapjaw_engine::ports::{Page, Rows};
use utoipa::ToSchema;

use super::error::ApiError;

/// The rows of a page unless the caller says otherwise.
const ROWS: u32 = 50;

/// A page of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// The cursor of the next page; null on the last.
    pub(crate) next: Option<String>,
}

impl<T> Items<T> {
    /// A listing that is never longer than a page.
    pub(crate) fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// A page of rows, full when the listing goes on: the cursor is that of its last row.
    pub(crate) fn page<R>(
        rows: Vec<R>,
        limit: u32,
        cursor: impl Fn(&R) -> String,
        view: impl FnMut(R) -> Option<T>,
    ) -> Self {
        let is_full = rows.len() >= limit as usize;
        let next = rows.last().filter(|_| is_full).map(cursor);
        Self { items: rows.into_iter().filter_map(view).collect(), next }
    }

    /// A page as the store gives it: the cursor is that of its last row.
    pub(crate) fn rows<R>(page: Rows<R>, cursor: impl Fn(&R) -> String, view: impl FnMut(R) -> Option<T>) -> Self {
        let next = page.rows.last().filter(|_| !page.is_all).map(cursor);
        Self { items: page.rows.into_iter().filter_map(view).collect(), next }
    }

    /// A page of what is in memory, in order of name.
    pub(crate) fn of_names<'a, V: 'a>(
        entries: impl Iterator<Item = (&'a std::sync::Arc<str>, &'a V)>,
        limit: u32,
        cursor: Option<&str>,
        view: impl Fn(&'a std::sync::Arc<str>, &'a V) -> T,
    ) -> Self {
        let rows = entries.filter(|(name, _)| cursor.is_none_or(|cursor| &***name > cursor));
        let rows: Vec<_> = rows.take(limit as usize).collect();
        Self::page(rows, limit, |(name, _)| name.to_string(), |(name, value)| Some(view(name, value)))
    }
}

/// Checks a limit: from 1 to the most rows of a page.
pub(crate) fn read_limit(limit: Option<u32>) -> Result<u32, ApiError> {
    match limit.unwrap_or(ROWS) {
        limit @ 1..=PAGE_ROWS_MAX => Ok(limit),
        _ => Err(ApiError::bad_at("limit", format!("1 to {PAGE_ROWS_MAX} is expected"))),
    }
}

/// The page that a limit and a cursor, which is the last row's id, stand for.
pub(crate) fn read_page<I: FromStr>(
    limit: Option<u32>,
    cursor: Option<&str>,
    seq: impl Fn(I) -> i64,
) -> Result<Page, ApiError> {
    let bad = || ApiError::bad_at("cursor", "it is not a cursor of this listing");
    let before = cursor.map(|cursor| cursor.parse::<I>().map(&seq).map_err(|_| bad())).transpose()?;
    Ok(Page { before, rows_max: read_limit(limit)? })
}

/// Reads an id of a path or a query.
pub(crate) fn read_id<I: FromStr>(path: &str, text: &str) -> Result<I, ApiError>
where
    I::Err: Display,
{
    text.parse().map_err(|err: I::Err| ApiError::bad_at(path, err.to_string()))
}

/// Reads the query of a call, and says which part of it is wrong.
pub(crate) fn read_query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    let pairs: axum::extract::Query<T> = axum::extract::Query::try_from_uri(
        &format!("/?{}", query.unwrap_or_default())
            .parse()
            .map_err(|_| ApiError::bad_at("", "the query cannot be read"))?,
    )
    .map_err(|err| {
        let message = err.body_text();
        let message = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(&message);
        let (path, message) = match message.split_once(": ") {
            Some((path, rest)) if !path.contains(' ') => (path, rest),
            _ => (message.split('`').nth(1).unwrap_or_default(), message),
        };
        ApiError::bad_at(path, message)
    })?;
    Ok(pairs.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trapjaw_engine::id::EventId;

    #[test]
    fn pages_end() {
        let page = |n: u32| Items::page((0..n).collect(), 3, ToString::to_string, Some);
        assert_eq!(page(2).next, None);
        assert_eq!(page(3).next.as_deref(), Some("2"));
        assert_eq!(page(0).next, None);
    }

    #[test]
    fn pages_that_were_cut_go_on() {
        let page = |is_all| Items::rows(Rows { rows: vec![1, 2], is_all }, ToString::to_string, Some);
        assert_eq!(page(true).next, None);
        assert_eq!(page(false).next.as_deref(), Some("2"));
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        let read = |limit, cursor| read_page::<EventId>(limit, cursor, EventId::seq);
        assert_eq!(read(None, None).unwrap(), Page { before: None, rows_max: ROWS });
        let cursor = EventId::of(7).to_string();
        assert_eq!(read(Some(1), Some(&cursor)).unwrap().before, Some(7));
        for (limit, cursor, path) in
            [(Some(0), None, "limit"), (Some(1_001), None, "limit"), (None, Some("x"), "cursor")]
        {
            assert_eq!(read(limit, cursor).unwrap_err().errors()[0].path, path);
        }
    }

    #[test]
    fn queries_name_what_is_wrong() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Query {
            #[expect(dead_code, reason = "only its reading is tested")]
            limit: Option<u32>,
        }
        assert!(read_query::<Query>(None).is_ok());
        assert!(read_query::<Query>(Some("limit=1")).is_ok());
        for (query, path) in [("limit=x", "limit"), ("nope=1", "nope")] {
            let error = read_query::<Query>(Some(query)).unwrap_err();
            assert_eq!(error.errors()[0].path, path, "{query}");
        }
    }
}
