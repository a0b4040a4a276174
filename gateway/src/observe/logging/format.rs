//! From an event to the octets of its line.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use tracing::Level;

use crate::observe::logging::fields::{Fields, Value};

/// The form of a line, once `auto` is decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Text,
    Json,
    Logfmt,
    Journal,
}

/// An event that is to be written.
pub(super) struct Entry<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) fields: &'a Fields,
    /// Lines like this one that were held back before it.
    pub(super) suppressed: u64,
}

impl Entry<'_> {
    /// Writes the whole record: a line with its end, or the journal's datagram.
    pub(super) fn encode(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Text => self.text().into_bytes(),
            Form::Json => self.json().into_bytes(),
            Form::Logfmt => self.logfmt().into_bytes(),
            Form::Journal => self.journal(),
        }
    }

    fn text(&self) -> String {
        let mut line = format!("{} {:5} ", self.timestamp(), self.level);
        escape(&self.fields.message, &mut line);
        for (name, value) in self.all() {
            line.push_str("  ");
            line.push_str(name);
            line.push('=');
            line.push_str(&quoted(&value));
        }
        line.push('\n');
        line
    }

    fn logfmt(&self) -> String {
        let mut line = format!(
            "ts={} level={} target={} msg={}",
            self.timestamp(),
            self.level_word(),
            self.target,
            quoted(&Value::Text(self.fields.message.clone()))
        );
        for (name, value) in self.all() {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            line.push_str(&quoted(&value));
        }
        line.push('\n');
        line
    }

    fn json(&self) -> String {
        let mut line = format!(
            "{{\"ts\":\"{}\",\"level\":\"{}\"",
            self.timestamp(),
            self.level_word()
        );
        let mut push = |name: &str, value: &Value| {
            line.push(',');
            line.push_str(&string(name));
            line.push(':');
            match value {
                Value::Text(text) => line.push_str(&string(text)),
                Value::Bare(text) => line.push_str(text),
            }
        };
        push("target", &Value::Text(self.target.to_owned()));
        push("message", &Value::Text(self.fields.message.clone()));
        for (name, value) in self.all() {
            push(name, &value);
        }
        line.push_str("}\n");
        line
    }

    /// The native protocol of the journal: `NAME=value` lines, or the length of a value that holds line ends.
    fn journal(&self) -> Vec<u8> {
        let mut record = Vec::new();
        let mut push = |name: &str, value: &str| {
            record.extend(name.as_bytes());
            if value.contains('\n') {
                record.push(b'\n');
                record.extend(u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
            } else {
                record.push(b'=');
            }
            record.extend(value.as_bytes());
            record.push(b'\n');
        };
        let mut message = String::new();
        escape(&self.fields.message, &mut message);
        push("MESSAGE", &message);
        push("PRIORITY", self.priority());
        push("SYSLOG_IDENTIFIER", "causeway");
        push("CAUSEWAY_TARGET", self.target);
        for (name, value) in self.all() {
            let word = |c: char| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            };
            let name: String = "CAUSEWAY_".chars().chain(name.chars().map(word)).collect();
            push(&name, value.as_str());
        }
        record
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let suppressed =
            (self.suppressed > 0).then(|| ("suppressed", Value::Bare(self.suppressed.to_string())));
        self.fields.list.iter().cloned().chain(suppressed)
    }

    fn timestamp(&self) -> String {
        Timestamp::try_from(self.time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
    }

    fn level_word(&self) -> &'static str {
        match self.level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        }
    }

    fn priority(&self) -> &'static str {
        match self.level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        }
    }
}

/// Writes text so that it stays on its line, does not steer a terminal and does not turn the reading direction.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_format(c) => {
                // Writing to a string cannot fail.
                if write!(out, "\\u{{{:x}}}", u32::from(c)).is_err() {}
            }
            c => out.push(c),
        }
    }
}

/// Marks of direction, and the line ends that some readers know beyond the control characters.
const fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

fn quoted(value: &Value) -> String {
    let text = match value {
        Value::Bare(text) => return text.clone(),
        Value::Text(text) => text,
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(plain) {
        return text.clone();
    }
    let mut out = String::from("\"");
    escape(&text.replace('\\', "\\\\").replace('"', "\\\""), &mut out);
    out.push('"');
    out
}

/// Writes a JSON string; control characters that JSON would let through (C1, directions) are escaped as well.
fn string(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    if !json.chars().any(|c| c.is_control() || is_format(c)) {
        return json;
    }
    json.chars().fold(String::new(), |mut out, c| {
        if c.is_control() || is_format(c) {
            if write!(out, "\\u{:04x}", u32::from(c)).is_err() {}
        } else {
            out.push(c);
        }
        out
    })
}
