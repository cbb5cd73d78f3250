//! Linear forms a₁x₁ + a₂x₂ + … + c z of tensors and noise, each evaluated by one kernel. A factor is a
//! number for the whole batch or one for each sample.
//!
//! A [`Form`] is built on the host with the usual operators, at no cost on the device; like terms are merged.
//! A solver's step reads like its formula and takes one pass over memory:
//!
//! ```no_run
//! # use tweedie::{kernels::{Result, combine::Form}, random::{Key, Purpose}, tensor::Tensor};
//! # fn step(x: &Tensor, score: &Tensor, eps: f64) -> Result<Tensor> {
//! let z = Form::normal(Key::new(1, Purpose::Other(0)));
//! // Langevin dynamics.
//! (x + score * eps + z * (2.0 * eps).sqrt()).run()
//! # }
//! ```

use super::random::{NoiseWords, OPERATIONS_OF_A_NORMAL};
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};
use std::ops::{Add, Div, Mul, Neg, Sub};

const SHADER: Shader = shader!("combine");

/// The most tensors of one launch; longer forms take several launches.
const MAX_TERMS: usize = 8;

/// `WIDTH` of the shader: factors of a sample in memory.
const WIDTH: usize = 12;

/// A number for all samples of a batch, or one for each sample.
///
/// The numbers of n samples also fit a stack `[x; ẋ₁; …; ẋ_K]` of (1 + K) n samples: they repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// One number for all samples.
    All(f64),
    /// One number for each sample.
    Each(Vec<f64>),
}

impl Factor {
    /// The factor of a sample.
    pub fn get(&self, sample: usize) -> f64 {
        match self {
            Factor::All(value) => *value,
            Factor::Each(values) => values.get(sample % values.len().max(1)).copied().unwrap_or(f64::NAN),
        }
    }

    /// The factors of `n` samples.
    pub fn each(&self, n: usize) -> Vec<f64> {
        (0..n).map(|i| self.get(i)).collect()
    }

    /// Applies `f` to each number.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Factor {
        match self {
            Factor::All(value) => Factor::All(f(*value)),
            Factor::Each(values) => Factor::Each(values.iter().map(|v| f(*v)).collect()),
        }
    }

    /// Combines the numbers of two factors, sample by sample.
    pub fn zip(&self, other: &Factor, f: impl Fn(f64, f64) -> f64) -> Factor {
        match (self, other) {
            (Factor::All(a), b) => b.map(|b| f(*a, b)),
            (a, Factor::All(b)) => a.map(|a| f(a, *b)),
            (Factor::Each(a), Factor::Each(b)) => {
                let n = a.len().max(b.len());
                Factor::Each((0..n).map(|i| f(self.get(i), other.get(i))).collect())
            }
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Factor::All(value) => *value == 0.0,
            Factor::Each(values) => !values.is_empty() && values.iter().all(|value| *value == 0.0),
        }
    }

    /// Returns true if there is a number for each of `n` samples.
    fn fits(&self, n: usize) -> bool {
        match self {
            Factor::All(_) => true,
            Factor::Each(values) => !values.is_empty() && n.is_multiple_of(values.len()),
        }
    }
}

impl From<f64> for Factor {
    fn from(value: f64) -> Factor {
        Factor::All(value)
    }
}

impl From<Vec<f64>> for Factor {
    fn from(values: Vec<f64>) -> Factor {
        Factor::Each(values)
    }
}

impl From<&Factor> for Factor {
    fn from(factor: &Factor) -> Factor {
        factor.clone()
    }
}

/// a₁x₁ + a₂x₂ + … + c z with tensors `[n, h, w, c]` of one shape and standard normal z.
#[derive(Clone, Default)]
pub struct Form {
    terms: Vec<(Tensor, Factor)>,
    noise: Vec<(Key, Factor)>,
}

impl Form {
    /// Standard normal noise of a key, in the shape of the form's tensors. The kernel draws it; it is never
    /// stored.
    pub fn normal(key: Key) -> Form {
        Form { terms: Vec::new(), noise: vec![(key, Factor::All(1.0))] }
    }

