//! Conditioning of a network: the noise level of each sample and, in class-conditional networks, its class.

use super::layers::{Conv, Pass, TIME_WIDTH};
use super::parameters::{Init, Layout, ParameterId, ParameterSpec, Registry};
use super::preconditioning::Label;
use crate::autodiff::Engine;
use crate::config::{EmbeddingType, Model};
use crate::gpu::Gpu;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::{Result, embedding};
use crate::tensor::{Shape, Tensor};

/// The conditioning of each sample of a batch, on the device.
#[derive(Clone)]
pub struct Conditioning {
    /// The architecture's inputs for the noise level, `[n, 1, 1, ..]`.
    noise: Tensor,
    /// Frequencies of the embedding.
    frequencies: Tensor,
    /// Factors of the input `[n, 1, 1, 1]`, if it is scaled.
    pub(super) input: Option<Tensor>,
    /// 1 / σ `[n, 1, 1, 1]`, if the output is divided by it.
    pub(super) inverse_sigma: Option<Tensor>,
    /// One-hot classes `[n, 1, 1, k + 1]` of a class-conditional network; the last is "no class".
    classes: Option<Tensor>,
}

impl Conditioning {
    /// Uploads the architecture's inputs for the labels (rows of one length), and the labels' factors.
    pub(super) fn new(
        frequencies: &Tensor,
        inputs: Vec<f32>,
        labels: &[Label],
        scale_by_sigma: bool,
    ) -> Result<Conditioning> {
        let rows = |values: Vec<f32>| {
            let shape = Shape::new(labels.len(), 1, 1, values.len() / labels.len());
            Tensor::from_slice(frequencies.gpu(), shape, &values)
        };
        let inverse = || rows(labels.iter().map(|label| (1.0 / label.sigma) as f32).collect());
        let inverse_sigma = scale_by_sigma.then(inverse).transpose()?;
        let scaled = labels.iter().any(|label| label.input != 1.0);
        let input = || rows(labels.iter().map(|label| label.input as f32).collect());
        let input = scaled.then(input).transpose()?;
        let (noise, frequencies) = (rows(inputs)?, frequencies.clone());
        Ok(Conditioning { noise, frequencies, input, inverse_sigma, classes: None })
    }

    /// The rows of [`Architecture::inputs`](super::Architecture::inputs), `[n, 1, 1, ..]`.
    pub fn noise(&self) -> &Tensor {
        &self.noise
    }

    /// One-hot classes `[n, 1, 1, k + 1]` of a class-conditional network of k classes; the last is "no
    /// class".
    pub fn classes(&self) -> Option<&Tensor> {
        self.classes.as_ref()
    }

    /// The same with a class of each sample or none, of `count` classes.
    pub(super) fn with_classes(self, classes: &[Option<usize>], count: usize) -> Result<Conditioning> {
        let classes = Some(one_hot(self.frequencies.gpu(), classes, count)?);
        Ok(Conditioning { classes, ..self })
    }
}

/// One-hot rows of `count` classes and "no class".
fn one_hot(gpu: &Gpu, classes: &[Option<usize>], count: usize) -> Result<Tensor> {
    let row = |class: &Option<usize>| {
        let mut row = vec![0.0; count + 1];
        row[class.unwrap_or(count).min(count)] = 1.0;
        row
    };
    let values: Vec<f32> = classes.iter().flat_map(row).collect();
    Ok(Tensor::from_slice(gpu, Shape::new(classes.len(), 1, 1, count + 1), &values)?)
}

/// An embedding of the noise level: Fourier features of its logarithm or sinusoids of a label, and two dense
/// layers.
#[derive(Debug, Clone)]
pub struct TimeEmbedding {
    fourier: bool,
    features: usize,
    /// Of sinusoids: the frequencies are 10000^(−i / (m − freq_shift)).
    freq_shift: f64,
    /// The two dense layers; a network without them is not conditioned on the time.
    dense: Option<(Conv, Conv)>,
    act: Activation,
}

impl TimeEmbedding {
    /// Gaussian Fourier features of log σ with `size` frequencies of standard deviation `scale` (Tancik 2020;
    /// Song 2021 take 16), for the conditioning values σ. The embedding has `4 size` channels. A network has
    /// at most one.
    pub fn fourier(r: &mut Registry, name: &str, size: usize, scale: f64, act: Activation) -> TimeEmbedding {
        let mut names = ["fourier", "dense_0", "dense_1"].into_iter().map(|part| format!("{name}.{part}"));
        Self::of_frequencies(r, names.next().unwrap_or_default(), size, scale);
        let dense = Self::dense(r, || names.next().unwrap_or_default(), 2 * size, size);
        TimeEmbedding { fourier: true, features: 2 * size, freq_shift: 0.0, dense: Some(dense), act }
    }

