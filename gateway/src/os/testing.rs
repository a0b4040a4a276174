//! Helpers of this room's tests that need root.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs `work` on a thread in a network namespace of its own, which is gone afterwards.
pub(super) fn in_namespace(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root");
            work();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Returns what a program prints; it runs in the namespace of the calling thread.
pub(super) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect(program);
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs `what` in a child of one thread that has become `nobody`; returns whether it came back with "yes".
#[expect(
    unsafe_code,
    reason = "a test has several threads, and only a fork has one"
)]
pub(crate) fn as_nobody(what: impl FnOnce() -> bool) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Gid, Uid, fork, setgid, setgroups, setuid};

    // SAFETY: glibc keeps the allocator usable in the child, which ends by `_exit` and runs nothing of the parent's.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => {
            waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
        }
        ForkResult::Child => {
            let become_nobody = || {
                setgroups(&[])?;
                setgid(Gid::from_raw(65_534))?;
                setuid(Uid::from_raw(65_534))?;
                // As after an exec: the process's own files in /proc are its user's again.
                nix::sys::prctl::set_dumpable(true)
            };
            let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                become_nobody().is_ok() && what()
            }));
            let code = i32::from(!good.unwrap_or(false));
            // SAFETY: it does not return.
            unsafe { libc::_exit(code) }
        }
    }
}
