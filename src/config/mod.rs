//! Configurations: TOML with the reference implementation's keys.

mod data;
mod error;
mod model;
mod model_checks;
mod objective;
mod optim;
mod presets;
mod problem;
mod read;
pub mod sampling;
mod training;
mod unread;

pub use data::{BuiltIn, Data, Fit, ImageSize, Range, Toy};
pub use error::ConfigError;
pub(crate) use error::refuse;
pub use model::{
    Combine, EmbeddingType, Model, ModelName, Nonlinearity, Prediction, Progressive, ProgressiveInput,
    ResblockType,
};
pub(crate) use model::{GROUPS, MAX_TAPS};
pub use objective::{ObjectiveName, Projection};
pub use optim::{LearningRate, Optim};
pub use problem::{Measure, Problem};
pub use sampling::{CorrectorName, MAX_ETA, Method, Over, PredictorName, Sampling, Schedule};
pub use training::{SdeName, Training};

use crate::sde::Process;
use sampling::Steps;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// All randomness derives from it: 0 to 2⁶³ − 1.
    #[serde(default = "seed")]
    pub seed: u64,
    /// The objective and the training loop.
    pub training: Training,
    /// The sampler.
    #[serde(default)]
    pub sampling: Sampling,
    /// The images.
    pub data: Data,
    /// The network and the process.
    pub model: Model,
    /// The optimiser.
    #[serde(default)]
    pub optim: Optim,
}

fn seed() -> u64 {
    42
}

fn yes() -> bool {
    true
}

impl Config {
    /// A configuration from TOML with `section.key=value` assignments on top, checked.
    ///
    /// # Errors
    /// If the text is not TOML, or a key is unknown, missing or unread or has a wrong value; the error names the key, its line
    /// unless an assignment sets it, and the values that it takes. A text may hold keys of `[model]` that nothing reads, as the
    /// reference's configurations do; [`Config::unread`] names them.
    pub fn from_toml(text: &str, assignments: &[String]) -> Result<Config, ConfigError> {
        read::parse(text).and_then(|table| Self::from_table(table, assignments)).map_err(|error| match error
            .key()
        {
            Some(key) if !sets(assignments, key) => error.located(text),
            _ => error,
        })
    }

    /// The same from a table.
    pub(crate) fn from_table(mut table: toml::Table, assignments: &[String]) -> Result<Config, ConfigError> {
        let alone = Self::checked(&table).map(|alone| unread::keys(&alone));
        for assignment in assignments {
            assign(&mut table, assignment)?;
        }
        let config = Self::checked(&table)?;
        let unread = unread::keys(&config);
        // A table that needs the assignments to be complete is not known alone: its unread keys count as its own.
        let own = |key: &unread::Key| {
            alone.as_ref().map_or(true, |alone| alone.iter().any(|other| other.key == key.key))
        };
        let faulty = |key: &unread::Key| sets(assignments, key.key) || own(key) && !key.is_of_model();
        match unread.iter().find(|key| faulty(key)) {
            Some(key) => Err(key.refuse(&config)),
            // Parameters of VE in the text are no fault where an assignment sets another process: they take their defaults.
            None => unread::without(&config, unread.into_iter().filter(|key| !own(key))),
        }
    }

    /// This configuration with `section.key=value` assignments on top, checked.
    ///
    /// # Errors
    /// The errors of [`Config::from_toml`].
    pub fn with(&self, assignments: &[String]) -> Result<Config, ConfigError> {
        self.check()?;
        Self::from_table(self.to_table(), assignments)
    }

