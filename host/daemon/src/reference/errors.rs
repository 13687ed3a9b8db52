//! `docs/reference/errors.md`: how the API refuses, and how the commands end.

use std::fs;
use std::path::Path;

use axum::http::StatusCode;

use super::comments::Source;
use super::page::{Page, code};
use crate::cli::{EXIT_REFUSED, EXIT_USAGE};

const ABOUT: &str = "How the API says that it did not do as asked, and how the commands of `trapjaw` end.";

/// A status that the API answers with when it does not do as asked.
struct Status {
    status: StatusCode,
    meaning: &'static str,
    /// What the caller may do about it.
    then: &'static str,
}

const STATUSES: &[Status] = &[
    Status {
        status: StatusCode::BAD_REQUEST,
        meaning: "The body, a parameter or a header cannot be read, or an event lacks what every event has; \
             `errors` says where. Nothing was stored.",
        then: "Mend it.",
    },
    Status {
        status: StatusCode::UNAUTHORIZED,
        meaning: "There is no token, or it is not known or no longer good.",
        then: "Send `Authorization: Bearer …` with a good one.",
    },
    Status {
        status: StatusCode::FORBIDDEN,
        meaning: "The token's scopes, names or sources do not take this in.",
        then: "Ask with another token.",
    },
    Status {
        status: StatusCode::NOT_FOUND,
        meaning: "There is no such thing, or no such path.",
        then: "Look at the name.",
    },
    Status {
        status: StatusCode::METHOD_NOT_ALLOWED,
        meaning: "The path does not take the method.",
        then: "See [openapi.json](../openapi.json).",
    },
    Status {
        status: StatusCode::REQUEST_TIMEOUT,
        meaning: "The body took longer than 60 s to arrive.",
        then: "Try again.",
    },
    Status {
        status: StatusCode::CONFLICT,
        meaning: "It cannot be done as things stand: the version of a plugin exists with other bytes, a name is \
             taken, a thing is still named by another, a run is over already, the configuration changed \
             meanwhile.",
        then: "Read `detail`; look again, then decide.",
    },
    Status {
        status: StatusCode::PRECONDITION_FAILED,
        meaning: "`If-Match` or `If-None-Match` does not hold: somebody else has changed it. `detail` names the \
             version that it is at.",
        then: "Read it again and make the change to what it is now.",
    },
    Status {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        meaning: "The body, or what it inflates to, is larger than the path takes; `detail` names the bound.",
        then: "Send less at a time.",
    },
    Status {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        meaning: "The path does not take bodies of this `content-type` or `content-encoding`.",
        then: "Send what `detail` names.",
    },
    Status {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        meaning: "It can be read, and is wrong: a definition that does not compile, a component that is not a \
             plugin. `errors` has everything that is wrong. Nothing was changed.",
        then: "Mend it.",
    },
    Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        meaning: "The host has as much open work as it can hold, or as many live streams or uploads; or too many \
             bad tokens came from this address.",
        then: "Try again after `Retry-After`.",
    },
    Status {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        meaning: "The host has a defect; its log says more.",
        then: "Report it.",
    },
    Status {
        status: StatusCode::SERVICE_UNAVAILABLE,
        meaning: "The host is stopping, or holds as many bytes of bodies as it may; or the store cannot be read or \
             written, or the sandbox cannot compile now.",
        then: "Try again after `Retry-After`, or after a restart. An event that was not answered with 202 may \
             be sent again under the same `source` and `id`.",
    },
    Status {
        status: StatusCode::INSUFFICIENT_STORAGE,
        meaning: "The disk has less room than events need to be taken; work that is open goes on.",
        then: "Free some.",
    },
];

#[test]
fn the_errors_are_as_they_were_reviewed() {
    super::review("reference/errors.md", &page());
}

fn page() -> String {
    let mut page = Page::new("Errors", ABOUT);
    page.section("Problems of the API");
    page.text("Every refusal has a body of the type `application/problem+json` (RFC 9457) with these fields:");
    fields("ProblemBody", ["type", "title", "status", "detail", "errors"], &mut page);
    page.text("An item of `errors`:");
    fields("ProblemItem", ["path", "message"], &mut page);
    page.section("Statuses");
    let row = |one: &Status| {
        let title = one.status.canonical_reason().unwrap_or_default();
        [one.status.as_u16().to_string(), title.to_owned(), one.meaning.to_owned(), one.then.to_owned()]
    };
    page.table(["Status", "`title`", "Meaning", "What to do"], &STATUSES.iter().map(row).collect::<Vec<_>>());
    exits(&mut page);
    page.finish()
}

fn fields<const N: usize>(name: &str, names: [&str; N], page: &mut Page) {
    let comments = Source::read("src/api/error.rs").of(name);
    let rows: Vec<[String; 2]> = names.iter().map(|name| [code(name), comments.get(name).to_owned()]).collect();
    page.table(["Field", "Meaning"], &rows);
}

fn exits(page: &mut Page) {
    page.section("Exit codes");
    let row = |exit: u8, meaning: &str| [exit.to_string(), meaning.to_owned()];
    page.text("Of `trapjaw serve`, `trapjaw dev` and `trapjaw bench`:");
    page.table(
        ["Code", "Meaning"],
        &[
            row(0, "It did its work; a daemon was told to stop by SIGTERM or SIGINT, and stopped in order."),
            row(
                1,
                "It could not begin or go on; the last line on standard error says why. A daemon whose store \
             fails ends so.",
            ),
            row(EXIT_USAGE, "The command line makes no sense."),
        ],
    );
    page.text("Of all other commands:");
    page.table(
        ["Code", "Meaning"],
        &[
            row(0, "It did its work, and all is well; or who reads its output has gone, as `head` does."),
            row(
                EXIT_REFUSED,
                "The daemon refused, or cannot be reached; or a check found what a person must look at: `status`, \
             `doctor`, `validate`, `connection test`.",
            ),
            row(EXIT_USAGE, "The command line makes no sense; another call is needed, not another try."),
        ],
    );
}

/// Every status that the code may refuse with is described, and no other.
#[test]
fn every_status_that_is_answered_is_described() {
    let mut used: Vec<String> = Vec::new();
    gather(Path::new("src/api"), &mut used);
    gather(Path::new("src/listener.rs"), &mut used);
    used.sort();
    used.dedup();
    let word = |status: StatusCode| status.canonical_reason().unwrap().to_uppercase().replace([' ', '-'], "_");
    let mut described: Vec<String> = STATUSES.iter().map(|one| word(one.status)).collect();
    described.sort();
    assert_eq!(used, described);
}

fn gather(path: &Path, used: &mut Vec<String>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| gather(&entry.unwrap().path(), used));
        return;
    }
    if path.file_name().is_some_and(|name| name == "tests.rs") {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    for rest in text.split("StatusCode::").skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
        let is_success = ["OK", "CREATED", "ACCEPTED", "NO_CONTENT"].contains(&name.as_str());
        if !name.is_empty() && !is_success {
            used.push(name);
        }
    }
}
