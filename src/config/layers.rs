//! Flags over environment over file: the value of each setting, and where it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::duration::parse_duration;
use super::error::ConfigError;
use super::settings::{CONFIG_FILE_SETTING, Kind, SETTINGS, Setting, env_name};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Env(String),
    /// This file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It is not set.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(variable) => write!(f, "environment, {variable}"),
            Self::File { path, line } => write!(f, "file, {}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value that is set.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// All settings, merged.
#[derive(Clone, Debug)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
}

impl Layers {
    /// Merges the command line with the environment and with the configuration file that one of the two names.
    ///
    /// `flags` are pairs of a setting's name and its value; `env` returns the value of a variable.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed, or a variable is not UTF-8.
    pub fn load(
        flags: &[(String, String)],
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let flag = flags.iter().find(|(name, _)| name == CONFIG_FILE_SETTING).map(|(_, path)| path.clone());
        let path = match flag {
            Some(path) => Some(path),
            None => from_env(CONFIG_FILE_SETTING, env)?.map(|given| given.text),
        };
        let file = match path.map(PathBuf::from) {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(source) => return Err(ConfigError::Unreadable { path, source }),
            },
        };
        Self::merge(flags, env, file.as_ref().map(|(path, text)| (path.as_path(), text.as_str())))
    }

    /// Merges the layers, given the text of the configuration file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn merge(
        flags: &[(String, String)],
        env: &dyn Fn(&str) -> Option<OsString>,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigError> {
        // From the weakest to the strongest: the later one replaces the earlier one.
        let mut given = match file {
            Some((path, text)) => from_file(path, text)?,
            None => BTreeMap::new(),
        };
        for setting in SETTINGS {
            if let Some(found) = from_env(setting.name, env)? {
                given.insert(setting.name, found);
            }
            if let Some((_, text)) = flags.iter().find(|(name, _)| name == setting.name) {
                given.insert(setting.name, Given { text: text.clone(), origin: Origin::Flag });
            }
        }
        Ok(Self { given })
    }

    /// The value that is set, if there is one.
    pub(super) fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The text of a setting or its default; empty if it is not set and has no default.
    pub(super) fn text(&self, name: &str) -> &str {
        let default = || setting(name)?.default;
        self.given(name).map(|given| given.text.as_str()).or_else(default).unwrap_or_default()
    }

    /// A whole number within bounds; with KiB, MiB or GiB after it, that many bytes.
    pub(super) fn number<N: TryFrom<u64>>(
        &self,
        name: &'static str,
        min: u64,
        max: u64,
    ) -> Result<N, ConfigError> {
        let text = self.text(name);
        let number = parse_number(text).filter(|number| (min..=max).contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
            self.invalid(name, format!("{text:?} is not a whole number between {min} and {max}"))
        })
    }

    /// A duration within bounds, in milliseconds.
    pub(super) fn milliseconds(
        &self,
        name: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Result<u64, ConfigError> {
        let text = self.text(name);
        let bare =
            digits(text).filter(|_| setting(name).is_some_and(|setting| setting.kind == Kind::Milliseconds));
        let text = bare.map_or_else(|| text.to_owned(), |number| format!("{number}ms"));
        let duration = parse_duration(&text, range).map_err(|message| self.invalid(name, message))?;
        Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// An error about one setting, which says where its value came from.
    pub(super) fn invalid(&self, name: &'static str, message: impl Into<String>) -> ConfigError {
        let origin = self.given(name).map_or(Origin::Default, |given| given.origin.clone());
        ConfigError::Invalid { setting: name, origin, message: message.into() }
    }
}

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn parse_number(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let text = text.trim();
    for (unit, factor) in UNITS {
        if let Some(count) = text.strip_suffix(unit) {
            return digits(count.trim_end())?.checked_mul(factor);
        }
    }
    digits(text)
}

fn digits(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn from_env(
    setting: &'static str,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Given>, ConfigError> {
    let variable = env_name(setting);
    // Compose files and shells set variables to nothing where nothing was meant.
    let Some(value) = env(&variable).filter(|value| !value.is_empty()) else { return Ok(None) };
    let origin = Origin::Env(variable);
    match value.into_string() {
        Ok(text) => Ok(Some(Given { text, origin })),
        Err(_) => Err(ConfigError::Invalid { setting, origin, message: "the value is not UTF-8".to_owned() }),
    }
}

fn from_file(path: &Path, text: &str) -> Result<BTreeMap<&'static str, Given>, ConfigError> {
    let error = |span: Option<Range<usize>>, message: String| ConfigError::File {
        path: path.to_owned(),
        line: span.map_or(1, |span| line_of(text, span.start)),
        message,
    };
    let parsed = DeTable::parse(text)
        .map_err(|bad| error(bad.span(), bad.message().lines().collect::<Vec<_>>().join(", ")))?;
    let mut given = BTreeMap::new();
    for (key, value) in parsed.get_ref() {
        let line = line_of(text, key.span().start);
        let Some(setting) = setting(key.get_ref()) else {
            let key = key.get_ref().to_string();
            return Err(ConfigError::UnknownKey { path: path.to_owned(), line, key });
        };
        let text = text_of(value.get_ref()).ok_or_else(|| {
            let kind = value.get_ref().type_str();
            let message = format!(
                "{} takes a string, a whole number or an array of strings, not a value of the type {kind}",
                setting.name
            );
            error(Some(value.span()), message)
        })?;
        given.insert(setting.name, Given { text, origin: Origin::File { path: path.to_owned(), line } });
    }
    Ok(given)
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let value = u64::from_str_radix(number.as_str(), number.radix());
            // A number below zero or too large stays as it is written: the check of its setting names the bounds.
            Some(value.map_or_else(|_| number.to_string(), |value| value.to_string()))
        }
        DeValue::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
