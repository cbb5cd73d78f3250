//! Deliberately damaged files: thousands of small changes to valid ones, from a fixed seed. No reader may
//! panic or exhaust memory, and every truncated file is refused. (`fuzz/` does the same, guided by coverage.)

use crate::pickler::Pickler;
use crate::support::{format_1, tiny_with};
use std::io::{Cursor, Read, Write};
use std::path::Path;
use tweedie::config::Config;
use tweedie::data::Dataset;
use tweedie::interop::{
    diffusers_config, read_safetensors_bytes, read_score_sde_from, reference_config, write_diffusers,
};
use tweedie::nn::{Registry, State};
use tweedie::random::{Key, Purpose};
use tweedie::train::Checkpoint;

/// The network of the seeds in `fuzz/corpus`.
pub fn small() -> (Config, Registry, State) {
    tiny_with(&["model.ch_mult=[1]", "model.attn_resolutions=[]"])
}

/// A deterministic generator of random numbers.
pub struct Dice {
    key: Key,
    block: u32,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { key: Key::new(seed, Purpose::Other(0)), block: 0 }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.block += 1;
        self.key.bits(0, self.block)[0] as usize % end.max(1)
    }
}

/// A file with up to four changes: a flipped bit, a significant byte, a cut, a piece removed, doubled or
/// moved, a large number.
pub fn mutated(good: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len());
        let end = (at + 1 + dice.below(16)).min(bytes.len());
        if bytes.is_empty() {
            return bytes;
        }
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'.', b'('][dice.below(8)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => bytes[at..end].fill(0xff),
            _ => bytes[at..end].reverse(),
        }
    }
    bytes
}

/// Reads a valid file, every prefix of it (a selection for a long file), one byte more, and `count` changed ones.
fn torment(name: &str, good: &[u8], count: usize, read: impl Fn(&[u8]) -> bool) {
    assert!(read(good), "{name}: the good file");
    for len in (0..good.len()).step_by(good.len().div_ceil(500)) {
        assert!(!read(&good[..len]), "{name}: cut at {len} of {}", good.len());
    }
    assert!(!read(&[good, &[0]].concat()), "{name}: a byte more");
    let mut dice = Dice::new(7);
    let refused = (0..count).filter(|_| !read(&mutated(good, &mut dice))).count();
    assert!(refused > count / 10, "{name}: {refused} of {count}");
}

/// A checkpoint of the reference, as a pickle and its archive.
pub fn reference() -> (Vec<u8>, Pickler) {
    reference_at(|p| p.int(7))
}

/// The same with another `step`.
fn reference_at(step: impl Fn(&mut Pickler)) -> (Vec<u8>, Pickler) {
    let (_, registry, state) = small();
    let mut p = Pickler::default();
    p.pickle.extend(b"\x80\x02}(");
    p.text("model");
    p.pickle.extend(b"}(");
    for (spec, values) in registry.trainable.iter().zip(&state.raw) {
        p.text(&format!("module.{}", spec.name));
        p.tensor(&spec.layout.file_shape(), values);
    }
    p.pickle.push(b'u');
    p.text("step");
    step(&mut p);
    p.pickle.extend(b"u.");
    (p.pickle.clone(), p)
}

#[test]
fn a_step_of_the_reference_that_is_not_a_number_is_named() {
    let (_, registry, state) = small();
    let read = |step: &dyn Fn(&mut Pickler)| {
        read_score_sde_from(Cursor::new(reference_at(step).1.archive()), &registry)
    };
    // The format of Adam's step in later releases of PyTorch.
    assert_eq!(read(&|p| p.tensor(&[1], &[7.0])).expect("a checkpoint").state.step, state.step + 7);
    let refused = |what: &str, step: &dyn Fn(&mut Pickler)| {
        let message = read(step).map(drop).expect_err(what).to_string();
        assert!(message.contains("`step` must be a whole number"), "{what}: {message}");
    };
    refused("a text", &|p| p.text("seven"));
    refused("none", &|p| p.pickle.push(b'N'));
    refused("a list", &|p| p.pickle.push(b']'));
    refused("below 0", &|p| p.pickle.extend(b"J\xff\xff\xff\xff"));
    refused("a part", &|p| p.tensor(&[1], &[7.5]));
    refused("several", &|p| p.tensor(&[2], &[7.0, 8.0]));
}

