//! Collects an event's fields and those of the spans around it, and hands the record to the writer.

use std::time::{Instant, SystemTime};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::observe::logging::UserNames;
use crate::observe::logging::fields::{Collector, Fields, Names};
use crate::observe::logging::format::{Entry, Form};
use crate::observe::logging::limit::Limiter;
use crate::observe::logging::writer::Writer;

pub(super) struct LogLayer {
    form: Form,
    names: Names,
    limiter: Limiter,
    writer: Writer,
}

impl LogLayer {
    pub(super) fn new(form: Form, names: UserNames, writer: Writer) -> Self {
        Self {
            form,
            names: Names::new(names),
            limiter: Limiter::default(),
            writer,
        }
    }

    fn collector<'a>(&'a self, fields: &'a mut Fields) -> Collector<'a> {
        Collector {
            fields,
            names: &self.names,
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut self.collector(&mut fields));
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(&mut self.collector(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(suppressed) = self.limiter.admit(metadata.callsite(), Instant::now()) else {
            return;
        };
        let mut fields = Fields::default();
        let scope = context.event_scope(event).into_iter();
        for span in scope.flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.list.extend(of_span.list.iter().cloned());
            }
        }
        event.record(&mut self.collector(&mut fields));
        let entry = Entry {
            time: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            fields: &fields,
            suppressed,
        };
        self.writer.write(entry.encode(self.form));
    }
}
