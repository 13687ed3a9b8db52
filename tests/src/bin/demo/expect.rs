//! What has to arrive where, worked out without the daemon: the conditions of `trapjaw.yaml` once more, in plain Rust.

use serde_json::Value;

/// The paths of the receiver, each fed by one connection.
pub(crate) const PATHS: [&str; 6] = ["/archive", "/tracker", "/reviews", "/pushes", "/chat", "/audit"];
/// Where the action announces. Its text tells which version wrote it, so that an attempt which the kill interrupted
/// may be made again with another text, and that is another message.
pub(crate) const CHAT: usize = 4;

/// A set of paths, one bit each.
pub(crate) type Places = u8;

const COMMENTS: [&str; 4] = ["commit_comment", "discussion_comment", "issue_comment", "pull_request_review_comment"];

/// Where an event has to arrive.
pub(crate) fn expected(kind: &str, data: &Value) -> Places {
    let action = data["action"].as_str().unwrap_or_default();
    let pull_request = &data["pull_request"];
    let is_comment = COMMENTS.contains(&kind) && action == "created";
    let announced = kind == "push" || is_comment;
    let arrives = [
        true,
        kind == "issues" && action == "opened",
        kind == "pull_request" && pull_request["draft"] == false && pull_request["state"] == "open",
        // Both versions of the condition agree on this: a deleted branch has no commits.
        kind == "push" && data["commits"].as_array().is_some_and(|commits| !commits.is_empty()),
        announced,
        announced,
    ];
    arrives.iter().enumerate().fold(0, |places, (at, arrives)| places | Places::from(*arrives) << at)
}

/// How many triggers match, given where the event arrives: the two sends of the action are one match.
pub(crate) fn n_matches(places: Places) -> u32 {
    (places & !(1 << CHAT)).count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_follow_the_definitions() {
        let check = |kind: &str, data: Value, paths: &[&str]| {
            let places = expected(kind, &data);
            let found: Vec<&str> = (0..PATHS.len()).filter(|at| places & 1 << at != 0).map(|at| PATHS[at]).collect();
            assert_eq!(found, paths, "{kind} {data}");
        };
        check("star", json!({"action": "created"}), &["/archive"]);
        check("issues", json!({"action": "opened"}), &["/archive", "/tracker"]);
        check("issues", json!({"action": "closed"}), &["/archive"]);
        check("pull_request", json!({"pull_request": {"draft": false, "state": "open"}}), &["/archive", "/reviews"]);
        check("pull_request", json!({"pull_request": {"draft": true, "state": "open"}}), &["/archive"]);
        check("push", json!({"commits": [{}]}), &["/archive", "/pushes", "/chat", "/audit"]);
        check("push", json!({"commits": []}), &["/archive", "/chat", "/audit"]);
        check("issue_comment", json!({"action": "created"}), &["/archive", "/chat", "/audit"]);
        check("issue_comment", json!({"action": "deleted"}), &["/archive"]);
        assert_eq!(n_matches(expected("push", &json!({"commits": [{}]}))), 3);
    }
}
