//! NCSN and NCSNv2 against the reference.

use crate::networks::load;
use crate::support::*;
use tweedie::autodiff::Eager;
use tweedie::config::Config;
use tweedie::nn::{Arena, ParameterSpec, Parameters, ScoreModel, Scorer};
use tweedie::tensor::{Shape, Tensor};

/// Outputs of the reference's own modules in float64, for weights and images given by a formula: some values
/// and the root mean square of each sample. Its defects are corrected: `data.num_channels` is read, NCSN's
/// norms are the conditional ones, and dilated convolutions are padded by their dilation.
struct Golden {
    name: &'static str,
    size: usize,
    channels: usize,
    nf: usize,
    levels: usize,
    tensors: usize,
    /// `out[:, :, ::size / 2, ::size / 2]`, the first eight.
    values: [f64; 8],
    rms: [f64; 2],
}

const GOLDEN: [Golden; 4] = [
    Golden {
        name: "ncsn",
        size: 8,
        channels: 3,
        nf: 4,
        levels: 5,
        tensors: 173,
        values: [
            -0.5931479,
            -1.242777,
            -0.5412969,
            0.008266438,
            -0.08887247,
            0.3211334,
            -0.3512117,
            -0.8167971,
        ],
        rms: [0.51200034, 0.58707377],
    },
    Golden {
        name: "ncsnv2_64",
        size: 8,
        channels: 3,
        nf: 4,
        levels: 7,
        tensors: 153,
        values: [
            -0.06782366,
            -0.05496877,
            -0.07225686,
            -0.01658161,
            0.0441369,
            0.02711608,
            0.03005579,
            -0.02731635,
        ],
        rms: [0.05103439, 0.88012391],
    },
    Golden {
        name: "ncsnv2_128",
        size: 16,
        channels: 1,
        nf: 6,
        levels: 7,
        tensors: 191,
        values: [-0.006013633, -0.1283669, 0.03237994, 0.151685, -0.5883735, -2.544067, -0.789333, -2.426936],
        rms: [0.19890369, 3.3578096],
    },
    Golden {
        name: "ncsnv2_256",
        size: 16,
        channels: 2,
        nf: 4,
        levels: 7,
        tensors: 229,
        values: [
            0.0255728,
            0.04066628,
            -0.05492597,
            -0.06011755,
            -0.03520337,
            -0.02591724,
            0.01582861,
            0.02713097,
        ],
        rms: [0.03569873, 0.60698705],
    },
];

/// The weights of parameter number `j`, in file order.
fn weights(j: usize, spec: &ParameterSpec) -> Vec<f32> {
    let shape = spec.layout.file_shape();
    let fan = (spec.layout.len() / shape[0]) as f64;
    let scale = if shape.len() > 1 { 1.5 / fan.sqrt() } else { 0.5 };
    let shift = if spec.name.contains("gamma") || spec.name.contains("embed") { 0.6 } else { 0.0 };
    let value = |i: usize| scale * (1.0 + 0.7 * j as f64 + 1.3 * i as f64).sin() + shift;
    (0..spec.layout.len()).map(|i| value(i) as f32).collect()
}

fn scorer(config: &Config) -> Scorer {
    let model = ScoreModel::build(config).expect("a model");
    let specs = &model.registry.trainable;
    let values = Arena::with(gpu(), &model.registry, |j| weights(j, &specs[j])).expect("memory");
    let frequencies = model.network.frequencies(gpu(), None).expect("memory");
    Scorer { model, parameters: Parameters { values, gradients: None, frequencies } }
}

