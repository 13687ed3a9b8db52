//! Bodies as HTML forms.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use url::form_urlencoded;

/// The content type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Writes a JSON object as a form. Numbers stay as they are written, however long; a field that is `null` is empty; a
/// list repeats its field.
pub(super) fn form(body: &[u8]) -> Result<Bytes, String> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|_| "a form is made of a JSON object".to_owned())?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        if !value.get().starts_with('[') {
            form.append_pair(&name, &scalar(&name, value)?);
            continue;
        }
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| unreadable(&name))?;
        for item in items {
            form.append_pair(&name, &scalar(&name, item)?);
        }
    }
    Ok(form.finish().into())
}

fn scalar(name: &str, value: &RawValue) -> Result<String, String> {
    match value.get().as_bytes() {
        [b'"', ..] => serde_json::from_str(value.get()).map_err(|_| unreadable(name)),
        [b'{' | b'[', ..] => Err(format!("form field `{name}` holds more than texts, numbers and booleans")),
        b"null" => Ok(String::new()),
        _ => Ok(value.get().into()),
    }
}

fn unreadable(name: &str) -> String {
    format!("form field `{name}` cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<&str, &str>) {
        let got = form(body.as_bytes());
        assert_eq!(got.as_deref().map_err(String::as_str), expected.map(str::as_bytes));
    }

    #[test]
    fn forms_keep_every_digit() {
        check(r#"{"a": 9007199254740993, "b": 1.10, "c": true, "d": null}"#, Ok("a=9007199254740993&b=1.10&c=true&d="));
        check(r#"{"a": 123456789012345678901234567890}"#, Ok("a=123456789012345678901234567890"));
        check(r#"{"a b": "x&y=z \u00e9", "l": [1, "2"], "e": []}"#, Ok("a+b=x%26y%3Dz+%C3%A9&l=1&l=2"));
        check("{}", Ok(""));
        check(r#"{"a": {}}"#, Err("form field `a` holds more than texts, numbers and booleans"));
        check(r#"{"a": [[1]]}"#, Err("form field `a` holds more than texts, numbers and booleans"));
        check("[1]", Err("a form is made of a JSON object"));
        check("", Err("a form is made of a JSON object"));
    }
}
