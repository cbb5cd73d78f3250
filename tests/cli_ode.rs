//! The commands of the probability flow, from the command line.

use crate::cli::{folder, refuse, succeed, trained, tweedie};
use crate::support::{Reference, read_safetensors};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// Loose tolerances: the tiny model is barely trained, and its flow is stiff.
const LOOSE: [&str; 4] = ["--rtol", "1e-2", "--atol", "1e-2"];

fn pictures(folder: &Path) {
    succeed(tweedie().arg("sample").arg(trained()).args(["-n", "3", "--out"]).arg(folder));
}

#[test]
fn the_ode_sampler_draws_a_sample_by_its_number_and_reports_its_evaluations() {
    let folder = folder();
    let sample = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        let mut command = tweedie();
        command
            .arg("sample")
            .arg(trained())
            .args(["-n", "5", "--sampler", "ode", "--json", "--out"])
            .arg(&out);
        let report = json(&succeed(command.args(extra)));
        (std::fs::read(&out).expect("samples"), report["evaluations"].as_f64().expect("a number"))
    };
    let with = |extra: &[&'static str]| [&LOOSE, extra].concat();
    let (whole, evaluations) = sample("a.npz", &LOOSE);
    assert!(evaluations > 8.0, "{evaluations}");
    assert!(whole == sample("b.npz", &with(&["--batch", "2"])).0, "a sample depends on its batch");
    let (joint, evaluations) = sample("c.npz", &with(&["--error-norm", "batch"]));
    assert!(joint != whole && (evaluations - 3.0) % 6.0 == 0.0, "{evaluations}");
    let (_, fewer) = sample("d.npz", &["--rtol", "0.1", "--atol", "0.1"]);
    assert!(fewer < evaluations);
}

#[test]
fn decode_inverts_encode() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    pictures(&at("pictures"));
    let tight = ["--rtol", "1e-4", "--atol", "1e-4"];
    let mut encode = tweedie();
    encode.arg("encode").arg(trained()).arg("--in").arg(at("pictures"));
    let report = json(&succeed(encode.args(tight).arg("--json").arg("--out").arg(at("z.safetensors"))));
    let latents = read_safetensors(&at("z.safetensors"));
    assert_eq!(latents["z"].shape, [3, 1, 8, 8]);
    assert_eq!(latents["nfev"].shape, [1]);
    assert!((latents["nfev"].values[0] - report["nfev"].as_f64().expect("a number")).abs() < 1e-3);

    let mut decode = tweedie();
    decode.arg("decode").arg(trained()).arg("--in").arg(at("z.safetensors")).args(tight);
    for out in ["x.safetensors", "x.npz", "x.png", "again"] {
        decode.arg("--out").arg(at(out));
    }
    succeed(&mut decode);
    let read = read_safetensors(&at("x.safetensors"));
    assert_eq!(read["x"].shape, [3, 1, 8, 8]);
    assert!(read["nfev"].values[0] > 8.0);
    let level = |folder: &str, file: &str, i: u32| {
        let picture = image::open(at(folder).join(file)).expect("a picture").into_luma8();
        i32::from(picture.get_pixel(i % 8, i / 8)[0])
    };
    for file in ["00000.png", "00001.png", "00002.png"] {
        for i in 0..64 {
            let (before, after) = (level("pictures", file, i), level("again", file, i));
            assert!((before - after).abs() <= 2, "{file}: {before} has become {after}");
        }
    }
    // Tensors and pictures are equivalent: decoded x encodes to z.
    let mut encode = tweedie();
    encode.arg("encode").arg(trained()).arg("--in").arg(at("x.safetensors"));
    succeed(encode.args(tight).arg("--out").arg(at("z2.safetensors")));
    let again: &Reference = &read_safetensors(&at("z2.safetensors"))["z"];
    let difference = |a: &[f64], b: &[f64]| -> f64 {
        let square = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        (square / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
    };
    let error = difference(&again.values, &latents["z"].values);
    assert!(error < 0.02, "{error}");
    // At temperature 0 every sample is the same.
    let mut cold = tweedie();
    cold.arg("decode").arg(trained()).arg("--in").arg(at("z.safetensors")).args(LOOSE);
    succeed(cold.args(["--temperature", "0", "--denoise", "--out"]).arg(at("cold.safetensors")));
    let cold = &read_safetensors(&at("cold.safetensors"))["x"].values;
    assert_eq!(cold[..64], cold[64..128]);
}

