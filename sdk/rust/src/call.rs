//! From the host's call to the author's function and back.

use serde::Deserialize;

use crate::{Failure, IntoOutcome, IntoVerdict, Outcome, Verdict};

/// Reads the config of a call; `rejected`, naming the field, when it does not fit.
pub fn read_config<'a, T: Deserialize<'a>>(config: &'a str) -> Result<T, Failure> {
    // A trigger that gives no config sends an empty text or `{}`; both read as an object without fields.
    let config = if config.trim().is_empty() { "{}" } else { config };
    read_json("read config", config.as_bytes())
}

/// What the author's condition returned, as the host gets it.
pub fn judge(returned: impl IntoVerdict) -> Result<Verdict, Failure> {
    returned.into_verdict()
}

/// What the author's action returned, as the host gets it.
pub fn act(returned: impl IntoOutcome) -> Result<Outcome, Failure> {
    returned.into_outcome()
}

/// Reads all of `bytes` as JSON into `T`; what is wrong is told with the path of the field.
pub(crate) fn read_json<'a, T: Deserialize<'a>>(doing: &str, bytes: &'a [u8]) -> Result<T, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|err| {
        let path = err.path().to_string();
        let err = err.into_inner();
        match path.as_str() {
            // The path of the whole text, and one that is not known, say nothing.
            "." | "?" => Failure::rejected(format!("{doing}: {err}")),
            _ => Failure::rejected(format!("{doing}: {path}: {err}")),
        }
    })?;
    deserializer.end().map_err(|err| Failure::rejected(format!("{doing}: {err}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureKind, Value, json};

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Config {
        wanted: u32,
        #[serde(default)]
        deep: Vec<Deep>,
    }

    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Deep {
        on: bool,
    }

    fn check_rejected(config: &str, expected: &str) {
        let failure = read_config::<Config>(config).expect_err("the config is wrong");
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert!(failure.message.starts_with(expected), "{}", failure.message);
    }

    #[test]
    fn a_wrong_config_names_its_field() {
        check_rejected("", "read config: missing field `wanted`");
        check_rejected("{}", "read config: missing field `wanted`");
        check_rejected(r#"{"wanted": "x"}"#, "read config: wanted: invalid type: string \"x\", expected u32");
        check_rejected(r#"{"wanted": -1}"#, "read config: wanted: invalid value: integer `-1`");
        check_rejected(r#"{"wanted": 1, "x": 2}"#, "read config: x: unknown field `x`");
        check_rejected(
            r#"{"wanted": 1, "deep": [{"on": true}, {"on": 3}]}"#,
            "read config: deep[1].on: invalid type: integer `3`",
        );
        check_rejected(r#"{"wanted": 1} {}"#, "read config: trailing characters");
        check_rejected("[", "read config: ");
    }

    #[test]
    fn a_config_without_required_fields_may_be_empty() {
        assert_eq!(read_config::<Value>(""), Ok(json!({})));
    }

    fn check_verdict(returned: impl IntoVerdict, expected: Result<(bool, Option<&str>), &str>) {
        let verdict = judge(returned);
        let shown = match &verdict {
            Ok(verdict) => Ok((verdict.matched, verdict.reason.as_deref())),
            Err(failure) => Err(failure.message.as_str()),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_condition_may_return_what_is_handy() {
        check_verdict(true, Ok((true, None)));
        check_verdict(Verdict::no("why"), Ok((false, Some("why"))));
        check_verdict(Ok::<_, Failure>(false), Ok((false, None)));
        check_verdict(Ok::<_, Failure>(Verdict::yes("so")), Ok((true, Some("so"))));
        check_verdict(Err::<bool, _>(Failure::permanent("no")), Err("no"));
    }

    fn check_outcome(returned: impl IntoOutcome, expected: &str) {
        let shown = match act(returned) {
            Ok(Outcome::Done(output)) => format!("done {output}"),
            Ok(Outcome::Skipped(reason)) => format!("skipped {reason}"),
            Ok(Outcome::ResumeAt(time_us)) => format!("resume {time_us}"),
            Err(failure) => format!("failed {}", failure.message),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_action_may_return_what_is_handy() {
        check_outcome((), "done ");
        check_outcome(json!({"a": 1}), r#"done {"a":1}"#);
        check_outcome(Outcome::done("x"), "done \"x\"");
        check_outcome(Outcome::done_with(&[1, 2]), "done [1,2]");
        check_outcome(Outcome::skipped("no need"), "skipped no need");
        check_outcome(Ok::<_, Failure>(Outcome::resume_at(7)), "resume 7");
        check_outcome(Err::<(), _>(Failure::rejected("bad")), "failed bad");
    }
}
