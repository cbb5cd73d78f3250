//! What a network is told of each sample: its time and, if it was trained with labels, its class.

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

/// What a network is told of each sample, on the device.
#[derive(Clone)]
pub struct Conditioning {
    /// What the architecture reads of the label, `[n, 1, 1, ..]`.
    pub(super) told: Tensor,
    /// Frequencies of the embedding.
    frequencies: Tensor,
    /// Factors of the input `[n, 1, 1, 1]`, if it is scaled.
    pub(super) input: Option<Tensor>,
    /// 1 / σ `[n, 1, 1, 1]`, if the output is divided by it.
    pub(super) inverse_sigma: Option<Tensor>,
    /// One-hot classes `[n, 1, 1, k + 1]`, if the network is told any; the last stands for none.
    classes: Option<Tensor>,
}

impl Conditioning {
    /// Uploads what an architecture reads of labels (as much of each), and their factors.
    pub(super) fn new(
        frequencies: &Tensor,
        told: Vec<f32>,
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
        let (told, frequencies) = (rows(told)?, frequencies.clone());
        Ok(Conditioning { told, frequencies, input, inverse_sigma, classes: None })
    }

    /// The same with a class of each sample or none, of `count` classes.
    pub(super) fn with_classes(self, classes: &[Option<usize>], count: usize) -> Result<Conditioning> {
        let classes = Some(one_hot(self.frequencies.gpu(), classes, count)?);
        Ok(Conditioning { classes, ..self })
    }
}

/// One-hot rows of `count` classes and one more, which stands for none.
fn one_hot(gpu: &Gpu, classes: &[Option<usize>], count: usize) -> Result<Tensor> {
    let row = |class: &Option<usize>| {
        let mut row = vec![0.0; count + 1];
        row[class.unwrap_or(count).min(count)] = 1.0;
        row
    };
    let values: Vec<f32> = classes.iter().flat_map(row).collect();
    Ok(Tensor::from_slice(gpu, Shape::new(classes.len(), 1, 1, count + 1), &values)?)
}

/// How the time gets in.
#[derive(Debug, Clone)]
pub(super) struct Time {
    fourier: bool,
    features: usize,
    /// Of sinusoids: how far below the last frequency 1/10,000 lies.
    freq_shift: f64,
    /// The two dense layers; without them the network is not told the time.
    dense: Option<(Conv, Conv)>,
    act: Activation,
}

impl Time {
    /// An embedding of `size` frequencies or sinusoids, then layers of 4 `size`; `name` names the next module.
    pub fn new(
        r: &mut Registry,
        mut name: impl FnMut() -> String,
        model: &Model,
        size: usize,
        act: Activation,
    ) -> Time {
        let fourier = model.embedding() == EmbeddingType::Fourier;
        if fourier {
            let (layout, init) = (Layout::Vector(size), Init::Normal(model.fourier_scale));
            r.frozen.push(ParameterSpec { name: format!("{}.W", name()), layout, init });
        }
        let features = if fourier { 2 * size } else { size };
        let width = TIME_WIDTH * size;
        let dense = model.conditional.then(|| {
            let names = [name(), name()];
            let mut dense = |i: usize, c_in| Conv::dense(r, &names[i], c_in, width);
            (dense(0, features), dense(1, width))
        });
        Time { fourier, features, freq_shift: model.freq_shift, dense, act }
    }

    /// The frequencies of the embedding: those given (Fourier features have them in their checkpoint), else those of
    /// sinusoids.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        let table = match fourier {
            Some(fourier) => fourier.to_vec(),
            None => embedding::sinusoidal_frequencies(self.features, self.freq_shift),
        };
        Ok(Tensor::from_slice(gpu, Shape::vector(table.len()), &table)?)
    }

    /// What the embedding takes of each label: its logarithm for Fourier features, the label for sinusoids.
    pub fn told(&self, labels: &[Label]) -> Vec<f32> {
        let labels = labels.iter().map(|label| label.conditioning as f32);
        // The reference takes the logarithm in f32.
        if self.fourier { labels.map(f32::ln).collect() } else { labels.collect() }
    }

    /// The embedding `[n, 1, 1, 4 size]`, if the network is told the time.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, c: &Conditioning) -> Result<Option<E::Value>> {
        let Some((first, second)) = &self.dense else { return Ok(None) };
        let features = match self.fourier {
            true => embedding::fourier(&c.told, &c.frequencies)?,
            false => embedding::sinusoidal(&c.told, &c.frequencies, self.features)?,
        };
        let features = pass.engine.constant(&features);
        let h = first.forward(pass, &features)?;
        let h = pass.engine.activation(&h, self.act)?;
        Ok(Some(second.forward(pass, &h)?))
    }
}

/// How the class gets in: a row of a table for each class, and one for none, added to the time's embedding.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    table: ParameterId,
    /// How many there are.
    pub count: usize,
}

impl Classes {
    pub fn new(r: &mut Registry, count: usize, width: usize) -> Classes {
        let layout = Layout::Nin { c_in: count + 1, c_out: width };
        Classes { table: r.add("class_embedding.weight".into(), layout, Init::Normal(1.0)), count }
    }

    /// The embedding of the time and the class, `[n, 1, 1, width]`.
    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        time: &E::Value,
        c: &Conditioning,
    ) -> Result<E::Value> {
        let Some(classes) = &c.classes else { return Ok(time.clone()) };
        let table = pass.engine.parameter(&pass.parameters.get(self.table));
        let classes = pass.engine.constant(classes);
        let rows = pass.engine.conv2d(&classes, &table, None, &Conv2d::padded(0))?;
        pass.engine.blend(time, 1.0, &rows, 1.0)
    }
}