#[test]
fn decoding_takes_the_requested_steps_or_the_samplers_default() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut encode = tweedie();
    encode.arg("encode").arg(trained()).args(["--in", "data:digits:0-1"]).args(LOOSE);
    succeed(encode.arg("--out").arg(at("z.safetensors")));
    let decode = |args: &[&str]| {
        let mut command = tweedie();
        command.arg("decode").arg(trained()).arg("--in").arg(at("z.safetensors")).args(args);
        command.arg("--json").arg("--out").arg(at("x.npz"));
        command
    };
    // The model's own sampler has 5 steps; Heun's default is 18 steps of two evaluations each.
    for (args, evaluations) in [
        (&["--sampler", "heun"][..], 36.0),
        (&["--sampler", "heun", "--steps", "4"], 8.0),
        (&["--sampler", "ddim", "--steps", "4"], 4.0),
    ] {
        assert_eq!(json(&succeed(&mut decode(args)))["nfev"].as_f64(), Some(evaluations), "{args:?}");
    }
    for (args, expected) in [
        (&["--steps", "4"][..], "--steps: the sampler ode does not use this option"),
        (&["--sampler", "heun", "--rtol", "1e-3"], "--rtol: the sampler heun does not use this option"),
        (&["--sampler", "pc"], "--sampler pc: it must be euler, heun, ddim, dpmpp_2m, dpmpp_3m, ode"),
        (&["--sampler", "heun", "--steps", "-1"], "--steps"),
        (
            &["--sampler", "heun", "--steps", "1000000000"],
            "--steps 1000000000: it must be a whole number from 1 to 1000000",
        ),
    ] {
        let message = refuse(&mut decode(args));
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn interpolation_goes_from_one_image_to_the_other() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    pictures(&at("pictures"));
    let interpolate = |args: &[&str], out: &str| {
        let mut command = tweedie();
        command.arg("interpolate").arg(trained()).args(LOOSE).args(["--steps", "4"]).args(args);
        succeed(command.arg("--out").arg(at(out)));
    };
    interpolate(&["--data", "digits", "--indices", "3", "10"], "strip.png");
    let strip = image::open(at("strip.png")).expect("a picture");
    assert_eq!((strip.width(), strip.height()), (4 * 66 + 2, 66 + 2));
    interpolate(&["--seeds", "1", "2"], "seeds.safetensors");
    let samples = &read_safetensors(&at("seeds.safetensors"))["x"];
    assert_eq!(samples.shape, [4, 1, 8, 8]);
    // The ends are the samples of these seeds.
    let mut sample = tweedie();
    sample.arg("sample").arg(trained()).args(LOOSE).args(["-n", "1", "--seed", "2", "--sampler", "ode"]);
    succeed(sample.args(["--out"]).arg(at("end.npz")));
    let a = at("pictures/00000.png");
    let b = at("pictures/00001.png");
    let (a, b) = (a.to_str().expect("a path"), b.to_str().expect("a path"));
    interpolate(&["--in", a, "--in", b], "between.npz");
    let message = refuse(tweedie().arg("interpolate").arg(trained()).args(["--in", a, "--out", "x.png"]));
    assert!(message.contains("there must be two images, not 1"), "{message}");
    let mut far = tweedie();
    far.arg("interpolate").arg(trained()).args(["--indices", "0", "360", "--out"]).arg(at("no.png"));
    let message = refuse(&mut far);
    assert!(message.contains("there is no image 360") && !at("no.png").exists(), "{message}");
}

#[test]
fn likelihood_is_reported_with_its_errors() {
    let likelihood = |args: &[&str]| {
        let mut command = tweedie();
        command.arg("likelihood").arg(trained()).args(["--data", "digits", "--json"]).args(LOOSE).args(args);
        json(&succeed(&mut command))
    };
    let probes = likelihood(&["-n", "6", "--probes", "4", "--draws", "2"]);
    let number = |report: &serde_json::Value, key: &str| report[key].as_f64().expect(key);
    assert_eq!((&probes["n"], &probes["dimensions"]), (&6.into(), &64.into()));
    assert!(number(&probes, "nfev") > 8.0);
    assert!(number(&probes, "standard_error") > 0.0 && number(&probes, "standard_error_of_draws") > 0.0);
    assert_eq!(probes, likelihood(&["-n", "6", "--probes", "4", "--draws", "2", "--batch", "4"]));
    let exact = likelihood(&["-n", "6", "--exact", "--draws", "2"]);
    assert!(exact["standard_error_of_probes"].is_null());
    let off = number(&exact, "bits_per_dim") - number(&probes, "bits_per_dim");
    assert!(off.abs() < 5.0 * number(&probes, "standard_error_of_probes") + 0.01, "{probes} {exact}");
    let gaussian = likelihood(&["-n", "6", "--probe", "gaussian"]);
    assert_ne!(gaussian["bits_per_dim"], probes["bits_per_dim"]);
}

