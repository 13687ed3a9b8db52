//! Tokens: who may do what, on which names and sources.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use trapjaw_engine::time::Time;
use utoipa::ToSchema;

use crate::clock::random;
use crate::text;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// Everything.
    Admin,
    /// Run the installation: connections, secrets, grants, dead letters, and all that an editor may.
    Operator,
    /// Write triggers and plugins.
    Editor,
    /// Look at everything but credentials.
    Viewer,
    /// Publish events.
    Ingest,
    /// Fire triggers by hand.
    Call,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Looks.
    Read,
    /// Publishes events.
    Ingest,
    /// Fires a trigger.
    Fire,
    /// Writes triggers and plugins.
    Define,
    /// Changes what runs, and what it may reach.
    Operate,
    /// Makes and removes tokens.
    Administer,
}

impl Scope {
    /// Whether the scope takes in the act.
    pub(crate) const fn allows(self, act: Act) -> bool {
        match self {
            Self::Admin => true,
            Self::Operator => !matches!(act, Act::Administer),
            Self::Editor => matches!(act, Act::Read | Act::Ingest | Act::Fire | Act::Define),
            Self::Viewer => matches!(act, Act::Read),
            Self::Ingest => matches!(act, Act::Ingest),
            Self::Call => matches!(act, Act::Fire),
        }
    }

    /// The word on the wire.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::Ingest => "ingest",
            Self::Call => "call",
        }
    }
}

/// A token as it is kept: its hash, never itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// The first part of the token, by which it is found.
    pub(crate) id: String,
    /// SHA-256 of the whole, in hex.
    pub(crate) hash: String,
    /// What it is for.
    pub(crate) scopes: Vec<Scope>,
    /// Names, and dotted prefixes of names, that it is limited to; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) prefixes: Vec<String>,
    /// The CloudEvents sources that it may write; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<String>,
    /// Until when it is good, in microseconds since 1970; for good when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<i64>,
}

const PREFIX: &str = "tj_";
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 24;

impl Token {
    /// A new token: its text, which is shown once, and what is kept.
    pub(crate) fn make(
        scopes: Vec<Scope>,
        prefixes: Vec<String>,
        sources: Vec<String>,
        expires: Option<Time>,
    ) -> (String, Self) {
        let id = text::hex(&random::<ID_LEN>());
        let shown = format!("{PREFIX}{id}{}", text::hex(&random::<SECRET_LEN>()));
        let token = Self { id, hash: hash(&shown), scopes, prefixes, sources, expires: expires.map(|time| time.0) };
        (shown, token)
    }

    /// The token that the operator gave in the environment: it may do everything, and is kept nowhere.
    pub(crate) fn of_operator(shown: &str) -> Self {
        Self {
            id: String::new(),
            hash: hash(shown),
            scopes: vec![Scope::Admin],
            prefixes: Vec::new(),
            sources: Vec::new(),
            expires: None,
        }
    }

    /// Whether the text is this token, and it is still good. The comparison takes the same time wherever they differ.
    pub(crate) fn admits(&self, shown: &str, now: Time) -> bool {
        let same: bool = self.hash.as_bytes().ct_eq(hash(shown).as_bytes()).into();
        same && self.expires.is_none_or(|expires| now.0 < expires)
    }

    /// Whether some scope takes in the act.
    pub(crate) fn allows(&self, act: Act) -> bool {
        self.scopes.iter().any(|scope| scope.allows(act))
    }

    /// Whether the name is one that the token is limited to: the prefix itself, or one that goes on after a dot.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let within = |prefix: &String| {
            name.strip_prefix(prefix.trim_end_matches('.')).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.prefixes.is_empty() || self.prefixes.iter().any(within)
    }

    /// Whether the token may write events of this source.
    pub(crate) fn may_write(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|allowed| allowed == source)
    }
}

/// The part of a token's text by which it is found; none when it is not of our making.
pub(crate) fn id_of(shown: &str) -> Option<&str> {
    shown.strip_prefix(PREFIX)?.get(..ID_LEN * 2)
}

fn hash(shown: &str) -> String {
    text::hex(&Sha256::digest(shown.as_bytes()))
}

