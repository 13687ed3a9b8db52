//! Definitions and plugin versions: new versions, all of a change or none of it.

use std::collections::HashMap;

use sqlx::{Error, Row};
use trapjaw_engine::ports::{Conflict, PluginVersion};
use trapjaw_engine::record::{Configure, Reply};

use super::batch::Batch;

/// Where an object stands while a change is worked out.
#[derive(Clone, Copy)]
struct Standing {
    version: i64,
    is_removed: bool,
}

impl Standing {
    /// The version that people see: a removed object has none.
    fn seen(self) -> i64 {
        if self.is_removed { 0 } else { self.version }
    }
}

impl Batch<'_> {
    pub(super) async fn configure(&mut self, configure: &Configure) -> Result<Reply, Error> {
        let mut standings: HashMap<(&str, &str), Standing> = HashMap::new();
        let mut rows = Vec::new();
        for change in &configure.changes {
            let key = (&*change.kind, &*change.name);
            let standing = match standings.get(&key) {
                Some(standing) => *standing,
                None => self.standing(&change.kind, &change.name).await?,
            };
            if change.expected.is_some_and(|expected| expected != standing.seen()) {
                let (kind, name) = (change.kind.clone(), change.name.clone());
                return Ok(Reply::Refused(Conflict { kind, name, version: standing.seen() }));
            }
            let is_removed = change.body.is_none();
            // To remove what is not there changes nothing.
            if is_removed && standing.seen() == 0 {
                continue;
            }
            let next = Standing { version: standing.version + 1, is_removed };
            standings.insert(key, next);
            rows.push((change, next));
        }
        let mut revision = self.revision().await?;
        if rows.is_empty() {
            return Ok(Reply::Configured { revision });
        }
        revision += 1;
        for (change, next) in rows {
            let insert = "INSERT INTO object_version (kind, name, version, revision, at, removed, actor, body) \
                          VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let query = sqlx::query(insert).bind(&*change.kind).bind(&*change.name).bind(next.version).bind(revision);
            let query = query.bind(configure.now.0).bind(next.is_removed).bind(&*configure.actor);
            query.bind(change.body.as_deref().unwrap_or_default()).execute(&mut *self.conn).await?;
        }
        let update = "INSERT OR REPLACE INTO meta (key, value) VALUES ('revision', ?)";
        sqlx::query(update).bind(revision).execute(&mut *self.conn).await?;
        Ok(Reply::Configured { revision })
    }

    async fn standing(&mut self, kind: &str, name: &str) -> Result<Standing, Error> {
        let find =
            "SELECT version, removed FROM object_version WHERE kind = ? AND name = ? ORDER BY version DESC LIMIT 1";
        let row = sqlx::query(find).bind(kind).bind(name).fetch_optional(&mut *self.conn).await?;
        row.map_or(Ok(Standing { version: 0, is_removed: true }), |row| {
            Ok(Standing { version: row.try_get(0)?, is_removed: row.try_get(1)? })
        })
    }

    async fn revision(&mut self) -> Result<i64, Error> {
        let find = "SELECT value FROM meta WHERE key = 'revision'";
        let row = sqlx::query(find).fetch_optional(&mut *self.conn).await?;
        row.map_or(Ok(0), |row| row.try_get(0))
    }

    pub(super) async fn publish(&mut self, version: &PluginVersion) -> Result<Reply, Error> {
        let view = &version.view;
        let find = "SELECT digest FROM plugin_version WHERE plugin = ? AND version = ?";
        let query = sqlx::query(find).bind(&*view.plugin).bind(&*view.version);
        if let Some(row) = query.fetch_optional(&mut *self.conn).await? {
            let is_same = row.try_get::<&str, _>(0)? == &*view.digest;
            return Ok(if is_same { Reply::Done } else { Reply::VersionTaken });
        }
        let insert = "INSERT OR IGNORE INTO component (digest, bytes) VALUES (?, ?)";
        sqlx::query(insert).bind(&*view.digest).bind(&version.bytes[..]).execute(&mut *self.conn).await?;
        let insert = "INSERT INTO plugin_version (plugin, version, digest, size, at, actor, about) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(insert).bind(&*view.plugin).bind(&*view.version).bind(&*view.digest);
        let size = i64::try_from(view.size).unwrap_or(i64::MAX);
        let query = query.bind(size).bind(view.at.0).bind(&*view.actor).bind(&view.about[..]);
        query.execute(&mut *self.conn).await?;
        Ok(Reply::Done)
    }
}
