//! `causeway config show`: the values, and where each came from.

use toml::{Table, Value};

use super::load::Loaded;

/// What is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// What somebody has set.
    Set,
    /// Every value that is in effect.
    Effective,
}

impl Loaded {
    /// Writes the configuration as TOML, with the origin of each value behind it.
    #[must_use]
    pub fn show(&self, scope: Scope) -> String {
        let mut out = String::new();
        if let Ok(table) = Table::try_from(&self.file) {
            self.write_table(&table, "", scope, &mut out);
        }
        out
    }

    fn write_table(&self, table: &Table, path: &str, scope: Scope, out: &mut String) {
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        for (key, value) in table {
            if !is_section(value) {
                self.write_value(key, value, &below(key), scope, out);
            }
        }
        for (key, value) in table {
            let path = below(key);
            if let Value::Table(table) = value {
                self.write_section(&format!("[{}]", quoted(&path)), table, &path, scope, out);
            }
            let items = value.as_array().filter(|_| is_section(value));
            for (i, item) in items.into_iter().flatten().enumerate() {
                let header = format!("[[{}]]", quoted(&path));
                let path = format!("{path}[{i}]");
                if let Value::Table(table) = item {
                    self.write_section(&header, table, &path, scope, out);
                }
            }
        }
    }

    fn write_section(
        &self,
        header: &str,
        table: &Table,
        path: &str,
        scope: Scope,
        out: &mut String,
    ) {
        let mut body = String::new();
        self.write_table(table, path, scope, &mut body);
        // A table of tables alone needs no line of its own.
        let has_values = !body.is_empty() && !body.starts_with("\n[");
        if has_values {
            out.extend(["\n", header, "\n"]);
        }
        out.push_str(&body);
    }

    fn write_value(&self, key: &str, value: &Value, path: &str, scope: Scope, out: &mut String) {
        let origin = self.report.layers.origin(path);
        let origin = match (origin, scope) {
            (Some(origin), _) => origin,
            (None, Scope::Effective) => "default".into(),
            (None, Scope::Set) => return,
        };
        let line = format!("{key} = {value}");
        out.push_str(&line);
        out.extend(std::iter::repeat_n(
            ' ',
            48_usize.saturating_sub(line.len()),
        ));
        out.extend([" # ", &origin, "\n"]);
    }
}

fn is_section(value: &Value) -> bool {
    let items = value.as_array();
    value.is_table() || items.is_some_and(|items| items.iter().any(Value::is_table))
}

/// The names of pools and filters may need quotes.
fn quoted(path: &str) -> String {
    let part = |part: &str| {
        let is_bare = part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if is_bare && !part.is_empty() {
            part.to_owned()
        } else {
            Value::from(part).to_string()
        }
    };
    path.split('.').map(part).collect::<Vec<_>>().join(".")
}
