//! Training objectives: each with every prediction that it supports.

use crate::support::gpu;
use tweedie::autodiff::{Dual, Engine, Parameter, Tape};
use tweedie::config::Config;
use tweedie::data::{Dataset, Loader, Split};
use tweedie::kernels::conv2d::{Conv2d, weight_shape};
use tweedie::kernels::random::{Distribution, fill};
use tweedie::kernels::score_matching::{self, Slice};
use tweedie::kernels::{elementwise, layout};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};
use tweedie::train::{Draw, Objective, Trainer};

/// The smallest network, with a non-zero initial output.
const TINY: [&str; 8] = [
    "model.nf=4",
    "model.ch_mult=[1, 2]",
    "model.num_res_blocks=1",
    "model.attn_resolutions=[]",
    "model.init_scale=1.0",
    "training.batch_size=8",
    "optim.warmup=0",
    "optim.lr=3e-3",
];

/// A configuration of the digits, `sde` being `ve` or `vp`, with assignments on top, separated by spaces.
fn config(sde: &str, set: &str) -> Config {
    let text = std::fs::read_to_string(format!("configs/digits_{sde}.toml")).expect("a file");
    let set: Vec<String> = TINY.iter().copied().chain(set.split_whitespace()).map(String::from).collect();
    // Keys that an objective implies must be left out.
    Config::from_toml(&text.replace("continuous = true\n", ""), &set).expect("a configuration")
}

fn refusal(sde: &str, set: &str) -> String {
    let text = std::fs::read_to_string(format!("configs/digits_{sde}.toml")).expect("a file");
    let set: Vec<String> = set.split_whitespace().map(String::from).collect();
    Config::from_toml(&text.replace("continuous = true\n", ""), &set)
        .expect_err(set.join(" ").as_str())
        .to_string()
}

/// Every objective with its supported predictions: the configuration and its assignments.
const OBJECTIVES: [(&str, &str); 20] = [
    ("ve", ""),
    ("ve", "model.scale_by_sigma=false model.prediction=eps"),
    ("ve", "model.scale_by_sigma=false model.prediction=x0"),
    ("vp", "model.prediction=score"),
    ("vp", "model.prediction=v training.likelihood_weighting=true training.importance_sampling=true"),
    ("vp", "training.sde=subvpsde training.likelihood_weighting=true training.importance_sampling=true"),
    ("ve", "training.objective=smld model.embedding_type=positional model.num_scales=50"),
    ("vp", "training.objective=ddpm"),
    ("vp", "training.objective=ddpm model.prediction=x0"),
    ("vp", "training.objective=ddpm model.prediction=v"),
    ("vp", "training.objective=ddpm model.prediction=edm"),
    ("vp", "training.objective=vlb model.num_scales=50"),
    (
        "vp",
        "training.objective=vlb model.num_scales=50 model.prediction=v training.posterior_variance=beta_tilde",
    ),
    ("ve", "training.objective=ssm"),
    ("vp", "training.objective=ssm model.prediction=x0"),
    ("vp", "training.objective=ssm training.projection=sphere training.likelihood_weighting=true"),
    ("ve", "training.objective=fd_ssm training.projection=sphere"),
    ("vp", "training.objective=fd_ssm model.prediction=v"),
    ("ve", "training.objective=edm model.scale_by_sigma=false"),
    ("vp", "training.objective=edm"),
];

fn batches(config: &Config, count: u32) -> Vec<Tensor> {
    let set = Dataset::digits(Split::Train).expect("digits");
    let mut loader =
        Loader::new(set, &config.data, config.training.batch_size, config.seed).expect("a loader");
    let shape = Shape::new(config.training.batch_size, 8, 8, 1);
    (0..count)
        .map(|step| {
            Tensor::from_slice(gpu(), shape, &loader.batch(step).expect("a batch").images).expect("an upload")
        })
        .collect()
}

fn sum(lanes: &Tensor) -> f64 {
    lanes.read().expect("a download").iter().map(|v| f64::from(*v)).sum()
}

fn loss(objective: &Objective, trainer: &Trainer, x0: &Tensor, step: u32) -> f64 {
    let draw = Draw::new(5).at(step);
    sum(&objective.loss(&trainer.scorer, x0, &vec![None; x0.shape().n()], draw).expect("a loss"))
}

