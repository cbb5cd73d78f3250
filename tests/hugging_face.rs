//! Everyday folders in Hugging Face's layout: schedulers, files of weights, sizes. Their models are made here.

use crate::interop::{folder, refuse, tweedie};
use crate::pickler::{Pickler, Py};
use crate::support::tiny_with;
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tweedie::config::{Config, ImageSize, Method, Schedule};
use tweedie::interop::{Imported, Note, diffusers_config, read_diffusers, write_diffusers};
use tweedie::nn::State;
use tweedie::sde::PosteriorVariance;

const UNET: &str = "unet/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A folder of a small DDPM with attention, its configuration and its weights.
struct Model {
    folder: tempfile::TempDir,
    config: Config,
    state: State,
}

impl Model {
    fn new(set: &[&str]) -> Model {
        let (config, _, state) = tiny_with(set);
        let folder = folder();
        let home = folder.path().join("model");
        write_diffusers(&home, &config, &state).expect("a model");
        Model { folder, config, state }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("model").join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.at(name)).expect("a file")).expect("JSON")
    }

    fn change(&self, name: &str, key: &str, value: Value) {
        let mut file = self.json(name);
        file[key] = value;
        self.write(name, &file.to_string());
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn read(&self, set: &[&str]) -> Result<(Config, Imported), String> {
        let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
        read_diffusers(&self.at(""), &set).map_err(|e| e.to_string())
    }

    fn notes(&self) -> Vec<Note> {
        self.read(&[]).expect("a model").1.notes
    }
}

