//! Whole networks against the reference implementation: `../shared/fixtures/score_sde`.

use crate::support::*;
use std::collections::HashMap;
use tweedie::autodiff::Tape;
use tweedie::config::{Config, SdeName};
use tweedie::kernels::concat;
use tweedie::kernels::hutchinson::{Probe, Probes};
use tweedie::kernels::random::Noise;
use tweedie::kernels::score_matching::{self, Coefficients};
use tweedie::nn::{Arena, Parameters, ScoreModel, Scorer};
use tweedie::sample::{Score, probability_flow};
use tweedie::tensor::{Shape, Tensor};

/// A fixture's model, weights and expected values.
struct Fixture {
    config: Config,
    weights: HashMap<String, Reference>,
    expected: HashMap<String, Reference>,
}

/// The fixtures' `config.json` as a configuration of ours: the same keys, less what concerns other programs.
fn config(path: &std::path::Path) -> Config {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    let mut table = toml::Table::try_from(&json).expect("a table");
    table.retain(|key, _| ["data", "model", "optim", "sampling", "seed", "training"].contains(&key));
    let mut section = |name: &str, drop: &[&str]| {
        let section = table[name].as_table_mut().expect("a section");
        section.retain(|key, _| !drop.contains(&key));
    };
    section("training", &["eval_freq", "snapshot_freq_for_preemption"]);
    section("data", &["channels"]);
    Config::from_toml(&toml::to_string(&table).expect("TOML"), &[]).expect("a configuration")
}

fn fixture(name: &str) -> Option<Fixture> {
    let folder = shared(&format!("fixtures/score_sde/{name}"))?;
    Some(Fixture {
        config: config(&folder.join("config.json")),
        weights: read_safetensors(&folder.join("weights.safetensors")),
        expected: read_safetensors(&folder.join("expected.safetensors")),
    })
}

impl Fixture {
    fn scorer(&self, kind: &str) -> Scorer {
        let model = ScoreModel::build(&self.config).expect("a model");
        let floats = |name: &str| -> Vec<f32> {
            self.weights.get(name).expect(name).values.iter().map(|v| *v as f32).collect()
        };
        let value = |i: usize| {
            let spec = &model.registry.trainable[i];
            let name = format!("{kind}/{}", spec.name);
            assert_eq!(self.weights[&name].shape, spec.layout.file_shape(), "{name}");
            floats(&name)
        };
        let values = Arena::with(gpu(), &model.registry, value).expect("memory");
        let fourier = model.registry.frozen.first().map(|spec| floats(&format!("fixed/{}", spec.name)));
        let frequencies = model.network.frequencies(gpu(), fourier.as_deref()).expect("memory");
        let gradients = Some(Arena::zeros(gpu(), &model.registry).expect("memory"));
        Scorer { model, parameters: Parameters { values, gradients, frequencies } }
    }

    fn image(&self, name: &str) -> Tensor {
        let array = &self.expected[name];
        let [n, c, h, w] = array.shape[..] else { panic!("{name} is no batch of images") };
        let values: Vec<f32> = array.permuted(&[0, 2, 3, 1]).values.iter().map(|v| *v as f32).collect();
        Tensor::from_slice(gpu(), Shape::new(n, h, w, c), &values).expect("an upload")
    }

    fn times(&self) -> &[f64] {
        &self.expected["t"].values
    }

    fn assert_image(&self, name: &str, actual: &Tensor, tolerance: f64) {
        let expected = self.expected[name].permuted(&[0, 2, 3, 1]);
        let error = relative_error(&actual.read().expect("a download"), &expected.values);
        println!("{name}: relative error {error:e}");
        assert!(error < tolerance, "{name}: relative error {error:e}");
    }
}

const MODELS: [&str; 3] = ["ncsnpp_ve", "ddpmpp_vp", "ddpm_vp"];

#[test]
fn raw_and_ema_weights_give_the_reference_scores() {
    for fixture in MODELS.iter().filter_map(|name| fixture(name)) {
        for (kind, name) in [("raw", "score_raw"), ("ema", "score_ema")] {
            let scorer = fixture.scorer(kind);
            let score = scorer.score(&fixture.image("x"), fixture.times()).expect("a score");
            fixture.assert_image(name, &score, 1e-4);
        }
    }
}

