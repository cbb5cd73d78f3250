//! `scheduler/scheduler_config.json`: the process that a scheduler's class stands for, and the sampler that it is.

use super::python;
use crate::choice::Choice;
use crate::interop::{InteropError, Note};
use crate::sde::BetaSchedule;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The keys of `scheduler_config.json` that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Scheduler {
    #[serde(rename = "_class_name", default)]
    class_name: Option<String>,
    #[serde(default)]
    pub num_train_timesteps: Option<usize>,
    #[serde(default)]
    beta_start: Option<f64>,
    #[serde(default)]
    beta_end: Option<f64>,
    #[serde(default)]
    beta_min: Option<f64>,
    #[serde(default)]
    beta_max: Option<f64>,
    #[serde(default)]
    beta_schedule: Option<String>,
    #[serde(default)]
    trained_betas: Option<Value>,
    #[serde(default)]
    rescale_betas_zero_snr: Option<bool>,
    #[serde(default)]
    prediction_type: Option<String>,
    #[serde(default)]
    sigma_min: Option<f64>,
    #[serde(default)]
    sigma_max: Option<f64>,
    #[serde(default)]
    snr: Option<f64>,
    #[serde(default)]
    correct_steps: Option<usize>,
    #[serde(default)]
    variance_type: Option<String>,
    #[serde(default)]
    clip_sample: Option<bool>,
    #[serde(default)]
    clip_sample_range: Option<f64>,
    #[serde(default)]
    thresholding: Option<bool>,
    #[serde(default)]
    timestep_spacing: Option<String>,
    #[serde(default)]
    set_alpha_to_one: Option<bool>,
    #[serde(default)]
    steps_offset: Option<i64>,
    #[serde(default)]
    algorithm_type: Option<String>,
    #[serde(default)]
    solver_order: Option<usize>,
    #[serde(default)]
    final_sigmas_type: Option<String>,
    #[serde(default)]
    use_karras_sigmas: Option<bool>,
    #[serde(default)]
    use_exponential_sigmas: Option<bool>,
    #[serde(default)]
    use_beta_sigmas: Option<bool>,
    #[serde(default)]
    use_lu_lambdas: Option<bool>,
    #[serde(default)]
    use_flow_sigmas: Option<bool>,
    /// Keys that are not read.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Keys that matter only beside others, which are read, and settings that are followed.
const HARMLESS: &[&str] = &[
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "flow_shift",
    "time_shift_type",
    "skip_prk_steps",
    "lambda_min_clipped = \"-Infinity\"",
    "sampling_eps = 0.00001",
    "sampling_eps = 0.001",
    "lower_order_final = true",
    "predict_x0 = true",
    "solver_type = \"midpoint\"",
    "interpolation_type = \"linear\"",
    "timestep_type = \"discrete\"",
];

/// The counterpart of a scheduler's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Variance exploding, with predictor and corrector.
    Ve,
    /// Variance preserving in continuous time.
    Vp,
    /// DDPM's chain with this sampler.
    Chain(Solver),
}

/// Samplers of DDPM's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Solver {
    /// One of ours.
    Ours(Ours),
    /// None of ours: this one is the closest.
    Near(Ours),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    Ancestral,
    Ddim,
    /// DDIM with η = 1, Euler's ancestral method.
    EulerAncestral,
    Euler,
    Heun,
    /// DPM-Solver++ of the order that the file gives.
    Multistep,
    /// The same with η = 1.
    SdeMultistep,
}

/// A scheduler's part of a configuration: keys of its sections, and notes for the user.
pub(super) struct Described {
    pub sde: &'static str,
    pub continuous: bool,
    pub model: Map<String, Value>,
    pub sampling: Map<String, Value>,
    pub notes: Vec<Note>,
}

impl Scheduler {
    pub fn parse(text: &str) -> Result<Scheduler, InteropError> {
        let name = "scheduler_config.json";
        let value = python::read(name, text)?;
        if !value.is_object() {
            return Err(InteropError::Unknown(format!("{name}: it is not a JSON object")));
        }
        python::typed(name, value)
    }

    /// The same with the class of the pipeline's index, which diffusers takes, whatever class the file has.
    pub fn of_class(self, class: Option<String>) -> Scheduler {
        Scheduler { class_name: class.or(self.class_name), ..self }
    }

