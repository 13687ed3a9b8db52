//! Frozen samples: data directories that releases wrote, packed beside what those releases answered about them.
//!
//! A sample is a folder of `tests/compat`: `data/` is the data directory, its larger files compressed; `about.json` says
//! who wrote it and what a test has to know of it; `answers.jsonl` holds what its writer said of it, an answer a line.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

/// A frozen sample.
#[derive(Debug)]
pub struct Sample {
    /// Its folder.
    pub folder: PathBuf,
    /// Its `about.json`.
    pub about: Value,
    /// Its `answers.jsonl`: objects of a path to `get`, and its `answer`.
    pub answers: Vec<Value>,
}

/// Where the samples stand, seen from the crate.
const SAMPLES: &str = "compat";
const ABOUT: &str = "about.json";
const ANSWERS: &str = "answers.jsonl";
const DATA: &str = "data";
/// What a daemon makes anew where it is missing: no state.
const DERIVED: [&str; 2] = ["lock", "compiled"];
/// Files from this size on are compressed.
const COMPRESSED_BYTES_MIN: usize = 4 << 10;

impl Sample {
    /// Every sample there is, in order of name.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut folders: Vec<PathBuf> =
            entries(Path::new(SAMPLES))?.into_iter().filter(|path| path.join(ABOUT).is_file()).collect();
        folders.sort();
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let about = serde_json::from_str(&read(ABOUT)?).context("read what a sample is about")?;
        let answers = read(ANSWERS)?.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Self { folder, about, answers: answers.context("read the answers of a sample")? })
    }

    /// Makes the data directory `data` of it.
    pub fn unpack(&self, data: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
        for path in entries(&self.folder.join(DATA))? {
            let mut bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let name = path.file_name().and_then(|name| name.to_str()).context("read the name of a packed file")?;
            let name = match name.strip_suffix(".gz") {
                Some(name) => {
                    let mut plain = Vec::new();
                    GzDecoder::new(&*bytes).read_to_end(&mut plain).with_context(|| format!("unpack {name}"))?;
                    bytes = plain;
                    name
                }
                None => name,
            };
            fs::write(data.join(name), bytes).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    }

    /// Freezes the data directory of a daemon that has ended. What is there already is never written over.
    pub fn freeze(&self, data: &Path) -> anyhow::Result<()> {
        let folder = &self.folder;
        let packed = folder.join(DATA);
        fs::create_dir(folder).with_context(|| format!("make {}: a sample is never rewritten", folder.display()))?;
        fs::create_dir(&packed)?;
        for path in entries(data)? {
            let name = path.file_name().and_then(|name| name.to_str()).context("read the name of a file")?;
            if DERIVED.contains(&name) {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            if name.ends_with("-wal") && !bytes.is_empty() {
                bail!("{name} is not empty: the daemon did not end well");
            }
            if bytes.len() < COMPRESSED_BYTES_MIN {
                fs::write(packed.join(name), bytes)?;
            } else {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(&bytes)?;
                fs::write(packed.join(format!("{name}.gz")), encoder.finish()?)?;
            }
        }
        let answers: String = self.answers.iter().map(|answer| format!("{answer}\n")).collect();
        fs::write(folder.join(ANSWERS), answers)?;
        fs::write(folder.join(ABOUT), format!("{:#}\n", self.about))?;
        Ok(())
    }
}

/// Where an answer does not say what was frozen. It may say more: a later release shows fields that an earlier one had
/// not, and then lists are as long as they were, and every frozen field is there with its value.
pub fn differences(frozen: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", frozen, found, &mut all);
    all
}

fn compare(path: &str, frozen: &Value, found: &Value, all: &mut Vec<String>) {
    match (frozen, found) {
        (Value::Object(frozen), Value::Object(found)) => {
            for (name, frozen) in frozen {
                compare(&format!("{path}.{name}"), frozen, found.get(name).unwrap_or(&Value::Null), all);
            }
        }
        (Value::Array(frozen), Value::Array(found)) if frozen.len() == found.len() => {
            for (n, (frozen, found)) in frozen.iter().zip(found).enumerate() {
                compare(&format!("{path}[{n}]"), frozen, found, all);
            }
        }
        _ if frozen == found => {}
        _ => all.push(format!("{path}: {frozen} was frozen, {found} is found")),
    }
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    read().with_context(|| format!("read folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_may_say_more_and_nothing_else() {
        let check = |found: Value, expected: &[&str]| {
            let frozen = json!({"items": [{"a": 1, "b": null}, {"a": 2}]});
            let found = differences(&frozen, &found);
            let paths: Vec<&str> = found.iter().filter_map(|text| Some(text.split_once(": ")?.0)).collect();
            assert_eq!(paths, expected);
        };
        check(json!({"items": [{"a": 1, "b": null}, {"a": 2}]}), &[]);
        check(json!({"items": [{"a": 1, "c": 3}, {"a": 2}], "next": null}), &[]);
        check(json!({"items": [{"a": 1}, {"a": 3}]}), &[".items[1].a"]);
        check(json!({"items": [{"a": "1", "b": 0}, {}]}), &[".items[0].a", ".items[0].b", ".items[1].a"]);
        check(json!({"items": [{"a": 1}]}), &[".items"]);
        check(json!({}), &[".items"]);
    }

    #[test]
    fn what_was_frozen_is_unpacked_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (data, folder, copy) = (dir.path().join("data"), dir.path().join("v0"), dir.path().join("copy"));
        fs::create_dir_all(data.join("compiled")).unwrap();
        for (name, bytes) in [("trapjaw.db", vec![7; 100_000]), ("key", b"k".to_vec()), ("lock", Vec::new())] {
            fs::write(data.join(name), bytes).unwrap();
        }
        let answers = vec![json!({"get": "/a", "answer": "a\nb"}), json!({"get": "/"})];
        let sample = Sample { folder: folder.clone(), about: json!({"by": 1}), answers: answers.clone() };
        sample.freeze(&data).unwrap();
        let found = Sample::read(folder).unwrap();
        assert_eq!((&found.about, found.answers.clone()), (&json!({"by": 1}), answers));
        found.unpack(&copy).unwrap();
        assert_eq!(fs::read(copy.join("trapjaw.db")).unwrap(), vec![7; 100_000]);
        assert_eq!((fs::read(copy.join("key")).unwrap(), entries(&copy).unwrap().len()), (b"k".to_vec(), 2));
        assert!(sample.freeze(&data).unwrap_err().to_string().contains("never rewritten"));
    }
}