#[test]
fn outputs_are_those_of_the_references_modules() {
    for golden in GOLDEN {
        let Golden { name, size, channels, nf, levels, .. } = golden;
        let set = [
            format!("model.name={name}"),
            format!("model.nf={nf}"),
            format!("model.num_scales={levels}"),
            format!("data.image_size={size}"),
            format!("data.num_channels={channels}"),
        ];
        let config = load("ve/ncsnv2/cifar10", &set.each_ref().map(String::as_str));
        let scorer = scorer(&config);
        assert_eq!(scorer.model.registry.trainable.len(), golden.tensors, "{name}");

        let pixel = |n: usize, h: usize, w: usize, c: usize| {
            let i = ((n * channels + c) * size + h) * size + w;
            0.5 + 0.5 * (0.37 * i as f64 + 0.1).sin()
        };
        let shape = Shape::new(2, size, size, channels);
        let index =
            |i: usize| (i / (size * size * channels), i / (size * channels) % size, i / channels % size);
        let x: Vec<f32> = (0..shape.len())
            .map(|i| {
                let (n, h, w) = index(i);
                pixel(n, h, w, i % channels) as f32
            })
            .collect();
        let x = Tensor::from_slice(gpu(), shape, &x).expect("an upload");
        let last = (config.model.num_scales - 1) as f64;
        let times = [1.0, 3.0].map(|level| 1.0 - level / last);
        let conditioning = scorer.condition(&times).expect("an upload");
        let out = scorer.network(&mut Eager, &x, &conditioning, None).expect("an output");
        let out = out.read().expect("a download");

        let half = size / 2;
        let corner = |i: usize| {
            let (n, c, h, w) = (i / 4 / channels, i / 4 % channels, i / 2 % 2 * half, i % 2 * half);
            out[((n * size + h) * size + w) * channels + c]
        };
        let values: Vec<f32> = (0..8).map(corner).collect();
        let error = relative_error(&values, &golden.values);
        println!("{name}: relative error {error:e}");
        assert!(error < 1e-4, "{name}: relative error {error:e}: {values:?}");
        for (sample, rms) in out.chunks(out.len() / 2).zip(golden.rms) {
            let square: f64 = sample.iter().map(|v| f64::from(*v).powi(2)).sum();
            let ours = (square / sample.len() as f64).sqrt();
            assert!((ours - rms).abs() < 1e-4 * rms, "{name}: {ours} is not {rms}");
        }
    }
}

#[test]
fn parameters_have_the_references_names_in_its_order() {
    let names = |name: &str| -> Vec<String> {
        let registry = ScoreModel::build(&load(name, &[])).expect("a model").registry;
        registry.trainable.into_iter().map(|spec| spec.name).collect()
    };
    let v1 = names("ve/ncsn/cifar10");
    let first = [
        "begin_conv.weight",
        "begin_conv.bias",
        "normalizer.embed.weight",
        "end_conv.weight",
        "end_conv.bias",
        "res1.0.conv1.weight",
        "res1.0.conv1.bias",
        "res1.0.normalize2.embed.weight",
        "res1.0.conv2.weight",
        "res1.0.conv2.bias",
        "res1.0.normalize1.embed.weight",
        "res1.1.conv1.weight",
    ];
    assert_eq!(v1[..first.len()], first);
    let place = |names: &[String], name: &str| names.iter().position(|n| n == name).expect(name);
    let refine = place(&v1, "refine2.msf.convs.0.weight");
    let joined = [
        "refine2.output_convs.1_2_conv.weight",
        "refine2.msf.convs.0.weight",
        "refine2.msf.convs.0.bias",
        "refine2.msf.convs.1.weight",
        "refine2.msf.convs.1.bias",
        "refine2.msf.norms.0.embed.weight",
        "refine2.msf.norms.1.embed.weight",
        "refine2.crp.convs.0.weight",
        "refine2.crp.convs.1.weight",
        "refine2.crp.norms.0.embed.weight",
        "refine2.crp.norms.1.embed.weight",
        "refine3.adapt_convs.0.1_1_norm.embed.weight",
        "refine3.adapt_convs.0.1_1_conv.weight",
    ];
    assert_eq!(v1[refine - 1..][..joined.len()], joined);

    let v2 = names("ve/ncsnv2/bedroom");
    let block = place(&v2, "res2.0.conv1.weight");
    let pooled = [
        "res2.0.conv1.weight",
        "res2.0.conv1.bias",
        "res2.0.normalize2.alpha",
        "res2.0.normalize2.gamma",
        "res2.0.normalize2.beta",
        "res2.0.conv2.conv.weight",
        "res2.0.conv2.conv.bias",
        "res2.0.shortcut.conv.weight",
        "res2.0.shortcut.conv.bias",
        "res2.0.normalize1.alpha",
    ];
    assert_eq!(v2[block..][..pooled.len()], pooled);
    assert!(place(&v2, "res4.0.shortcut.weight") > block);
    assert_eq!(v2.last().map(String::as_str), Some("refine5.crp.convs.1.weight"));
}

