//! Damaged files given to the program: a sentence and nothing left, or the result of the good file.

use super::inputs::{Guard, PROBLEM, gzip, torment};
use super::record::Record;
use crate::cli::{checkpoint, folder, train, trained, tweedie};
use crate::hostile::{reference, small};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The number of damaged files of each kind that a command reads.
const COUNT: usize = 15;

/// A folder for the files and for what the commands write.
struct Place(tempfile::TempDir);

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Damages a good file; a command that reads `file` and writes `out` is run on each.
    fn attack(
        &self,
        record: &mut Record,
        kind: (&str, Guard),
        good: &[u8],
        [file, out]: [&str; 2],
        command: impl Fn(&Path, &Path) -> Command,
    ) {
        let (file, out) = (self.at(file), self.at(out));
        torment(record, kind, good, COUNT, |bytes| {
            std::fs::write(&file, bytes).expect("a file");
            let _ = std::fs::remove_dir_all(&out).or_else(|_| std::fs::remove_file(&out));
            outcome(command(&file, &out), &out)
        });
    }
}

pub fn attack(record: &mut Record) {
    let place = Place(folder());
    checkpoints(record, &place);
    images(record, &place);
    let restore = |file: &Path, out: &Path| {
        let mut command = tweedie();
        command.arg("restore").arg(trained()).args(["--in", "data:digits:3", "--simulate", "--steps", "3"]);
        command.arg("--problem").arg(file).arg("--out").arg(out);
        command
    };
    let kind = ("restore: problem", Guard::Nothing);
    place.attack(record, kind, PROBLEM.as_bytes(), ["x.toml", "x.npz"], restore);
}

fn convert(from: &Path, to: &Path) -> Command {
    let mut command = tweedie();
    command.arg("convert").arg(from).arg(to);
    command
}

fn checkpoints(record: &mut Record, place: &Place) {
    let good = std::fs::read(checkpoint(trained(), 20)).expect("a checkpoint");
    place.attack(record, ("convert: checkpoint", Guard::Sum), &good, ["x.safetensors", "run"], convert);
    let (config, _, _) = small();
    std::fs::write(place.at("config.json"), serde_json::to_vec(&config).expect("JSON")).expect("a file");
    let import = |file: &Path, out: &Path| {
        let mut command = convert(file, out);
        command.arg("--config").arg(place.at("config.json"));
        command
    };
    let archive = reference().1.archive();
    place.attack(record, ("convert: PyTorch archive", Guard::Sum), &archive, ["x.pth", "run"], import);
}

fn images(record: &mut Record, place: &Place) {
    let encode = |file: &Path, out: &Path| {
        let mut command = tweedie();
        command.arg("encode").arg(trained()).args(["--rtol", "1e-1", "--atol", "1e-1", "--in"]).arg(file);
        command.arg("--out").arg(out);
        command
    };
    place.attack(record, ("encode: PNG", Guard::Picture), &picture(), ["x.png", "z.safetensors"], encode);
    let idx = |file: &Path, out: &Path| {
        let images = format!("data.images={}", file.display());
        let mut command = train(out, &["data.dataset=idx", &images]);
        command.args(["--steps", "1"]);
        command
    };
    let header = [0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 8];
    let pixels: Vec<u8> = (0..12 * 64).map(|i| (i % 251) as u8).collect();
    let packed = gzip(&[&header[..], &pixels].concat());
    place.attack(record, ("train: IDX, gzip", Guard::Sum), &packed, ["x.gz", "run"], idx);
}

/// The bytes that a command writes, or `None` if it refuses in one sentence and leaves nothing.
fn outcome(mut command: Command, out: &Path) -> Option<Vec<u8>> {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&stderr);
    assert!(!said.contains("should not have happened"), "{said}");
    if status.success() {
        let file = if out.is_dir() { crate::interop::checkpoint(out) } else { out.to_path_buf() };
        return Some(std::fs::read(file).expect("a file"));
    }
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    assert!(!out.exists(), "something is left: {said}");
    None
}

/// A picture of 8×8.
fn picture() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(31 * x + 7 * y) as u8]));
    picture.write_to(&mut png, image::ImageFormat::Png).expect("a picture");
    png.into_inner()
}