#[test]
fn checkpoints_of_the_reference() {
    let (_, registry, state) = small();
    let (pickle, p) = reference();
    let storages = p.storages.clone();
    let whole = p.archive();
    let read = |bytes: &[u8]| {
        read_score_sde_from(Cursor::new(bytes.to_vec()), &registry)
            .is_ok_and(|read| read.state.raw == state.raw)
    };
    torment("archive", &whole, 300, read);
    // The archive's checksums would detect most changes, so the pickle is changed before it is packed.
    let packed =
        |bytes: &[u8]| read(&Pickler { pickle: bytes.to_vec(), storages: storages.clone() }.archive());
    let mut dice = Dice::new(8);
    assert!(packed(&pickle));
    let refused = (0..300).filter(|_| !packed(&mutated(&pickle, &mut dice))).count();
    assert!(refused > 100, "{refused}");
    // PyTorch's format before 1.6 has no checksums: changed weights are not noticed, but nothing else is hurt.
    torment("legacy", &reference().1.legacy(), 300, read);
}

#[test]
fn a_zip_bomb_is_refused_before_it_is_unpacked() {
    let (_, registry, _) = small();
    // Every weight is a part of one storage: 16 MiB of zeros in a few kilobytes.
    let count = 1 << 22;
    let mut p = Pickler { pickle: b"\x80\x02}(".to_vec(), storages: Vec::new() };
    for spec in &registry.trainable {
        p.text(&spec.name);
        p.pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        p.text("storage");
        p.pickle.extend(b"ctorch\nFloatStorage\n");
        p.text("0");
        p.text("cpu");
        p.int(count);
        p.pickle.extend(b"tQK\x00(");
        let shape = spec.layout.file_shape();
        shape.iter().for_each(|extent| p.int(*extent));
        p.pickle.extend(b"t(");
        (0..shape.len()).for_each(|axis| p.int(shape[axis + 1..].iter().product()));
        p.pickle.extend(b"t\x89}tR");
    }
    p.pickle.extend(b"u.");
    let packed = |zeros: usize, method: zip::CompressionMethod| {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in [("x/data.pkl", p.pickle.clone()), ("x/data/0", vec![0; zeros])] {
            zip.start_file(name, options).expect("an entry");
            zip.write_all(&bytes).expect("bytes");
        }
        zip.finish().expect("an archive").into_inner()
    };
    let read = |bytes: Vec<u8>| read_score_sde_from(Cursor::new(bytes), &registry);
    let bomb = packed(4 * count, zip::CompressionMethod::Deflated);
    assert!(bomb.len() < 1 << 17);
    let message = read(bomb).map(drop).expect_err("a bomb").to_string();
    assert!(message.contains("as no weights do"), "{message}");
    let message = read(packed(1 << 18, zip::CompressionMethod::Deflated)).map(drop).expect_err("too short");
    assert!(message.to_string().contains("not 16777216"), "{message}");
    // The same as PyTorch writes it.
    read(packed(4 * count, zip::CompressionMethod::Stored)).expect("weights");
}

