//! The commands that run in this process.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::auth::{Change, UserFile};
use crate::cli::{Config, Exit, Output, Serve};
use crate::config::{self, Base, Colours, Options, Scope};
use crate::startup::{self, Run, chain};

/// The first port that a trial tries.
pub(super) const PORTS_FROM: u16 = 20_443;

/// `causeway serve`.
pub(super) fn serve(serve: &Serve) -> Exit {
    let run = if serve.dev {
        Run::Dev {
            ports_from: serve.ports_from.unwrap_or(PORTS_FROM),
        }
    } else {
        Run::File(
            serve
                .config
                .clone()
                .unwrap_or_else(|| PathBuf::from(config::DEFAULT_FILE)),
        )
    };
    startup::serve(&run)
}

/// `causeway config`.
pub(super) fn config(command: &Config, quiet: bool, out: &mut Output<'_>) -> Exit {
    let (path, scope) = match command {
        Config::Check { config } => (config, None),
        Config::Show {
            config,
            effective: true,
        } => (config, Some(Scope::Effective)),
        Config::Show {
            config,
            effective: false,
        } => (config, Some(Scope::Set)),
    };
    let colours = if std::io::stdout().is_terminal() {
        Colours::On
    } else {
        Colours::Off
    };
    match config::load(&Options::of_process(Base::File(path.clone()))) {
        Ok(loaded) => {
            match scope {
                Some(scope) => out.text(&loaded.show(scope)),
                None if quiet => {}
                None => {
                    out.text(&loaded.report.render(colours));
                    out.line(&format!("{} is good", path.display()));
                }
            }
            Exit::Done
        }
        Err(report) => {
            if !quiet {
                out.text(&report.render(colours));
            }
            Exit::Configuration
        }
    }
}

/// `causeway users add`.
pub(super) fn add_user(name: &str, file: &Path, out: &mut Output<'_>) -> Exit {
    let password = match out.ask_new_secret(&format!("Password for {name}")) {
        Ok(password) => password,
        Err(why) => {
            out.error(why.as_str());
            return Exit::Failure;
        }
    };
    match UserFile::add(file, name, &password) {
        Ok(change) => {
            let done = match change {
                Change::Added => "added",
                Change::Replaced => "has a new password",
            };
            out.line(&format!("{name} {done} in {}", file.display()));
            Exit::Done
        }
        Err(error) => {
            out.error(&chain(&error));
            Exit::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use crate::cli::Style;

    use super::*;

    fn add(file: &Path, mut typed: &[u8]) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let answers = Some(&mut typed as &mut dyn BufRead);
        let exit = add_user(
            "alice",
            file,
            &mut Output::new(&mut out, &mut err, answers, Style::Plain),
        );
        (exit, String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_password_is_typed_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.toml");
        for wrong in [
            &b"wonderland\nwunderland\n"[..],
            b"wonderland\n",
            b"\n\n",
            b"",
        ] {
            let (exit, said) = add(&file, wrong);
            assert_eq!(exit, Exit::Failure, "{said}");
            assert!(!said.contains("onderland"), "{said}");
            assert!(!file.exists());
        }
        let (exit, said) = add(&file, b"wonderland\nwonderland\n");
        assert_eq!(exit, Exit::Done, "{said}");
        assert_eq!(said, "Password for alice: Again: ");
        assert!(file.exists());
    }
}