    /// The counterpart of its class; without one, the usual one of a network with a Fourier embedding (`fourier`) or another.
    fn kind(&self, fourier: bool) -> Result<Kind, InteropError> {
        use Ours::*;
        use Solver::{Near, Ours as One};
        let Some(class) = self.class_name.as_deref() else {
            return Ok(if fourier { Kind::Ve } else { Kind::Chain(One(Ancestral)) });
        };
        // Flax's schedulers are PyTorch's under another name.
        let name = class.strip_prefix("Flax").unwrap_or(class);
        let kind = match name.strip_suffix("Scheduler").unwrap_or(name) {
            "ScoreSdeVe" => Kind::Ve,
            "ScoreSdeVp" => Kind::Vp,
            "DDPM" | "DDPMParallel" => Kind::Chain(One(Ancestral)),
            "DDIM" | "DDIMParallel" => Kind::Chain(One(Ddim)),
            "EulerDiscrete" => Kind::Chain(One(Euler)),
            "EulerAncestralDiscrete" => Kind::Chain(One(EulerAncestral)),
            "HeunDiscrete" => Kind::Chain(One(Heun)),
            "DPMSolverMultistep" => Kind::Chain(match self.algorithm_type.as_deref() {
                None | Some("dpmsolver++") => One(Multistep),
                Some("sde-dpmsolver++") => One(SdeMultistep),
                Some("dpmsolver" | "deis") => Near(Multistep),
                Some("sde-dpmsolver") => Near(SdeMultistep),
                Some(other) => return Err(refused(format!("algorithm_type {other}"))),
            }),
            "DPMSolverSinglestep" | "PNDM" | "LMSDiscrete" | "UniPCMultistep" | "DEISMultistep" => {
                Kind::Chain(Near(Multistep))
            }
            "KDPM2Discrete" => Kind::Chain(Near(Heun)),
            "KDPM2AncestralDiscrete" => Kind::Chain(Near(EulerAncestral)),
            "DPMSolverSDE" | "SASolver" => Kind::Chain(Near(SdeMultistep)),
            _ => {
                return Err(InteropError::Unknown(format!(
                    "scheduler {class} cannot be expressed: it is not one of DDPM's chain, nor ScoreSdeVe or ScoreSdeVp"
                )));
            }
        };
        match kind {
            Kind::Ve if !fourier => Err(self.mismatched(class)),
            Kind::Vp | Kind::Chain(_) if fourier => Err(self.mismatched(class)),
            kind => Ok(kind),
        }
    }

    fn mismatched(&self, class: &str) -> InteropError {
        refused(format!("scheduler {class} with this network's time embedding"))
    }

    /// Its part of the configuration of a network, with a Fourier embedding or another.
    ///
    /// # Errors
    /// If its class or one of its settings has no counterpart; the message names it.
    pub fn describe(&self, fourier: bool) -> Result<Described, InteropError> {
        let mut described = match self.kind(fourier)? {
            Kind::Ve => self.ve(),
            Kind::Vp => self.vp()?,
            Kind::Chain(solver) => self.chain(solver)?,
        };
        if self.class_name.is_none() {
            described.notes.insert(0, Note::NoScheduler);
        }
        let mut unread = python::settings(&self.rest);
        unread.retain(|setting| {
            !HARMLESS.iter().any(|known| setting == known || setting.starts_with(&format!("{known} =")))
        });
        if !unread.is_empty() {
            described.notes.push(Note::Unread { file: "scheduler_config.json", settings: unread });
        }
        Ok(described)
    }

    fn ve(&self) -> Described {
        Described {
            sde: "vesde",
            continuous: true,
            model: map(json!({
                "num_scales": self.num_train_timesteps.unwrap_or(2000),
                "sigma_min": self.sigma_min.unwrap_or(0.01),
                "sigma_max": self.sigma_max.unwrap_or(1348.0),
            })),
            sampling: map(json!({
                "predictor": "reverse_diffusion", "corrector": "langevin",
                "snr": self.snr.unwrap_or(0.15), "n_steps_each": self.correct_steps.unwrap_or(1),
            })),
            notes: Vec::new(),
        }
    }

