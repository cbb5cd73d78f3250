//! Classifiers of diffused images, and class-conditional scores.

use crate::distributions::{Component, Mixture, assert_moments, diffused};
use crate::support::gpu;
use tweedie::autodiff::{Dual, Eager, Engine, Tape};
use tweedie::config::{Config, CorrectorName, PredictorName, Sampling};
use tweedie::kernels::combine::Form;
use tweedie::kernels::random::{Distribution, fill};
use tweedie::kernels::{cross_entropy, layout};
use tweedie::nn::{Arena, Classifier, Parameters, ScoreModel, Scorer};
use tweedie::random::{Key, Purpose};
use tweedie::sample::{
    ClassConditional, ClassifierGuided, Differentiable, Draw, Guide, Result, Score, Times, Toward, sampler,
};
use tweedie::sde::{Process, SubVp, Ve, Vp};
use tweedie::tensor::{Shape, Tensor};

const SMALL: [&str; 4] =
    ["model.nf=8", "model.channel_multiplier=1", "model.embedding_size=8", "model.init_scale=1.0"];

fn config(name: &str, set: &[&str]) -> Config {
    let path = format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    Config::from_toml(&std::fs::read_to_string(path).expect(name), &set).expect(name)
}

/// A model with initial weights and a gradient arena.
fn fresh(config: &Config) -> Scorer {
    let model = ScoreModel::build(config).expect("a model");
    let specs = model.registry.trainable.clone();
    let values = Arena::with(gpu(), &model.registry, |i| specs[i].initial(3, i)).expect("memory");
    let fourier = model.registry.frozen.first().map(|spec| spec.initial(3, 0));
    let frequencies = model.network.frequencies(gpu(), fourier.as_deref()).expect("memory");
    let gradients = Some(Arena::zeros(gpu(), &model.registry).expect("memory"));
    Scorer { model, parameters: Parameters { values, gradients, frequencies } }
}

fn constant(mut scorer: Scorer) -> Classifier {
    scorer.parameters.gradients = None;
    Classifier::new(scorer).expect("a classifier")
}

fn random(shape: Shape, seed: u64) -> Tensor {
    fill(gpu(), shape, Key::new(seed, Purpose::Other(0)), Distribution::Normal { std: 0.5 }).expect("noise")
}

