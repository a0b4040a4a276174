//! Where a value comes from: built-in, the file, `conf.d`, the environment, the command line; the later wins.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// A text that values were read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Source {
    name: String,
    text: String,
    /// Files are shown with line numbers; an environment variable has none.
    is_file: bool,
}

impl Source {
    pub(super) fn file(name: String, text: String) -> Self {
        Self {
            name,
            text,
            is_file: true,
        }
    }

    pub(super) fn word(name: String, text: String) -> Self {
        Self {
            name,
            text,
            is_file: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A stretch of a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) span: Range<usize>,
}

/// All sources, merged.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    sources: Vec<Source>,
    merged: Table,
    places: BTreeMap<String, Place>,
}

impl Layers {
    /// Adds a source without reading it, so that an error in it can be drawn; returns its number.
    pub(super) fn add(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// Lays the values of a source, which is known to parse, over those of the earlier ones.
    ///
    /// Tables are merged; everything else, lists of tables too, is replaced.
    pub(super) fn lay(&mut self, number: usize) {
        let Some(source) = self.sources.get(number) else {
            return;
        };
        let (Ok(table), Ok(spanned)) = (source.text.parse::<Table>(), DeTable::parse(&source.text))
        else {
            return;
        };
        let mut found = Vec::new();
        walk(spanned.get_ref(), "", number, &mut found);
        for (path, _) in &found {
            let item = format!("{path}[");
            self.places.retain(|known, _| !known.starts_with(&item));
        }
        self.places.extend(found);
        merge(&mut self.merged, table);
    }

    pub(super) fn merged(&self) -> &Table {
        &self.merged
    }

    pub(super) fn source(&self, number: usize) -> Option<&Source> {
        self.sources.get(number)
    }

    /// Returns where the value of a path was set; where its table begins, if only that is known.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place.clone());
            }
            path = &path[..path.rfind('.')?];
        }
    }

    /// Returns whether somebody set this key, or one below it.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.places
            .range(path.to_owned()..)
            .take_while(|(known, _)| known.starts_with(path))
            .any(|(known, _)| {
                known[path.len()..].is_empty() || known[path.len()..].starts_with(['.', '['])
            })
    }

    /// Returns who set this key, in words; `None` when nobody did.
    pub(super) fn origin(&self, path: &str) -> Option<String> {
        let place = self.places.get(path)?;
        let source = self.sources.get(place.source)?;
        if !source.is_file {
            return Some(source.name.clone());
        }
        let before = source.text.get(..place.span.start).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Some(format!("{}:{line}", source.name))
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn walk(table: &DeTable<'_>, above: &str, source: usize, found: &mut Vec<(String, Place)>) {
    for (key, value) in table {
        let path = if above.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{above}.{}", key.get_ref())
        };
        // A table begins at its name; a value is marked itself.
        let items = value.get_ref().as_array();
        let is_list_of_tables =
            items.is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()));
        let span = if value.get_ref().is_table() || is_list_of_tables {
            key.span()
        } else {
            value.span()
        };
        found.push((path.clone(), Place { source, span }));
        if let DeValue::Table(below) = value.get_ref() {
            walk(below, &path, source, found);
        }
        for (i, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{path}[{i}]");
            let span = item.span();
            found.push((path.clone(), Place { source, span }));
            if let DeValue::Table(below) = item.get_ref() {
                walk(below, &path, source, found);
            }
        }
    }
}
