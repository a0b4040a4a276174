//! Where the command line writes, so that tests can read it.

use std::io::{self, BufRead, IsTerminal, Write};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// With colours.
    Colour,
    /// Without.
    Plain,
}

/// The three streams of a command.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Where an answer to a question comes from; `None` when nobody can be asked.
    answers: Option<&'a mut dyn BufRead>,
    style: Style,
}

impl<'a> Output<'a> {
    /// Writes to these streams; questions are asked only when `answers` is there.
    pub fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        answers: Option<&'a mut dyn BufRead>,
        style: Style,
    ) -> Self {
        Self {
            out,
            err,
            answers,
            style,
        }
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) {
        if write!(self.out, "{text}").is_err() {}
    }

    /// Writes a line of the result.
    pub fn line(&mut self, line: &str) {
        // A reader who went away (`| head`) is no failure.
        if writeln!(self.out, "{line}").is_err() {}
    }

    /// Writes what is wrong.
    pub fn error(&mut self, message: &str) {
        if writeln!(self.err, "causeway: {message}").is_err() {}
    }

    /// Reads a secret: one line of standard input.
    pub fn ask_secret(&mut self, question: &str) -> Option<zeroize::Zeroizing<String>> {
        if write!(self.err, "{question}")
            .and_then(|()| self.err.flush())
            .is_err()
        {
            return None;
        }
        let mut line = zeroize::Zeroizing::new(String::new());
        let read = match self.answers.as_mut() {
            Some(answers) => answers.read_line(&mut line),
            None => io::stdin().lock().read_line(&mut line),
        };
        let secret = line.trim_end_matches(['\r', '\n']).to_owned();
        (read.is_ok() && !secret.is_empty()).then(|| zeroize::Zeroizing::new(secret))
    }

    /// Asks whether to go on; yes when nobody can be asked.
    pub fn confirm(&mut self, question: &str) -> bool {
        let Some(answers) = self.answers.as_mut() else {
            return true;
        };
        if write!(self.err, "{question} [y/N] ")
            .and_then(|()| self.err.flush())
            .is_err()
        {
            return false;
        }
        let mut answer = String::new();
        answers.read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// Colours a word that says how something is; the word itself says it too.
    #[must_use]
    pub fn paint(&self, word: &str) -> String {
        let colour = match word {
            "ok" | "up" | "healthy" => 32,
            "warn" | "authenticating" => 33,
            "down" | "unhealthy" => 31,
            _ => return word.to_owned(),
        };
        match self.style {
            Style::Colour => format!("\x1b[{colour}m{word}\x1b[0m"),
            Style::Plain => word.to_owned(),
        }
    }
}

/// Returns the style for standard output: colours only for a terminal, and not when anybody objects.
#[must_use]
pub(super) fn style(no_color: bool) -> Style {
    if no_color || std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal() {
        Style::Plain
    } else {
        Style::Colour
    }
}
