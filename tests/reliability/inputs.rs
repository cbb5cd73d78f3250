//! Damaged files, from a fixed seed, given to the library. A file whose format has a checksum is
//! never read as another one; of the others what is missing or too much is refused.

use super::record::Record;
use crate::cli::{folder, succeed, trained, tweedie};
use crate::hostile::{Dice, mutated, reference, small};
use std::io::{Cursor, Read, Write};
use std::path::Path;
use tweedie::config::{Config, Problem};
use tweedie::data::{Array, Dataset};
use tweedie::interop::{
    diffusers_config, read_safetensors_bytes, read_score_sde_from, reference_config, write_diffusers,
};
use tweedie::train::Checkpoint;

/// The protection of a format against damage.
#[derive(Clone, Copy, PartialEq)]
pub enum Guard {
    /// A checksum: everything.
    Sum,
    /// A checksum of what is shown. Bytes after a picture's end are nothing to it, as to every viewer.
    Picture,
    /// Lengths: what is missing, and what is too much.
    Length,
    /// Nothing; a reader must come to an end.
    Nothing,
}

pub const PROBLEM: &str = "kind = \"super_resolution\"\nfactor = 2\n";

/// Reads a file that is cut, continued, flipped in a bit and changed in up to four places, `count` times each.
pub fn torment<T: PartialEq>(
    record: &mut Record,
    (format, guard): (&str, Guard),
    good: &[u8],
    count: usize,
    read: impl Fn(&[u8]) -> Option<T>,
) {
    let before = record.tried;
    let whole = read(good);
    assert!(whole.is_some(), "{format}: the good file is refused");
    let mut dice = Dice::new(3);
    let cuts = (0..good.len()).step_by(good.len().div_ceil(count));
    for len in cuts {
        record.case(&format!("{format}, cut at {len}"), || {
            assert!(read(&good[..len]).is_none() || guard == Guard::Nothing, "it is accepted");
        });
    }
    for tail in [&[0][..], &[0; 64], good] {
        record.case(&format!("{format}, {} bytes more", tail.len()), || {
            let read = read(&[good, tail].concat());
            let ignored = guard == Guard::Picture && read == whole;
            assert!(read.is_none() || ignored || guard == Guard::Nothing, "it is accepted");
        });
    }
    let summed = matches!(guard, Guard::Sum | Guard::Picture);
    for change in 0..2 * count {
        let bytes = match change % 2 {
            0 => super::damage::flipped(good, &mut dice),
            _ => mutated(good, &mut dice),
        };
        record.case(&format!("{format}, change {change}"), || {
            let read = read(&bytes);
            assert!(read.is_none() || read == whole || !summed, "it is read as another file");
        });
    }
    record.figures.push(format!("{format}: {}", record.tried - before));
}

/// Every reader of the library, thousands of times.
pub fn to_the_library(record: &mut Record) {
    let (config, registry, state) = small();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let read = |name: &str| std::fs::read(at(name)).expect("a file");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();

    Checkpoint::write_state(&state, &registry, &config, &at("checkpoint")).expect("a checkpoint");
    torment(record, ("checkpoint", Guard::Sum), &read("checkpoint"), 500, |bytes| {
        let checkpoint = Checkpoint::from_bytes(Path::new("x"), bytes.to_vec()).ok()?;
        Some((checkpoint.state().ok()?, checkpoint.config().clone()))
    });
    torment(record, ("safetensors", Guard::Length), &read("checkpoint"), 500, |bytes| {
        read_safetensors_bytes(bytes, &registry).ok().map(|read| read.state)
    });
    let pickle = |bytes: &[u8]| {
        read_score_sde_from(Cursor::new(bytes.to_vec()), &registry).ok().map(|read| read.state)
    };
    torment(record, ("PyTorch archive", Guard::Sum), &reference().1.archive(), 500, pickle);
    torment(record, ("PyTorch before 1.6", Guard::Length), &reference().1.legacy(), 500, pickle);

    let idx = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 12]].concat();
    let images = |bytes: &[u8]| {
        let set = Dataset::from_idx_bytes(bytes).ok()?;
        Some((0..set.len()).map(|i| set.image(i).to_vec()).collect::<Vec<_>>())
    };
    torment(record, ("IDX", Guard::Length), &idx, 1000, images);
    torment(record, ("IDX, gzip", Guard::Sum), &gzip(&idx), 1000, images);

    let npz = samples();
    let array = |bytes: &[u8]| Array::from_bytes(bytes).ok();
    torment(record, ("npz", Guard::Sum), &npz, 500, array);
    torment(record, ("npy", Guard::Length), &entry(&npz), 500, array);

    write_diffusers(&at("model"), &config, &state).expect("a model");
    let network = read("model/unet/config.json").trim_ascii_end().to_vec();
    torment(record, ("diffusers", Guard::Length), &network, 1000, |bytes| {
        diffusers_config(&text(bytes)?, None).ok()
    });
    let json = serde_json::to_vec(&config).expect("JSON");
    torment(record, ("reference's configuration", Guard::Length), &json, 1000, |bytes| {
        reference_config(&text(bytes)?, &[]).ok()
    });
    // A part of a TOML file may be a file.
    torment(record, ("configuration", Guard::Nothing), config.to_toml().as_bytes(), 1000, |bytes| {
        Config::from_toml(&text(bytes)?, &[]).ok()
    });
    torment(record, ("problem", Guard::Nothing), PROBLEM.as_bytes(), 1000, |bytes| {
        Problem::from_toml(&text(bytes)?).ok().map(|_| ())
    });
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("bytes");
    packed.finish().expect("bytes")
}

/// Samples as `tweedie sample` writes them.
fn samples() -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("samples.npz");
    succeed(tweedie().arg("sample").arg(trained()).args(["-n", "2", "--steps", "2", "--out"]).arg(&path));
    std::fs::read(path).expect("a file")
}

/// The first file of an archive.
fn entry(archive: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).expect("an archive");
    let mut bytes = Vec::new();
    archive.by_index(0).expect("a file").read_to_end(&mut bytes).expect("bytes");
    bytes
}
