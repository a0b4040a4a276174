//! The `causeway` program: reads the command line, does it, and ends with its exit code.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Passwords pass through buffers that are not ours to wipe (HTTP, TLS, JSON) or that move as they grow: whatever is
/// given back is wiped. The packet path keeps its buffers.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    causeway::cli::run()
}