#[test]
fn published_networks_have_the_parameters_of_their_layers() {
    // Layer by layer, for a and b channels:
    //   a 3 x 3 convolution            9 a b + b, without bias 9 a b
    //   instance norm++                3 a, or a table of 3 a for each of L noise levels
    //   residual block                 norm(a), conv(a, m), norm(m), conv(m, b), where m = b if the size
    // stays
    //                                  and the block is not the first of its stage, else a; a shortcut of
    //                                  a b + b if it pools, conv(a, b) if it is dilated
    //   conv units                     2 convolutions without bias each, for NCSN with a norm before each
    //   refine block (inputs a.., b)   2 units for each input, conv(a, b) for each of two inputs, for NCSN
    // with
    //                                  a norm before; 2 convolutions without bias, for NCSN with norms; 1
    // unit,
    //                                  3 in the last block
    // and a convolution to nf, a norm, a convolution from nf.
    struct Count {
        norm: usize, // numbers of a norm for each channel
        cond: bool,
    }
    impl Count {
        fn conv(&self, a: usize, b: usize) -> usize {
            9 * a * b + b
        }
        fn block(&self, a: usize, b: usize, shortcut: usize) -> usize {
            let m = if shortcut == 0 { b } else { a };
            self.norm * (a + m) + self.conv(a, m) + self.conv(m, b) + shortcut
        }
        fn units(&self, a: usize, units: usize) -> usize {
            2 * units * (9 * a * a + if self.cond { self.norm * a } else { 0 })
        }
        fn refine(&self, inputs: &[usize], b: usize, units: usize) -> usize {
            let norms = |channels: usize| if self.cond { self.norm * channels } else { 0 };
            let adapt: usize = inputs.iter().map(|a| self.units(*a, 2)).sum();
            let join = |a: &usize| self.conv(*a, b) + norms(*a);
            let join: usize = if inputs.len() > 1 { inputs.iter().map(join).sum() } else { 0 };
            adapt + join + 2 * (9 * b * b + norms(b)) + self.units(b, units)
        }
        /// Stages as channels and whether they pool.
        fn network(&self, nf: usize, stages: &[(usize, bool)]) -> usize {
            let mut total = self.conv(3, nf) + self.norm * nf + self.conv(nf, 3);
            for (i, (b, pools)) in stages.iter().enumerate() {
                let a = stages[i.max(1) - 1].0;
                let shortcut = match (i, pools) {
                    (0, _) => 0,
                    (_, true) => a * b + b,
                    (_, false) => self.conv(a, *b),
                };
                total += self.block(a, *b, shortcut) + self.block(*b, *b, 0);
                let inputs = vec![*b; if i + 1 == stages.len() { 1 } else { 2 }];
                total += self.refine(&inputs, a, if i == 0 { 3 } else { 1 });
            }
            total
        }
    }
    let small = [(128, false), (256, true), (256, false), (256, false)];
    let middle = [(128, false), (256, true), (256, true), (512, false), (512, false)];
    let large = [(128, false), (256, true), (256, true), (256, true), (512, false), (512, false)];
    let v1 = |levels: usize| Count { norm: 3 * levels, cond: true }.network(128, &small);
    let v2 = Count { norm: 3, cond: false };
    for (name, set, derived, expected) in [
        ("ve/ncsn/cifar10", &[][..], v1(10), 30_117_635),
        ("ve/ncsn/cifar10_5", &[], v1(10), 30_117_635),
        ("ve/ncsn/cifar10_124", &[], v1(232), 39_750_659),
        ("ve/ncsn/cifar10_1245", &[], v1(232), 39_750_659),
        ("ve/ncsn/celeba", &[], v1(10), 30_117_635),
        ("ve/ncsn/celeba_5", &[], v1(10), 30_117_635),
        ("ve/ncsn/celeba_124", &[], v1(500), 51_379_715),
        ("ve/ncsn/celeba_1245", &[], v1(500), 51_379_715),
        ("ve/ncsnv2/cifar10", &[], v2.network(128, &small), 29_694_083),
        ("ve/ncsnv2/celeba", &[], v2.network(128, &small), 29_694_083),
        ("ve/ncsnv2/bedroom", &[], v2.network(128, &middle), 83_445_379),
        (
            "ve/ncsnv2/bedroom",
            &["data.image_size=256", "model.name=ncsnv2"],
            v2.network(128, &large),
            94_132_611,
        ),
    ] {
        let registry = ScoreModel::build(&load(name, set)).expect(name).registry;
        assert_eq!(derived, expected, "{name}");
        assert_eq!(registry.count(), expected, "{name}");
    }
}

