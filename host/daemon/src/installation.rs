//! What users configured, as of one revision: the catalog's objects, read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use trapjaw_engine::definition::{Connection, PluginStanding, Trigger};
use trapjaw_engine::ports::{Object, ObjectChange, Snapshot};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::secret::Secret;
use trapjaw_engine::time::Time;

use crate::pass::Token;
use crate::vault::Vault;

/// The most objects. Every change is checked against all of them, and a plan holds them in memory.
const OBJECTS_MAX: usize = 20_000;

/// A kind of object in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A connection. Its body is sealed: it may hold credentials.
    Connection,
    /// A plugin's standing.
    Plugin,
    /// A secret, sealed.
    Secret,
    /// A token's hash.
    Token,
    /// A trigger.
    Trigger,
}

impl Kind {
    /// Every kind.
    const ALL: [Self; 5] = [Self::Connection, Self::Plugin, Self::Secret, Self::Token, Self::Trigger];

    /// The catalog's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Plugin => "plugin",
            Self::Secret => "secret",
            Self::Token => "token",
            Self::Trigger => "trigger",
        }
    }

    /// The section of a configuration document, which is also where paths begin.
    pub(crate) const fn section(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Plugin => "plugins",
            Self::Secret => "secrets",
            Self::Token => "tokens",
            Self::Trigger => "triggers",
        }
    }
}

/// An object as it stands.
#[derive(Clone)]
pub(crate) struct Standing<T> {
    /// Its version.
    pub(crate) version: i64,
    /// Who made the version.
    pub(crate) actor: Arc<str>,
    /// When.
    pub(crate) at: Time,
    /// What it says.
    pub(crate) body: T,
}

/// What users configured, as of one revision.
#[derive(Default)]
pub(crate) struct Installation {
    /// The revision.
    pub(crate) revision: i64,
    /// The triggers.
    pub(crate) triggers: BTreeMap<Arc<str>, Standing<Trigger>>,
    /// The connections as they were written, with their placeholders.
    pub(crate) connections: BTreeMap<Arc<str>, Standing<Map<String, Value>>>,
    /// The plugins' standings.
    pub(crate) plugins: BTreeMap<Arc<str>, Standing<PluginStanding>>,
    /// The secrets.
    pub(crate) secrets: BTreeMap<Arc<str>, Standing<Secret>>,
    /// The tokens.
    pub(crate) tokens: BTreeMap<Arc<str>, Standing<Arc<Token>>>,
    /// The tokens' names by their ids.
    pub(crate) token_names: HashMap<String, Arc<str>>,
    objects: BTreeMap<(Kind, Arc<str>), Object>,
}

/// What a new version of an object says.
#[derive(Clone)]
pub(crate) enum Body {
    /// A trigger.
    Trigger(Box<Trigger>),
    /// A connection.
    Connection(Map<String, Value>),
    /// A plugin's standing.
    Plugin(PluginStanding),
    /// A secret's value.
    Secret(Secret),
    /// A token.
    Token(Token),
    /// Nothing: the object is removed.
    Removed(Kind),
}

/// The last versions that objects had before they were removed. One that comes again goes on counting from there.
pub(crate) type Past = BTreeMap<(Kind, Arc<str>), i64>;

/// A change of one object.
#[derive(Clone)]
pub(crate) struct Draft {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What it is to say.
    pub(crate) body: Body,
}

/// An object whose version differs between two installations.
pub(crate) struct Difference {
    /// The kind.
    pub(crate) kind: Kind,
    /// The name.
    pub(crate) name: Arc<str>,
    /// The version in the one; none when it is not there.
    pub(crate) old: Option<i64>,
    /// The version in the other.
    pub(crate) new: Option<i64>,
}

impl Body {
    /// The kind of object that says this.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Trigger(_) => Kind::Trigger,
            Self::Connection(_) => Kind::Connection,
            Self::Plugin(_) => Kind::Plugin,
            Self::Secret(_) => Kind::Secret,
            Self::Token(_) => Kind::Token,
            Self::Removed(kind) => *kind,
        }
    }
}

