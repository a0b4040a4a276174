//! A terminal that does not show what is typed.

use std::io::{self, BufRead};
use std::os::fd::AsFd;

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use zeroize::{Zeroize, Zeroizing};

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;
/// A longer line is no password.
const MAX_SECRET: usize = 4096;

/// A terminal whose echo is off until this is dropped.
///
/// Ctrl-C and Ctrl-Z would leave the terminal dumb for whoever comes next, so they are characters meanwhile: Ctrl-C
/// ends the line, and [`read_secret`] takes it as "no".
#[derive(Debug)]
pub struct Dark<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Dark<F> {
    /// Turns the echo off.
    ///
    /// # Errors
    ///
    /// When this is no terminal.
    pub fn new(terminal: F) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut dark = before.clone();
        dark.local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ECHOK | LocalFlags::ISIG);
        dark.local_flags
            .insert(LocalFlags::ECHONL | LocalFlags::ICANON);
        if let Some(end) = dark
            .control_chars
            .get_mut(SpecialCharacterIndices::VEOL as usize)
        {
            *end = INTERRUPT;
        }
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &dark)?;
        Ok(Self { terminal, before })
    }
}

impl<F: AsFd> Drop for Dark<F> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        if tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before).is_err() {}
    }
}

/// Reads a line into memory that is wiped; `None` when there is none, it is empty, or Ctrl-C ended it.
pub fn read_secret(from: &mut dyn BufRead) -> Option<Zeroizing<String>> {
    // Never grown, so that no copy is left behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SECRET));
    loop {
        let here = from.fill_buf().ok()?;
        let end = here
            .iter()
            .position(|octet| matches!(*octet, b'\n' | INTERRUPT));
        let (part, taken) = match end {
            Some(end) => (here.get(..end)?, end + 1),
            None => (here, here.len()),
        };
        if line.len() + part.len() > MAX_SECRET {
            return None;
        }
        line.extend_from_slice(part);
        let interrupted = end.and_then(|end| here.get(end)) == Some(&INTERRUPT);
        from.consume(taken);
        if interrupted {
            return None;
        }
        if end.is_some() || taken == 0 {
            break;
        }
    }
    while line.last() == Some(&b'\r') {
        line.pop();
    }
    match String::from_utf8(std::mem::take(&mut *line)) {
        Ok(secret) if secret.is_empty() => None,
        Ok(secret) => Some(Zeroizing::new(secret)),
        Err(error) => {
            error.into_bytes().zeroize();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufReader, Read, Write};

    use nix::pty::openpty;

    use super::*;

    #[test]
    fn what_is_typed_is_not_shown_and_the_terminal_is_as_before_after_it() {
        let pair = openpty(None, None).unwrap();
        let mut keyboard = File::from(pair.master);
        let before = tcgetattr(&pair.slave).unwrap();
        let mut lines = BufReader::new(File::from(pair.slave.try_clone().unwrap()));
        let dark = Dark::new(&pair.slave).unwrap();
        keyboard.write_all(b"open sesame\n").unwrap();
        assert_eq!(read_secret(&mut lines).unwrap().as_str(), "open sesame");
        keyboard.write_all(b"open\x03").unwrap();
        assert!(read_secret(&mut lines).is_none());
        drop(dark);
        assert_eq!(tcgetattr(&pair.slave).unwrap(), before);
        keyboard.write_all(b"shown\n").unwrap();
        let mut seen = [0; 64];
        let mut text = String::new();
        while !text.contains("shown") {
            let read = keyboard.read(&mut seen).unwrap();
            text.push_str(std::str::from_utf8(&seen[..read]).unwrap());
        }
        assert!(!text.contains("open"), "{text:?}");
    }

    #[test]
    fn a_secret_is_one_line() {
        let read = |text: &'static [u8]| read_secret(&mut BufReader::with_capacity(2, text));
        assert_eq!(read(b"secret\r\nmore\n").unwrap().as_str(), "secret");
        assert_eq!(read(b"secret").unwrap().as_str(), "secret");
        assert_eq!(read(" ä \n".as_bytes()).unwrap().as_str(), " ä ");
        for nothing in [&b""[..], b"\n", b"\xff\n", b"sec\x03"] {
            assert!(read(nothing).is_none());
        }
        assert!(read_secret(&mut vec![b'x'; 5000].as_slice()).is_none());
    }

    #[test]
    fn a_file_is_no_terminal() {
        assert!(Dark::new(File::open("/dev/null").unwrap()).is_err());
    }
}
