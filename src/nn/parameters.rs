//! Parameters: the names and layouts of a network's weights, and flat arenas with their values.
//!
//! Names and the layout in files are the reference implementation's; in memory weights are
//! `[kh, kw, c_in, c_out]`.

use crate::autodiff::Parameter;
use crate::gpu::{Element, Gpu, GpuError};
use crate::kernels::{Result, adam, conv2d, layout};
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};
use rand::Rng;
use std::ops::Range;

/// How a parameter's axes are ordered in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A convolution's weights, `[c_out, c_in, k, k]`.
    Conv {
        /// Window.
        k: usize,
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
    },
    /// A dense layer's weights, `[c_out, c_in]`.
    Dense {
        /// Input features.
        c_in: usize,
        /// Output features.
        c_out: usize,
    },
    /// The weights of the reference's `NIN`, a dense layer over channels, `[c_in, c_out]`.
    Nin {
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
    },
    /// A vector.
    Vector(
        /// Its length.
        usize,
    ),
}

impl Layout {
    /// The shape in memory; a convolution's third axis is rounded up to 4, with rows of zeros.
    pub fn shape(self) -> Shape {
        let (k, c_in, c_out) = self.window();
        match self {
            Layout::Vector(len) => Shape::vector(len),
            _ => conv2d::weight_shape(k, k, c_in, c_out),
        }
    }

    /// The shape in files.
    pub fn file_shape(self) -> Vec<usize> {
        match self {
            Layout::Conv { k, c_in, c_out } => vec![c_out, c_in, k, k],
            Layout::Dense { c_in, c_out } => vec![c_out, c_in],
            Layout::Nin { c_in, c_out } => vec![c_in, c_out],
            Layout::Vector(len) => vec![len],
        }
    }

    /// Number of values.
    pub fn len(self) -> usize {
        self.file_shape().iter().product()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Outputs of a layer with these weights; of a vector, its length.
    pub fn outputs(self) -> usize {
        self.window().2
    }

    /// Inputs of each output of a layer with these weights.
    pub fn fan_in(self) -> usize {
        let (k, c_in, _) = self.window();
        k * k * c_in
    }

    /// Values in file order → values in memory order, with the rows of zeros.
    pub fn to_memory(self, file: &[f32]) -> Vec<f32> {
        let mut memory = vec![0.0; self.shape().len()];
        self.pair(|f, m| memory[m] = file[f]);
        memory
    }

    /// Values in memory order → values in file order.
    pub fn to_file(self, memory: &[f32]) -> Vec<f32> {
        let mut file = vec![0.0; self.len()];
        self.pair(|f, m| file[f] = memory[m]);
        file
    }

    /// Window, input and output channels.
    fn window(self) -> (usize, usize, usize) {
        match self {
            Layout::Conv { k, c_in, c_out } => (k, c_in, c_out),
            Layout::Dense { c_in, c_out } | Layout::Nin { c_in, c_out } => (1, c_in, c_out),
            Layout::Vector(len) => (1, 1, len),
        }
    }

    /// Calls `f(index in file order, index in memory order)` for every value.
    fn pair(self, mut f: impl FnMut(usize, usize)) {
        let (k, c_in, c_out) = self.window();
        let rows = if matches!(self, Layout::Vector(_)) { 1 } else { c_in.next_multiple_of(4) };
        for tap in 0..k * k {
            for i in 0..c_in {
                for o in 0..c_out {
                    let file = match self {
                        Layout::Conv { .. } => (o * c_in + i) * k * k + tap,
                        Layout::Dense { .. } => o * c_in + i,
                        Layout::Nin { .. } | Layout::Vector(_) => i * c_out + o,
                    };
                    f(file, (tap * rows + i) * c_out + o);
                }
            }
        }
    }
}

/// Initialisation of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// A constant.
    Constant(f32),
    /// Uniform on [−a, a], a² = 3 · scale / mean of fan-in and fan-out; a scale of 0 counts as 1e-10.
    FanAverage(
        /// The scale.
        f64,
    ),
    /// Uniform on [−a, a].
    Uniform(
        /// a.
        f64,
    ),
    /// Normal with mean 1 and standard deviation 0.02: the factors of instance norm++.
    NearOne,
    /// Rows of the table of a conditional instance norm++, two thirds factors and one third shifts of 0.
    NormTable,
    /// Normal with mean 0.
    Normal(
        /// The standard deviation.
        f64,
    ),
}

