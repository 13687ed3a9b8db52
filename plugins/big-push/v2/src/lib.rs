//! The next version of `big-push`: it counts people too, and a deleted branch is never a big push.
//!
//! A config of version 1 means the same here.

use std::collections::BTreeSet;

use serde::Deserialize;
use trapjaw_sdk::{Event, Failure, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    min_commits: u32,
    /// A branch such as `main`, or a whole ref such as `refs/tags/v1`; any when absent.
    branch: Option<String>,
    /// How many different committers there must be.
    #[serde(default)]
    min_people: u32,
}

/// What is needed of GitHub's `push` payload.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: String,
    #[serde(default)]
    deleted: bool,
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    committer: Option<Committer>,
}

#[derive(Deserialize)]
struct Committer {
    email: Option<String>,
}

#[trapjaw_sdk::condition]
fn check(event: &Event, config: Config) -> Result<Verdict, Failure> {
    let push: Push = event.data()?;
    if push.deleted {
        return Ok(Verdict::no(format!("{} was deleted", push.git_ref)));
    }
    if let Some(wanted) = config.branch.map(full_ref)
        && wanted != push.git_ref
    {
        return Ok(Verdict::no(format!("push to {}, {wanted} wanted", push.git_ref)));
    }
    let n_commits = push.commits.len();
    let n_people = n_people(&push.commits);
    let reason = format!(
        "{n_commits} commits by {n_people} people on {}, {} by {} wanted",
        push.git_ref, config.min_commits, config.min_people
    );
    let matched = n_commits >= config.min_commits as usize && n_people >= config.min_people as usize;
    Ok(Verdict::new(matched, reason))
}

/// Commits without an address count as nobody's.
fn n_people(commits: &[Commit]) -> usize {
    let emails: BTreeSet<&str> =
        commits.iter().filter_map(|commit| commit.committer.as_ref()?.email.as_deref()).collect();
    emails.len()
}

fn full_ref(branch: String) -> String {
    if branch.starts_with("refs/") { branch } else { format!("refs/heads/{branch}") }
}