#[test]
fn likelihoods_of_given_points_are_reported_one_by_one() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let points = |name: &str, probes: &[usize]| {
        let values = |len: usize, pitch: f32| -> Vec<u8> {
            (0..len).flat_map(|i| (0.5 + 0.5 * (i as f32 * pitch).sin()).to_le_bytes()).collect()
        };
        let (x, eps) = (values(3 * 64, 0.7), values(3 * 64 * probes.iter().product::<usize>(), 1.3));
        let view = |shape, bytes| TensorView::new(Dtype::F32, shape, bytes).expect("a view");
        let mut tensors = vec![("x", view(vec![3, 1, 8, 8], &x))];
        if !probes.is_empty() {
            tensors.push(("eps", view([probes, &[3, 1, 8, 8]].concat(), &eps)));
        }
        safetensors::serialize_to_file(tensors, None, &at(name)).expect("a file");
    };
    let likelihood = |name: &str, args: &[&str]| {
        let mut command = tweedie();
        command.arg("likelihood").arg(trained()).args(LOOSE).arg("--in").arg(at(name)).args(args);
        command
    };
    points("x.safetensors", &[]);
    points("two.safetensors", &[2]);
    let out = at("out.safetensors");
    for (name, args) in [("x.safetensors", &["--probes", "2"][..]), ("two.safetensors", &[])] {
        let report = |more: &[&str]| {
            json(&succeed(likelihood(name, args).args(more).arg("--json").arg("--out").arg(&out)))
        };
        let whole = report(&[]);
        let written = read_safetensors(&out);
        assert_eq!((&written["bpd"].shape, &written["z"].shape), (&vec![3], &vec![3, 1, 8, 8]));
        let told: Vec<f64> = (0..3).map(|i| whole["bpd"][i].as_f64().expect("a number")).collect();
        assert!(told.iter().zip(&written["bpd"].values).all(|(a, b)| *a as f32 == *b as f32), "{whole}");
        let mean = whole["bits_per_dim"].as_f64().expect("a number");
        assert!((told.iter().sum::<f64>() / 3.0 - mean).abs() < 1e-9, "{whole}");
        assert_eq!(whole, report(&["--batch", "2"]), "{name}: a point depends on its batch");
        assert!(whole["standard_error_of_probes"].as_f64().is_some(), "{name}: there are two probes of each");
    }
    let text = succeed(&mut likelihood("x.safetensors", &[]));
    assert!(text.starts_with("image 0: ") && text.lines().count() == 4, "{text}");
    let drawn = "has the probes, `eps`, and none are drawn";
    for (args, expected) in [
        (&["--probes", "2"][..], drawn),
        (&["--exact"], drawn),
        (&["--seed", "1"], drawn),
        (&["--data", "digits"], "exclude each other"),
        (&["--draws", "2"], "exclude each other"),
    ] {
        let message = refuse(&mut likelihood("two.safetensors", args));
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn a_picture_that_cannot_be_decoded_is_reported_once() {
    let folder = folder();
    let broken = folder.path().join("broken.png");
    for (bytes, cause) in [(&b"no picture"[..], "format"), (b"\x89PNG\r\n\x1a\n", "end of file")] {
        std::fs::write(&broken, bytes).expect("a file");
        let mut command = tweedie();
        command.arg("encode").arg(trained()).arg("--in").arg(&broken);
        let message = refuse(command.arg("--out").arg(folder.path().join("z.safetensors")));
        assert!(message.contains("broken.png cannot be read: "), "{message}");
        assert_eq!(message.matches(cause).count(), 1, "{message}");
    }
}

#[test]
fn invalid_inputs_of_the_flow_are_refused_and_nothing_is_written() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    pictures(&at("pictures"));
    let file = |name: &str| at(name).to_str().expect("a path").to_string();
    image::RgbImage::new(9, 8).save(at("wide.png")).expect("a picture");
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 200, 7])).save(at("green.png")).expect("a picture");
    std::fs::write(at("cut.safetensors"), b"no tensors").expect("a file");
    std::fs::create_dir(at("empty")).expect("a folder");
    image::GrayAlphaImage::from_pixel(8, 8, image::LumaA([9, 100])).save(at("clear.png")).expect("a picture");
    let clear = file("clear.png");
    let (out, tensors) = (file("out.png"), file("out.safetensors"));
    let good = file("pictures");
    for (args, expected) in [
        (
            vec!["encode", "--in", &good, "--rtol", "0", "--out", &tensors],
            "--rtol 0: it must be a number above 0",
        ),
        (vec!["encode", "--in", &good, "--atol", "-1e-5", "--out", &tensors], "--atol -0.00001"),
        (vec!["encode", "--in", &good, "--out", &out], "written as .safetensors"),
        (vec!["encode", "--in", &file("wide.png"), "--out", &tensors], "is 9x8, the model's images are 8x8"),
        (
            vec!["encode", "--in", &file("green.png"), "--out", &tensors],
            "is in colour, and the model needs grey images",
        ),
        (vec!["encode", "--in", &file("empty"), "--out", &tensors], "holds no picture"),
        (vec!["encode", "--in", "nowhere.png", "--out", &tensors], "nowhere.png does not exist"),
        (vec!["encode", "--in", "Cargo.toml", "--out", &tensors], "images are read from .png, a folder"),
        (vec!["encode", "--in", &file("cut.safetensors"), "--out", &tensors], "truncated or no safetensors"),
        (vec!["decode", "--in", &file("cut.safetensors"), "--out", &out], "truncated or no safetensors"),
        (vec!["decode", "--in", "z.safetensors", "--temperature", "-1", "--out", &out], "--temperature -1"),
        (vec!["decode", "--in", "z.safetensors", "--temperature", "1e30", "--out", &out], "from 0 to 1000"),
        (vec!["decode", "--in", &tensors, "--out", &tensors], "is an input; choose a different output path"),
        (vec!["encode", "--in", &tensors, "--out", &tensors], "is an input; choose a different output path"),
        (vec!["encode", "--in", &clear, "--out", &tensors], "clear.png is partly transparent"),
        (vec!["decode", "--in", "z.safetensors", "--out", "x.jpg"], "x.jpg: samples are written"),
        (
            vec!["interpolate", "--seeds", "1", "2", "--steps", "1", "--out", &out],
            "--steps 1: it must be at least 2",
        ),
        (
            vec!["interpolate", "--seeds", "1", "2", "--steps", "99999999999", "--out", &out],
            "--steps 99999999999: it must be at most 65535",
        ),
        (
            vec!["interpolate", "--seeds", "1", "2", "--data", "digits", "--out", &out],
            "--data needs --indices; leave it out",
        ),
        (
            vec!["interpolate", "--in", "data:digits:0-3", "--in", "data:digits:4", "--out", &out],
            "--in data:digits:0-3: it holds 4 images, and an end is one",
        ),
        (vec!["interpolate", "--seeds", "1", "2", "--out", &out, "--out", &out], "are the same output"),
        (vec!["decode", "--in", "z.safetensors", "--out", &out, "--out", &out], "are the same output"),
        (vec!["sample", "--sampler", "ode", "--rtol", "-1", "--out", &out], "--rtol -1"),
    ] {
        let mut command = tweedie();
        let message = refuse(command.arg(args[0]).arg(trained()).args(&args[1..]));
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    // A model's files are inputs too.
    let of_model = trained().join("checkpoints/step-00000020.safetensors");
    let mut encode = tweedie();
    encode.arg("encode").arg(trained()).args(["--in", &good, "--out"]).arg(&of_model);
    assert!(refuse(&mut encode).contains("is an input; choose a different output path"));
    for (args, expected) in [
        (["--probes", "0"], "--probes 0"),
        (["--draws", "0"], "--draws 0"),
        (["-n", "0"], "-n 0: it must be a whole number from 1 to "),
        (["-n", "361"], "-n 361: the data set has only 360 images"),
        (["--out", "likelihoods.safetensors"], "missing --in <F.safetensors>"),
        (["-n=1", "--out=likelihoods.safetensors"], "--out needs --in; leave it out"),
        (["--draws", "4000000000"], "--draws 4000000000: it must be from 1 to 65535"),
        (["--probes", "100000000000"], "--probes 100000000000: it must be from 1 to 65535"),
        (["--data", "nowhere"], "nowhere"),
        (["--rtol", "-1"], "--rtol -1"),
    ] {
        let message = refuse(tweedie().arg("likelihood").arg(trained()).args(args));
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    succeed(tweedie().arg("sample").arg(trained()).args(["-n", "1", "--out", &file("x.npz")]));
    // Samples are not latents.
    let message =
        refuse(tweedie().arg("decode").arg(trained()).args(["--in", &file("x.npz"), "--out", &out]));
    assert!(message.contains("no safetensors file"), "{message}");
    assert!(!at("out.png").exists() && !at("out.safetensors").exists());
}
