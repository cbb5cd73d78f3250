//! Networks: the parameter counts of every shipped configuration against the reference, and every option on
//! every engine.

use crate::support::gpu;
use std::path::{Path, PathBuf};
use tweedie::autodiff::{Dual, Eager, Tape};
use tweedie::config::Config;
use tweedie::kernels::layout;
use tweedie::kernels::random::{Distribution, fill};
use tweedie::nn::{Arena, Layout, Parameters, ScoreModel, Scorer};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

pub fn load(name: &str, set: &[&str]) -> Config {
    let text = std::fs::read_to_string(configs().join(format!("{name}.toml"))).expect(name);
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    Config::from_toml(&text, &set).expect(name)
}

#[test]
fn published_networks_have_the_published_number_of_parameters() {
    // `score_sde_facts.md`, section 1.2, and section 3.1 for the number of tensors.
    for (name, parameters, tensors) in [
        ("ve/cifar10_ncsnpp_continuous", 62_758_787, 570),
        ("ve/cifar10_ncsnpp_deep_continuous", 107_586_947, 962),
        ("ve/cifar10_ncsnpp", 62_693_251, 570),
        ("vp/cifar10_ddpmpp_continuous", 61_804_419, 564),
        ("vp/cifar10_ddpmpp", 61_804_419, 564),
        ("subvp/cifar10_ddpmpp_deep_continuous", 106_632_579, 956),
        ("ve/church_ncsnpp_continuous", 65_574_421, 644),
        ("ve/ffhq_256_ncsnpp_continuous", 65_574_421, 644),
        ("ve/ffhq_ncsnpp_continuous", 105_785_880, 552),
        ("ve/celebahq_ncsnpp_continuous", 105_785_880, 552),
        ("ve/bedroom_ncsnpp_continuous", 65_574_421, 644),
        ("ve/celebahq_256_ncsnpp_continuous", 65_574_421, 644),
        ("vp/cifar10_ddpmpp_deep_continuous", 106_632_579, 956),
        ("subvp/cifar10_ddpmpp_continuous", 61_804_419, 564),
        ("vp/cifar10_ncsnpp", 62_693_251, 570),
        ("vp/cifar10_ncsnpp_continuous", 62_693_251, 570),
        ("subvp/cifar10_ncsnpp_continuous", 62_693_251, 570),
        // Attention one level lower, with as many channels.
        ("ve/celeba_ncsnpp", 62_693_251, 570),
        // Sinusoids have half as many features as Fourier features: 128 · 512 fewer weights, as without
        // `deep`.
        ("vp/cifar10_ncsnpp_deep_continuous", 107_586_947 - 65_536, 962),
        ("subvp/cifar10_ncsnpp_deep_continuous", 107_586_947 - 65_536, 962),
        ("vp/ddpm/cifar10", 35_218_947, 308),
        ("vp/ddpm/cifar10_continuous", 35_218_947, 308),
        ("subvp/cifar10_ddpm_continuous", 35_218_947, 308),
        ("ve/cifar10_ddpm", 35_218_947, 308),
        ("vp/ddpm/bedroom", 111_569_923, 430),
        ("vp/ddpm/celebahq", 111_569_923, 430),
        ("vp/ddpm/church", 111_569_923, 430),
        // Without the two dense layers of the embedding: 128 · 512 + 512 + 512 · 512 + 512 fewer parameters
        // in four tensors.
        ("vp/ddpm/cifar10_unconditional", 35_218_947 - 328_704, 304),
    ] {
        let registry = ScoreModel::build(&load(name, &[])).expect(name).registry;
        assert_eq!(registry.count(), parameters, "{name}");
        assert_eq!(registry.trainable.len(), tensors, "{name}");
    }
}

