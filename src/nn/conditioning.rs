//! What a network is told of each sample: its time and, if it was trained with labels, its class.

use super::layers::{Conv, Pass, TIME_WIDTH};
use super::parameters::{Init, Layout, ParameterId, ParameterSpec, Registry};
use super::score::Label;
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
    /// What the embedding takes: log of the label for Fourier features, the label for sinusoids; `[n, 1, 1, 1]`.
    embedded: Tensor,
    /// Factors of the input `[n, 1, 1, 1]`, if it is scaled.
    pub(super) input: Option<Tensor>,
    /// Frequencies of the embedding.
    frequencies: Tensor,
    /// 1 / σ `[n, 1, 1, 1]`, if the output is divided by it.
    pub(super) inverse_sigma: Option<Tensor>,
    /// One-hot classes `[n, 1, 1, k + 1]`, if the network is told any; the last stands for none.
    classes: Option<Tensor>,
}

/// What a network wants to be told, beside the frequencies.
pub(super) struct Wanted<'a> {
    pub time: &'a Time,
    pub scale_by_sigma: bool,
    /// How many classes there are; 0 for a network that is told none.
    pub classes: usize,
}

impl Conditioning {
    /// Uploads labels, and a class of each or none.
    pub(super) fn new(
        wanted: &Wanted<'_>,
        frequencies: &Tensor,
        labels: &[Label],
        classes: &[Option<usize>],
    ) -> Result<Conditioning> {
        let gpu = frequencies.gpu();
        let column = |values: Vec<f32>| Tensor::from_slice(gpu, Shape::new(values.len(), 1, 1, 1), &values);
        let embedded = match wanted.time.fourier {
            // The reference takes the logarithm in f32.
            true => labels.iter().map(|label| (label.label as f32).ln()).collect(),
            false => labels.iter().map(|label| label.label as f32).collect(),
        };
        let inverse = || column(labels.iter().map(|label| (1.0 / label.sigma) as f32).collect());
        let inverse_sigma = wanted.scale_by_sigma.then(inverse).transpose()?;
        let scaled = labels.iter().any(|label| label.input != 1.0);
        let input = || column(labels.iter().map(|label| label.input as f32).collect());
        let input = scaled.then(input).transpose()?;
        let classes = (wanted.classes > 0).then(|| one_hot(gpu, classes, wanted.classes)).transpose()?;
        let frequencies = frequencies.clone();
        Ok(Conditioning { embedded: column(embedded)?, input, frequencies, inverse_sigma, classes })
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
        let fourier = model.embedding_type == EmbeddingType::Fourier;
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
        Time { fourier, features, dense, act }
    }

    /// The frequencies of the embedding: those given (Fourier features have them in their checkpoint), else those of
    /// sinusoids.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        let table = match fourier {
            Some(fourier) => fourier.to_vec(),
            None => embedding::sinusoidal_frequencies(self.features),
        };
        Ok(Tensor::from_slice(gpu, Shape::vector(table.len()), &table)?)
    }

    /// The embedding `[n, 1, 1, 4 size]`, if the network is told the time.
    pub fn forward<E: Engine>(&self, pass: &mut Pass<'_, E>, c: &Conditioning) -> Result<Option<E::Value>> {
        let Some((first, second)) = &self.dense else { return Ok(None) };
        let features = match self.fourier {
            true => embedding::fourier(&c.embedded, &c.frequencies)?,
            false => embedding::sinusoidal(&c.embedded, &c.frequencies, self.features)?,
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
