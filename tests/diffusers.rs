//! Import and export of Hugging Face's `UNet2DModel`: `../shared/fixtures/diffusers`, and unsupported
//! features.

use crate::interop::{checkpoint, excerpt, folder, refuse, succeed, tweedie};
use crate::pickler::Pickler;
use crate::support::{read_safetensors, relative_error, shared};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tweedie::interop::{Note, diffusers_config, read_diffusers};

const MODELS: [&str; 2] = ["ncsnpp", "ddpm"];
const CONFIG: &str = "unet/config.json";
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// Tensors by name: shape and values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let one = |(name, view): (String, TensorView<'_>)| {
        (name, (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
    };
    file.tensors().into_iter().map(one).collect()
}

/// Writes a model's folder.
fn write(folder: &Path, config: &Value, tensors: &Tensors) {
    std::fs::create_dir_all(folder.join("unet")).expect("a folder");
    std::fs::write(folder.join(CONFIG), config.to_string()).expect("a file");
    let views = tensors.iter().map(|(name, (shape, values))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).expect("a view");
        (name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, &folder.join(WEIGHTS)).expect("a file");
}

fn config(fixture: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(fixture.join(CONFIG)).expect("a file")).expect("JSON")
}

/// The distance of a model's bare network from a fixture's output.
fn error(model: &Path, fixture: &Path) -> f64 {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let expected = fixture.join("expected.safetensors");
    excerpt(&expected, &[("x", "x"), ("timestep", "t")], &at("in.safetensors"));
    let mut command = tweedie();
    command.arg("score").arg(model).arg("--network").arg("--in").arg(at("in.safetensors"));
    succeed(command.arg("--out").arg(at("out.safetensors")));
    let out = &read_safetensors(&at("out.safetensors"))["out"];
    let reference = &read_safetensors(&expected)["out"];
    assert_eq!(out.shape, reference.shape);
    relative_error(&out.values.iter().map(|v| *v as f32).collect::<Vec<_>>(), &reference.values)
}

#[test]
fn an_imported_model_reproduces_its_outputs_and_a_round_trip_changes_no_bit() {
    for name in MODELS {
        let Some(fixture) = shared(&format!("fixtures/diffusers/{name}")) else { return };
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        succeed(tweedie().arg("convert").arg(&fixture).arg(at("run")));
        let error = error(&at("run"), &fixture);
        assert!(error < 1e-4, "{name}: relative error {error:e}");

        succeed(tweedie().arg("convert").arg(at("run")).arg(at("out")).args(["--to", "diffusers"]));
        assert!(tensors(&at("out").join(WEIGHTS)) == tensors(&fixture.join(WEIGHTS)), "{name}");
        let (ours, theirs) = (config(&at("out")), config(&fixture));
        for key in theirs.as_object().expect("an object").keys().filter(|key| !key.starts_with('_')) {
            let known = ours.get(key).is_some_and(|value| {
                value == &theirs[key] || value.as_f64().zip(theirs[key].as_f64()).is_some_and(|(a, b)| a == b)
            });
            assert!(known || theirs[key].is_null(), "{name} {key}: {:?} for {}", ours.get(key), theirs[key]);
        }
        succeed(tweedie().arg("convert").arg(at("out")).arg(at("again")));
        let read = |path: &Path| std::fs::read(path).expect("a file");
        assert!(read(&checkpoint(&at("run"))) == read(&checkpoint(&at("again"))), "{name}");
    }
}

#[test]
fn a_folder_in_hugging_faces_layout_is_accepted_as_a_model() {
    let Some(fixture) = shared("fixtures/diffusers/ddpm") else { return };
    let folder = folder();
    let out = folder.path().join("samples.npz");
    succeed(tweedie().arg("sample").arg(&fixture).args(["-n", "1", "--steps", "30", "--out"]).arg(&out));
    assert!(out.exists());
    let message =
        refuse(tweedie().arg("sample").arg(folder.path()).arg("--out").arg(folder.path().join("x.png")));
    assert!(message.contains("holds no checkpoint"), "{message}");
}