#[test]
fn checkpoints_of_this_program_and_weights_by_name() {
    let (config, registry, state) = small();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    Checkpoint::write_state(&state, &registry, &config, &path).expect("a checkpoint");
    let good = std::fs::read(&path).expect("a file");
    let read = |bytes: &[u8]| {
        let checkpoint = Checkpoint::from_bytes(Path::new("x"), bytes.to_vec());
        checkpoint.and_then(|checkpoint| checkpoint.state()).is_ok_and(|read| read == state)
    };
    torment("checkpoint", &good, 400, read);
    torment("weights", &good, 400, |bytes| {
        read_safetensors_bytes(bytes, &registry)
            .is_ok_and(|read| read.state.raw == state.raw && read.state.ema == state.ema)
    });

    // Files of format 1 have no checksum: they are read, and numbers that are not finite are refused.
    assert!(read(&format_1(&good, |_, _| ())));
    let nan = |name: &str, values: &mut [f32]| {
        if name.starts_with("ema/") {
            values[0] = f32::NAN;
        }
    };
    std::fs::write(&path, format_1(&good, nan)).expect("a file");
    let bytes = std::fs::read(&path).expect("a file");
    let mut broken = state.clone();
    broken.ema[3][0] = f32::NAN;
    let refused = Checkpoint::write_state(&broken, &registry, &config, &path).expect_err("NaN").to_string();
    assert!(refused.contains("not finite") && std::fs::read(&path).expect("a file") == bytes, "{refused}");
    let by_name = read_safetensors_bytes(&bytes, &registry).map(drop).expect_err("NaN").to_string();
    let whole = Checkpoint::read(&path).expect("a header").state().map(drop).expect_err("NaN").to_string();
    assert!(by_name.contains("not finite") && whole.contains("not finite"), "{by_name}, {whole}");

    // An unsupported configuration, so that no network is built.
    let model = tweedie::config::Model { num_res_blocks: 1_000_000, ..config.model.clone() };
    let endless = Config { model, ..config.clone() };
    Checkpoint::write_state(&state, &registry, &endless, &path).expect("a checkpoint");
    let message = Checkpoint::read(&path).map(drop).expect_err("endless blocks").to_string();
    assert!(message.contains("num_res_blocks = 1000000: it must be at most"), "{message}");

    // A tensor that the network does not have.
    let mut fewer = registry.clone();
    fewer.trainable.pop();
    let message = read_safetensors_bytes(&good, &fewer).map(drop).expect_err("one too many").to_string();
    assert!(message.contains("does not have"), "{message}");

    // Headers with wrong offsets.
    for offsets in ["[4,2]", "[-4,4]", "[0,18446744073709551615]", "[0,1e3]", "[2,6]"] {
        let header = format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{offsets}}}}}");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        assert!(read_safetensors_bytes(&bytes, &registry).is_err(), "{offsets}");
    }
    let both = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\
                \"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    let bytes = [&(both.len() as u64).to_le_bytes()[..], both.as_bytes(), &[0; 4]].concat();
    assert!(
        read_safetensors_bytes(&bytes, &registry)
            .map(drop)
            .expect_err("overlap")
            .to_string()
            .contains("damaged")
    );
    let bytes = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(read_safetensors_bytes(&bytes, &registry).is_err());
}

#[test]
fn descriptions_of_networks() {
    let (config, _, state) = small();
    let folder = tempfile::tempdir().expect("a folder");
    write_diffusers(&folder.path().join("model"), &config, &state).expect("a model");
    let text = |name: &str| std::fs::read(folder.path().join("model").join(name)).expect("a file");
    let utf8 = |bytes: &[u8], read: &dyn Fn(&str) -> bool| std::str::from_utf8(bytes).is_ok_and(read);
    // Without the final newline, so that every prefix is a truncation.
    let trimmed = |bytes: Vec<u8>| bytes.trim_ascii_end().to_vec();
    torment("config.json", &trimmed(text("unet/config.json")), 2000, |bytes| {
        utf8(bytes, &|text| diffusers_config(text, None).is_ok())
    });
    let described = String::from_utf8(text("unet/config.json")).expect("text");
    torment("scheduler_config.json", &trimmed(text("scheduler/scheduler_config.json")), 1000, |bytes| {
        utf8(bytes, &|text| diffusers_config(&described, Some(text)).is_ok())
    });
    let json = serde_json::to_vec(&config).expect("JSON");
    torment("reference's config.json", &json, 2000, |bytes| {
        utf8(bytes, &|text| reference_config(text, &[]).is_ok())
    });
    // A prefix of a TOML file may be valid TOML: only the changes are tested.
    let good = config.to_toml();
    let mut dice = Dice::new(9);
    let read = |bytes: &[u8]| utf8(bytes, &|text| Config::from_toml(text, &[]).is_ok());
    let refused = (0..2000).filter(|_| !read(&mutated(good.as_bytes(), &mut dice))).count();
    assert!(read(good.as_bytes()) && refused > 1000, "{refused}");
}