#[test]
fn every_shipped_configuration_describes_a_network_and_survives_a_round_trip() {
    let mut count = 0;
    let folders =
        ["", "ve", "vp", "subvp", "ve/ncsn", "ve/ncsnv2", "vp/ddpm"].map(|folder| configs().join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder").flatten());
    for path in files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let text = std::fs::read_to_string(&path).expect("a file");
        let config = Config::from_toml(&text, &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        ScoreModel::build(&config).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(Config::from_toml(&config.to_toml(), &[]).expect("its own words"), config);
        count += 1;
    }
    // The reference's 39, and those of this crate.
    assert!(count >= 41, "{count}");
}

/// A model with noise for weights, so that a skipped path changes the output.
fn noisy(config: &Config) -> Scorer {
    with_noise(config, |_, values| values)
}

/// The model of [`noisy`] with its weights mapped by `change`, in the order of files.
fn with_noise(config: &Config, change: impl Fn(Layout, Vec<f32>) -> Vec<f32>) -> Scorer {
    let model = ScoreModel::build(config).expect("a model");
    let specs = model.registry.trainable.clone();
    let values = Arena::with(gpu(), &model.registry, |i| {
        let len = specs[i].layout.len();
        let shape = specs[i].layout.file_shape();
        let scale = 0.5 / (len as f32 / shape[0] as f32).sqrt();
        // Weights of one sign would make the values of a network without norms exceed f32.
        let shift = if shape.len() == 1 { 0.05 } else { 0.0 };
        let key = Key::new(9, Purpose::Other(i as u16));
        let noise = (0..len.div_ceil(4) as u32).flat_map(|b| key.normal(0, b));
        change(specs[i].layout, noise.map(|v| scale * v + shift).take(len).collect())
    });
    let fourier = model.registry.frozen.first().map(|spec| spec.initial(1, 0));
    let frequencies = model.network.frequencies(gpu(), fourier.as_deref()).expect("memory");
    let gradients = Some(Arena::zeros(gpu(), &model.registry).expect("memory"));
    Scorer { model, parameters: Parameters { values: values.expect("memory"), gradients, frequencies } }
}

fn random(shape: Shape, seed: u64) -> Tensor {
    fill(gpu(), shape, Key::new(seed, Purpose::Other(0)), Distribution::Normal { std: 0.5 }).expect("noise")
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.read().expect("a download"), b.read().expect("a download"));
    a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Every option of `ncsnpp`, one or a few at a time, on top of a small network.
const OPTIONS: &[&[&str]] = &[
    &[],
    &["model.resblock_type=ddpm"],
    &["model.resblock_type=ddpm", "model.fir=false"],
    &["model.resblock_type=ddpm", "model.fir=false", "model.resamp_with_conv=false"],
    &["model.resblock_type=ddpm", "model.resamp_with_conv=false"],
    &["model.progressive=output_skip", "model.progressive_input=input_skip"],
    &["model.progressive=output_skip", "model.progressive_input=none", "model.fir=false"],
    &["model.progressive=residual"],
    &["model.progressive=residual", "model.fir=false", "model.progressive_input=none"],
    &["model.progressive_input=input_skip", "model.progressive_combine=cat"],
    &[
        "model.embedding_type=positional",
        "training.sde=vpsde",
        "model.scale_by_sigma=false",
        "data.centered=true",
    ],
    &["model.conditional=false"],
    &["model.num_classes=3"],
    &["model.skip_rescale=false", "model.nonlinearity=elu"],
    &["model.nonlinearity=lrelu", "model.fir_kernel=[1, 2, 1]"],
    &["data.num_channels=2", "model.nf=20", "model.ch_mult=[1, 2, 2]"],
];

/// Asserts that a small network with these options has the same output on every engine, and that its adjoint
/// matches its tangent. Returns its output at two times.
fn assert_runs_alike(options: &[&str]) -> Vec<f32> {
    let small = ["model.nf=8", "model.num_res_blocks=1", "data.image_size=8"];
    let config = load("digits_ve", &[&small, options].concat());
    let scorer = noisy(&config);
    let shape = Shape::of_images(2, config.data.shape());
    let (x, v, u) = (random(shape, 1), random(shape, 2), random(shape, 3));
    let conditioning = scorer.condition(&[0.3, 0.7]).expect("an upload");
    let eager = scorer.network(&mut Eager, &x, &conditioning, None).expect("an output");
    let values = eager.read().expect("a download");
    assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| v.abs() > 1e-3), "{options:?}");

    let mut tape = Tape::new();
    let input = tape.variable(&x);
    let taped = scorer.network(&mut tape, &input, &conditioning, None).expect("an output");
    assert_eq!(taped.tensor().read().expect("a download"), values, "{options:?}");
    let jtu = tape.backward(&taped, u.clone()).expect("gradients").take(&input).expect("a gradient");

    let mut dual = Dual::new(Eager, 1);
    let input = dual.variable(layout::stack(&[&x, &v]).expect("a stack"));
    let out = scorer.network(&mut dual, &input, &conditioning, None).expect("an output");
    let part = |k: usize| layout::samples(out.stack(), k * 2, 2).expect("a part");
    assert_eq!(part(0).read().expect("a download"), values, "{options:?}");
    let jv = part(1);
    let (left, right) = (dot(&jv, &u), dot(&v, &jtu));
    let scale = (dot(&jv, &jv) * dot(&u, &u)).sqrt();
    assert!((left - right).abs() <= 1e-4 * scale, "{options:?}: {left} is not {right}");
    values
}

