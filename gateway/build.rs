//! Tells the program which compiler and which commit it is built from, for `causeway_build_info`.
//!
//! The commit is `CAUSEWAY_COMMIT` when the builder says it (a package is built without a repository). Otherwise git is
//! asked, in a release build alone: a working build would be compiled anew for each commit. Else it is "unknown".

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CAUSEWAY_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc =
        said(&compiler, &["--version"]).and_then(|line| line.split(' ').nth(1).map(str::to_owned));
    let commit = env::var("CAUSEWAY_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(of_git);
    let unknown = || "unknown".to_owned();
    println!(
        "cargo::rustc-env=CAUSEWAY_RUSTC={}",
        rustc.unwrap_or_else(unknown)
    );
    println!(
        "cargo::rustc-env=CAUSEWAY_BUILT_FROM={}",
        commit.unwrap_or_else(unknown)
    );
}

fn of_git() -> Option<String> {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // Changes with every commit, and with every other one that is checked out.
    if let Some(log) = said("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    said("git", &["rev-parse", "--short=12", "HEAD"])
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
