//! Damaged files of a run folder. A damaged checkpoint is set aside and the one before it resumed; the small files
//! are made anew or refused in a sentence.

use super::record::Record;
use super::twins::{BEGUN, Twins, same_checkpoints};
use crate::cli::{checkpoint, refuse, stderr, succeed};
use crate::hostile::Dice;
use std::path::Path;

pub fn faults(record: &mut Record, twins: &Twins) {
    newest(record, twins);
    latest(record, twins);
    metrics(record, twins);
    configuration(record, twins);
}

/// A file with one bit flipped, anywhere.
pub fn flipped(good: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
    bytes
}

fn newest(record: &mut Record, twins: &Twins) {
    let good = std::fs::read(checkpoint(&twins.at("begun"), BEGUN)).expect("a checkpoint");
    let header = 8 + u64::from_le_bytes(good[..8].try_into().expect("8 bytes")) as usize;
    let page = header + 4096;
    let (mut zeroed, mut dice) = (good.clone(), Dice::new(2));
    zeroed[page..page + 4096].fill(0);
    let forms = [
        ("empty", Vec::new()),
        ("1 byte", good[..1].to_vec()),
        ("its header alone", good[..header].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("a byte less", good[..good.len() - 1].to_vec()),
        ("a byte more", [&good[..], &[0]].concat()),
        ("a page of zeros", zeroed),
        ("all zeros", vec![0; good.len()]),
    ];
    let forms = forms.map(|(form, bytes)| (form.to_string(), bytes)).into_iter();
    let bits = (0..24).map(|i| (format!("flipped bit {i}"), flipped(&good, &mut dice)));
    for (form, bytes) in forms.chain(bits.collect::<Vec<_>>()) {
        record.resume(&format!("newest checkpoint: {form}"), || {
            let run = twins.copy();
            std::fs::write(checkpoint(&run, BEGUN), bytes).expect("a file");
            let said = stderr(&mut twins.resume(&run));
            assert!(said.contains("step-00000040.safetensors.damaged"), "{said}");
            twins.is_whole(&run);
        });
    }
}

fn latest(record: &mut Record, twins: &Twins) {
    let elsewhere = checkpoint(&twins.whole(), 60).display().to_string();
    for (form, text) in [
        ("missing", None),
        ("empty", Some("")),
        ("an older one", Some("step-00000010.safetensors")),
        ("one that is not there", Some("step-00000077.safetensors")),
        ("an absolute path", Some(&elsewhere[..])),
        ("a path that climbs", Some("../../whole/checkpoints/step-00000060.safetensors")),
        ("no text", Some("\0\u{1}\u{1b}[31m")),
    ] {
        record.resume(&format!("latest: {form}"), || {
            let run = twins.copy();
            let path = run.join("checkpoints/latest");
            match text {
                Some(text) => std::fs::write(path, text).expect("a file"),
                None => std::fs::remove_file(path).expect("a file"),
            }
            twins.goes_on(&run);
        });
    }
}

fn metrics(record: &mut Record, twins: &Twins) {
    let good = std::fs::read_to_string(twins.at("begun/metrics.csv")).expect("rows");
    // What a full disk or a lost page leaves behind the rows is cut off.
    for (form, tail) in [
        ("a torn row", "41,0.5,"),
        ("zeros at its end", "\0\0\0\0\0\0\0\0"),
        ("a row of a step to come", "59,1,1,1,1,1,1,,,,,\n"),
        ("no text at its end", "41,nan,\0\0\0"),
    ] {
        record.resume(&format!("metrics.csv: {form}"), || {
            let run = twins.copy();
            std::fs::write(run.join("metrics.csv"), format!("{good}{tail}")).expect("rows");
            twins.goes_on(&run);
        });
    }
    // Rows that are gone are gone; training is the same.
    let infinite = good.replacen("\n3,", "\n3,inf,1,1,1,1,1,,,,,\n3,", 1);
    for (form, text) in [("empty", Some("")), ("missing", None), ("a row of inf", Some(&infinite))] {
        record.resume(&format!("metrics.csv: {form}"), || {
            let run = twins.copy();
            match text {
                Some(text) => std::fs::write(run.join("metrics.csv"), text).expect("rows"),
                None => std::fs::remove_file(run.join("metrics.csv")).expect("rows"),
            }
            succeed(&mut twins.resume(&run));
            same_checkpoints(&run, &twins.whole());
        });
    }
    record.resume("metrics.csv: of another program", || {
        let run = twins.copy();
        std::fs::write(run.join("metrics.csv"), "a,b\n1,2\n").expect("rows");
        refuse(&mut twins.resume(&run));
        std::fs::write(run.join("metrics.csv"), &good).expect("rows");
        twins.goes_on(&run);
    });
}

/// Without its configuration a run goes on; a damaged one is refused until it is removed or mended.
fn configuration(record: &mut Record, twins: &Twins) {
    let good = std::fs::read(twins.at("begun/config.toml")).expect("a configuration");
    let half = &good[..good.len() / 2];
    for (form, bytes) in [
        ("empty", Some(&b""[..])),
        ("half", Some(half)),
        ("no text", Some(&b"\xff\xfe\0"[..])),
        ("missing", None),
    ] {
        for name in ["config.toml", "steps"] {
            record.resume(&format!("{name}: {form}"), || goes_on_or_refuses(twins, name, bytes));
        }
    }
}

fn goes_on_or_refuses(twins: &Twins, name: &str, bytes: Option<&[u8]>) {
    let run = twins.copy();
    let path = run.join(name);
    let good = std::fs::read(&path).expect("a file");
    let damage = |path: &Path| match bytes {
        Some(bytes) => std::fs::write(path, bytes).expect("a file"),
        None => std::fs::remove_file(path).expect("a file"),
    };
    damage(&path);
    if !twins.resume(&run).status().expect("a start").success() {
        refuse(&mut twins.resume(&run));
        std::fs::write(path, good).expect("a file");
    }
    twins.goes_on(&run);
}