#[test]
fn names_of_both_generations_and_weights_of_both_kinds_give_the_same_model() {
    for name in MODELS {
        let Some(fixture) = shared(&format!("fixtures/diffusers/{name}")) else { return };
        let expected = read_diffusers(&fixture, &[]).expect("a model").1.state;
        let renames = [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
            ("time_proj.weight", "time_proj.W"),
        ];
        let old =
            |name: &str| renames.iter().fold(name.to_string(), |name, (now, then)| name.replace(now, then));
        let all: Tensors =
            tensors(&fixture.join(WEIGHTS)).into_iter().map(|(name, values)| (old(&name), values)).collect();
        assert!(all.keys().any(|name| name.contains("proj_attn")));
        let folder = folder();
        let mut described = config(&fixture);
        for key in ["down_block_types", "up_block_types"] {
            let blocks = described[key].as_array_mut().expect("blocks");
            blocks
                .iter_mut()
                .for_each(|block| *block = json!(format!("UNetRes{}", block.as_str().expect("a name"))));
        }
        write(folder.path(), &described, &all);
        assert!(read_diffusers(folder.path(), &[]).expect("a model").1.state == expected, "{name}");

        // The format of the first published models: one folder, and the weights in a pickle.
        let mut p = Pickler::default();
        p.pickle.extend(b"\x80\x02ccollections\nOrderedDict\n)R(");
        for (name, (shape, values)) in &all {
            p.text(name);
            p.tensor(shape, values);
        }
        p.pickle.push(b'u');
        let flat = folder.path().join("flat");
        std::fs::create_dir(&flat).expect("a folder");
        std::fs::write(flat.join("diffusion_pytorch_model.bin"), p.archive()).expect("a file");
        std::fs::copy(folder.path().join(CONFIG), flat.join("config.json")).expect("a copy");
        let scheduler = json!({ "num_train_timesteps": 500, "sigma_max": 380.0, "beta_end": 0.03 });
        std::fs::write(flat.join("scheduler_config.json"), scheduler.to_string()).expect("a file");
        let (config, read) = read_diffusers(&flat, &[]).expect("a model");
        assert!(
            read.state == expected && read.notes.contains(&Note::NoScheduler),
            "{name}: {:?}",
            read.notes
        );
        assert_eq!(config.model.num_scales, 500);
        match name {
            "ncsnpp" => assert_eq!(config.model.sigma_max, 380.0),
            _ => assert!((config.model.beta_max - 15.0).abs() < 1e-12),
        }
    }
}

#[test]
fn cosines_before_sines_are_moved_behind_them() {
    let Some(fixture) = shared("fixtures/diffusers/ddpm") else { return };
    let (mut described, mut all) = (config(&fixture), tensors(&fixture.join(WEIGHTS)));
    described["flip_sin_to_cos"] = json!(true);
    let (shape, values) = all.get_mut("time_embedding.linear_1.weight").expect("a weight");
    let half = shape[1] / 2;
    values.chunks_mut(shape[1]).for_each(|row| row.rotate_left(half));
    let folder = folder();
    write(folder.path(), &described, &all);
    let state = read_diffusers(folder.path(), &[]).expect("a model").1.state;
    assert!(state == read_diffusers(&fixture, &[]).expect("a model").1.state);
}