    /// The value, in f32.
    ///
    /// # Errors
    /// If there is no tensor, if shapes differ, or if factors do not fit the samples. Of the tensors whose
    /// factor is not 0, the first must be f32 and the others of one storage type.
    pub fn run(mut self) -> Result<Tensor> {
        check("combine", !self.terms.is_empty(), || "a form without a tensor has no shape".into())?;
        let first = self.terms[0].0.clone();
        self.terms.retain(|(_, factor)| !factor.is_zero());
        self.noise.retain(|(_, factor)| !factor.is_zero());
        if self.terms.is_empty() {
            self.terms.push((first, Factor::All(0.0)));
        }
        if let ([(tensor, Factor::All(1.0))], []) = (&self.terms[..], &self.noise[..])
            && tensor.element() == Element::F32
        {
            return Ok(tensor.clone());
        }
        let mut terms = self.terms.into_iter();
        let mut noise = self.noise.into_iter();
        let mut launched: Vec<(Tensor, Factor)> = terms.by_ref().take(MAX_TERMS).collect();
        loop {
            // Noise joins the last terms; a second key takes a launch of its own.
            let z = if terms.len() == 0 { noise.next() } else { None };
            let y = combine(&launched, z.as_ref())?;
            if terms.len() == 0 && noise.len() == 0 {
                return Ok(y);
            }
            launched = vec![(y, Factor::All(1.0))];
            launched.extend(terms.by_ref().take(MAX_TERMS - 1));
        }
    }

    /// The value as a tensor times a factor, without a launch if the form is a multiple of one tensor.
    ///
    /// # Errors
    /// Any error of [`Form::run`].
    pub fn multiple(self) -> Result<(Tensor, f64)> {
        let mut terms = self.terms.iter().filter(|(_, factor)| !factor.is_zero());
        match (terms.next(), terms.next(), &self.noise[..]) {
            (Some((tensor, Factor::All(factor))), None, []) => Ok((tensor.clone(), *factor)),
            _ => Ok((self.run()?, 1.0)),
        }
    }

    /// Adds a term, merged with that of the same tensor if there is one.
    fn push(&mut self, tensor: Tensor, factor: Factor) {
        match self.terms.iter_mut().find(|(known, _)| known.is_same(&tensor)) {
            Some((_, known)) => *known = known.zip(&factor, |a, b| a + b),
            None => self.terms.push((tensor, factor)),
        }
    }

    fn push_noise(&mut self, key: Key, factor: Factor) {
        match self.noise.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = known.zip(&factor, |a, b| a + b),
            None => self.noise.push((key, factor)),
        }
    }

    fn scaled(mut self, by: &Factor, f: impl Fn(f64, f64) -> f64) -> Form {
        for (_, factor) in &mut self.terms {
            *factor = factor.zip(by, &f);
        }
        for (_, factor) in &mut self.noise {
            *factor = factor.zip(by, &f);
        }
        self
    }
}

impl From<&Tensor> for Form {
    fn from(tensor: &Tensor) -> Form {
        Form { terms: vec![(tensor.clone(), Factor::All(1.0))], noise: Vec::new() }
    }
}

impl From<&Form> for Form {
    fn from(form: &Form) -> Form {
        form.clone()
    }
}

/// Operators on forms and tensors; their results are forms.
macro_rules! operators {
    ($($left:ty),+) => { $(
        impl<T: Into<Form>> Add<T> for $left {
            type Output = Form;

            fn add(self, other: T) -> Form {
                let (mut sum, other) = (Form::from(self), other.into());
                other.terms.into_iter().for_each(|(tensor, factor)| sum.push(tensor, factor));
                other.noise.into_iter().for_each(|(key, factor)| sum.push_noise(key, factor));
                sum
            }
        }

        impl<T: Into<Form>> Sub<T> for $left {
            type Output = Form;

            fn sub(self, other: T) -> Form {
                self + -other.into()
            }
        }

        impl<F: Into<Factor>> Mul<F> for $left {
            type Output = Form;

            fn mul(self, factor: F) -> Form {
                Form::from(self).scaled(&factor.into(), |a, b| a * b)
            }
        }

        impl<F: Into<Factor>> Div<F> for $left {
            type Output = Form;

            fn div(self, factor: F) -> Form {
                Form::from(self).scaled(&factor.into(), |a, b| a / b)
            }
        }

        impl Neg for $left {
            type Output = Form;

            fn neg(self) -> Form {
                self * -1.0
            }
        }
    )+ };
}