#[test]
fn every_option_runs_alike_on_every_engine_and_its_adjoint_is_adjoint_to_its_tangent() {
    for options in OPTIONS {
        assert_runs_alike(options);
    }
}

/// DDPM's norms have 32 groups.
const DDPM: [&str; 3] = ["model.name=ddpm", "model.nf=32", "model.fir=false"];

#[test]
fn ddpm_runs_with_and_without_convolutions_that_resample() {
    assert_runs_alike(&DDPM);
    assert_runs_alike(&[&DDPM[..], &["model.resamp_with_conv=false", "data.num_channels=3"]].concat());
}

#[test]
fn an_unconditional_ddpm_runs_and_does_not_depend_on_the_time() {
    let plain = ["training.sde=vpsde", "data.centered=true", "model.scale_by_sigma=false"];
    assert_runs_alike(&[&DDPM[..], &plain, &["model.conditional=false"]].concat());
}

#[test]
fn a_residual_output_pyramid_runs_with_fir() {
    for block in ["model.resblock_type=biggan", "model.resblock_type=ddpm"] {
        assert_runs_alike(&["model.progressive=residual", "model.fir=true", block]);
    }
}

#[test]
fn ddpm_blocks_run_with_fir_and_convolutions_that_resample() {
    assert_runs_alike(&["model.resblock_type=ddpm", "model.fir=true", "model.resamp_with_conv=true"]);
}

#[test]
fn an_mlp_runs_with_every_option() {
    let points = [
        "model.name=mlp",
        "model.num_res_blocks=2",
        "data.dataset=toy",
        "data.distribution=moons",
        "data.image_size=1",
        "data.num_channels=2",
    ];
    let vp = [
        "training.sde=vpsde",
        "model.scale_by_sigma=false",
        "model.embedding_type=positional",
        "model.nf=16",
    ];
    let edm = ["training.objective=edm", "model.scale_by_sigma=false"];
    for options in [
        &[][..],
        &vp,
        &edm,
        &["model.nf=16", "model.skip_rescale=false", "model.nonlinearity=elu"],
        &["model.num_classes=2"],
        &["model.conditional=false"],
    ] {
        assert_runs_alike(&[&points[..], options].concat());
    }
}

/// The keys of NCSN and NCSNv2 in place of a U-Net's.
const REFINENET: [&str; 2] = ["model.num_res_blocks=0", "model.nonlinearity=elu"];

#[test]
fn ncsn_runs() {
    let [blocks, elu] = REFINENET;
    let options = [blocks, elu, "model.name=ncsn", "training.continuous=false", "model.num_scales=7"];
    assert_runs_alike(&options);
    assert_runs_alike(&[&options[..], &["model.nf=6", "data.num_channels=3"]].concat());
}

#[test]
fn ncsnv2_runs_in_every_size_with_discrete_and_with_continuous_times() {
    for name in
        ["model.name=ncsnv2_64", "model.name=ncsnv2_128", "model.name=ncsnv2_256", "model.name=ncsnv2"]
    {
        assert_runs_alike(&[&REFINENET[..], &[name]].concat());
    }
    let discrete = ["training.continuous=false", "model.num_scales=20", "data.image_size=12"];
    assert_runs_alike(
        &[&["model.name=ncsnv2_64", "data.num_channels=3", "model.nf=5", REFINENET[0]][..], &discrete]
            .concat(),
    );
}

