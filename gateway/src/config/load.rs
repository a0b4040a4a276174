//! Reads the layers and makes one configuration of them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::file::{self, File};
use super::layers::{Layers, Place, Source};
use super::report::Report;
use super::sstp::Purpose;
use super::{Config, check};

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_FILE: &str = "/etc/causeway/gateway.toml";

/// Environment variables that are configuration begin so: `CAUSEWAY__RADIUS__TIMEOUT`.
const PREFIX: &str = "CAUSEWAY__";

/// Where to begin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Base {
    /// With this file, and `conf.d/*.toml` next to it in the order of their names.
    File(PathBuf),
    /// With the embedded settings of `serve --dev`.
    Dev,
}

/// What is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where to begin.
    pub base: Base,
    /// Environment variables; those that are no configuration are passed over.
    pub environment: Vec<(String, String)>,
    /// Keys and values of the command line, as (`radius.timeout`, `60s`).
    pub set: Vec<(String, String)>,
}

impl Options {
    /// Begins with a file, and takes the environment of this process.
    #[must_use]
    pub fn of_process(base: Base) -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        Self {
            base,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
            set: Vec::new(),
        }
    }
}

/// A configuration that is good.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings and notes.
    pub report: Report,
    /// The file's form of it, for [`Loaded::show`].
    pub(super) file: File,
}

/// Reads, merges and checks the configuration, and the files that it names.
///
/// # Errors
///
/// Everything that is wrong with it (exit code 3).
pub fn load(options: &Options) -> Result<Loaded, Box<Report>> {
    let mut report = Report::new(Layers::default());
    let purpose = match &options.base {
        Base::Dev => {
            let text = include_str!("dev.toml").to_owned();
            lay(Source::file("serve --dev".into(), text), &mut report);
            Purpose::Trial
        }
        Base::File(path) => {
            lay_files(path, &mut report);
            Purpose::Production
        }
    };
    for (name, value) in &options.environment {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let path: Vec<_> = key.split("__").map(str::to_ascii_lowercase).collect();
            lay_word(format!("environment {name}"), &path, value, &mut report);
        }
    }
    for (key, value) in &options.set {
        let path: Vec<_> = key.split('.').map(str::to_owned).collect();
        lay_word("command line".into(), &path, value, &mut report);
    }
    if report.has_errors() {
        return Err(Box::new(report));
    }
    let file = match report.layers.merged().clone().try_into::<File>() {
        Ok(file) => file,
        Err(error) => {
            report.error_at("E0203", None, error.message());
            return Err(Box::new(report));
        }
    };
    let config = file::check(file.clone(), purpose, &mut report);
    if let Some(config) = &config {
        check::files(config, &mut report);
    }
    check::not_in_this_version(&mut report);
    match config {
        Some(config) if !report.has_errors() => Ok(Loaded {
            config,
            report,
            file,
        }),
        Some(_) | None => Err(Box::new(report)),
    }
}

fn lay_files(path: &Path, report: &mut Report) {
    read_file(path, report);
    let folder = path.with_file_name("conf.d");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new("toml")))
        .collect();
    paths.sort();
    for path in paths {
        read_file(&path, report);
    }
}

fn read_file(path: &Path, report: &mut Report) {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => lay(Source::file(name, text), report),
        Err(error) => {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let finding = report
                .error_at("E0105", None, &format!("{name} cannot be read"))
                .note(error.to_string());
            if is_missing {
                finding.help(
                    "write one (`gateway/deploy/gateway.toml` is an example), name another with `--config FILE`, or \
                     try `causeway serve --dev`, which needs none",
                );
            }
        }
    }
}

fn lay(source: Source, report: &mut Report) {
    let text = source.text().to_owned();
    let number = report.layers.add(source);
    let is_toml = DeTable::parse(&text).map(drop);
    match is_toml.map(|()| toml::from_str::<File>(&text)) {
        Ok(Ok(_)) => report.layers.lay(number),
        Ok(Err(error)) => wrong_value(&error, number, report),
        Err(error) => {
            let place = place(&error, number);
            report
                .error_at("E0201", place, "not TOML")
                .label(error.message());
        }
    }
}

/// A value without quotes is what it looks like if that fits, else text.
fn lay_word(name: String, path: &[String], value: &str, report: &mut Report) {
    let is_bare = |part: &String| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !path.iter().all(is_bare) {
        report
            .error_at("E0202", None, &format!("{name} names no key"))
            .help("as CAUSEWAY__RADIUS__TIMEOUT=60s for `timeout` in `[radius]`");
        return;
    }
    let key = path.join(".");
    let literal = format!("{key} = {value}");
    let text = format!("{key} = {}", toml::Value::from(value));
    let fits = |candidate: &str| toml::from_str::<File>(candidate).is_ok();
    let is_literal = DeTable::parse(&literal).is_ok_and(|table| table.get_ref().len() == 1);
    let chosen = if is_literal && (fits(&literal) || !fits(&text)) {
        literal
    } else {
        text
    };
    lay(Source::word(name, chosen), report);
}

fn wrong_value(error: &toml::de::Error, source: usize, report: &mut Report) {
    let place = place(error, source);
    let message = error.message();
    let Some(rest) = message.strip_prefix("unknown field `") else {
        report
            .error_at("E0203", place, "a value that does not fit")
            .label(message);
        return;
    };
    let mut words = rest.split('`').step_by(2);
    let unknown = words.next().unwrap_or_default().to_owned();
    let known: Vec<_> = rest.split('`').skip(2).step_by(2).collect();
    let finding = report
        .error_at("E0202", place, &format!("unknown key `{unknown}`"))
        .label("no such key here");
    match nearest(&unknown, &known) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help(format!("the keys here are: {}", known.join(", "))),
    };
}

fn place(error: &toml::de::Error, source: usize) -> Option<Place> {
    let span = error.span()?;
    Some(Place { source, span })
}

/// Returns the word that is a typing error away.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = known
        .iter()
        .map(|known| (distance(word, known), *known))
        .min()?;
    (distance <= 1 + word.len() / 4).then_some(near)
}

/// The number of letters to add, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
