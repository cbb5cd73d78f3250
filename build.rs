//! The commit and the version of wgpu, for `tweedie --version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    // Development builds do not follow the commit: they would be built again after each.
    let commit = match std::env::var("PROFILE").as_deref() {
        Ok("release") => commit().unwrap_or("unknown".into()),
        _ => "of a development build".into(),
    };
    println!("cargo::rustc-env=TWEEDIE_COMMIT={commit}");
    println!("cargo::rustc-env=TWEEDIE_WGPU={}", wgpu().unwrap_or("unknown".into()));
}

/// The commit of the source, with a mark if files differ from it; none outside a repository.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_string())
    };
    let folder = git(&["rev-parse", "--git-dir"])?;
    println!("cargo::rerun-if-changed={folder}/HEAD");
    println!("cargo::rerun-if-changed={folder}/index");
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    git(&["rev-parse", "--short=10", "HEAD"])
        .map(|commit| commit + if changed { " with changes" } else { "" })
}

/// The version of wgpu in `Cargo.lock`.
fn wgpu() -> Option<String> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let package = lock.split("[[package]]").find(|package| package.contains("\nname = \"wgpu\"\n"))?;
    let version = package.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(version.trim_matches('"').to_string())
}