    /// The keys, as `section.key`, that differ from their defaults although nothing reads them with this process, objective and
    /// network.
    pub fn unread(&self) -> impl Iterator<Item = &'static str> {
        unread::keys(self).into_iter().map(|key| key.key)
    }

    /// Reads and checks a table, and derives the keys that it leaves out from the others.
    fn checked(table: &toml::Table) -> Result<Config, ConfigError> {
        let mut config: Config = read::read("", table.clone().into())?;
        let given = table.get("training").is_some_and(|training| training.get("continuous").is_some());
        if let Some(continuous) = config.training.objective.continuous().filter(|_| !given) {
            config.training.continuous = continuous;
        }
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is made of what TOML can say")
    }

    /// The same as a table; every checked configuration has one.
    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("a configuration is made of what TOML can say")
    }

    /// The forward process.
    pub fn process(&self) -> Arc<dyn Process> {
        self.training.sde.process(&self.model)
    }

    /// The number of steps of its sampler: `sampling.steps`, else the sampler's own or the process's.
    pub fn sampling_steps(&self) -> usize {
        match (self.sampling.steps, self.sampling.method.capabilities().steps) {
            (0, Steps::Grid(steps, _)) => steps,
            (0, Steps::Chain | Steps::Adaptive) => self.model.num_scales,
            (steps, _) => steps,
        }
    }

    /// Whether it describes a classifier, which has no score.
    pub fn is_classifier(&self) -> bool {
        self.training.objective == ObjectiveName::Classifier
    }

    /// The prediction of the network.
    pub fn prediction(&self) -> Prediction {
        self.model.prediction.unwrap_or(match (self.training.objective, self.training.sde) {
            (ObjectiveName::Edm, _) => Prediction::Edm,
            (_, SdeName::Vesde) => Prediction::Score,
            _ => Prediction::Eps,
        })
    }

    /// Checks every value that another module relies on.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.seed > i64::MAX as u64 {
            return Err(refuse("seed", self.seed, format!("it must be at most {}", i64::MAX)));
        }
        self.training.check()?;
        self.optim.check()?;
        self.sampling.check()?;
        if self.sampling.method == Method::Ald && self.training.sde != SdeName::Vesde {
            let why = "annealed Langevin dynamics needs training.sde = vesde";
            return Err(refuse("sampling.method", "ald", why));
        }
        self.data.check()?;
        objective::check(self)?;
        self.model.check(&self.training, &self.data)?;
        self.check_grid()
    }

    /// Checks that the process has the last noise level of the grid.
    fn check_grid(&self) -> Result<(), ConfigError> {
        let (process, sigma) = (self.process(), self.sampling.sigma_min);
        if sigma.is_none_or(|sigma| self.is_classifier() || process.level_within(sigma).is_some()) {
            return Ok(());
        }
        let [least, most] = [process.sampling_eps(), 1.0].map(|t| process.level(t).sigma);
        let why =
            format!("the process has noise levels from {least:.3e} to below {most:.3}; take one of them");
        Err(refuse("sampling.sigma_min", sigma.unwrap_or_default(), why))
    }
}

/// The generator's counters hold steps, and the images of a step, in 32 bits.
const MAX_STEPS: u64 = u32::MAX as u64;
/// More channels than any device has memory for, and few enough that no number of parameters overflows.
const MAX_CHANNELS: u64 = 1 << 20;

fn count(key: &'static str, value: u64, most: u64) -> Result<(), ConfigError> {
    match value {
        0 => Err(refuse(key, value, "it must be at least 1")),
        _ if value > most => Err(refuse(key, value, format!("it must be at most {most}"))),
        _ => Ok(()),
    }
}

/// The fault of a number that f32 does not hold.
const NOT_F32: &str = "it is not a number that f32 can hold";

/// Returns true if a number is finite in f32, and 0 there only if it is 0.
fn fits_f32(value: f64) -> bool {
    let single = value as f32;
    single.is_finite() && (single == 0.0) == (value == 0.0)
}

/// Checks a number against its range, in f32 as well: the shaders compute with that.
fn within(key: &'static str, value: f64, range: std::ops::Range<f64>, what: &str) -> Result<(), ConfigError> {
    match range.contains(&value) {
        true if !fits_f32(value) => Err(refuse(key, value, NOT_F32)),
        true => Ok(()),
        false => Err(refuse(key, value, format!("it must be {what}"))),
    }
}

/// Returns true if one of the assignments sets a key, or a section that holds it.
fn sets(assignments: &[String], key: &str) -> bool {
    let holds =
        |set: &str| key.strip_prefix(set).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    assignments.iter().any(|assignment| assignment.split('=').next().map(str::trim).is_some_and(holds))
}

