//! The weights that a new run takes from another model.

use super::checkpoint::Checkpoint;
use super::trainer::Trainer;
use super::{TrainError, Weights};
use crate::choice::Choice;
use crate::nn::{Architecture, Arena, ParameterSpec};

impl<A: Architecture> Trainer<A> {
    /// Takes the averaged weights and the fixed frequencies of a model, where a tensor has the name and the
    /// shape of one of this network's. Returns their number, and the tensors of either model that have no
    /// counterpart.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if none has one, [`TrainError::Damaged`] if a number is not finite.
    pub(super) fn take_weights(&mut self, source: &Checkpoint) -> Result<(usize, Vec<String>), TrainError> {
        let registry = self.scorer.model.registry.clone();
        let (averaged, seed) = (Weights::Ema.name(), self.config.seed);
        let mut taking = Taking { source, taken: Vec::new(), others: Vec::new() };
        let mut weights = Vec::new();
        for (index, spec) in registry.trainable.iter().enumerate() {
            weights.push(taking.take(averaged, spec)?.unwrap_or_else(|| spec.initial(seed, index)));
        }
        let mut fourier = None;
        if let Some(spec) = registry.frozen.first() {
            let initial = || spec.initial(seed, registry.trainable.len());
            fourier = Some(taking.take("fixed", spec)?.unwrap_or_else(initial));
        }
        let (taken, others) = taking.finish(&[averaged, "fixed"])?;
        let gpu = self.average.flat().gpu().clone();
        self.scorer.parameters.values = Arena::with(&gpu, &registry, |i| weights[i].clone())?;
        self.average = Arena::with(&gpu, &registry, |i| std::mem::take(&mut weights[i]))?;
        self.scorer.parameters.frequencies =
            self.scorer.model.network.frequencies(&gpu, fourier.as_deref())?;
        Ok((taken, others))
    }
}

/// The tensors taken so far, and those without a counterpart.
struct Taking<'a> {
    source: &'a Checkpoint,
    taken: Vec<String>,
    others: Vec<String>,
}

impl Taking<'_> {
    /// The values of the tensor of a parameter, if the file has it in this shape.
    fn take(&mut self, prefix: &str, spec: &ParameterSpec) -> Result<Option<Vec<f32>>, TrainError> {
        let (name, shape) = (format!("{prefix}/{}", spec.name), spec.layout.file_shape());
        match self.source.shape(&name)? {
            Some(theirs) if theirs == shape => {
                let values = self.source.tensor(&name, &shape)?;
                self.taken.push(name);
                return Ok(Some(values));
            }
            Some(theirs) => self.others.push(format!("{} is {theirs:?} there and {shape:?} here", spec.name)),
            None => self.others.push(format!("{} is not there", spec.name)),
        }
        Ok(None)
    }

    /// The number of tensors taken, and the others, with those of the file that this network lacks.
    fn finish(mut self, prefixes: &[&str]) -> Result<(usize, Vec<String>), TrainError> {
        for name in self.source.names()? {
            let Some((prefix, own)) = name.split_once('/').filter(|(prefix, _)| prefixes.contains(prefix))
            else {
                continue;
            };
            let shape = self.others.iter().any(|other| other.starts_with(&format!("{own} is [")));
            if !self.taken.contains(&format!("{prefix}/{own}")) && !shape {
                self.others.push(format!("{own} is not here"));
            }
        }
        match self.taken.len() {
            0 => Err(self
                .source
                .error("none of its tensors has the name and the shape of one of this network's".into())),
            taken => Ok((taken, self.others)),
        }
    }
}
