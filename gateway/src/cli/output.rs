//! Where the command line writes, so that tests can read it.

use std::io::{self, BufRead, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::os::terminal::{Dark, read_secret};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// With colours.
    Colour,
    /// Without.
    Plain,
}

/// What somebody said to a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// There is nobody to ask.
    Nobody,
}

/// Why there is no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoSecret {
    /// Nothing was typed.
    Empty,
    /// The second time something else was typed.
    Different,
    /// What is typed cannot be hidden.
    Shown,
}

impl NoSecret {
    /// Returns it in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "no password was given",
            Self::Different => "the two passwords differ; nothing was changed",
            Self::Shown => {
                "the terminal would show the password; pass it on standard input instead"
            }
        }
    }
}

/// Whether the reader of the result is still there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reader {
    /// As far as is known.
    There,
    /// It went away (`| head`).
    Gone,
}

/// The three streams of a command.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Where an answer to a question comes from; `None` when nobody can be asked.
    answers: Option<&'a mut dyn BufRead>,
    style: Style,
    reader: Reader,
    /// Whether answers are typed on standard input, which then can be told not to show them.
    typed: bool,
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
            reader: Reader::There,
            typed: false,
        }
    }

    /// Says that the answers come from the terminal on standard input.
    #[must_use]
    pub(super) const fn typed(mut self) -> Self {
        self.typed = true;
        self
    }

    /// Returns whether somebody still reads the result.
    #[must_use]
    pub(super) const fn reader(&self) -> Reader {
        self.reader
    }

    /// Returns how words are drawn; colours mean that a terminal shows them.
    #[must_use]
    pub(super) const fn style(&self) -> Style {
        self.style
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) {
        if write!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .is_err()
        {
            self.reader = Reader::Gone;
        }
    }

    /// Writes a line of the result.
    pub fn line(&mut self, line: &str) {
        // A reader who went away (`| head`) is no failure.
        if writeln!(self.out, "{line}").is_err() {
            self.reader = Reader::Gone;
        }
    }

    /// Writes what is wrong.
    pub fn error(&mut self, message: &str) {
        if writeln!(self.err, "causeway: {message}").is_err() {}
    }

    /// Reads a new secret: twice and unseen from a terminal, else one line of standard input.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn ask_new_secret(&mut self, question: &str) -> Result<Zeroizing<String>, NoSecret> {
        self.read_secrets(&[question, "Again"])
    }

    /// Reads a secret that exists: unseen from a terminal, else one line of standard input.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn ask_secret(&mut self, question: &str) -> Result<Zeroizing<String>, NoSecret> {
        self.read_secrets(&[question])
    }

    /// Reads the same secret once for each question.
    fn read_secrets(&mut self, questions: &[&str]) -> Result<Zeroizing<String>, NoSecret> {
        let Some(answers) = self.answers.as_mut() else {
            return read_secret(&mut io::stdin().lock()).ok_or(NoSecret::Empty);
        };
        let dark = self.typed.then(|| Dark::new(io::stdin())).transpose();
        let _dark = dark.map_err(|_no_terminal| NoSecret::Shown)?;
        let mut secret: Option<Zeroizing<String>> = None;
        for question in questions {
            let read = write!(self.err, "{question}: ")
                .and_then(|()| self.err.flush())
                .ok()
                .and_then(|()| read_secret(*answers))
                .ok_or(NoSecret::Empty)?;
            if secret.is_some_and(|before| before != read) {
                return Err(NoSecret::Different);
            }
            secret = Some(read);
        }
        secret.ok_or(NoSecret::Empty)
    }

    /// Asks whether to go on.
    pub fn confirm(&mut self, question: &str) -> Answer {
        let Some(answers) = self.answers.as_mut() else {
            return Answer::Nobody;
        };
        if write!(self.err, "{question} [y/N] ")
            .and_then(|()| self.err.flush())
            .is_err()
        {
            return Answer::No;
        }
        let mut answer = String::new();
        let read = answers.read_line(&mut answer);
        if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            Answer::Yes
        } else {
            Answer::No
        }
    }

    /// Returns whether there is somebody to ask.
    #[must_use]
    pub const fn can_ask(&self) -> bool {
        self.answers.is_some()
    }

    /// Colours a word that says how something is; the word itself says it too.
    #[must_use]
    pub fn paint(&self, word: &str) -> String {
        let colour = match word {
            "ok" | "up" | "healthy" | "connected" => 32,
            "warn" | "authenticating" | "unreachable" => 33,
            "down" | "unhealthy" | "expired" => 31,
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