/// The name, layout and initialisation of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Its name in files.
    pub name: String,
    /// Its axes.
    pub layout: Layout,
    /// Its initialisation.
    pub init: Init,
}

impl ParameterSpec {
    /// Its initial values in file order; `index` is its number in the network.
    pub fn initial(&self, seed: u64, index: usize) -> Vec<f32> {
        let len = self.layout.len();
        let key = Key::new(seed, Purpose::Initialisation(index as u16));
        let uniform = |a: f64| {
            let numbers = key.rng(0).random_iter::<f32>().take(len);
            numbers.map(|v| ((2.0 * f64::from(v) - 1.0) * a) as f32).collect()
        };
        // By Box and Muller as on the device, not by `rand_distr`: a seed gives the same weights in every
        // version.
        let normal = || (0..len.div_ceil(4) as u32).flat_map(move |block| key.normal(0, block)).take(len);
        match self.init {
            Init::Constant(value) => vec![value; len],
            Init::Uniform(a) => uniform(a),
            Init::NearOne => normal().map(|v| 1.0 + 0.02 * v).collect(),
            Init::NormTable => {
                let (_, _, row) = self.layout.window();
                let value = |(i, v): (usize, f32)| if i % row < row / 3 * 2 { 1.0 + 0.02 * v } else { 0.0 };
                normal().enumerate().map(value).collect()
            }
            Init::Normal(std) => normal().map(|v| (f64::from(v) * std) as f32).collect(),
            Init::FanAverage(scale) => {
                let (k, c_in, c_out) = self.layout.window();
                let fan = (k * k * (c_in + c_out)) as f64 / 2.0;
                uniform((3.0 * if scale == 0.0 { 1e-10 } else { scale } / fan).sqrt())
            }
        }
    }
}

/// A parameter's number in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterId(usize);

/// All parameters of a network, in the reference's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registry {
    /// The trained parameters.
    pub trainable: Vec<ParameterSpec>,
    /// Parameters that are not trained: Fourier frequencies.
    pub frozen: Vec<ParameterSpec>,
    /// Dropout masks of the network's blocks.
    masks: u16,
}

impl Registry {
    /// Adds a parameter.
    pub fn add(&mut self, name: String, layout: Layout, init: Init) -> ParameterId {
        self.trainable.push(ParameterSpec { name, layout, init });
        ParameterId(self.trainable.len() - 1)
    }

    /// The number of the next dropout mask.
    pub fn dropout_mask(&mut self) -> u16 {
        self.masks += 1;
        self.masks - 1
    }

    /// Number of trained values.
    pub fn count(&self) -> usize {
        self.trainable.iter().map(|spec| spec.layout.len()).sum()
    }

    /// The place of each parameter in an arena in `vec4`s, aligned so that each can be bound, and the arena's
    /// length.
    fn places(&self, gpu: &Gpu) -> (Vec<Range<usize>>, usize) {
        let unit = gpu.alignment() as usize / 16;
        let mut end = 0;
        let mut place = |spec: &ParameterSpec| {
            let start = end;
            end = (start + spec.layout.shape().vec4s()).next_multiple_of(unit);
            start..start + spec.layout.shape().vec4s()
        };
        (self.trainable.iter().map(&mut place).collect(), end)
    }

    /// Bytes of one arena on this device.
    pub fn arena_bytes(&self, gpu: &Gpu) -> u64 {
        self.places(gpu).1 as u64 * 16
    }
}

/// One value for each of a network's weights, in one flat tensor: weights, gradients, an optimiser's moments.
#[derive(Clone)]
pub struct Arena {
    flat: Tensor,
    views: Vec<Tensor>,
}