    /// `size` sinusoids (an even number) of a timestep label from 0 to 999 (Ho 2020). The embedding has
    /// `4 size` channels.
    pub fn sinusoidal(r: &mut Registry, name: &str, size: usize, act: Activation) -> TimeEmbedding {
        let mut names = ["dense_0", "dense_1"].into_iter().map(|part| format!("{name}.{part}"));
        let dense = Self::dense(r, || names.next().unwrap_or_default(), size, size);
        TimeEmbedding { fourier: false, features: size, freq_shift: 1.0, dense: Some(dense), act }
    }

    /// The embedding of a configuration's network, of `size` frequencies or sinusoids; `name` names the next
    /// module.
    pub(super) fn new(
        r: &mut Registry,
        mut name: impl FnMut() -> String,
        model: &Model,
        size: usize,
        act: Activation,
    ) -> TimeEmbedding {
        let fourier = model.embedding() == EmbeddingType::Fourier;
        if fourier {
            Self::of_frequencies(r, name(), size, model.fourier_scale);
        }
        let features = if fourier { 2 * size } else { size };
        let dense = model.conditional.then(|| Self::dense(r, name, features, size));
        TimeEmbedding { fourier, features, freq_shift: model.freq_shift, dense, act }
    }

    fn of_frequencies(r: &mut Registry, name: String, size: usize, scale: f64) {
        let (layout, init) = (Layout::Vector(size), Init::Normal(scale));
        r.frozen.push(ParameterSpec { name: format!("{name}.W"), layout, init });
    }

    fn dense(
        r: &mut Registry,
        mut name: impl FnMut() -> String,
        features: usize,
        size: usize,
    ) -> (Conv, Conv) {
        let width = TIME_WIDTH * size;
        (Conv::dense(r, &name(), features, width), Conv::dense(r, &name(), width, width))
    }

    /// Channels of the embedding.
    pub fn width(&self) -> usize {
        TIME_WIDTH * if self.fourier { self.features / 2 } else { self.features }
    }

    /// The frequencies of the embedding: those given (Fourier features have them in their checkpoint), else
    /// those of sinusoids.
    pub(super) fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        let table = match fourier {
            Some(fourier) => fourier.to_vec(),
            None => embedding::sinusoidal_frequencies(self.features, self.freq_shift),
        };
        Ok(Tensor::from_slice(gpu, Shape::vector(table.len()), &table)?)
    }

    /// The embedding's input for each conditioning value: its logarithm for Fourier features, itself for
    /// sinusoids.
    pub(super) fn inputs(&self, values: &[f64]) -> Vec<f32> {
        let values = values.iter().map(|value| *value as f32);
        // The reference takes the logarithm in f32.
        if self.fourier { values.map(f32::ln).collect() } else { values.collect() }
    }

    /// The embedding `[n, 1, 1, 4 size]`; none if a configuration's network is not conditioned on the time
    /// (`model.conditional = false`).
    ///
    /// # Errors
    /// If the conditioning is another architecture's.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, c: &Conditioning) -> Result<Option<E::Value>> {
        let Some((first, second)) = &self.dense else { return Ok(None) };
        let features = match self.fourier {
            true => embedding::fourier(&c.noise, &c.frequencies)?,
            false => embedding::sinusoidal(&c.noise, &c.frequencies, self.features)?,
        };
        let features = pass.engine.constant(&features);
        let h = first.forward(pass, &features)?;
        let h = pass.engine.activation(&h, self.act)?;
        Ok(Some(second.forward(pass, &h)?))
    }
}

/// An embedding of the class: a row of a table for each class and for "no class", added to the time
/// embedding.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    table: ParameterId,
    /// Number of classes.
    pub count: usize,
}

impl Classes {
    pub fn new(r: &mut Registry, count: usize, width: usize) -> Classes {
        let layout = Layout::Nin { c_in: count + 1, c_out: width };
        Classes { table: r.add("class_embedding.weight".into(), layout, Init::Normal(1.0)), count }
    }

    /// The sum of both embeddings, `[n, 1, 1, width]`.
    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        time: &E::Value,
        c: &Conditioning,
    ) -> Result<E::Value> {
        let Some(classes) = &c.classes else { return Ok(time.clone()) };
        let table = pass.parameter(self.table);
        let classes = pass.engine.constant(classes);
        let rows = pass.engine.conv2d(&classes, &table, None, &Conv2d::padded(0))?;
        pass.engine.blend(time, 1.0, &rows, 1.0)
    }
}