#[test]
fn every_objective_trains_with_every_prediction_that_it_supports() {
    for (sde, set) in OBJECTIVES {
        let config = config(sde, set);
        let mut trainer = Trainer::new(gpu(), &config).expect("a trainer");
        let objective = Objective::new(&config, &trainer.scorer.model);
        let held = batches(&config, 2);
        // The same batches, times and noise before and after.
        let held_loss = |trainer: &Trainer| -> f64 {
            (0..).zip(&held).map(|(step, x0)| loss(&objective, trainer, x0, step)).sum()
        };
        let before = held_loss(&trainer);
        let mut loader = Loader::new(Dataset::digits(Split::Train).expect("digits"), &config.data, 8, 1)
            .expect("a loader");
        for step in 0..20 {
            trainer.step(&loader.batch(step).expect("a batch")).expect("a step");
        }
        let after = held_loss(&trainer);
        println!("{sde} {set}: {before:.4} to {after:.4}");
        assert!(before.is_finite() && after < before, "{sde} {set}: {before} became {after}");
        assert!(trainer.report().expect("finite").is_some());
    }
}

/// The derivative of a loss along the gradient of one parameter, by differences and by the gradient.
fn derivatives(objective: &Objective, trainer: &Trainer, x0: &Tensor, name: &str) -> (f64, f64) {
    loss(objective, trainer, x0, 0);
    let registry = &trainer.scorer.model.registry;
    let gradients = trainer.scorer.parameters.gradients.as_ref().expect("places");
    let find = |arena: &tweedie::nn::Arena| {
        let mut named = arena.named(registry);
        named.find(|(spec, _)| spec.name == name).map(|(_, view)| view.clone()).expect(name)
    };
    let (value, gradient) = (find(&trainer.scorer.parameters.values), find(gradients));
    let (start, slope) = (value.read().expect("a download"), gradient.read().expect("a download"));
    let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    // A step of a hundredth of the parameter, along its gradient.
    let h = 0.01 * norm(&start).max(0.1) / norm(&slope);
    let at = |h: f64| {
        let moved: Vec<f32> =
            start.iter().zip(&slope).map(|(v, s)| (f64::from(*v) + h * f64::from(*s)) as f32).collect();
        value.write(&moved).expect("an upload");
        gradients.clear().expect("zeros");
        loss(objective, trainer, x0, 0)
    };
    let difference = (at(h) - at(-h)) / (2.0 * h);
    value.write(&start).expect("an upload");
    (difference, norm(&slope).powi(2))
}

#[test]
fn the_gradient_of_every_objective_is_the_change_of_its_loss() {
    for (sde, set) in OBJECTIVES {
        let config = config(sde, set);
        let trainer = Trainer::new(gpu(), &config).expect("a trainer");
        let objective = Objective::new(&config, &trainer.scorer.model);
        let x0 = &batches(&config, 1)[0];
        let names: Vec<String> =
            trainer.scorer.model.registry.trainable.iter().map(|spec| spec.name.clone()).collect();
        let first = names.iter().find(|name| name.ends_with("Conv_0.weight")).expect("a convolution");
        let norm = names.iter().find(|name| name.ends_with("GroupNorm_1.weight")).expect("a norm");
        for name in [first, norm] {
            let (difference, square) = derivatives(&objective, &trainer, x0, name);
            let error = (difference / square - 1.0).abs();
            println!("{sde} {set}: {name}: off by {error:.1e}");
            assert!(error < 0.02, "{sde} {set}: {name}: {difference} is not {square}");
            trainer.scorer.parameters.gradients.as_ref().expect("places").clear().expect("zeros");
        }
    }
}

#[test]
fn finite_differences_agree_with_forward_mode() {
    for (sde, set) in [("ve", ""), ("vp", "model.prediction=v"), ("vp", "training.projection=sphere")] {
        let exact = config(sde, &format!("{set} training.objective=ssm"));
        let trainer = Trainer::new(gpu(), &exact).expect("a trainer");
        let x0 = &batches(&exact, 1)[0];
        let gradients = trainer.scorer.parameters.gradients.as_ref().expect("places");
        let evaluate = |config: &Config| {
            gradients.clear().expect("zeros");
            let loss = loss(&Objective::new(config, &trainer.scorer.model), &trainer, x0, 3);
            (loss, gradients.flat().read().expect("a download"))
        };
        let (exact_loss, exact_gradient) = evaluate(&exact);
        let errors = [0.1, 0.05].map(|eps| {
            let (loss, gradient) =
                evaluate(&config(sde, &format!("{set} training.objective=fd_ssm training.fd_eps={eps}")));
            let exact: Vec<f64> = exact_gradient.iter().map(|v| f64::from(*v)).collect();
            ((loss - exact_loss).abs() / exact_loss.abs(), crate::support::relative_error(&gradient, &exact))
        });
        println!("{sde} {set}: {errors:?}");
        // Half the distance, a quarter of the error.
        assert!(errors[1].1 < 0.05 && errors[1].0 < 0.05, "{sde} {set}: {errors:?}");
        assert!(errors[1].1 < 0.4 * errors[0].1, "{sde} {set}: {errors:?}");
    }
}