fn read(x: &Tensor) -> Vec<f32> {
    x.read().expect("a download")
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    read(a).iter().zip(&read(b)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn moved(x: &Tensor, d: &Tensor, h: f32) -> Tensor {
    (x + d * f64::from(h)).run().expect("a sum")
}

fn close(what: &str, a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance, "{what}: {a} is not {b}, to {tolerance}");
}

#[test]
fn a_classifier_runs_alike_on_every_engine_and_its_adjoint_is_adjoint_to_its_tangent() {
    for sde in ["vesde", "vpsde", "subvpsde"] {
        let process = format!("training.sde={sde}");
        let scorer = fresh(&config("digits_classifier", &[&SMALL[..], &[&process]].concat()));
        let shape = Shape::new(3, 8, 8, 1);
        let (x, v, u) = (random(shape, 1), random(shape, 2), random(Shape::new(3, 1, 1, 10), 3));
        let conditioning = scorer.condition(&[0.01, 0.4, 1.0]).expect("an upload");
        let eager = scorer.network(&mut Eager, &x, &conditioning, None).expect("logits");
        assert_eq!(eager.shape(), u.shape());
        assert!(read(&eager).iter().any(|v| v.abs() > 1e-2), "{sde}");

        let mut tape = Tape::new();
        let input = tape.variable(&x);
        let taped = scorer.network(&mut tape, &input, &conditioning, None).expect("logits");
        assert_eq!(read(taped.tensor()), read(&eager));
        let jtu = tape.backward(&taped, u.clone()).expect("gradients").take(&input).expect("a gradient");

        let mut dual = Dual::new(Eager, 1);
        let input = dual.variable(layout::stack(&[&x, &v]).expect("a stack"));
        let out = scorer.network(&mut dual, &input, &conditioning, None).expect("logits");
        let part = |k: usize| layout::samples(out.stack(), 3 * k, 3).expect("a part");
        assert_eq!(read(&part(0)), read(&eager));
        let jv = part(1);
        close(sde, dot(&jv, &u), dot(&v, &jtu), 1e-4 * (dot(&jv, &jv) * dot(&u, &u)).sqrt());
    }
}

#[test]
fn the_gradient_of_the_loss_in_the_parameters_is_its_difference() {
    let scorer = fresh(&config("digits_classifier", &SMALL));
    let x = random(Shape::new(4, 8, 8, 1), 1);
    let labels = cross_entropy::upload(gpu(), &[3, 0, 9, 3], 10).expect("labels");
    let conditioning = scorer.condition(&[0.1, 0.3, 0.6, 0.9]).expect("an upload");
    let mut tape = Tape::new();
    let input = tape.constant(&x);
    let logits = scorer.network(&mut tape, &input, &conditioning, None).expect("logits");
    let (_, seed) = cross_entropy::mean(logits.tensor(), &labels).expect("a loss");
    tape.backward(&logits, seed).expect("gradients");
    let gradient = scorer.parameters.gradients.as_ref().expect("a place").flat().clone();
    let d = random(gradient.shape(), 5);
    let at = |h: f32| {
        let mut scorer = scorer.clone();
        let registry = &scorer.model.registry;
        let values = Arena::zeros(gpu(), registry).expect("memory");
        let sum = moved(scorer.parameters.values.flat(), &d, h);
        layout::copy(&sum, 0, values.flat(), 0, sum.shape().vec4s()).expect("a copy");
        scorer.parameters.values = values;
        let logits = scorer.network(&mut Eager, &x, &conditioning, None).expect("logits");
        f64::from(read(&cross_entropy::mean(&logits, &labels).expect("a loss").0)[0])
    };
    let h = 1e-3;
    let difference = (at(h) - at(-h)) / (2.0 * f64::from(h));
    let scale = dot(&gradient, &gradient).sqrt() * 0.5;
    assert!(scale > 0.05, "the gradient is not zero");
    close("the loss", dot(&gradient, &d), difference, 0.02 * scale);
}

#[test]
fn the_gradient_of_a_class_and_its_tangents_are_derivatives_of_its_log_probability() {
    let classifier = constant(fresh(&config("digits_classifier", &SMALL)));
    let (shape, times, class) = (Shape::new(2, 8, 8, 1), [0.2, 0.7], 4);
    let (x, v, w) = (random(shape, 1), random(shape, 2), random(shape, 3));
    let log_probability = |x: &Tensor| -> f64 {
        let logits = classifier.logits(x, &times).expect("logits");
        let labels = cross_entropy::upload(gpu(), &[class; 2], 10).expect("labels");
        let (loss, _) = cross_entropy::cross_entropy(&logits, &labels, 1.0).expect("a loss");
        -read(&loss).iter().map(|v| f64::from(*v)).sum::<f64>()
    };
    let gradient = |x: &Tensor| classifier.gradient(x, &times, class).expect("a gradient");
    let h = 0.01;
    let difference = (log_probability(&moved(&x, &v, h)) - log_probability(&moved(&x, &v, -h))) / 0.02;
    let slope = gradient(&x);
    let size = (dot(&slope, &slope) * dot(&v, &v)).sqrt();
    assert!(size > 1e-2);
    close("the gradient", dot(&slope, &v), difference, 0.01 * size);

    let stack = layout::stack(&[&x, &v, &w]).expect("a stack");
    let image = classifier.tangents(&stack, 2, &times, class).expect("tangents");
    let part = |k: usize| layout::samples(&image, 2 * k, 2).expect("a part");
    for (a, b) in read(&part(0)).iter().zip(read(&slope)) {
        close("the primal", f64::from(*a), f64::from(b), 1e-5 * size);
    }
    // The Hessian is symmetric and matches the difference of gradients.
    let (hv, hw) = (part(1), part(2));
    let size = (dot(&hv, &hv) * dot(&w, &w)).sqrt();
    assert!(size > 1e-3);
    close("symmetry", dot(&hv, &w), dot(&v, &hw), 1e-3 * size);
    let difference = (dot(&gradient(&moved(&x, &v, h)), &w) - dot(&gradient(&moved(&x, &v, -h)), &w)) / 0.02;
    close("the Hessian", dot(&hv, &w), difference, 0.02 * size);
}

#[test]
fn classes_come_after_the_parameters_of_a_model_without() {
    let without = ScoreModel::build(&config("digits_ve", &[])).expect("a model").registry;
    let with = ScoreModel::build(&config("digits_ve", &["model.num_classes=10"])).expect("a model").registry;
    let count = without.trainable.len();
    assert_eq!(with.trainable[..count], without.trainable[..]);
    assert_eq!(with.trainable.len(), count + 1);
    assert_eq!(with.trainable[count].layout.file_shape(), [11, 64]);
}

fn run(form: Form) -> Tensor {
    form.run().expect("a form")
}

/// A score at two times.
fn score_of(score: &dyn Score, x: &Tensor) -> Tensor {
    run(score.at(x, &Times::from(vec![0.3, 0.8])).expect("a score").score())
}

/// Compares a score's adjoint with its tangent: ⟨J v, u⟩ = ⟨v, Jᵀ u⟩.
fn assert_adjoint(what: &str, score: &dyn Differentiable) {
    let shape = Shape::new(2, 8, 8, 1);
    let (x, v, u) = (random(shape, 1), random(shape, 2), random(shape, 3));
    let t = Times::from(vec![0.3, 0.8]);
    let stack = layout::stack(&[&x, &v]).expect("a stack");
    let image = run(score.tangents(&stack, 1, &t).expect("tangents"));
    let jv = layout::samples(&image, 2, 2).expect("a tangent");
    let (at, pullback) = score.adjoint(&x, &t).expect("an adjoint");
    let size = (dot(&jv, &jv) * dot(&u, &u)).sqrt();
    assert!(size > 1e-3, "{what}: nothing depends on the state");
    close(what, dot(&moved(&run(at.score()), &score_of(score, &x), -1.0), &u), 0.0, 1e-4 * size);
    let jtu = run(pullback(Form::from(&u)).expect("a gradient"));
    close(what, dot(&jv, &u), dot(&v, &jtu), 1e-3 * size);
}

#[test]
fn scores_of_classes_have_the_adjoint_of_their_tangent() {
    let scorer = fresh(&config("digits_ve", &["model.num_classes=10", "model.nf=8", "model.init_scale=1.0"]));
    for weight in [0.0, 1.5] {
        assert_adjoint("told", &ClassConditional { scorer: &scorer, class: 3, weight });
    }
    let classifier = constant(fresh(&config("digits_classifier", &SMALL)));
    let guide = Toward { classifier: &classifier, class: 3 };
    for scale in [1.0, 6.0] {
        assert_adjoint("guided", &ClassifierGuided { score: &scorer, guide: &guide, scale });
    }
}

#[test]
fn a_conditional_network_depends_on_the_class_and_guidance_extrapolates() {
    let scorer = fresh(&config("digits_ve", &["model.num_classes=10", "model.nf=8", "model.init_scale=1.0"]));
    let x = random(Shape::new(2, 8, 8, 1), 1);
    let told =
        |class: usize, weight: f64| read(&score_of(&ClassConditional { scorer: &scorer, class, weight }, &x));
    let none = read(&score_of(&scorer, &x));
    let (three, seven, strong) = (told(3, 0.0), told(7, 0.0), told(3, 2.0));
    assert_ne!(three, seven);
    assert_ne!(three, none);
    for ((three, none), strong) in three.iter().zip(&none).zip(&strong) {
        let expected = 3.0 * f64::from(*three) - 2.0 * f64::from(*none);
        close("guidance", f64::from(*strong), expected, 1e-4 * (1.0 + expected.abs()));
    }
}

/// The exact posterior of one component of a mixture. Its gradient is the component's score minus the
/// mixture's.
struct Exact<'a> {
    mixture: &'a Mixture,
    component: Mixture,
}