#[test]
fn they_are_initialised_as_in_the_reference() {
    let initial = |config: &str, name: &str| {
        let registry = ScoreModel::build(&load(config, &[])).expect("a model").registry;
        let j = registry.trainable.iter().position(|spec| spec.name == name).expect(name);
        registry.trainable[j].initial(1, j).into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let deviation = |values: &[f64]| {
        let m = mean(values);
        (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    // PyTorch's convolutions: uniform up to 1 / sqrt(fan-in), biases too.
    for (part, name) in [(0.99, "begin_conv.weight"), (0.9, "begin_conv.bias")] {
        let values = initial("ve/ncsn/cifar10", name);
        let (largest, bound) = (values.iter().fold(0.0f64, |m, v| m.max(v.abs())), 27f64.sqrt().recip());
        assert!((part * bound..=bound * (1.0 + 1e-6)).contains(&largest), "{name}: {largest} of {bound}");
    }
    // Normal with mean 1 and standard deviation 0.02, within five standard errors; shifts are 0.
    let near_one = |values: &[f64]| {
        let error = 0.02 / (values.len() as f64).sqrt();
        assert!((mean(values) - 1.0).abs() < 5.0 * error && (deviation(values) - 0.02).abs() < 5.0 * error);
    };
    for row in initial("ve/ncsn/cifar10", "normalizer.embed.weight").chunks(3 * 128) {
        near_one(&row[..256]);
        assert!(row[256..].iter().all(|v| *v == 0.0));
    }
    near_one(&initial("ve/ncsnv2/cifar10", "normalizer.alpha"));
    near_one(&initial("ve/ncsnv2/cifar10", "normalizer.gamma"));
    assert!(initial("ve/ncsnv2/cifar10", "normalizer.beta").iter().all(|v| *v == 0.0));
}

#[test]
fn unsupported_options_of_these_networks_are_named() {
    let refuse = |set: &[&str]| {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/ve/ncsn/cifar10.toml"));
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        Config::from_toml(&text.expect("a file"), &set).expect_err("an error").to_string()
    };
    assert!(
        refuse(&["training.continuous=true"])
            .contains("ncsn is conditioned on the number of the noise level")
    );
    assert!(refuse(&["data.image_size=33"]).contains("must be divisible by 2"));
    assert!(refuse(&["model.name=ncsnv2", "data.image_size=512"]).contains("beyond 256 pixels"));
    assert!(refuse(&["model.normalization=GroupNorm"]).contains("this network has InstanceNorm++"));
    assert!(refuse(&["model.name=ddpm", "model.normalization=GroupNorm"]).contains("model.num_res_blocks"));
}