impl Installation {
    /// Reads the catalog's objects.
    pub(crate) fn read(snapshot: Snapshot, vault: &Vault) -> Result<Self, Vec<Problem>> {
        let mut installation = Self { revision: snapshot.revision, ..Self::default() };
        let mut problems = Vec::new();
        for object in snapshot.objects {
            // A kind that we do not know was written by a later version; it stays where it is.
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == &*object.kind) else { continue };
            if let Err(message) = installation.take(kind, &object, vault) {
                problems.push(Problem::at(format!("{}.{}", kind.section(), object.name), message));
            }
            installation.objects.insert((kind, object.name.clone()), object);
        }
        if problems.is_empty() { Ok(installation) } else { Err(problems) }
    }

    /// The installation as it is once the catalog has taken these changes, and the changes as it takes them. What
    /// would change nothing is left out.
    pub(crate) fn with(
        &self,
        drafts: Vec<Draft>,
        (actor, now): (&Arc<str>, Time),
        past: &Past,
        vault: &Vault,
    ) -> Result<(Self, Vec<ObjectChange>), Vec<Problem>> {
        let mut objects = self.objects.clone();
        let mut changes = Vec::new();
        for draft in drafts.into_iter().filter(|draft| !self.says(draft)) {
            let kind = draft.body.kind();
            let key = (kind, draft.name.clone());
            let version = self.version(kind, &draft.name);
            let body = encode(&draft, vault).map_err(|problem| vec![problem])?;
            changes.push(ObjectChange {
                kind: kind.word().into(),
                name: draft.name.clone(),
                body: body.clone(),
                expected: Some(version),
            });
            match body {
                None => drop(objects.remove(&key)),
                Some(body) => {
                    let (kind, name) = (kind.word().into(), draft.name);
                    let (version, revision) = (past.get(&key).map_or(version, |last| *last) + 1, self.revision + 1);
                    objects.insert(
                        key,
                        Object { kind, name, version, revision, body, actor: actor.clone(), at: now, removed: false },
                    );
                }
            }
        }
        if objects.len() > OBJECTS_MAX.max(self.objects.len()) {
            return Err(vec![Problem::at("", format!("there would be more than {OBJECTS_MAX} objects"))]);
        }
        let snapshot = Snapshot { revision: self.revision + 1, objects: objects.into_values().collect() };
        Ok((Self::read(snapshot, vault)?, changes))
    }

    /// The version that an object has; 0 when there is none.
    pub(crate) fn version(&self, kind: Kind, name: &str) -> i64 {
        self.objects.get(&(kind, Arc::from(name))).map_or(0, |object| object.version)
    }

    /// What is different in another.
    pub(crate) fn changes_to(&self, other: &Self) -> Vec<Difference> {
        let mut keys: Vec<&(Kind, Arc<str>)> = self.objects.keys().chain(other.objects.keys()).collect();
        keys.sort();
        keys.dedup();
        let version = |installation: &Self, key| installation.objects.get(key).map(|object| object.version);
        keys.into_iter()
            .map(|key| Difference {
                kind: key.0,
                name: key.1.clone(),
                old: version(self, key),
                new: version(other, key),
            })
            .filter(|difference| difference.old != difference.new)
            .collect()
    }

    /// Whether the object says this already.
    fn says(&self, draft: &Draft) -> bool {
        let name = &draft.name;
        match &draft.body {
            Body::Trigger(body) => self.triggers.get(name).is_some_and(|old| old.body == **body),
            Body::Connection(body) => self.connections.get(name).is_some_and(|old| old.body == *body),
            Body::Plugin(body) => self.plugins.get(name).is_some_and(|old| old.body == *body),
            Body::Secret(body) => self.secrets.get(name).is_some_and(|old| old.body.reveal() == body.reveal()),
            Body::Token(body) => self.tokens.get(name).is_some_and(|old| *old.body == *body),
            Body::Removed(kind) => self.version(*kind, name) == 0,
        }
    }

    fn take(&mut self, kind: Kind, object: &Object, vault: &Vault) -> Result<(), String> {
        let name = object.name.clone();
        let place = place(kind, &name);
        match kind {
            Kind::Trigger => drop(self.triggers.insert(name, stand(object, read_json(&object.body)?))),
            Kind::Plugin => drop(self.plugins.insert(name, stand(object, read_json(&object.body)?))),
            Kind::Connection => {
                let body = vault.open_sealed(&place, &object.body).map_err(|err| err.to_string())?;
                self.connections.insert(name, stand(object, read_json(&body)?));
            }
            Kind::Secret => {
                let value = vault.open_sealed(&place, &object.body).map_err(|err| err.to_string())?;
                let value = String::from_utf8(value).map_err(|err| err.to_string())?;
                self.secrets.insert(name, stand(object, Secret::new(value)));
            }
            Kind::Token => {
                let token: Token = read_json(&object.body)?;
                self.token_names.insert(token.id.clone(), name.clone());
                self.tokens.insert(name, stand(object, Arc::new(token)));
            }
        }
        Ok(())
    }
}

/// A connection as it was written, read; the map has been checked when it was saved.
pub(crate) fn read_connection(map: &Map<String, Value>) -> Result<Connection, String> {
    Connection::read(map.clone())
}

/// What a trigger says, from a stored version of it.
pub(crate) fn read_trigger(object: &Object) -> Option<Trigger> {
    serde_json::from_slice(&object.body).ok()
}

fn stand<T>(object: &Object, body: T) -> Standing<T> {
    Standing { version: object.version, actor: object.actor.clone(), at: object.at, body }
}

fn place(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.word())
}

fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|err| err.to_string())
}

fn encode(draft: &Draft, vault: &Vault) -> Result<Option<Bytes>, Problem> {
    let place = place(draft.body.kind(), &draft.name);
    let body = match &draft.body {
        Body::Trigger(body) => serde_json::to_vec(body),
        Body::Connection(body) => serde_json::to_vec(body).map(|body| vault.seal(&place, &body)),
        Body::Plugin(body) => serde_json::to_vec(body),
        Body::Secret(body) => Ok(vault.seal(&place, body.reveal().as_bytes())),
        Body::Token(body) => serde_json::to_vec(body),
        Body::Removed(_) => return Ok(None),
    };
    let at = || format!("{}.{}", draft.body.kind().section(), draft.name);
    let body = body.map_err(|err| Problem::at(at(), err.to_string()))?;
    if body.len() > trapjaw_engine::limits::DEFINITION_BYTES_MAX {
        let max = trapjaw_engine::limits::DEFINITION_BYTES_MAX;
        return Err(Problem::at(at(), format!("{} bytes are more than {max}", body.len())));
    }
    Ok(Some(body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bound_on_objects() {
        let check = |n_objects: usize, expected: bool| {
            let plugin = |n| Draft { name: format!("p{n}").into(), body: Body::Plugin(PluginStanding::default()) };
            let drafts = (0..n_objects).map(plugin).collect();
            let (by, vault) = ("test".into(), Vault::new(&[0; 32]));
            let next = Installation::default().with(drafts, (&by, Time(0)), &Past::new(), &vault);
            assert_eq!(next.is_ok(), expected, "{n_objects}");
        };
        check(OBJECTS_MAX, true);
        check(OBJECTS_MAX + 1, false);
    }
}