impl Arena {
    /// An arena of zeros.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn zeros(gpu: &Gpu, registry: &Registry) -> Result<Arena> {
        let (places, end) = registry.places(gpu);
        let flat = Tensor::empty(gpu, Shape::vector(4 * end), Element::F32)?;
        let specs = registry.trainable.iter().zip(places);
        let views = specs.map(|(spec, place)| flat.slice(place.start, spec.layout.shape())).collect();
        let arena = Arena { flat, views };
        arena.clear()?;
        Ok(arena)
    }

    /// An arena with the values `values(i)` of parameter i in file order.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn with(gpu: &Gpu, registry: &Registry, mut values: impl FnMut(usize) -> Vec<f32>) -> Result<Arena> {
        let arena = Arena::zeros(gpu, registry)?;
        for (index, spec) in registry.trainable.iter().enumerate() {
            arena.views[index].write(&spec.layout.to_memory(&values(index)))?;
        }
        Ok(arena)
    }

    /// Overwrites everything with zeros.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn clear(&self) -> Result<()> {
        for (first, count) in adam::windows(self.flat.gpu(), self.flat.shape().vec4s()) {
            layout::zero(&self.flat.slice(first, Shape::vector(4 * count)), 0, count)?;
        }
        Ok(())
    }

    /// All of it, as one vector.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// One parameter's values, as kernels take them.
    pub fn view(&self, id: ParameterId) -> &Tensor {
        &self.views[id.0]
    }

    /// Every parameter with its values on the device.
    pub fn named<'a>(
        &'a self,
        registry: &'a Registry,
    ) -> impl Iterator<Item = (&'a ParameterSpec, &'a Tensor)> {
        registry.trainable.iter().zip(&self.views)
    }

    /// Every parameter's values in file order, read back.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read(&self, registry: &Registry) -> std::result::Result<Vec<Vec<f32>>, GpuError> {
        self.named(registry).map(|(spec, view)| Ok(spec.layout.to_file(&view.read()?))).collect()
    }
}

/// The parameters of a network on a device, and the places of their gradients.
#[derive(Clone)]
pub struct Parameters {
    /// The values.
    pub values: Arena,
    /// Places for the gradients, in training.
    pub gradients: Option<Arena>,
    /// The frequencies of the time embedding, which are not trained.
    pub frequencies: Tensor,
}

impl Parameters {
    /// A parameter as an engine takes it.
    pub fn get(&self, id: ParameterId) -> Parameter {
        Parameter {
            id: id.0,
            value: self.values.view(id).clone(),
            gradient: self.gradients.as_ref().map(|arena| arena.view(id).clone()),
        }
    }
}

/// A model's state in host memory, in the order and the layout of files.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Training steps made.
    pub step: u64,
    /// The weights, one array for each trained parameter.
    pub raw: Vec<Vec<f32>>,
    /// Their moving average.
    pub ema: Vec<Vec<f32>>,
    /// Parameters that are not trained.
    pub frozen: Vec<Vec<f32>>,
    /// Adam's first and second moments, if the file has them.
    pub moments: Option<[Vec<Vec<f32>>; 2]>,
    /// Steps that the moments average over: 0 without moments.
    pub updates: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_order_is_window_input_output_with_rows_of_zeros() {
        let layout = Layout::Conv { k: 1, c_in: 3, c_out: 2 };
        // File order: output, input.
        let memory = layout.to_memory(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(memory, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 0.0, 0.0]);
        assert_eq!(layout.to_file(&memory), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn every_layout_survives_the_way_to_memory_and_back() {
        for layout in [
            Layout::Conv { k: 3, c_in: 5, c_out: 7 },
            Layout::Dense { c_in: 6, c_out: 3 },
            Layout::Nin { c_in: 2, c_out: 9 },
            Layout::Vector(11),
        ] {
            let file: Vec<f32> = (0..layout.len()).map(|i| i as f32 + 1.0).collect();
            assert_eq!(layout.to_file(&layout.to_memory(&file)), file, "{layout:?}");
        }
    }

    #[test]
    fn fan_average_initialisation_has_the_stated_bound() {
        let spec = ParameterSpec {
            name: "w".into(),
            layout: Layout::Conv { k: 3, c_in: 16, c_out: 48 },
            init: Init::FanAverage(1.0),
        };
        let values = spec.initial(1, 0);
        let a = (3.0f64 / (9.0 * 32.0)).sqrt() as f32;
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest <= a && largest > 0.99 * a);
        assert_ne!(values, spec.initial(1, 1));
        assert_ne!(values, spec.initial(2, 0));
    }
}