/// A token that a person chose and that is shorter than this might be guessed; ours have 192 random bits.
pub(crate) const UNGUESSABLE_BYTES_MIN: usize = 20;
/// The most failures of one address in a window, before it has to wait.
pub(crate) const FAILURES_MAX: u32 = 100;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// The most addresses that are remembered; beyond it, all are forgotten, which costs a guesser nothing but time.
const ADDRESSES_MAX: usize = 10_000;

/// Counts failed calls by address, so that guessing and log floods have a bound.
#[derive(Default)]
pub(crate) struct Failures(Mutex<HashMap<IpAddr, (Time, u32)>>);

impl Failures {
    /// How long the address has to wait before a guess of its is looked at again; none when it need not.
    pub(crate) fn wait(&self, address: IpAddr, now: Time) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, n) = failures.get(&address)?;
        let passed = now.since(*since);
        (*n >= FAILURES_MAX && passed < WINDOW).then(|| WINDOW - passed)
    }

    /// Counts a failure.
    pub(crate) fn count(&self, address: IpAddr, now: Time) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&address) {
            failures.clear();
        }
        let entry = failures.entry(address).or_insert((now, 0));
        if now.since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(prefixes: &[&str], sources: &[&str]) -> Token {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Token::make(vec![Scope::Ingest], owned(prefixes), owned(sources), None).1
    }

    #[test]
    fn a_token_admits_itself_until_it_expires() {
        let (shown, token) = Token::make(vec![Scope::Viewer], Vec::new(), Vec::new(), Some(Time(10)));
        assert!(token.admits(&shown, Time(9)));
        assert!(!token.admits(&shown, Time(10)));
        assert!(!token.admits(&format!("{shown}0"), Time(9)));
        assert_eq!(id_of(&shown), Some(token.id.as_str()));
        assert!(!serde_json::to_string(&token).unwrap().contains(&shown), "only the hash is kept");
    }

    #[test]
    fn texts_that_are_no_tokens_have_no_id() {
        for text in ["", "tj_", "tj_abc", "xx_00112233445566778899", "tj_0011223ü445566"] {
            assert!(id_of(text).is_none_or(|id| id.len() == 16), "{text}");
        }
    }

    #[test]
    fn prefixes_end_at_dots() {
        let check =
            |name: &str, expected: bool| assert_eq!(token(&["shop", "pay."], &[]).covers(name), expected, "{name}");
        check("shop", true);
        check("shop.vip", true);
        check("shopping", false);
        check("pay.a", true);
        check("other", false);
        assert!(token(&[], &[]).covers("anything"));
    }

    #[test]
    fn sources_are_exact() {
        assert!(token(&[], &["shop"]).may_write("shop"));
        assert!(!token(&[], &["shop"]).may_write("shop.eu"));
        assert!(token(&[], &[]).may_write("anything"));
    }

    #[test]
    fn scopes_take_in_acts() {
        use Act::*;
        let all = [Read, Ingest, Fire, Define, Operate, Administer];
        let check = |scope: Scope, expected: &[Act]| {
            let allowed: Vec<Act> = all.into_iter().filter(|act| scope.allows(*act)).collect();
            assert_eq!(allowed, expected, "{scope:?}");
        };
        check(Scope::Admin, &all);
        check(Scope::Operator, &[Read, Ingest, Fire, Define, Operate]);
        check(Scope::Editor, &[Read, Ingest, Fire, Define]);
        check(Scope::Viewer, &[Read]);
        check(Scope::Ingest, &[Ingest]);
        check(Scope::Call, &[Fire]);
    }

    #[test]
    fn failures_are_bounded_by_address() {
        let failures = Failures::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..FAILURES_MAX {
            assert_eq!(failures.wait(address, Time(0)), None);
            failures.count(address, Time(0));
        }
        assert_eq!(failures.wait(address, Time(0)), Some(WINDOW));
        assert_eq!(failures.wait(IpAddr::from([127, 0, 0, 2]), Time(0)), None);
        assert_eq!(failures.wait(address, Time(0) + WINDOW), None);
    }
}
