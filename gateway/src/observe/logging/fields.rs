//! The fields of an event or a span, as values.

use std::fmt;

use ring::hmac;
use tracing::field::{Field, Visit};

use crate::observe::logging::UserNames;

/// The longest value; what is longer is cut, because a stranger may have written it.
const MAX_VALUE: usize = 1024;

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// A number or a truth value, as it is written in JSON.
    Bare(String),
}

impl Value {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Bare(text) => text,
        }
    }
}

/// The fields, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) list: Vec<(&'static str, Value)>,
}

/// Turns user names into what the log may show.
#[derive(Debug)]
pub(super) enum Names {
    Plain,
    Hashed(hmac::Key),
    /// The system had no random octets for a key.
    Hidden,
}

impl Names {
    pub(super) fn new(names: UserNames) -> Self {
        match names {
            UserNames::Plain => Self::Plain,
            UserNames::Hash => {
                let random = ring::rand::SystemRandom::new();
                hmac::Key::generate(hmac::HMAC_SHA256, &random).map_or(Self::Hidden, Self::Hashed)
            }
        }
    }

    fn show(&self, name: String) -> String {
        match self {
            Self::Plain => name,
            Self::Hashed(key) => {
                let tag = hmac::sign(key, name.as_bytes());
                let octets = tag.as_ref().first_chunk::<8>().copied().unwrap_or_default();
                format!("{:016x}", u64::from_be_bytes(octets))
            }
            Self::Hidden => "-".to_owned(),
        }
    }
}

/// Collects fields.
pub(super) struct Collector<'a> {
    pub(super) fields: &'a mut Fields,
    pub(super) names: &'a Names,
}

impl Collector<'_> {
    fn push(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // What is not known is not a fact: no field rather than an empty one.
        if value.as_str().is_empty() {
            return;
        }
        let value = match value {
            Value::Text(text) if matches!(name, "user.name" | "user") => {
                Value::Text(self.names.show(text))
            }
            Value::Text(text) => Value::Text(cut(text)),
            bare @ Value::Bare(_) => bare,
        };
        if name == "message" {
            value.as_str().clone_into(&mut self.fields.message);
        } else if let Some((_, old)) = self
            .fields
            .list
            .iter_mut()
            .find(|(other, _)| *other == name)
        {
            *old = value;
        } else {
            self.fields.list.push((name, value));
        }
    }
}

impl Visit for Collector<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        self.push(
            field,
            if value.is_finite() {
                Value::Bare(text)
            } else {
                Value::Text(text)
            },
        );
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bare(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        self.push(field, Value::Text(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::Text(format!("{value:?}")));
    }
}

/// Cuts what is longer than a value should be.
fn cut(text: String) -> String {
    if text.len() <= MAX_VALUE {
        return text;
    }
    let mut short: String = text.chars().take(MAX_VALUE / 4).collect();
    short.push('…');
    short
}
