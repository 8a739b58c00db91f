//! Where settings come from: flag > environment (`HASHMESH_…`) > configuration file > default.
//!
//! The layers are laid under clap: what the environment or the file says becomes the default of the option of that name,
//! so every option of every command has all four layers, one parser and one set of error texts. Which layer an option's
//! value came from is remembered ([`Origins`]), for `hashmesh config` and for errors.

mod file;
mod layers;
mod secret;

pub(crate) use file::{ConfigFile, FileError};
pub(crate) use layers::{Origin, Origins, lay};
pub(crate) use secret::value_or_file;

use std::{ffi::OsString, path::PathBuf};

/// The file named by `--config` or `HASHMESH_CONFIG`, which must exist, else the default one, which need not.
pub(crate) fn read_config_file(arguments: &[OsString]) -> Result<ConfigFile, FileError> {
    let named = config_flag(arguments).or_else(|| environment("HASHMESH_CONFIG"));
    if let Some(path) = named {
        return ConfigFile::read(&PathBuf::from(path));
    }
    match default_config_path() {
        Some(path) if path.exists() => ConfigFile::read(&path),
        _ => Ok(ConfigFile::default()),
    }
}

/// A variable of the environment; one that is set to nothing counts as not set.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The user's own directory of a kind (XDG base directories), or the system's for root.
pub(crate) fn standard_directory(variable: &str, below_home: &str, of_root: &str) -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(of_root).join("hashmesh"));
    }
    environment(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(below_home)))
        .map(|path| path.join("hashmesh"))
}

fn default_config_path() -> Option<PathBuf> {
    standard_directory("XDG_CONFIG_HOME", ".config", "/etc").map(|directory| directory.join("config.toml"))
}

/// The value of `--config` before anything is parsed: the file must be read before clap knows its defaults.
fn config_flag(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().cloned();
        }
        if let Some(value) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(value.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_config_flag_is_found_in_both_spellings_and_not_behind_two_dashes() {
        assert_eq!(config_flag(&arguments(&["hashmesh", "up", "--config", "a.toml"])), Some("a.toml".into()));
        assert_eq!(config_flag(&arguments(&["hashmesh", "--config=b.toml", "up"])), Some("b.toml".into()));
        assert_eq!(config_flag(&arguments(&["hashmesh", "submit", "--", "--config", "c"])), None);
    }
}