#[test]
fn unsupported_features_are_refused_by_name() {
    let refused = |model: &str, key: &str, value: Value, expected: &str| {
        let Some(fixture) = shared(&format!("fixtures/diffusers/{model}")) else { return };
        let mut described = config(&fixture);
        described[key] = value;
        let message = diffusers_config(&described.to_string(), None).expect_err(expected).to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{key}: {message}");
    };
    let blocks = |a: &str, b: &str| json!([a, b]);
    refused(
        "ddpm",
        "down_block_types",
        blocks("ResnetDownsampleBlock2D", "DownBlock2D"),
        "ResnetDownsampleBlock2D",
    );
    refused("ddpm", "down_block_types", blocks("SkipDownBlock2D", "AttnDownBlock2D"), "SkipDownBlock2D");
    refused("ncsnpp", "down_block_types", blocks("SkipDownBlock2D", "AttnDownBlock2D"), "AttnDownBlock2D");
    refused("ncsnpp", "up_block_types", blocks("CrossAttnUpBlock2D", "SkipUpBlock2D"), "CrossAttnUpBlock2D");
    refused("ddpm", "up_block_types", json!(["UpBlock2D"]), "number of blocks");
    refused("ddpm", "mid_block_type", json!(null), "mid_block_type null");
    refused("ddpm", "add_attention", json!(false), "add_attention");
    refused("ddpm", "attention_head_dim", json!(7), "attention_head_dim 7");
    refused("ddpm", "attention_head_dim", json!(0), "attention_head_dim 0");
    refused("ddpm", "attention_head_dim", json!([8]), "attention_head_dim [8]");
    refused("ddpm", "attention_head_dim", json!("many"), "attention_head_dim");
    refused("ddpm", "class_embed_type", json!("timestep"), "class_embed_type timestep");
    refused("ddpm", "num_class_embeds", json!(10), "num_class_embeds");
    refused("ddpm", "resnet_time_scale_shift", json!("scale_shift"), "scale_shift");
    refused("ddpm", "time_embedding_type", json!("learned"), "learned");
    refused("ddpm", "time_embedding_dim", json!(7), "time_embedding_dim");
    refused("ddpm", "downsample_type", json!("resnet"), "downsample_type resnet");
    refused("ddpm", "downsample_padding", json!(2), "downsample_padding");
    refused("ddpm", "act_fn", json!("gelu"), "gelu");
    refused("ddpm", "norm_num_groups", json!(null), "norm_num_groups");
    refused("ddpm", "norm_num_groups", json!(0), "num_groups");
    refused("ddpm", "attn_norm_num_groups", json!(16), "attn_norm_num_groups");
    refused("ncsnpp", "norm_num_groups", json!(16), "norm_num_groups 16");
    refused("ddpm", "out_channels", json!(6), "out_channels 6");
    refused("ddpm", "block_out_channels", json!([32, 48]), "multiples");
    refused("ddpm", "block_out_channels", json!([0, 64]), "block_out_channels");
    refused("ddpm", "block_out_channels", json!([]), "block_out_channels");
    refused("ddpm", "sample_size", json!(null), "sample_size");
    refused("ddpm", "sample_size", json!(15), "data.image_size");
    refused("ddpm", "mid_block_scale_factor", json!(2), "mid_block_scale_factor");
    refused("ddpm", "_class_name", json!("UNet2DConditionModel"), "UNet2DConditionModel");
    refused("ncsnpp", "mid_block_scale_factor", json!(1), "mid_block_scale_factor");

    for (model, scheduler, expected) in [
        ("ddpm", json!({ "beta_schedule": "laplace" }), "beta_schedule laplace"),
        ("ddpm", json!({ "trained_betas": [0.1] }), "trained_betas"),
        ("ddpm", json!({ "rescale_betas_zero_snr": true }), "rescale_betas_zero_snr"),
        ("ddpm", json!({ "prediction_type": "flow" }), "prediction_type flow"),
        ("ddpm", json!({ "beta_end": 1e308 }), "beta_end 1"),
        ("ddpm", json!({ "beta_start": -0.5 }), "beta_start -0.5"),
        ("ddpm", json!([]), "not a JSON object"),
        ("ddpm", json!({ "_class_name": "ScoreSdeVeScheduler" }), "ScoreSdeVeScheduler"),
        ("ncsnpp", json!({ "_class_name": "DDPMScheduler" }), "DDPMScheduler"),
    ] {
        let Some(fixture) = shared(&format!("fixtures/diffusers/{model}")) else { return };
        let described = config(&fixture).to_string();
        let message =
            diffusers_config(&described, Some(&scheduler.to_string())).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn weights_that_do_not_match_their_configuration_are_refused_and_leave_nothing() {
    for model in MODELS {
        let Some(fixture) = shared(&format!("fixtures/diffusers/{model}")) else { return };
        let refused = |change: &dyn Fn(&mut Tensors), expected: &str| {
            let folder = folder();
            let mut all = tensors(&fixture.join(WEIGHTS));
            change(&mut all);
            write(folder.path(), &config(&fixture), &all);
            let message = read_diffusers(folder.path(), &[]).map(drop).expect_err(expected).to_string();
            assert!(message.contains(expected) && message.contains("conv_in.weight"), "{message}");
            let run = folder.path().join("run");
            refuse(tweedie().arg("convert").arg(folder.path()).arg(&run));
            assert!(!run.exists());
        };
        refused(&|all| all.get_mut("conv_in.weight").expect("a weight").0.swap(0, 1), "has shape");
        refused(&|all| drop(all.remove("conv_in.weight")), "lack");
        refused(&|all| drop(all.insert("conv_in.weight_g".into(), (vec![1], vec![0.0]))), "does not have");
        refused(&|all| all.get_mut("conv_in.weight").expect("a weight").1[7] = f32::NAN, "not finite");
    }
}

#[test]
fn networks_without_a_counterpart_are_not_exported() {
    let Some(fixture) = shared("fixtures/score_sde/ncsnpp_ve") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut command = tweedie();
    command.arg("convert").arg(fixture.join("checkpoint.pth")).arg(at("run"));
    succeed(command.arg("--config").arg(fixture.join("config.json")));
    let message = refuse(tweedie().arg("convert").arg(at("run")).arg(at("out")).args(["--to", "diffusers"]));
    assert!(message.contains("UNet2DModel has no block"), "{message}");
    assert!(!at("out").exists());
}