/// Writes the tensors of a file to others, the `i`-th to the one of that name.
fn split(from: &Path, to: &dyn Fn(usize) -> PathBuf, count: usize) -> Value {
    let bytes = std::fs::read(from).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("weights");
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut map = serde_json::Map::new();
    for part in 0..count {
        let name = to(part).file_name().and_then(|name| name.to_str()).expect("a name").to_string();
        let chosen: Vec<(String, TensorView<'_>)> = tensors
            .iter()
            .enumerate()
            .filter(|(i, _)| i % count == part)
            .map(|(_, pair)| pair.clone())
            .collect();
        map.extend(chosen.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        safetensors::serialize_to_file(chosen, None, &to(part)).expect("a file");
    }
    json!({ "metadata": {}, "weight_map": map })
}

#[test]
fn json_as_python_writes_it_is_read() {
    let model = Model::new(&[]);
    let text = std::fs::read_to_string(model.at(SCHEDULER)).expect("a file");
    let text = text.replacen('{', "{ \"lambda_min_clipped\": -Infinity, \"x\": [NaN, Infinity],", 1);
    model.write(SCHEDULER, &text);
    model.read(&[]).expect("a model");
    let scheduler = json!({ "beta_end": 0.02 }).to_string().replace("0.02", "NaN");
    let unet = model.json(UNET).to_string();
    let message = diffusers_config(&unet, Some(&scheduler)).expect_err("a number").to_string();
    assert!(message.contains("beta_end: ") && message.contains("NaN"), "{message}");
}

#[test]
fn a_key_that_occurs_twice_is_refused() {
    let model = Model::new(&[]);
    let text = std::fs::read_to_string(model.at(SCHEDULER)).expect("a file");
    model.write(SCHEDULER, &text.replacen('{', "{ \"beta_end\": 0.5,", 1));
    let message = model.read(&[]).expect_err("two of a key");
    assert!(message.contains("scheduler_config.json: it holds beta_end twice"), "{message}");
    // Some editors begin a file with a byte order mark.
    model.write(SCHEDULER, &format!("\u{feff}{text}"));
    model.read(&[]).expect("a model");
}

#[test]
fn the_pipelines_index_names_the_scheduler_and_every_part() {
    let model = Model::new(&[]);
    let index = "model_index.json";
    let scheduler = |class: &str| model.change(index, "scheduler", json!(["diffusers", class]));
    scheduler("DDIMScheduler");
    assert_eq!(model.read(&[]).expect("a model").0.sampling.method, Method::Ddim);
    scheduler("FlowMatchEulerDiscreteScheduler");
    assert!(model.read(&[]).expect_err("another process").contains("FlowMatchEulerDiscrete"));
    scheduler("DDPMScheduler");
    model.change(index, "unet", json!(["diffusers", "UNet2DConditionModel"]));
    assert!(model.read(&[]).expect_err("another network").contains("UNet2DConditionModel"));
    model.change(index, "unet", json!(["diffusers", "UNet2DModel"]));
    model.change(index, "safety_checker", json!([null, null]));
    model.read(&[]).expect("a model");
    model.change(index, "vqvae", json!(["diffusers", "VQModel"]));
    let message = model.read(&[]).expect_err("latents");
    assert!(message.contains("a part `vqvae`, a VQModel"), "{message}");
}

#[test]
fn every_class_of_schedulers_is_a_sampler_or_refused_by_name() {
    let model = Model::new(&[]);
    let unet = model.json(UNET).to_string();
    let read = |mut scheduler: Value, class: &str| {
        scheduler["_class_name"] = json!(class);
        diffusers_config(&unet, Some(&scheduler.to_string())).map_err(|e| e.to_string())
    };
    for (class, method, eta, schedule) in [
        ("DDPMScheduler", Method::Pc, 0.0, None),
        ("DDIMScheduler", Method::Ddim, 0.0, None),
        ("EulerDiscreteScheduler", Method::Euler, 0.0, Some(Schedule::Time)),
        ("EulerAncestralDiscreteScheduler", Method::Ddim, 1.0, Some(Schedule::Time)),
        ("HeunDiscreteScheduler", Method::Heun, 0.0, Some(Schedule::Time)),
        ("DPMSolverMultistepScheduler", Method::Dpmpp2m, 0.0, Some(Schedule::Time)),
        ("PNDMScheduler", Method::Dpmpp2m, 0.0, Some(Schedule::Time)),
        ("UniPCMultistepScheduler", Method::Dpmpp2m, 0.0, Some(Schedule::Time)),
    ] {
        let config = read(json!({}), class).expect(class);
        assert_eq!(config.sampling.method, method, "{class}");
        assert_eq!((config.sampling.eta, config.sampling.schedule), (eta, schedule), "{class}");
        assert!(!config.training.continuous && config.model.num_scales == 1000, "{class}");
    }
    let config = read(
        json!({ "use_karras_sigmas": true, "solver_order": 3, "algorithm_type": "sde-dpmsolver++" }),
        "DPMSolverMultistepScheduler",
    )
    .expect("a configuration");
    assert_eq!((config.sampling.method, config.sampling.eta), (Method::Dpmpp3m, 1.0));
    assert_eq!(config.sampling.schedule, Some(Schedule::Edm));
    assert!(
        !read(json!({ "set_alpha_to_one": false }), "DDIMScheduler").expect("DDIM").sampling.noise_removal
    );
    // A class has its own defaults.
    let heun = read(json!({}), "HeunDiscreteScheduler").expect("Heun").model;
    assert!((heun.beta_min - 0.85).abs() < 1e-12 && (heun.beta_max - 12.0).abs() < 1e-12);
    let vp = read(json!({ "num_train_timesteps": 1000 }), "ScoreSdeVpScheduler").expect("VP");
    assert!(vp.training.continuous && vp.model.beta_max == 20.0);
    let message = read(json!({}), "ScoreSdeVpScheduler").expect_err("2000 steps");
    assert!(message.contains("num_train_timesteps 2000"), "{message}");

    for class in [
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "EDMEulerScheduler",
        "EDMDPMSolverMultistepScheduler",
        "CMStochasticIterativeScheduler",
        "LCMScheduler",
        "TCDScheduler",
        "KarrasVeScheduler",
        "IPNDMScheduler",
        "VQDiffusionScheduler",
        "CosineDPMSolverMultistepScheduler",
        "DDIMInverseScheduler",
        "SomethingNew",
    ] {
        let message = read(json!({}), class).expect_err(class);
        assert!(message.contains(class) && !message.contains('\n'), "{message}");
    }
    for (key, value) in [
        ("beta_start", json!(0.5)),
        ("beta_end", json!(0.0)),
        ("algorithm_type", json!("new")),
        ("use_flow_sigmas", json!(true)),
    ] {
        let message = read(json!({ key: value }), "DPMSolverMultistepScheduler").expect_err(key);
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn what_a_scheduler_says_is_followed_or_named_in_one_line() {
    let model = Model::new(&[]);
    // Its class would come before that of the scheduler's file.
    std::fs::remove_file(model.at("model_index.json")).expect("a file");
    let left = |changes: &[(&str, Value)]| {
        let mut scheduler =
            json!({ "_class_name": "DDPMScheduler", "clip_sample": false, "variance_type": "fixed_large" });
        changes.iter().for_each(|(key, value)| scheduler[*key] = value.clone());
        model.write(SCHEDULER, &scheduler.to_string());
        model.notes()
    };
    assert_eq!(left(&[]), []);
    let sampling = || model.read(&[]).expect("a model").0.sampling;
    assert_eq!((sampling().posterior_variance, sampling().clip_denoised), (PosteriorVariance::Beta, None));
    let small = [
        ("variance_type", json!("fixed_small")),
        ("clip_sample", json!(true)),
        ("clip_sample_range", json!(2.0)),
    ];
    assert_eq!(left(&small), []);
    assert_eq!(
        (sampling().posterior_variance, sampling().clip_denoised),
        (PosteriorVariance::BetaTilde, Some(2.0))
    );
    let all = [
        ("clip_sample", json!(true)),
        ("variance_type", json!("learned")),
        ("thresholding", json!(true)),
        ("steps_offset", json!(1)),
    ];
    let notes = left(&all);
    let [Note::NotFollowed(settings)] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(settings, &["variance_type = learned", "thresholding = true", "steps_offset = 1"]);
    assert!(!notes[0].to_string().contains('\n'));
    let unknown =
        left(&[("shift", json!(3.0)), ("stochastic", json!(false)), ("sample_max_value", json!(1.0))]);
    let expected = Note::Unread { file: "scheduler_config.json", settings: vec!["shift = 3.0".into()] };
    assert_eq!(unknown, [expected]);
    // The defaults of a class hold where the file is silent.
    model.write(SCHEDULER, &json!({ "_class_name": "DDPMScheduler" }).to_string());
    assert_eq!(model.notes(), []);
    assert_eq!(
        (sampling().posterior_variance, sampling().clip_denoised),
        (PosteriorVariance::BetaTilde, Some(1.0))
    );
    model.write(SCHEDULER, &json!({ "_class_name": "DDIMScheduler" }).to_string());
    assert!(matches!(&model.notes()[..], [Note::NotFollowed(settings)] if settings.len() == 2));
    let notes = left(&[("_class_name", json!("DDIMScheduler")), ("timestep_spacing", json!("trailing"))]);
    assert_eq!(notes, [Note::NotFollowed(vec!["timestep_spacing = trailing".into()])]);
    let notes = left(&[("_class_name", json!("PNDMScheduler"))]);
    assert!(
        matches!(&notes[..], [Note::OtherSampler { scheduler, .. }] if scheduler == "PNDMScheduler"),
        "{notes:?}"
    );
    // The class may be in model_index.json alone, or nowhere.
    model.write(SCHEDULER, "{}");
    model.write("model_index.json", &json!({ "scheduler": ["diffusers", "EDMEulerScheduler"] }).to_string());
    assert!(model.read(&[]).expect_err("EDM").contains("EDMEulerScheduler"));
    std::fs::remove_file(model.at("model_index.json")).expect("a file");
    assert_eq!(model.notes()[0], Note::NoScheduler);
}

#[test]
fn weights_are_found_in_every_form_and_the_one_taken_is_named() {
    let model = Model::new(&[]);
    let whole = model.at("unet").join(WEIGHTS);
    let same = |what: &str| {
        let (config, read) = model.read(&[]).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(read.state.raw == model.state.ema && read.state.ema == model.state.ema, "{what}");
        assert_eq!(config.model.ch_mult, model.config.model.ch_mult, "{what}");
        read.notes.into_iter().filter(|note| matches!(note, Note::Taken { .. })).collect::<Vec<_>>()
    };
    assert_eq!(same("one file"), []);

    // Several, with an index.
    let shard =
        |i: usize| model.at(&format!("unet/diffusion_pytorch_model-0000{}-of-00002.safetensors", i + 1));
    let index = split(&whole, &shard, 2);
    let index_name = format!("unet/{WEIGHTS}.index.json");
    model.write(&index_name, &index.to_string());
    let [Note::Taken { taken, others }] = &same("both")[..] else { panic!("no note") };
    assert_eq!((&taken[..], others.len()), (WEIGHTS, 1));
    let kept = std::fs::read(&whole).expect("a file");
    std::fs::remove_file(&whole).expect("a file");
    assert_eq!(same("shards"), []);
    for (file, expected) in [
        (json!({ "weight_map": { "a": "../x.safetensors" } }), "no file of its folder"),
        (json!({ "weight_map": { "a": "missing.safetensors" } }), "missing"),
        (json!({ "weight_map": {} }), "names no files"),
        (json!({}), "weight_map"),
        (json!({ "weight_map": { "a": shard(0).file_name().and_then(|n| n.to_str()) } }), "lack"),
    ] {
        model.write(&index_name, &file.to_string());
        let message = model.read(&[]).expect_err(expected);
        assert!(message.contains(expected), "{message}");
    }
    std::fs::remove_file(model.at(&index_name)).expect("a file");
    assert!(model.read(&[]).expect_err("no index").contains("holds no"));

    // A variant, and PyTorch's format: with prefixes, within other dictionaries.
    std::fs::write(model.at("unet/diffusion_pytorch_model.fp16.safetensors"), &kept).expect("a file");
    assert_eq!(same("a variant"), []);
    let file = SafeTensors::deserialize(&kept).expect("weights");
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (format!("module.{name}"), Py::Tensor(view.shape().to_vec(), values))
    });
    let nested =
        Py::Dict(vec![("state_dict".into(), Py::Dict(tensors.collect())), ("epoch".into(), Py::Int(3))]);
    let bin = model.at("unet/diffusion_pytorch_model.bin");
    std::fs::write(&bin, Pickler::of(&nested).archive()).expect("a file");
    let [Note::Taken { taken, others }] = &same("bin")[..] else { panic!("no note") };
    assert_eq!(taken, "diffusion_pytorch_model.bin");
    assert_eq!(others, &["diffusion_pytorch_model.fp16.safetensors"]);

    // Of averages beside raw weights each has its place.
    std::fs::remove_file(&bin).expect("a file");
    std::fs::create_dir(model.at("unet_ema")).expect("a folder");
    std::fs::copy(model.at(UNET), model.at("unet_ema/config.json")).expect("a copy");
    let mut changed = kept.clone();
    let last = changed.len() - 4;
    changed[last..].copy_from_slice(&0.5f32.to_le_bytes());
    std::fs::write(model.at("unet_ema").join(WEIGHTS), &changed).expect("a file");
    let (_, read) = model.read(&[]).expect("a model");
    assert!(read.state.raw == model.state.ema && read.state.ema != read.state.raw);
    assert!(read.notes.iter().any(|note| matches!(note, Note::RawAndAverages { .. })), "{:?}", read.notes);
    model.change("unet_ema/config.json", "block_out_channels", json!([4, 4]));
    assert!(model.read(&[]).expect_err("another network").contains("another network"));
    std::fs::remove_dir_all(model.at("unet")).expect("a folder");
    model.change("unet_ema/config.json", "block_out_channels", json!(widths(&model.config)));
    let (_, read) = model.read(&[]).expect("averages alone");
    assert!(read.state.raw == read.state.ema);
}

fn widths(config: &Config) -> Vec<usize> {
    config.model.ch_mult.iter().map(|mult| mult * config.model.nf).collect()
}

#[test]
fn a_size_of_images_can_be_given_and_a_pair_is_one() {
    let model = Model::new(&[]);
    let size = model.config.data.image_size;
    model.change(UNET, "sample_size", json!([size.height, size.width]));
    assert_eq!(model.read(&[]).expect("a pair").0.data.image_size, size);
    let wide = ImageSize::new(size.height, 2 * size.width);
    model.change(UNET, "sample_size", json!([wide.height, wide.width]));
    assert_eq!(model.read(&[]).expect("a pair").0.data.image_size, wide);
    model.change(UNET, "sample_size", Value::Null);
    assert!(model.read(&[]).expect_err("no size").contains("data.image_size"));
    let set = format!("data.image_size={wide}");
    let (config, _) = model.read(&[&set]).expect("a size");
    assert_eq!(config.data.image_size, wide);
    assert_eq!(config.model.attn_resolutions.len(), model.config.model.attn_resolutions.len());
    let (out, home) = (model.folder.path().join("run"), model.at(""));
    let message = refuse(tweedie().arg("convert").arg(&home).arg(&out));
    assert!(message.contains("--set data.image_size"), "{message}");
    let output =
        tweedie().arg("convert").arg(&home).arg(&out).args(["--set", &set]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn several_heads_are_imported_and_exported() {
    let export = |set: &[&str]| {
        let model = Model::new(set);
        (model.json(UNET)["attention_head_dim"].clone(), model)
    };
    assert_eq!(export(&[]).0, Value::Null);
    let (dim, model) = export(&["model.attn_head_dim=[2]"]);
    assert_eq!(dim, json!(2));
    let (config, read) = model.read(&[]).expect("a model");
    assert!(config.model.attn_head_dim == [2] && read.state.raw == model.state.ema);
    assert_eq!(export(&["model.attn_head_dim=[4,2]"]).0, json!([4, 2]));
    model.change(UNET, "attention_head_dim", json!([null, 4]));
    assert_eq!(model.read(&[]).expect("a list").0.model.attn_head_dim, [4, 4]);
    // diffusers' own default.
    let mut unet = model.json(UNET);
    unet.as_object_mut().expect("an object").remove("attention_head_dim");
    assert_eq!(diffusers_config(&unet.to_string(), None).expect("a model").model.attn_head_dim, [8]);
    for (dims, expected) in [("[3]", "8 channels"), ("[0]", "8 channels"), ("[2,2,2]", "2 levels")] {
        let mut text = model.config.to_toml();
        text = text.replacen("attn_head_dim = [2]", &format!("attn_head_dim = {dims}"), 1);
        let message = Config::from_toml(&text, &[]).expect_err(dims).to_string();
        assert!(message.contains("model.attn_head_dim") && message.contains(expected), "{message}");
    }
    // Heads make another function of the same weights.
    let out = |model: &Model| {
        let path = model.folder.path().join("x.npz");
        let mut command = tweedie();
        command.arg("sample").arg(model.at("")).args(["-n", "1", "--steps", "3", "--out"]).arg(&path);
        crate::interop::succeed(&mut command);
        std::fs::read(path).expect("samples")
    };
    model.change(UNET, "attention_head_dim", json!(8));
    let one = out(&model);
    model.change(UNET, "attention_head_dim", Value::Null);
    assert!(out(&model) == one);
    model.change(UNET, "attention_head_dim", json!(2));
    assert!(out(&model) != one);
}

#[test]
fn schedules_of_beta_are_chains_that_every_sampler_takes() {
    let model = Model::new(&["model.num_scales=50", "model.beta_max=10"]);
    let unet = model.json(UNET).to_string();
    let read =
        |scheduler: Value| diffusers_config(&unet, Some(&scheduler.to_string())).map_err(|e| e.to_string());
    let constant = read(json!({ "beta_start": 0.02, "beta_end": 0.02 })).expect("a constant").model;
    assert_eq!((constant.beta_min, constant.beta_max), (20.0, 20.0));
    for (scheduler, key) in [
        (json!({ "beta_start": 0.02, "beta_end": 0.01 }), "beta_end 0.01"),
        (json!({ "beta_start": 0.0, "beta_schedule": "scaled_linear" }), "beta_start 0"),
        (json!({ "beta_schedule": "exponential" }), "beta_schedule exponential"),
        (json!({ "rescale_betas_zero_snr": true }), "rescale_betas_zero_snr"),
        (json!({ "trained_betas": [0.1, 0.2] }), "trained_betas"),
    ] {
        let message = read(scheduler).expect_err(key);
        assert!(message.contains(key) && !message.contains("model."), "{message}");
    }
    for name in ["scaled_linear", "squaredcos_cap_v2", "sigmoid"] {
        model.change(SCHEDULER, "beta_schedule", json!(name));
        let home = model.at("");
        for sampler in ["pc", "ddim", "heun", "dpmpp_2m", "ode"] {
            let out = model.folder.path().join("x.npz");
            let mut command = tweedie();
            command.arg("sample").arg(&home).args(["-n", "1", "--sampler", sampler, "--out"]).arg(&out);
            if sampler == "ode" {
                command.args(["--rtol", "0.01", "--atol", "0.01"]);
            } else {
                command.args(["--steps", "5"]);
            }
            crate::interop::succeed(&mut command);
        }
        // The export says so again.
        let set = format!("model.beta_schedule={name}");
        assert_eq!(Model::new(&[&set]).json(SCHEDULER)["beta_schedule"], json!(name));
    }
    let text = model.config.to_toml();
    let set = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
        Config::from_toml(&text, &set).map(drop).expect_err("a refusal").to_string()
    };
    let scaled = "model.beta_schedule=scaled_linear";
    assert!(set(&[scaled, "model.beta_max=50"]).contains("model.beta_max = 50"));
    assert!(set(&[scaled, "model.beta_min=0"]).contains("model.beta_min = 0"));
    let sub_vp = set(&[scaled, "training.sde=subvpsde", "training.continuous=true"]);
    assert!(sub_vp.contains("model.beta_schedule"), "{sub_vp}");
}