    /// The network is conditioned on (n − 1) t, which is 999 t here.
    fn vp(&self) -> Result<Described, InteropError> {
        let steps = self.num_train_timesteps.unwrap_or(2000);
        if steps != 1000 {
            return Err(refused(format!(
                "num_train_timesteps {steps} with ScoreSdeVpScheduler, which takes 1000 here,"
            )));
        }
        let [low, high] = [self.beta_min.unwrap_or(0.1), self.beta_max.unwrap_or(20.0)];
        check_order(["beta_min", "beta_max"], [low, high])?;
        Ok(Described {
            sde: "vpsde",
            continuous: true,
            model: map(json!({
                "num_scales": steps, "beta_min": low, "beta_max": high, "prediction": self.prediction()?,
            })),
            sampling: map(json!({ "predictor": "euler_maruyama", "corrector": "none" })),
            notes: Vec::new(),
        })
    }

    fn chain(&self, solver: Solver) -> Result<Described, InteropError> {
        let (Solver::Ours(ours) | Solver::Near(ours)) = solver;
        let class = self.class_name.as_deref().unwrap_or("DDPMScheduler");
        let steps = self.num_train_timesteps.unwrap_or(1000);
        let (beta_start, beta_end) = self.betas(class)?;
        let sampling = match ours {
            Ours::Ancestral => json!({
                "predictor": "ancestral_sampling", "corrector": "none",
                "posterior_variance": if self.is_large() { "beta" } else { "beta_tilde" },
                "clip_denoised": self.clips(true).then_some(self.clip_sample_range.unwrap_or(1.0)),
            }),
            Ours::Ddim => {
                json!({ "method": "ddim", "noise_removal": self.set_alpha_to_one.unwrap_or(true) })
            }
            Ours::EulerAncestral => json!({ "method": "ddim", "eta": 1.0, "schedule": self.spacing() }),
            Ours::Euler => json!({ "method": "euler", "schedule": self.spacing() }),
            Ours::Heun => json!({ "method": "heun", "schedule": self.spacing() }),
            Ours::Multistep | Ours::SdeMultistep => json!({
                "method": match self.solver_order { Some(1) => "ddim", Some(3) => "dpmpp_3m", _ => "dpmpp_2m" },
                "eta": if ours == Ours::SdeMultistep { 1.0 } else { 0.0 },
                "schedule": self.spacing(),
                "noise_removal": self.final_sigmas_type.as_deref() != Some("sigma_min"),
            }),
        };
        // TOML has no null.
        let sampling: Map<String, Value> =
            map(sampling).into_iter().filter(|(_, value)| !value.is_null()).collect();
        let mut notes = Vec::new();
        if matches!(solver, Solver::Near(_)) {
            let method = sampling.get("method").and_then(Value::as_str).unwrap_or("pc");
            notes.push(Note::OtherSampler { scheduler: class.into(), sampler: method.into() });
        }
        let left = self.not_followed(ours, class);
        if !left.is_empty() {
            notes.push(Note::NotFollowed(left));
        }
        Ok(Described {
            sde: "vpsde",
            continuous: false,
            model: map(json!({
                "num_scales": steps, "beta_min": beta_start * steps as f64, "beta_max": beta_end * steps as f64,
                "prediction": self.prediction()?, "beta_schedule": self.schedule()?.name(),
            })),
            sampling,
            notes,
        })
    }

    /// Returns true if the variance of a step of the reverse chain is β.
    fn is_large(&self) -> bool {
        matches!(self.variance_type.as_deref(), Some("fixed_large" | "fixed_large_log"))
    }

    /// Returns true if x₀ is clipped; a class has its own default, and thresholding comes first.
    fn clips(&self, default: bool) -> bool {
        self.clip_sample.unwrap_or(default) && self.thresholding != Some(true)
    }