operators!(Form, &Form, &Tensor);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    channels: u32,
    factors: [f32; MAX_TERMS + 1],
}

/// One launch, of at most [`MAX_TERMS`] terms and one key of noise.
fn combine(terms: &[(Tensor, Factor)], noise: Option<&(Key, Factor)>) -> Result<Tensor> {
    let tensors: Vec<&Tensor> = terms.iter().map(|(tensor, _)| tensor).collect();
    let (shape, stored) = (tensors[0].shape(), tensors.get(1).map_or(Element::F32, |x| x.element()));
    tensors.iter().try_for_each(|tensor| check_shape("combine", "a term", tensor, shape))?;
    let fits = tensors[0].element() == Element::F32 && tensors[1..].iter().all(|x| x.element() == stored);
    check("combine", fits, || "the first term is f32, the others of one storage type".into())?;
    let none = Factor::All(0.0);
    let factor = |j: usize| match j {
        MAX_TERMS => noise.map_or(&none, |(_, factor)| factor),
        _ => terms.get(j).map_or(&none, |(_, factor)| factor),
    };
    let fits = (0..=MAX_TERMS).all(|j| factor(j).fits(shape.n()));
    check("combine", fits, || format!("factors that are not one for each of {} samples", shape.n()))?;

    let gpu = tensors[0].gpu();
    let each = (0..=MAX_TERMS).any(|j| matches!(factor(j), Factor::Each(_)));
    let row = |sample: usize| -> [f32; WIDTH] {
        std::array::from_fn(|j| if j <= MAX_TERMS { factor(j).get(sample) as f32 } else { 0.0 })
    };
    let rows = || -> Result<Tensor> {
        let rows: Vec<f32> = (0..shape.n()).flat_map(row).collect();
        Ok(Tensor::from_slice(gpu, Shape::new(shape.n(), 1, 1, WIDTH), &rows)?)
    };
    let rows = each.then(rows).transpose()?;
    let y = Tensor::empty(gpu, shape, Element::F32)?;
    let owned = shape.vec4s();
    let params = Params {
        noise: NoiseWords::drawn(noise.map_or(Key::new(0, Purpose::Predictor), |(key, _)| *key)),
        blocks: owned as u32,
        sample: shape.sample_vec4s() as u32,
        channels: shape.c() as u32,
        factors: if each { [0.0; MAX_TERMS + 1] } else { std::array::from_fn(|j| row(0)[j]) },
    };
    // The shader declares a binding for every possible term; unused ones hold a placeholder that is not read.
    let mut operands = [tensors[0]; MAX_TERMS];
    operands[..tensors.len()].copy_from_slice(&tensors);
    let operands = [&operands[..], &[&y, rows.as_ref().unwrap_or(tensors[0])]].concat();
    let variant = variant(tensors.len(), each).stored(stored);
    let work = if noise.is_some() { OPERATIONS_OF_A_NORMAL } else { 16 * tensors.len() };
    launch(gpu, variant, "combine", &operands, &params, Extent::Invocations(owned), (work * owned) as u64)?;
    Ok(y)
}

fn variant(terms: usize, each: bool) -> Variant {
    Variant::new(SHADER).with("TERMS", terms as u32).with("EACH", each.into())
}

pub(super) fn variants() -> Vec<Variant> {
    (1..=MAX_TERMS).flat_map(|terms| [false, true].map(|each| variant(terms, each))).collect()
}