#[test]
fn the_loss_and_every_gradient_are_the_references() {
    for fixture in MODELS.iter().filter_map(|name| fixture(name)) {
        let scorer = fixture.scorer("raw");
        let labels = scorer.labels(fixture.times());
        let n = labels.len();
        // ½ Σ (score · std + z)², mean over the batch; the network gives the score up to a factor.
        let coefficients: Vec<Coefficients> = fixture
            .times()
            .iter()
            .zip(&labels)
            .map(|(t, label)| {
                let marginal = scorer.model.sde.marginal_prob(*t);
                Coefficients {
                    mean: marginal.mean as f32,
                    std: marginal.std as f32,
                    scale: (label.score.net * marginal.std) as f32,
                    weight: 0.5 / n as f32,
                }
            })
            .collect();
        let (x0, z) = (fixture.image("x0"), fixture.image("z"));
        let coefficients = score_matching::upload(&x0, &coefficients).expect("an upload");
        let x = score_matching::perturb(&x0, Noise::Given(&z), &coefficients).expect("data");
        fixture.assert_image("x", &x, 1e-6);

        let mut tape = Tape::new();
        let input = tape.variable(&x);
        let conditioning = scorer.condition(&labels).expect("an upload");
        let out = scorer.network(&mut tape, &input, &conditioning, None).expect("an output");
        let (loss, seed) =
            score_matching::loss(out.tensor(), Noise::Given(&z), &coefficients).expect("a loss");
        let loss: f64 = loss.read().expect("a download").iter().map(|v| f64::from(*v)).sum();
        let expected = fixture.expected["dsm_loss"].values[0];
        assert!((loss - expected).abs() < 1e-3 * expected, "{loss} is not {expected}");

        tape.backward(&out, seed).expect("gradients");
        let gradients = scorer.parameters.gradients.as_ref().expect("places");
        let gradients = gradients.read(&scorer.model.registry).expect("a download");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let total = fixture.expected["grad_norm"].values[0];
        let ours = norm(&mut gradients.iter().flatten().map(|v| f64::from(*v)));
        assert!((ours - total).abs() < 1e-3 * total, "{ours} is not {total}");
        let mut zeros = 0;
        for (spec, gradient) in scorer.model.registry.trainable.iter().zip(gradients) {
            let expected = &fixture.expected[&format!("grad.module.{}", spec.name)].values;
            // A bias of the keys moves all scores of a query alike, which softmax ignores; what is added to every pixel of
            // a channel, the norm of a group of one channel takes away. Those gradients are 0, and what either side has
            // there is rounding.
            let (ours, theirs) = (gradient.iter().map(|v| f64::from(*v)), expected.iter().copied());
            let (ours, theirs) = (norm(&mut ours.into_iter()), norm(&mut theirs.into_iter()));
            if theirs < 1e-6 * total {
                assert!(ours < 1e-6 * total, "the gradient in {}: {ours:e} should be 0", spec.name);
                zeros += 1;
                continue;
            }
            let error = relative_error(&gradient, expected);
            assert!(error < 1e-3, "the gradient in {}: relative error {error:e}", spec.name);
        }
        assert!(6 * zeros < scorer.model.registry.trainable.len(), "{zeros} gradients are 0");
    }
}

#[test]
fn forward_mode_gives_the_references_probability_flow_and_divergence() {
    for fixture in MODELS.iter().filter_map(|name| fixture(name)) {
        let scorer = fixture.scorer("ema");
        let (x, eps) = (fixture.image("x"), fixture.image("eps"));
        let n = x.shape().n();
        // The probe twice: every probe of a batch must give the same.
        let both = concat::stack(&[&eps, &eps]).expect("a stack");
        for (count, given) in [(1, &eps), (2, &both)] {
            let probes = Probes { count, kind: Probe::Rademacher, noise: Noise::Given(given) };
            let flow = probability_flow(&scorer, &x, fixture.times(), Some(probes)).expect("a flow");
            fixture.assert_image("pf_drift", &flow.drift, 1e-3);
            let lanes = flow.divergence.expect("a divergence").read().expect("a download");
            let expected = &fixture.expected["pf_divergence"].values;
            for (i, lanes) in lanes.chunks(4).enumerate() {
                let divergence: f64 = lanes.iter().map(|v| f64::from(*v)).sum();
                let expected = expected[i % n];
                assert!(
                    (divergence - expected).abs() < 1e-3 * expected.abs(),
                    "{divergence} is not {expected}"
                );
            }
        }
        let plain = probability_flow(&scorer, &x, fixture.times(), None).expect("a flow");
        fixture.assert_image("pf_drift", &plain.drift, 1e-3);
    }
}

#[test]
fn the_fixtures_are_a_ve_and_a_vp_model() {
    let Some(fixture) = fixture("ncsnpp_ve") else { return };
    assert_eq!(fixture.config.training.sde, SdeName::Vesde);
}
