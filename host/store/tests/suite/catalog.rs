//! Definitions and plugin versions.

use trapjaw_engine::ports::{Conflict, Page};
use trapjaw_engine::record::Reply;

use crate::make::{START, configure, object, version};
use crate::{Bench, page};

/// The current objects: name, version, revision, body.
async fn current(bench: &Bench<'_>) -> (i64, Vec<(String, i64, i64, String)>) {
    let snapshot = bench.catalog().snapshot().await.unwrap();
    let objects = snapshot
        .objects
        .iter()
        .map(|o| (o.name.to_string(), o.version, o.revision, String::from_utf8(o.body.to_vec()).unwrap()));
    (snapshot.revision, objects.collect())
}

fn row(name: &str, version: i64, revision: i64, body: &str) -> (String, i64, i64, String) {
    (name.into(), version, revision, body.into())
}

fn conflict(name: &str, version: i64) -> Reply {
    Reply::Refused(Conflict { kind: "trigger".into(), name: name.into(), version })
}

pub(crate) async fn versions_grow(bench: Bench<'_>) {
    assert_eq!(current(&bench).await, (0, vec![]));
    let both = vec![object("b", Some("1"), Some(0)), object("a", Some("2"), None)];
    assert_eq!(bench.one(configure(both)).await, Reply::Configured { revision: 1 });
    assert_eq!(bench.one(configure(vec![object("a", Some("3"), Some(1))])).await, Reply::Configured { revision: 2 });
    let bench = bench.reopen().await;
    assert_eq!(current(&bench).await, (2, vec![row("a", 2, 2, "3"), row("b", 1, 1, "1")]));
    let history = async |page| {
        let objects = bench.catalog().history("trigger", "a", page).await.unwrap();
        objects.iter().map(|object| object.version).collect::<Vec<_>>()
    };
    assert_eq!(history(page(9)).await, [2, 1]);
    assert_eq!(history(Page { before: Some(2), rows_max: 9 }).await, [1]);
    let old = bench.catalog().object("trigger", "a", 1).await.unwrap().unwrap();
    assert_eq!((&old.body[..], &*old.actor, old.at, old.removed), (&b"2"[..], "ann", START, false));
    assert_eq!(bench.catalog().object("trigger", "a", 3).await.unwrap(), None);
}

pub(crate) async fn conflicts_write_nothing(bench: Bench<'_>) {
    bench.one(configure(vec![object("a", Some("1"), None)])).await;
    let change = async |changes| bench.one(configure(changes)).await;
    assert_eq!(change(vec![object("b", Some("x"), None), object("a", Some("x"), Some(2))]).await, conflict("a", 1));
    assert_eq!(change(vec![object("a", Some("x"), Some(0))]).await, conflict("a", 1));
    assert_eq!(change(vec![object("c", None, Some(1))]).await, conflict("c", 0));
    assert_eq!(current(&bench).await, (1, vec![row("a", 1, 1, "1")]));
}

pub(crate) async fn removed_objects_come_back(bench: Bench<'_>) {
    bench.one(configure(vec![object("a", Some("1"), None)])).await;
    assert_eq!(bench.one(configure(vec![object("a", None, Some(1))])).await, Reply::Configured { revision: 2 });
    assert_eq!(current(&bench).await, (2, vec![]));
    assert_eq!(bench.one(configure(vec![object("a", None, None)])).await, Reply::Configured { revision: 2 });
    assert_eq!(bench.one(configure(vec![object("a", Some("2"), Some(2))])).await, conflict("a", 0));
    assert_eq!(bench.one(configure(vec![object("a", Some("2"), Some(0))])).await, Reply::Configured { revision: 3 });
    assert_eq!(current(&bench).await, (3, vec![row("a", 3, 3, "2")]));
}

pub(crate) async fn plugins_are_published_once(bench: Bench<'_>) {
    assert_eq!(bench.one(version("p", "1.0.0", "bytes")).await, Reply::Done);
    assert_eq!(bench.one(version("p", "1.0.0", "bytes")).await, Reply::Done, "the same again");
    assert_eq!(bench.one(version("p", "1.0.0", "other")).await, Reply::VersionTaken);
    assert_eq!(bench.one(version("q", "1.0.0", "bytes")).await, Reply::Done, "the same component");
    assert_eq!(bench.one(version("p", "1.1.0", "new")).await, Reply::Done);
    let bench = bench.reopen().await;
    let names = async |plugin| {
        let views = bench.catalog().versions(plugin).await.unwrap();
        views.iter().map(|view| format!("{}@{} {}", view.plugin, view.version, view.size)).collect::<Vec<_>>()
    };
    assert_eq!(names(None).await, ["p@1.1.0 3", "q@1.0.0 5", "p@1.0.0 5"]);
    assert_eq!(names(Some("p")).await, ["p@1.1.0 3", "p@1.0.0 5"]);
    let bytes = bench.catalog().component("digest of bytes").await.unwrap();
    assert_eq!(bytes.as_deref(), Some(&b"bytes"[..]));
    assert_eq!(bench.catalog().component("digest of other").await.unwrap(), None);
}