/// Applies `section.key=value` to a table.
fn assign(table: &mut toml::Table, assignment: &str) -> Result<(), ConfigError> {
    let wrong = |why| ConfigError::Assignment { assignment: assignment.into(), why };
    let form = || wrong("write it as section.key=value");
    if assignment.contains('\n') {
        return Err(wrong("it is several lines; write one assignment at a time"));
    }
    let (path, value) = assignment.split_once('=').ok_or_else(form)?;
    if path.split('.').any(|part| part.trim().is_empty()) {
        return Err(form());
    }
    // A bare word is a string, so that a shell needs no quotes.
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let (sections, key) = path.trim().rsplit_once('.').map_or((None, path.trim()), |(s, k)| (Some(s), k));
    let mut place = table;
    for section in sections.into_iter().flat_map(|s| s.split('.')) {
        let entry = place.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place =
            entry.as_table_mut().ok_or_else(|| wrong("the part before the last dot must be a section"))?;
    }
    place.insert(key.to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;

    #[test]
    fn a_key_that_nothing_reads_is_refused_and_a_written_configuration_is_not() {
        let digits = include_str!("../../configs/digits_ve.toml");
        let set = |set: &[&str]| {
            Config::from_toml(digits, &set.iter().map(|set| set.to_string()).collect::<Vec<_>>())
        };
        let whole = set(&[]).unwrap();
        assert_eq!(Config::from_toml(&whole.to_toml(), &[]).unwrap(), whole);
        for assignment in [
            "data.images=x",
            "data.labels=x",
            "data.test_images=x",
            "data.test_labels=x",
            "training.fd_eps=0.1",
            "training.projection=sphere",
            "training.p_mean=0.5",
            "training.p_std=2.0",
            "training.keep_every=10",
            "model.beta_min=0.2",
            "model.fir_kernel=[1, 2]",
            "model.progressive_combine=cat",
            "model.resamp_with_conv=false",
            "model.freq_shift=0",
            "model.label_dropout=0.2",
            "model.embedding_size=64",
        ] {
            let others: &[&str] = if assignment.contains("fir") { &["model.fir=false"] } else { &[] };
            let error = set(&[&[assignment], others].concat()).unwrap_err();
            assert_eq!(error.key(), assignment.split('=').next(), "{error}");
            assert!(error.to_string().contains("nothing reads it"), "{error}");
        }
        assert!(set(&["data.dataset=idx", "data.images=x", "data.labels=y"]).is_ok());
        assert!(set(&["data.dataset=idx", "data.images=x", "data.test_labels=y"]).is_err());
        assert!(set(&["training.objective=fd_ssm", "training.fd_eps=0.1"]).is_ok());
        assert!(set(&["model.num_classes=10", "model.label_dropout=0.2"]).is_ok());
    }

    /// σ_max of digits_ve is VE's, the FIR kernel that of `model.fir`: neither is a fault once an assignment leaves it unread.
    #[test]
    fn a_key_that_an_assignment_leaves_unread_takes_its_default() {
        let digits = include_str!("../../configs/digits_ve.toml");
        let vp = ["training.sde=vpsde", "model.scale_by_sigma=false"].map(String::from);
        let config = Config::from_toml(digits, &vp).unwrap();
        assert_eq!((config.model.sigma_max, config.training.sde), (50.0, SdeName::Vpsde));
        let text = digits.replace("vesde", "vpsde").replace("scale_by_sigma = true", "");
        let own = Config::from_toml(&text, &[]).unwrap();
        assert_eq!((config.unread().count(), own.unread().collect::<Vec<_>>()), (0, vec!["model.sigma_max"]));
    }

    #[test]
    fn unread_keys_of_an_incomplete_text_and_of_an_assigned_section_are_refused() {
        let digits = include_str!("../../configs/digits_ve.toml");
        let incomplete = digits.replace("nf = 16\n", "").replace("[data]", "[data]\nimages = \"x\"");
        let error = Config::from_toml(&incomplete, &["model.nf=16".into()]).unwrap_err();
        assert_eq!(error.key(), Some("data.images"), "{error}");
        let data = "data={dataset='digits', image_size=8, num_channels=1, centered=false, images='x'}";
        let error = Config::from_toml(digits, &[data.into()]).unwrap_err();
        assert_eq!(error.key(), Some("data.images"), "{error}");
    }

    /// The keys of pictures in files are not those of a program's images.
    #[test]
    fn images_that_a_program_gives_have_no_unread_keys() {
        let faces = Config::preset("ve/celeba_ncsnpp").unwrap();
        assert_eq!(faces.data.crop, 140);
        let given = Config { data: faces.data.given(), ..faces };
        assert_eq!(Config::from_toml(&given.to_toml(), &[]).unwrap(), given);
    }

    #[test]
    fn an_assignment_is_one_line() {
        let digits = include_str!("../../configs/digits_ve.toml");
        let error = Config::from_toml(digits, &["model.nf=8\ntraining.sde=vpsde".into()]).unwrap_err();
        assert!(error.to_string().contains("several lines"), "{error}");
    }

    #[test]
    fn one_step_is_enough_for_a_grid_and_not_for_a_chain() {
        for method in ["pc", "ald"] {
            let sampling =
                Sampling { steps: 1, method: Method::named(method).unwrap(), ..Sampling::default() };
            assert!(sampling.check().unwrap_err().to_string().contains("at least 2"));
        }
        let sampling = Sampling { steps: 1, method: Method::Ddim, ..Sampling::default() };
        assert!(sampling.check().is_ok());
    }
}