#[test]
fn sliced_and_denoising_losses_differ_by_a_constant() {
    // The denoising loss exceeds the sliced one by E ‖z‖² / (2 D) (Vincent 2011). Both are means over pixels,
    // λ = s².
    // The projection is a key of sliced score matching alone.
    for (sde, set, projection) in
        [("vp", "", "training.projection=sphere"), ("vp", "model.prediction=x0", "")]
    {
        let set = format!("{set} training.reduce_mean=true");
        let trainer = Trainer::new(gpu(), &config(sde, &set)).expect("a trainer");
        let objective = |own: &str| {
            let config = config(sde, &format!("{set} training.objective={own}"));
            Objective::new(&config, &trainer.scorer.model)
        };
        let (dsm, ssm) = (objective("dsm"), objective(&format!("ssm {projection}")));
        let config = config(sde, &set);
        let batches = batches(&config, 20);
        let draws = 100;
        let differences: Vec<f64> = (0..draws)
            .map(|step| {
                let x0 = &batches[step as usize % batches.len()];
                loss(&dsm, &trainer, x0, step) - loss(&ssm, &trainer, x0, step)
            })
            .collect();
        let mean = differences.iter().sum::<f64>() / f64::from(draws);
        let variance = differences.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(draws - 1);
        let standard_error = (variance / f64::from(draws)).sqrt();
        println!("{sde} {set}: {mean} ± {standard_error}");
        assert!((mean - 1.0).abs() < 5.0 * standard_error, "{sde} {set}: {mean} ± {standard_error}");
        assert!(standard_error < 0.1, "{standard_error} says nothing");
    }
}

