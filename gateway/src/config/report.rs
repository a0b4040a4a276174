//! What is wrong with a configuration, drawn with the line that it stands in.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::layers::{Layers, Place};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The gateway does not start with it.
    Error,
    /// Legal and foolish.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    severity: Severity,
    code: &'static str,
    title: String,
    place: Option<Place>,
    label: String,
    notes: Vec<String>,
    help: Option<String>,
}

impl Finding {
    /// Returns how bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns its code, for `causeway explain`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Returns what it is, in one line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Sets what stands under the marked value.
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Adds the reason, or what else is known.
    pub(super) fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// Sets what to do.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that was found, with the text that it was found in.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(super) layers: Layers,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(layers: Layers) -> Self {
        Self {
            layers,
            findings: Vec::new(),
        }
    }

    /// Returns the findings in the order in which they were found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns whether one of them keeps the gateway from starting.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Draws all of it, with colours or without.
    #[must_use]
    pub fn render(&self, colours: Colours) -> String {
        let renderer = match colours {
            Colours::On => Renderer::styled(),
            Colours::Off => Renderer::plain(),
        };
        let mut out = String::new();
        for finding in &self.findings {
            out.push_str(&renderer.render(&self.draw(finding)));
            out.push_str("\n\n");
        }
        out
    }

    /// Adds an error at a key; the key's place is found by its path, as `radius.servers[1].name`.
    pub(super) fn error(&mut self, code: &'static str, path: &str, title: &str) -> &mut Finding {
        let place = self.layers.place(path);
        self.add(Severity::Error, code, place, title)
    }

    /// Adds a warning at a key.
    pub(super) fn warning(&mut self, code: &'static str, path: &str, title: &str) -> &mut Finding {
        let place = self.layers.place(path);
        self.add(Severity::Warning, code, place, title)
    }

    /// Adds a note at a key.
    pub(super) fn note(&mut self, code: &'static str, path: &str, title: &str) -> &mut Finding {
        let place = self.layers.place(path);
        self.add(Severity::Note, code, place, title)
    }

    /// Adds an error at a place.
    pub(super) fn error_at(
        &mut self,
        code: &'static str,
        place: Option<Place>,
        title: &str,
    ) -> &mut Finding {
        self.add(Severity::Error, code, place, title)
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Option<Place>,
        title: &str,
    ) -> &mut Finding {
        let at = self.findings.len();
        self.findings.push(Finding {
            severity,
            code,
            title: title.to_owned(),
            place,
            label: String::new(),
            notes: Vec::new(),
            help: None,
        });
        &mut self.findings[at]
    }

    fn draw<'a>(&'a self, finding: &'a Finding) -> Vec<Group<'a>> {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(finding.title.as_str()).id(finding.code);
        let mut group = Group::with_title(title);
        let source = finding
            .place
            .as_ref()
            .and_then(|place| Some((self.layers.source(place.source)?, place.span.clone())));
        if let Some((source, span)) = source {
            let mark = AnnotationKind::Primary.span(within(span, source.text().len()));
            let mark = if finding.label.is_empty() {
                mark
            } else {
                mark.label(finding.label.as_str())
            };
            group = group.element(
                Snippet::source(source.text())
                    .path(source.name())
                    .annotation(mark),
            );
        } else if !finding.label.is_empty() {
            group = group.element(Level::NOTE.message(finding.label.as_str()));
        }
        for note in &finding.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        let mut groups = vec![group];
        let code = finding.code;
        let help = match (&finding.help, finding.severity) {
            (Some(help), _) => format!("{help}\nmore: causeway explain {code}"),
            (None, Severity::Error | Severity::Warning) => format!("causeway explain {code}"),
            (None, Severity::Note) => return groups,
        };
        groups.push(Group::with_title(Level::HELP.secondary_title(help)));
        groups
    }
}

/// Whether a terminal is written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colours {
    /// With escape sequences.
    On,
    /// Text alone.
    Off,
}

/// An empty mark would not be seen, and one behind the text would not be drawn.
fn within(span: Range<usize>, length: usize) -> Range<usize> {
    let start = span.start.min(length);
    start..span.end.clamp(start, length)
}
