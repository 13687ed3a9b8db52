//! Reading an event and the context of a call.

use serde::Deserialize;
use serde_json::Value;

use crate::call::read_json;
use crate::{Context, Event, Failure};

impl Event {
    /// The payload, read as JSON into `T`; `rejected` when it does not fit, with the field's name.
    ///
    /// ```
    /// # use trapjaw_sdk::{Event, Failure};
    /// #[derive(serde::Deserialize)]
    /// struct Push<'a> {
    ///     #[serde(rename = "ref")]
    ///     branch: &'a str,
    /// }
    ///
    /// fn branch(event: &Event) -> Result<&str, Failure> {
    ///     Ok(event.data::<Push<'_>>()?.branch)
    /// }
    /// ```
    pub fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        read_json("read event data", &self.data)
    }

    /// The payload as any JSON.
    pub fn json(&self) -> Result<Value, Failure> {
        self.data()
    }

    /// The payload as text; `rejected` when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.data).map_err(|err| Failure::rejected(format!("read event data as text: {err}")))
    }

    /// The extension attribute of this name.
    pub fn extension(&self, name: &str) -> Option<&str> {
        find(&self.extensions, name)
    }
}

impl Context {
    /// What the trigger gathered, read into `T`.
    pub fn facts<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        read_json("read facts", self.facts.as_bytes())
    }

    /// The extension of this name, such as `traceparent`.
    pub fn extension(&self, name: &str) -> Option<&str> {
        find(&self.extensions, name)
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = pairs.iter().find(|(key, _)| key == name)?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event {
            id: "1".to_owned(),
            source: "test".to_owned(),
            type_: "test".to_owned(),
            subject: None,
            time_us: 0,
            content_type: None,
            data: data.as_bytes().to_vec(),
            extensions: vec![("traceparent".to_owned(), "00-1".to_owned())],
        }
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Order {
        total: u32,
    }

    fn check(data: &str, expected: Result<Order, &str>) {
        let order = event(data).data::<Order>().map_err(|failure| failure.message);
        assert_eq!(order, expected.map_err(str::to_owned));
    }

    #[test]
    fn data_is_read_or_names_what_is_wrong() {
        check(r#"{"total": 3, "more": 1}"#, Ok(Order { total: 3 }));
        check("{}", Err("read event data: missing field `total` at line 1 column 2"));
        check(
            r#"{"total": "3"}"#,
            Err("read event data: total: invalid type: string \"3\", expected u32 at line 1 column 13"),
        );
        check("{", Err("read event data: EOF while parsing an object at line 1 column 1"));
    }

    #[test]
    fn extensions_are_found_by_name() {
        assert_eq!(event("").extension("traceparent"), Some("00-1"));
        assert_eq!(event("").extension("other"), None);
    }
}
