//! Long commands that are stopped, and go on with `--resume`.

use crate::cli::{folder, refuse, stderr, succeed, train, trained, tweedie};
use crate::cli_runs::with_default_signals;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command of several parts on a model, each of which takes a moment.
struct Long {
    name: &'static str,
    options: &'static [&'static str],
    /// Outputs in a folder; without any the result is what the command prints.
    outputs: &'static [&'static str],
}

const COMMANDS: &[Long] = &[
    Long {
        name: "sample",
        options: &["-n", "8", "--batch", "1", "--steps", "12"],
        outputs: &["a.npz", "pictures/", "film.gif"],
    },
    Long {
        name: "encode",
        options: &["--in", "data:digits:0-7", "--batch", "1", "--rtol", "1e-2", "--atol", "1e-2"],
        outputs: &["z.safetensors"],
    },
    Long {
        name: "likelihood",
        options: &["--data", "digits", "-n", "8", "--batch", "1", "--rtol", "1e-2", "--atol", "1e-2"],
        outputs: &[],
    },
];

/// A command that nothing but a signal ends in time.
const ENDLESS: Long =
    Long { name: "sample", options: &["-n", "2000", "--batch", "1", "--steps", "60"], outputs: &["a.npz"] };

impl Long {
    fn command(&self, model: &Path, folder: &Path) -> Command {
        let mut command = tweedie();
        command.current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
        command.arg(self.name).arg(model).args(self.options);
        for output in self.outputs {
            command.args([if output.ends_with("gif") { "--animate" } else { "--out" }, output]);
        }
        command
    }

    /// The file with the finished parts.
    fn unfinished(&self, folder: &Path) -> Option<std::path::PathBuf> {
        let place = if self.outputs.is_empty() { folder.join("cache/tweedie") } else { folder.to_path_buf() };
        let mut files = std::fs::read_dir(place).ok()?.flatten().map(|entry| entry.path());
        files.find(|path| path.extension().is_some_and(|ending| ending == "unfinished"))
    }
}

/// Every file of a folder but the driver's, with its contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        match entry.path() {
            _ if name == "cache" => {}
            path if path.is_dir() => files.extend(contents(&path)),
            path => files.push((name, std::fs::read(path).expect("a file"))),
        }
    }
    files.sort();
    files
}

/// Runs a command and ends it by a signal once its file of finished parts has `size` bytes.
fn stop(command: &Command, long: &Long, folder: &Path, size: u64, signal: &str) -> (Option<i32>, String) {
    let mut command = with_default_signals(command);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a start");
    let started = Instant::now();
    let length = || long.unfinished(folder).and_then(|path| Some(path.metadata().ok()?.len())).unwrap_or(0);
    while length() < size && child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < Duration::from_secs(240), "it takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
    // It may have ended meanwhile.
    let _ = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    let output = child.wait_with_output().expect("an end");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_stopped_command_goes_on_by_number_to_the_same_result() {
    let model = trained();
    for long in COMMANDS {
        let (whole, parts) = (folder(), folder());
        let expected = succeed(&mut long.command(model, whole.path()));
        assert_eq!(long.unfinished(whole.path()), None);

        let first = stop(&long.command(model, parts.path()), long, parts.path(), 250, "TERM");
        assert_eq!(first.0, Some(143), "{}: {}", long.name, first.1);
        assert!(first.1.contains("the same command goes on with --resume"), "{}: {}", long.name, first.1);
        let file = long.unfinished(parts.path()).expect("finished parts");
        // A crash may cut a record short.
        let size = file.metadata().expect("a file").len();
        let mut resumed = long.command(model, parts.path());
        let second = stop(resumed.arg("--resume"), long, parts.path(), size + 1, "KILL");
        assert_eq!(second.0, None, "{}: {}", long.name, second.1);
        let size = file.metadata().expect("a file").len();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .expect("a file")
            .set_len(size - 1)
            .expect("a cut");

        let refused = refuse(&mut long.command(model, parts.path()));
        assert!(refused.contains("go on with --resume"), "{}: {refused}", long.name);
        let printed = succeed(long.command(model, parts.path()).arg("--resume"));
        assert_eq!(long.unfinished(parts.path()), None);
        assert!(contents(parts.path()) == contents(whole.path()), "{}", long.name);
        if long.outputs.is_empty() {
            assert_eq!(printed, expected);
        }
    }
}

#[test]
fn parts_of_another_command_or_model_are_not_used() {
    let (folder, own) = (folder(), &ENDLESS);
    let model = folder.path().join("model");
    let trained = |steps: &str| {
        succeed(train(&model, &[]).args(["--overwrite", "--steps", steps]));
    };
    trained("1");
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    let (status, said) = stop(&own.command(&model, place), own, place, 250, "INT");
    assert_eq!(status, Some(130), "{said}");
    let file = own.unfinished(place).expect("finished parts");
    let kept = std::fs::read(&file).expect("a file");
    // With --resume or without, the parts stay.
    for options in [&["--resume", "--seed", "3"][..], &["--seed", "3"]] {
        let other = refuse(own.command(&model, place).args(options));
        assert!(other.contains("finished batch") && other.contains("-n 2000"), "{other}");
    }
    trained("2");
    let changed = refuse(own.command(&model, place).arg("--resume"));
    assert!(changed.contains("another model"), "{changed}");
    assert!(std::fs::read(&file).expect("a file") == kept);
}

#[test]
fn a_file_that_is_not_of_finished_parts_is_left_alone() {
    let (folder, own) = (folder(), &COMMANDS[0]);
    let at = |name: &str| folder.path().join(name);
    let file = at("a.npz.unfinished");
    for options in [&["--resume"][..], &[]] {
        std::fs::write(&file, "notes of somebody").expect("a file");
        let message = refuse(own.command(trained(), folder.path()).args(options));
        assert!(message.contains("a.npz.unfinished does not begin as"), "{message}");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "notes of somebody");
        std::fs::rename(&file, at("notes")).expect("a file");
        std::os::unix::fs::symlink(at("notes"), &file).expect("a link");
        let message = refuse(own.command(trained(), folder.path()).args(options));
        assert!(message.contains("no plain file"), "{message}");
        assert_eq!(std::fs::read_to_string(at("notes")).expect("a file"), "notes of somebody");
        std::fs::remove_file(&file).expect("a link");
    }
}

#[test]
fn damaged_parts_are_named_and_computed_again() {
    let (whole, parts, own) = (folder(), folder(), &COMMANDS[1]);
    succeed(&mut own.command(trained(), whole.path()));
    let (status, said) = stop(&own.command(trained(), parts.path()), own, parts.path(), 1000, "TERM");
    assert_eq!(status, Some(143), "{said}");
    let file = own.unfinished(parts.path()).expect("finished parts");
    let mut bytes = std::fs::read(&file).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).expect("a file");
    let said = stderr(own.command(trained(), parts.path()).arg("--resume"));
    assert!(said.contains("damaged") && said.contains("computed again"), "{said}");
    assert!(contents(parts.path()) == contents(whole.path()));
}

#[test]
fn nothing_to_go_on_with_is_said_and_the_command_begins() {
    let (folder, own) = (folder(), &COMMANDS[0]);
    let said = stderr(own.command(trained(), folder.path()).arg("--resume"));
    assert!(said.contains("no batch of this command"), "{said}");
    assert!(folder.path().join("a.npz").exists());
}
