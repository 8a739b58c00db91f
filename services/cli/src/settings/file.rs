//! The configuration file: TOML, `name = value` for every command, a table per command for that command only.
//!
//! ```toml
//! server = "http://127.0.0.1:7420"
//!
//! [up]
//! data-dir = "/srv/hashmesh"
//! allow-source = ["/srv/archive", "/srv/backup"]
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::{Table, Value};

/// Values by setting name (with `_`), each a list: one entry for all but repeatable options.
pub(crate) type Values = BTreeMap<String, Vec<String>>;

/// What the file said. Without a file: nothing.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    /// The file that was read.
    pub(crate) path: Option<PathBuf>,
    /// Settings of every command.
    pub(crate) shared: Values,
    /// Settings of one command, by its name.
    pub(crate) commands: BTreeMap<String, Values>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("cannot read the configuration file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration file {path} is not TOML")]
    Syntax { path: PathBuf, source: toml::de::Error },
    #[error("setting `{key}` in {path}: wanted a text, a number, true or false, or a list of these, found {found}")]
    Value { path: PathBuf, key: String, found: &'static str },
    #[error("setting `{key}` in {path} is unknown; `hashmesh help` and `hashmesh help COMMAND` list all options")]
    UnknownKey { path: PathBuf, key: String },
}

impl ConfigFile {
    /// Reads a file that must exist.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let table: Table = text.parse().map_err(|source| FileError::Syntax { path: path.into(), source })?;
        let mut file = Self { path: Some(path.into()), ..Self::default() };
        for (key, value) in table {
            if let Value::Table(of_command) = value {
                let values = of_command
                    .into_iter()
                    .map(|(inner, value)| Ok((name(&inner), texts(path, &format!("{key}.{inner}"), value)?)))
                    .collect::<Result<Values, FileError>>()?;
                file.commands.insert(key, values);
            } else {
                let values = texts(path, &key, value)?;
                file.shared.insert(name(&key), values);
            }
        }
        Ok(file)
    }

    /// What the file says about a setting of a command.
    pub(crate) fn get(&self, command: &str, name: &str) -> Option<&[String]> {
        // `config` shows what `up` would use.
        let table = if command == "config" { "up" } else { command };
        let own = self.commands.get(table).and_then(|values| values.get(name));
        own.or_else(|| self.shared.get(name)).map(Vec::as_slice)
    }

    /// Refuses names that no command has: a typing error must not pass in silence.
    pub(crate) fn refuse_unknown(&self, known: impl Fn(Option<&str>, &str) -> bool) -> Result<(), FileError> {
        let Some(path) = &self.path else { return Ok(()) };
        let unknown = |key: String| FileError::UnknownKey { path: path.clone(), key };
        if let Some(key) = self.shared.keys().find(|key| !known(None, key)) {
            return Err(unknown(key.clone()));
        }
        for (command, values) in &self.commands {
            if let Some(key) = values.keys().find(|key| !known(Some(command), key)) {
                return Err(unknown(format!("{command}.{key}")));
            }
        }
        Ok(())
    }
}

/// `data-dir` and `data_dir` are the same setting.
fn name(key: &str) -> String {
    key.replace('-', "_")
}

fn texts(path: &Path, key: &str, value: Value) -> Result<Vec<String>, FileError> {
    let wrong = |found| FileError::Value { path: path.into(), key: key.to_owned(), found };
    match value {
        Value::Array(values) => values.into_iter().map(|value| scalar(value).map_err(wrong)).collect(),
        value => Ok(vec![scalar(value).map_err(wrong)?]),
    }
}

fn scalar(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(yes) => Ok(yes.to_string()),
        other => Err(other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, FileError> {
        ConfigFile::parse(Path::new("test.toml"), text)
    }

    #[test]
    fn a_commands_table_wins_over_the_settings_of_all() {
        let file = parse("threads = 1\nlog-format = \"json\"\n[up]\nthreads = 4\nallow-source = [\"/a\", \"/b,c\"]\n")
            .unwrap();
        assert_eq!(file.get("up", "threads"), Some(["4".to_owned()].as_slice()));
        assert_eq!(file.get("worker", "threads"), Some(["1".to_owned()].as_slice()));
        assert_eq!(file.get("up", "log_format"), Some(["json".to_owned()].as_slice()));
        assert_eq!(file.get("up", "allow_source"), Some(["/a".to_owned(), "/b,c".to_owned()].as_slice()));
        assert_eq!(file.get("config", "threads"), Some(["4".to_owned()].as_slice()));
    }

    #[test]
    fn errors_name_the_key_and_the_file() {
        let error = parse("[up]\nlisten = { port = 1 }\n").unwrap_err().to_string();
        assert!(error.contains("`up.listen` in test.toml") && error.contains("table"), "{error}");

        let file = parse("listen = \"x\"\n").unwrap();
        let error = file.refuse_unknown(|_, name| name != "listen").unwrap_err().to_string();
        assert!(error.contains("`listen` in test.toml is unknown"), "{error}");
    }
}