#[test]
fn sliced_score_matching_of_an_affine_score_has_its_closed_form() {
    // s = W x + b on [n, 1, 1, 4]: the loss is Σ ‖s‖² + 2 vᵀ W v, its gradients 2 Σ (s xᵀ + v vᵀ) and 2 Σ s.
    let (n, d) = (5, 4);
    let shape = Shape::new(n, 1, 1, d);
    let random = |shape: Shape, seed: u64, distribution| {
        fill(gpu(), shape, Key::new(seed, Purpose::Other(0)), distribution).expect("noise")
    };
    let normal = Distribution::Normal { std: 1.0 };
    let (x, v) = (random(shape, 1, normal), random(shape, 2, Distribution::Rademacher));
    let parameter = |id: usize, shape: Shape| {
        let gradient = Some(Tensor::zeros(gpu(), shape).expect("memory"));
        Parameter { id, value: random(shape, 3 + id as u64, normal), gradient }
    };
    let (weight, bias) = (parameter(0, weight_shape(1, 1, d, d)), parameter(1, Shape::vector(d)));
    let slices = vec![Slice { x: 0.0, net: 1.0, tangent: 1.0, weight: 1.0 }; n];
    let slices = score_matching::upload(gpu(), &slices).expect("an upload");

    let mut dual = Dual::new(Tape::new(), 1);
    let stack = dual.engine.constant(&layout::stack(&[&x, &v]).expect("a stack"));
    let input = dual.variable(stack);
    let (w, b) = (dual.parameter(&weight), dual.parameter(&bias));
    let image = dual.conv2d(&input, &w, Some(&b), &Conv2d::padded(0)).expect("a score");
    let (loss, seed) = score_matching::sliced(image.stack().tensor(), &x, &v, &slices).expect("a loss");
    dual.engine.backward(image.stack(), seed).expect("gradients");

    let read = |tensor: &Tensor| -> Vec<f64> {
        tensor.read().expect("a download").iter().map(|v| f64::from(*v)).collect()
    };
    // Weights are [c_in, c_out].
    let (xs, vs, ws, bs) = (read(&x), read(&v), read(&weight.value), read(&bias.value));
    let (mut value, mut dw, mut db) = (0.0, vec![0.0; d * d], vec![0.0; d]);
    for i in 0..n {
        let (x, v) = (&xs[i * d..][..d], &vs[i * d..][..d]);
        let image = |x: &[f64], k: usize| (0..d).map(|j| x[j] * ws[j * d + k]).sum::<f64>();
        for k in 0..d {
            let s = image(x, k) + bs[k];
            value += s * s + 2.0 * v[k] * image(v, k);
            db[k] += 2.0 * s;
            for j in 0..d {
                dw[j * d + k] += 2.0 * (s * x[j] + v[k] * v[j]);
            }
        }
    }
    assert!((sum(&loss) - value).abs() < 1e-4 * value.abs().max(1.0), "{} is not {value}", sum(&loss));
    let gradient =
        |parameter: &Parameter| parameter.gradient.as_ref().expect("a place").read().expect("a download");
    assert!(crate::support::relative_error(&gradient(&weight), &dw) < 1e-5);
    assert!(crate::support::relative_error(&gradient(&bias), &db) < 1e-5);

    // Differences of an affine function are exact.
    let eps = 0.25;
    let mut tape = Tape::new();
    let (w, b) = (tape.parameter(&weight), tape.parameter(&bias));
    let mut side = |sign: f32| {
        let moved = elementwise::blend(&x, 1.0, &v, sign * eps).expect("a sum");
        let input = tape.constant(&moved);
        tape.conv2d(&input, &w, Some(&b), &Conv2d::padded(0)).expect("a score").tensor().clone()
    };
    let (above, below) = (side(1.0), side(-1.0));
    let mean = elementwise::blend(&above, 0.5, &below, 0.5).expect("a mean");
    let change = elementwise::blend(&above, 1.0, &below, -1.0).expect("a change");
    let slice = Slice { x: 0.0, net: 1.0, tangent: 0.5 / eps, weight: 1.0 };
    let slices = score_matching::upload(gpu(), &vec![slice; n]).expect("an upload");
    let stack = layout::stack(&[&mean, &change]).expect("a stack");
    let (by_differences, _) = score_matching::sliced(&stack, &x, &v, &slices).expect("a loss");
    assert!((sum(&by_differences) - value).abs() < 1e-4 * value.abs().max(1.0));
}

#[test]
fn objectives_that_contradict_the_rest_are_refused_in_one_sentence() {
    for (sde, set, expected) in [
        (
            "vp",
            "training.objective=smld",
            "training.objective = smld: it is a loss on the chain of vesde; set training.sde = vesde",
        ),
        ("ve", "training.objective=ddpm", "set training.sde = vpsde"),
        (
            "vp",
            "training.objective=vlb training.continuous=true",
            "set training.continuous = false, or leave that key out",
        ),
        (
            "vp",
            "training.objective=edm training.continuous=false",
            "set training.continuous = true, or leave that key out",
        ),
        ("vp", "training.objective=edm model.prediction=eps", "set model.prediction = edm"),
        ("vp", "training.objective=ddpm model.prediction=score", "set model.prediction = eps, x0, v or edm"),
        (
            "vp",
            "training.objective=vlb data.uniform_dequantization=true",
            "data.uniform_dequantization = false",
        ),
        ("ve", "model.prediction=eps", "model.scale_by_sigma = true: only a score"),
        (
            "vp",
            "training.continuous=false training.likelihood_weighting=true",
            "g(t)² weights continuous times",
        ),
        ("vp", "training.importance_sampling=true", "set training.likelihood_weighting = true"),
        (
            "vp",
            "training.objective=fd_ssm training.fd_eps=0",
            "training.fd_eps = 0.0: it must be a number above 0",
        ),
        ("vp", "training.objective=ddpm model.num_scales=20", "set it to more than 20"),
        ("vp", "training.objective=gan", "training.objective = gan: it must be dsm, smld, "),
        ("vp", "training.objective=edm training.p_std=-1", "training.p_std = -1.0"),
    ] {
        let message = refusal(sde, set);
        assert!(message.contains(expected) && !message.contains('\n'), "{set}: {message}");
    }
    // Implied keys are filled in.
    let config = config("vp", "training.objective=ddpm");
    assert!(!config.training.continuous);
}