    /// The spacing of a sampler's noise levels.
    fn spacing(&self) -> &'static str {
        if self.use_karras_sigmas == Some(true) {
            return "edm";
        }
        let uniform = [self.use_exponential_sigmas, self.use_lu_lambdas].contains(&Some(true));
        if uniform { "log_snr" } else { "time" }
    }

    /// The schedule of β, which has the same name here.
    fn schedule(&self) -> Result<BetaSchedule, InteropError> {
        let name = self.beta_schedule.as_deref().unwrap_or("linear");
        BetaSchedule::named(name).ok_or_else(|| refused(format!("beta_schedule {name}")))
    }

    /// The first and the last β, checked; a class has its own defaults.
    fn betas(&self, class: &str) -> Result<(f64, f64), InteropError> {
        if self.trained_betas.as_ref().is_some_and(|betas| !betas.is_null()) {
            return Err(refused("trained_betas".into()));
        }
        if self.rescale_betas_zero_snr == Some(true) {
            return Err(refused("rescale_betas_zero_snr".into()));
        }
        if self.use_flow_sigmas == Some(true) {
            return Err(refused("use_flow_sigmas".into()));
        }
        let narrow = ["HeunDiscrete", "KDPM2", "DPMSolverSDE"].iter().any(|name| class.starts_with(name));
        let (first, last) = if narrow { (0.00085, 0.012) } else { (1e-4, 0.02) };
        let betas = [self.beta_start.unwrap_or(first), self.beta_end.unwrap_or(last)];
        for (key, beta) in ["beta_start", "beta_end"].into_iter().zip(betas) {
            if !(0.0..1.0).contains(&beta) {
                return Err(refused(format!("{key} {beta}, which is not in [0, 1),")));
            }
        }
        check_order(["beta_start", "beta_end"], betas)?;
        let table = !matches!(self.schedule()?, BetaSchedule::Linear | BetaSchedule::Cosine);
        match table && betas[0] == 0.0 {
            true => Err(refused("beta_start 0 with this beta_schedule".into())),
            false => Ok((betas[0], betas[1])),
        }
    }

    /// Settings whose values the sampler does not follow, as `key = value`.
    fn not_followed(&self, ours: Ours, class: &str) -> Vec<String> {
        let mut left = Vec::new();
        let ancestral = ours == Ours::Ancestral;
        let clips = ["DDPM", "DDIM"].iter().any(|name| class.starts_with(name));
        let known = ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"];
        if let Some(variance) = self.variance_type.as_deref().filter(|kind| !known.contains(kind)) {
            left.push(format!("variance_type = {variance}"));
        }
        if !ancestral && self.clips(clips) {
            left.push("clip_sample = true".into());
        }
        if self.thresholding == Some(true) {
            left.push("thresholding = true".into());
        }
        // A whole chain has one spacing only.
        let spacing = self.timestep_spacing.as_deref().unwrap_or(if clips { "leading" } else { "linspace" });
        if !ancestral && spacing != "linspace" && self.spacing() == "time" {
            left.push(format!("timestep_spacing = {spacing}"));
        }
        let spacings = ["linspace", "leading", "trailing"];
        if ancestral && !spacings.contains(&spacing) {
            left.push(format!("timestep_spacing = {spacing}"));
        }
        let multistep = matches!(ours, Ours::Multistep | Ours::SdeMultistep);
        if let Some(order) = self.solver_order.filter(|order| multistep && !(1..=3).contains(order)) {
            left.push(format!("solver_order = {order}"));
        }
        let ends = ["zero", "sigma_min"];
        if let Some(end) = self.final_sigmas_type.as_deref().filter(|end| multistep && !ends.contains(end)) {
            left.push(format!("final_sigmas_type = {end}"));
        }
        if let Some(offset) = self.steps_offset.filter(|offset| *offset != 0) {
            left.push(format!("steps_offset = {offset}"));
        }
        for key in ["lower_order_final", "predict_x0"] {
            if self.rest.get(key) == Some(&Value::Bool(false)) {
                left.push(format!("{key} = false"));
            }
        }
        if self.use_beta_sigmas == Some(true) {
            left.push("use_beta_sigmas = true".into());
        }
        left
    }

    /// The quantity that the network predicts.
    fn prediction(&self) -> Result<&'static str, InteropError> {
        match self.prediction_type.as_deref() {
            None | Some("epsilon") => Ok("eps"),
            Some("sample") => Ok("x0"),
            Some("v_prediction") => Ok("v"),
            Some(other) => Err(refused(format!("prediction_type {other}"))),
        }
    }
}

fn refused(what: String) -> InteropError {
    InteropError::Unknown(format!("{what} cannot be expressed"))
}

/// Refuses a schedule that falls, or has no noise.
fn check_order(keys: [&str; 2], [first, last]: [f64; 2]) -> Result<(), InteropError> {
    match first <= last && last > 0.0 {
        true => Ok(()),
        false => Err(refused(format!(
            "{} {last}, which must be above 0 and not below {} {first},",
            keys[1], keys[0]
        ))),
    }
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