impl<'a> Exact<'a> {
    fn new(mixture: &'a Mixture, k: usize) -> Self {
        let only = Component { weight: 1.0, ..mixture.components[k].clone() };
        Exact { mixture, component: Mixture::new(gpu(), mixture.process, vec![only]) }
    }
}

impl Guide for Exact<'_> {
    fn gradient(&self, x: &Tensor, t: &Times) -> Result<Tensor> {
        Ok((self.component.at(x, t)?.score() - self.mixture.at(x, t)?.score()).run()?)
    }
}

#[test]
fn guidance_by_the_exact_posterior_draws_the_component() {
    let processes: [&dyn Process; 3] = [
        &Ve { sigma_min: 0.01, sigma_max: 5.0 },
        &Vp { beta_min: 0.1, beta_max: 20.0 },
        &SubVp { beta_min: 0.1, beta_max: 20.0 },
    ];
    for process in processes {
        let mixture = Mixture::eight(gpu(), process);
        // The rarest component, with weight 1/36.
        let guide = Exact::new(&mixture, 0);
        let guided = ClassifierGuided { score: &mixture, guide: &guide, scale: 1.0 };
        let sampling = Sampling {
            predictor: PredictorName::EulerMaruyama,
            corrector: CorrectorName::None,
            ..Sampling::default()
        };
        let solver = sampler(&sampling, 500).expect("a sampler");
        let x = diffused(&guide.component, 1000, 5);
        let sampled = solver.run(&guided, x, Draw::new(1), &mut |_| Ok(())).expect("samples");
        let samples: Vec<f64> = read(&sampled.x).into_iter().map(f64::from).collect();
        assert_moments(&format!("{process:?}"), &samples, &guide.component, 5.0, 2e-3);
    }
}

#[test]
fn no_guidance_is_the_score_itself() {
    let scorer = fresh(&config("digits_ve", &["model.nf=8", "model.init_scale=1.0"]));
    let classifier = constant(fresh(&config("digits_classifier", &SMALL)));
    let guide = Toward { classifier: &classifier, class: 2 };
    let x = random(Shape::new(2, 8, 8, 1), 1);
    let at = |scale: f64| score_of(&ClassifierGuided { score: &scorer, guide: &guide, scale }, &x);
    let (plain, none, double) = (score_of(&scorer, &x), at(0.0), at(2.0));
    let gradient = guide.gradient(&x, &Times::from(vec![0.3, 0.8])).expect("a gradient");
    let size = dot(&plain, &plain).sqrt();
    for (i, plain) in read(&plain).iter().enumerate() {
        close("no guidance", f64::from(read(&none)[i]), f64::from(*plain), 1e-6 * size);
        let expected = f64::from(*plain) + 2.0 * f64::from(read(&gradient)[i]);
        close("twice the gradient", f64::from(read(&double)[i]), expected, 1e-6 * size);
    }
}
