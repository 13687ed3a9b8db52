//! What is defined: objects in all their versions, plugins and their components.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Error, QueryBuilder, Row};
use trapjaw_engine::limits::PAGE_ROWS_MAX;
use trapjaw_engine::ports::{Catalog, Object, Page, Snapshot, StoreError, VersionView};
use trapjaw_engine::time::Time;

use super::Sqlite;
use super::readers::unread;
use super::rows::read_bytes;

/// The columns that [`read_object`] reads.
const OBJECT_COLUMNS: &str = "kind, name, version, revision, at, removed, actor, body";

#[async_trait]
impl Catalog for Sqlite {
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut lease = self.shared.ledger_readers.lease().await?;
        let snapshot = async {
            // Both reads see the same revision.
            let mut tx = lease.conn().begin().await?;
            let revision =
                sqlx::query("SELECT value FROM meta WHERE key = 'revision'").fetch_optional(&mut *tx).await?;
            let revision = revision.map_or(Ok(0), |row| row.try_get(0))?;
            let current = format!(
                "SELECT {OBJECT_COLUMNS} FROM object_version AS o WHERE NOT removed AND version = (SELECT max(version) \
                 FROM object_version WHERE kind = o.kind AND name = o.name) ORDER BY kind, name"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(current)).fetch_all(&mut *tx).await?;
            let objects = rows.iter().map(read_object).collect::<Result<_, Error>>()?;
            Ok(Snapshot { revision, objects })
        };
        snapshot.await.map_err(unread)
    }

    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Object>, StoreError> {
        let mut query = select_objects(kind, name);
        if let Some(before) = page.before {
            query.push(" AND version < ").push_bind(before);
        }
        query.push(" ORDER BY version DESC LIMIT ").push_bind(page.rows_max.min(PAGE_ROWS_MAX));
        self.list(query, |_, row| read_object(row)).await
    }

    async fn object(&self, kind: &str, name: &str, version: i64) -> Result<Option<Object>, StoreError> {
        let mut query = select_objects(kind, name);
        query.push(" AND version = ").push_bind(version);
        Ok(self.list(query, |_, row| read_object(row)).await?.pop())
    }

    async fn versions(&self, plugin: Option<&str>) -> Result<Vec<VersionView>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT plugin, version, digest, size, at, actor, about FROM plugin_version WHERE TRUE");
        if let Some(plugin) = plugin {
            query.push(" AND plugin = ").push_bind(plugin.to_owned());
        }
        query.push(" ORDER BY seq DESC");
        self.list(query, |_, row| {
            Ok(VersionView {
                plugin: row.try_get::<&str, _>(0)?.into(),
                version: row.try_get::<&str, _>(1)?.into(),
                digest: row.try_get::<&str, _>(2)?.into(),
                size: u64::try_from(row.try_get::<i64, _>(3)?).unwrap_or(0),
                at: Time(row.try_get(4)?),
                actor: row.try_get::<&str, _>(5)?.into(),
                about: read_bytes(row, 6)?,
            })
        })
        .await
    }

    async fn component(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        let mut query = QueryBuilder::new("SELECT bytes FROM component WHERE digest = ");
        query.push_bind(digest.to_owned());
        Ok(self.list(query, |_, row| read_bytes(row, 0)).await?.pop())
    }
}

fn select_objects(kind: &str, name: &str) -> QueryBuilder<sqlx::Sqlite> {
    let mut query = QueryBuilder::new(format!("SELECT {OBJECT_COLUMNS} FROM object_version WHERE kind = "));
    query.push_bind(kind.to_owned()).push(" AND name = ").push_bind(name.to_owned());
    query
}

fn read_object(row: &SqliteRow) -> Result<Object, Error> {
    Ok(Object {
        kind: row.try_get::<&str, _>(0)?.into(),
        name: row.try_get::<&str, _>(1)?.into(),
        version: row.try_get(2)?,
        revision: row.try_get(3)?,
        at: Time(row.try_get(4)?),
        removed: row.try_get(5)?,
        actor: row.try_get::<&str, _>(6)?.into(),
        body: read_bytes(row, 7)?,
    })
}