#[test]
fn images() {
    let good = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 12]].concat();
    torment("IDX", &good, 3000, |bytes| Dataset::from_idx_bytes(bytes).is_ok_and(|set| set.len() == 3));
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&good[..], flate2::Compression::fast())
        .read_to_end(&mut packed)
        .expect("bytes");
    let mut dice = Dice::new(10);
    let refused =
        (0..3000).filter(|_| Dataset::from_idx_bytes(&mutated(&packed, &mut dice)).is_err()).count();
    assert!(refused > 1000, "{refused}");
}

/// The initial corpus of a fuzz target.
fn corpus(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Runs a fuzz target on a file. (Those that need private functions run in `src/fuzzing.rs`.)
fn fuzz(target: &str, bytes: &[u8]) {
    let (_, registry, _) = small();
    let text = || std::str::from_utf8(bytes).unwrap_or_default();
    match target {
        "archive" => drop(read_score_sde_from(Cursor::new(bytes.to_vec()), &registry)),
        "pickle" => {
            let p = Pickler { pickle: bytes.to_vec(), storages: vec![vec![0; 64]] };
            drop(read_score_sde_from(Cursor::new(p.archive()), &registry));
        }
        "safetensors" => {
            drop(read_safetensors_bytes(bytes, &registry));
            drop(
                Checkpoint::from_bytes(Path::new("x"), bytes.to_vec())
                    .and_then(|checkpoint| checkpoint.state()),
            );
        }
        "diffusers" => {
            let (unet, scheduler) =
                text().split_once("\n---\n").map_or((text(), None), |(a, b)| (a, Some(b)));
            drop(diffusers_config(unet, scheduler));
        }
        "reference" => drop(reference_config(text(), &[])),
        "config" => drop(Config::from_toml(text(), &[])),
        "idx" => drop(Dataset::from_idx_bytes(bytes)),
        other => panic!("no target {other}"),
    }
}

#[test]
fn the_kept_corpus_of_the_fuzz_targets_does_no_harm() {
    let mut count = 0;
    for target in ["archive", "pickle", "safetensors", "diffusers", "reference", "config", "idx"] {
        for file in std::fs::read_dir(corpus(target)).expect("a folder").flatten() {
            fuzz(target, &std::fs::read(file.path()).expect("a file"));
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
}

#[test]
#[ignore = "writes the good files that fuzzing begins with"]
fn seeds() {
    let (config, registry, state) = small();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    Checkpoint::write_state(&state, &registry, &config, &at("checkpoint")).expect("a checkpoint");
    write_diffusers(&at("model"), &config, &state).expect("a model");
    let read = |name: &str| std::fs::read(at(name)).expect("a file");
    let (pickle, p) = reference();
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 12]].concat();
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&idx[..], flate2::Compression::fast())
        .read_to_end(&mut packed)
        .expect("bytes");
    for (target, name, bytes) in [
        ("archive", "checkpoint", p.archive()),
        ("pickle", "checkpoint", pickle),
        ("archive", "legacy", reference().1.legacy()),
        ("safetensors", "checkpoint", read("checkpoint")),
        (
            "diffusers",
            "ddpm",
            [
                read("model/unet/config.json"),
                b"---\n".to_vec(),
                read("model/scheduler/scheduler_config.json"),
            ]
            .concat(),
        ),
        ("reference", "ddpm", serde_json::to_vec(&config).expect("JSON")),
        ("config", "ddpm", config.to_toml().into_bytes()),
        ("idx", "plain", idx),
        ("idx", "gzip", packed),
    ] {
        std::fs::create_dir_all(corpus(target)).expect("a folder");
        std::fs::write(corpus(target).join(name), bytes).expect("a file");
    }
}