/// Image by image and channel by channel, rows become columns.
fn transposed(values: &[f32], [n, h, w, c]: [usize; 4]) -> Vec<f32> {
    let at = |i: usize| (i / (h * w * c), i / (h * c) % w, i / c % h, i % c);
    (0..n * h * w * c).map(at).map(|(n, x, y, c_at)| values[((n * h + y) * w + x) * c + c_at]).collect()
}

#[test]
fn a_network_with_transposed_weights_maps_transposed_images_to_the_transposed_output() {
    let small = ["model.nf=8", "model.num_res_blocks=1", "model.attn_resolutions=[]"];
    let ncsnv2 = ["model.name=ncsnv2_64", "model.nonlinearity=elu", "model.num_res_blocks=0"];
    let ddpm = ["model.name=ddpm", "model.nf=32", "model.fir=false", "model.downsample_padding=1"];
    let convolution = |layout: Layout, values: Vec<f32>| match layout {
        Layout::Conv { k, c_in, c_out } => transposed(&values, [c_out * c_in, k, k, 1]),
        _ => values,
    };
    for options in [&small[..], &[&small[..], &ncsnv2].concat(), &[&small[..], &ddpm].concat()] {
        let [wide, tall] = ["data.image_size=[8,24]", "data.image_size=[24,8]"]
            .map(|size| load("digits_ve", &[options, &[size]].concat()));
        let shape = Shape::of_images(2, wide.data.shape());
        let x = random(shape, 1);
        let turned = transposed(&x.read().expect("a download"), shape.0);
        let turned =
            Tensor::from_slice(gpu(), Shape::of_images(2, tall.data.shape()), &turned).expect("memory");
        let output = |scorer: &Scorer, x: &Tensor| {
            let conditioning = scorer.condition(&[0.3, 0.7]).expect("an upload");
            scorer.network(&mut Eager, x, &conditioning, None).expect("an output").read().expect("a download")
        };
        let expected = transposed(&output(&noisy(&wide), &x), shape.0);
        let found = output(&with_noise(&tall, convolution), &turned);
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let apart = expected.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(largest > 1e-3 && apart < 1e-5 * largest, "{options:?}: {apart} of {largest}");
    }
}

#[test]
fn a_network_is_initialised_as_in_the_reference() {
    let config = load("ve/cifar10_ncsnpp_continuous", &["model.nf=16", "model.num_res_blocks=1"]);
    let registry = ScoreModel::build(&config).expect("a model").registry;
    let largest = |name: &str| {
        let i = registry.trainable.iter().position(|spec| spec.name == name).expect(name);
        let values = registry.trainable[i].initial(1, i);
        values.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())))
    };
    // a = √(3 scale / mean fan): scale 1 by default, 0 for the last layer of a residual branch, 0.1 for
    // queries.
    let bound = |scale: f64, fan: f64| (3.0 * scale / fan).sqrt();
    let close = |name: &str, bound: f64| {
        assert!(
            largest(name) <= bound && largest(name) > 0.8 * bound,
            "{name}: {} of {bound}",
            largest(name)
        );
    };
    close("all_modules.4.Conv_0.weight", bound(1.0, 9.0 * 16.0));
    close("all_modules.4.Conv_1.weight", bound(1e-10, 9.0 * 16.0));
    close("all_modules.4.Dense_0.weight", bound(1.0, (64.0 + 16.0) / 2.0));
    let attention = registry.trainable.iter().find(|spec| spec.name.contains("NIN_0")).expect("attention");
    close(&attention.name, bound(0.1, 32.0));
    close(&attention.name.replace("NIN_0", "NIN_3"), bound(1e-10, 32.0));
    assert_eq!(largest("all_modules.4.Conv_0.bias"), 0.0);
    assert_eq!(largest("all_modules.4.GroupNorm_0.weight"), 1.0);
    let frozen = registry.frozen[0].initial(1, 0);
    let std = (frozen.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / frozen.len() as f64).sqrt();
    assert!((8.0..24.0).contains(&std), "Fourier frequencies have standard deviation 16, not {std}");
}
