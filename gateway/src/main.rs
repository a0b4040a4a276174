//! The `causeway` program: reads the command line, does it, and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway::cli::run()
}
