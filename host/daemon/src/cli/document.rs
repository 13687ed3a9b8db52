//! A document of definitions on its way to the daemon: its plugins' files are read here, and named by version there.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Usage;
use super::input;

/// A document, and the components that it names.
#[derive(Debug)]
pub(super) struct Document {
    /// The document without the names of files, which mean nothing to the daemon.
    pub(super) body: Value,
    /// The components that stand in files.
    pub(super) components: Vec<Component>,
}

/// A plugin's component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// The plugin.
    pub(super) plugin: String,
    /// The version that the document names, if it does.
    pub(super) version: Option<String>,
    /// The component.
    pub(super) bytes: bytes::Bytes,
    /// Its SHA-256, in hex.
    pub(super) digest: String,
}

impl Document {
    /// Reads a document, `-` for standard input; the files it names are relative to its own.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = input::read(file, input::TEXT_BYTES_MAX)?;
        let body = input::yaml(&text).with_context(|| format!("read {}", file.display()))?;
        Self::prepare(body, &input::directory_of(file))
    }

    fn prepare(mut body: Value, directory: &Path) -> anyhow::Result<Self> {
        let mut components = Vec::new();
        if let Some(Value::Object(plugins)) = body.get_mut("plugins") {
            for (name, plugin) in plugins {
                let Value::Object(entry) = plugin else { continue };
                let Some(file) = entry.remove("file") else { continue };
                let Value::String(file) = file else {
                    bail!(Usage(format!("plugins.{name}.file: the path of a component is expected")));
                };
                let version = entry.get("version").and_then(Value::as_str).map(str::to_owned);
                let component = Component::read(name, version, &directory.join(&file));
                components.push(component.with_context(|| format!("plugins.{name}.file"))?);
            }
        }
        Ok(Self { body, components })
    }

    /// Notes under which version the daemon has a plugin's component.
    pub(super) fn set_version(&mut self, plugin: &str, version: String) {
        if let Some(entry) = self.entry(plugin) {
            entry.insert("version".into(), version.into());
        }
    }

    /// Leaves a plugin's version as the daemon has it.
    pub(super) fn clear_version(&mut self, plugin: &str) {
        if let Some(entry) = self.entry(plugin) {
            entry.remove("version");
        }
    }

    fn entry(&mut self, plugin: &str) -> Option<&mut Map<String, Value>> {
        self.body.get_mut("plugins")?.get_mut(plugin)?.as_object_mut()
    }
}

impl Component {
    /// Reads a component.
    pub(super) fn read(plugin: &str, version: Option<String>, file: &Path) -> anyhow::Result<Self> {
        let bytes = input::read(file, input::COMPONENT_BYTES_MAX)?;
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { plugin: plugin.into(), version, bytes: bytes.into(), digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// SHA-256 of `abc`, from the standard's own examples.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn prepare(yaml: &str) -> Result<Document, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("build")).unwrap();
        std::fs::write(dir.path().join("build/vip.wasm"), "abc").unwrap();
        let file = dir.path().join("trapjaw.yaml");
        std::fs::write(&file, yaml).unwrap();
        Document::read(&file).map_err(|err| format!("{err:#}"))
    }

    #[test]
    fn components_are_read_beside_the_document() {
        let yaml = "triggers: {}\nplugins:\n  vip: {file: ./build/vip.wasm, version: 1.0.0, grants: {connections: [bus]}}\n  old: {version: '2'}";
        let mut document = prepare(yaml).unwrap();
        let component =
            Component { plugin: "vip".into(), version: Some("1.0.0".into()), bytes: "abc".into(), digest: ABC.into() };
        assert_eq!(document.components, [component]);
        let without_file = json!({"triggers": {}, "plugins": {"vip": {"version": "1.0.0", "grants": {"connections": ["bus"]}}, "old": {"version": "2"}}});
        assert_eq!(document.body, without_file);
        document.set_version("vip", "1.0.1".into());
        assert_eq!(document.body.pointer("/plugins/vip/version"), Some(&json!("1.0.1")));
        document.clear_version("vip");
        assert_eq!(document.body.pointer("/plugins/vip/version"), None);
    }

    #[test]
    fn a_document_without_files_stays_as_it_is() {
        for yaml in ["{}", "connections: {c: {kind: webhook, url: 'http://x'}}", "plugins: {p: 1}", "plugins: []"] {
            let document = prepare(yaml).unwrap();
            assert_eq!((document.components.len(), document.body), (0, input::yaml(yaml.as_bytes()).unwrap()));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        assert!(prepare("plugins: {p: {file: ./none.wasm}}").unwrap_err().starts_with("plugins.p.file: read "));
        assert!(prepare("plugins: {p: {file: 1}}").unwrap_err().contains("plugins.p.file"));
        assert!(prepare("plugins: {p: {}, p: {}}").is_err());
    }
}
