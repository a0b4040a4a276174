//! What a check found, and how it is shown.

use serde_json::{Value, json};

use crate::cli::{Exit, Output};

/// How something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at.
    pub(super) topic: &'static str,
    /// What was seen.
    pub(super) text: String,
    /// What to do.
    pub(super) remedy: Option<String>,
    /// Commands for the other side that fit, each with what it shows.
    pub(super) commands: Vec<String>,
}

/// The lines of one report, shown as they come.
pub(super) struct Report<'o, 'p> {
    out: &'o mut Output<'p>,
    json: bool,
    subject: String,
    findings: Vec<(String, Finding)>,
}

impl<'o, 'p> Report<'o, 'p> {
    pub(super) const fn new(out: &'o mut Output<'p>, json: bool) -> Self {
        Self {
            out,
            json,
            subject: String::new(),
            findings: Vec::new(),
        }
    }

    /// Begins with the next thing that is looked at.
    pub(super) fn subject(&mut self, subject: &str) {
        subject.clone_into(&mut self.subject);
        if !self.json {
            self.out.line(subject);
        }
    }

    /// Tells something on the way that is no finding.
    pub(super) fn progress(&mut self, text: &str) {
        if !self.json {
            self.out.line(&format!("  ...   {text}"));
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if !self.json {
            self.show(&finding);
        }
        self.findings.push((self.subject.clone(), finding));
    }

    pub(super) fn ok(&mut self, topic: &'static str, text: impl Into<String>) {
        self.plain(Level::Ok, topic, text.into(), None);
    }

    pub(super) fn warn(
        &mut self,
        topic: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.plain(Level::Warn, topic, text.into(), Some(remedy.into()));
    }

    pub(super) fn fail(
        &mut self,
        topic: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.plain(Level::Fail, topic, text.into(), Some(remedy.into()));
    }

    fn plain(&mut self, level: Level, topic: &'static str, text: String, remedy: Option<String>) {
        self.add(Finding {
            level,
            topic,
            text,
            remedy,
            commands: Vec::new(),
        });
    }

    fn show(&mut self, finding: &Finding) {
        // Padded before it is painted: colours have a width of their own.
        let word = finding.level.as_str();
        let pad = " ".repeat(5_usize.saturating_sub(word.len()));
        let painted = self.out.paint(word);
        self.out.line(&format!(
            "  {painted}{pad} {:<14} {}",
            finding.topic, finding.text
        ));
        if let Some(remedy) = &finding.remedy {
            self.out.line(&format!("        do this: {remedy}"));
        }
        for command in &finding.commands {
            self.out.line(&format!("        PS> {command}"));
        }
    }

    /// Ends the report; the exit code says whether a check failed, warnings alone do not.
    pub(super) fn finish(self) -> Exit {
        let failed = self.count(Level::Fail);
        let warned = self.count(Level::Warn);
        if self.json {
            let findings: Vec<Value> = self
                .findings
                .iter()
                .map(|(subject, finding)| {
                    json!({
                        "subject": subject,
                        "topic": finding.topic,
                        "level": finding.level.as_str(),
                        "text": finding.text,
                        "remedy": finding.remedy,
                        "commands": finding.commands,
                    })
                })
                .collect();
            let object =
                json!({"schema": 1, "failed": failed, "warned": warned, "findings": findings});
            self.out.line(&object.to_string());
        } else {
            self.out.line(&format!(
                "{} checks, {failed} failed, {warned} to look at",
                self.findings.len()
            ));
        }
        if failed == 0 {
            Exit::Done
        } else {
            Exit::CheckFailed
        }
    }

    fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|(_, finding)| finding.level == level)
            .count()
    }
}
