//! The programs of `examples/` run, and each is listed here.

use std::process::Command;

macro_rules! examples {
    ($($name:ident),+ $(,)?) => {
        const EXAMPLES: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )+
    };
}

examples! {
    closed_form_score,
    likelihood,
    own_kernel,
    own_network,
    own_process,
    own_sampler,
    sample_checkpoint,
    train_on_arrays,
}

/// Runs an example, which fails if its result is wrong.
fn run(name: &str) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.trim().is_empty(), "{name} says nothing");
}

#[test]
fn every_example_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("a file").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, EXAMPLES);
}
