//! Devices, random arrays and tolerances.

use std::sync::OnceLock;
use tweedie::gpu::{Element, Gpu, Options, choose};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

/// The adapter opened with each of its ways of sharing operands, the default first, and with shaders checked
/// or not.
pub fn gpus() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| {
        let open = |options| Gpu::with(choose(None).expect("an adapter"), options).expect("a device");
        let plain = open(Options::default());
        let mut ways = plain.adapter().sharings();
        ways.sort_by_key(|sharing| *sharing != plain.sharing());
        let each = |sharing| {
            [false, true]
                .map(|checked| open(Options { sharing: Some(sharing), checked, ..Options::default() }))
        };
        ways.into_iter().flat_map(each).collect()
    })
}

/// An array in host memory, `[n, h, w, c]` without padding.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Shape,
    pub values: Vec<f64>,
}

impl Array {
    /// Standard normal values that the storage type holds exactly.
    pub fn random(shape: Shape, seed: u16, element: Element) -> Array {
        let key = Key::new(0, Purpose::Other(seed));
        let draws = (0..shape.len().div_ceil(4) as u32).flat_map(|block| key.normal(0, block));
        let round = |v: f32| match element {
            Element::F32 => v,
            Element::F16 => half::f16::from_f32(v).to_f32(),
        };
        Array { shape, values: draws.take(shape.len()).map(|v| f64::from(round(v))).collect() }
    }

    pub fn zeros(shape: Shape) -> Array {
        Array { shape, values: vec![0.0; shape.len()] }
    }

    /// The array whose element `[n, h, w, c]` is `f(n, h, w, c)`.
    pub fn from_fn(shape: Shape, mut f: impl FnMut(usize, usize, usize, usize) -> f64) -> Array {
        let mut values = Vec::with_capacity(shape.len());
        for n in 0..shape.n() {
            for h in 0..shape.h() {
                for w in 0..shape.w() {
                    values.extend((0..shape.c()).map(|c| f(n, h, w, c)));
                }
            }
        }
        Array { shape, values }
    }

    pub fn at(&self, n: usize, h: usize, w: usize, c: usize) -> f64 {
        self.values[((n * self.shape.h() + h) * self.shape.w() + w) * self.shape.c() + c]
    }

    pub fn at_mut(&mut self, n: usize, h: usize, w: usize, c: usize) -> &mut f64 {
        &mut self.values[((n * self.shape.h() + h) * self.shape.w() + w) * self.shape.c() + c]
    }

    /// Copies the array to the device.
    pub fn upload(&self, gpu: &Gpu, element: Element) -> Tensor {
        let tensor = Tensor::empty(gpu, self.shape, element).expect("memory");
        let values: Vec<f32> = self.values.iter().map(|v| *v as f32).collect();
        tensor.write(&values).expect("an upload");
        tensor
    }

    pub fn f32(&self, gpu: &Gpu) -> Tensor {
        self.upload(gpu, Element::F32)
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { shape: self.shape, values: self.values.iter().map(|v| f(*v)).collect() }
    }

    /// Samples `first .. first + count`.
    pub fn samples(&self, first: usize, count: usize) -> Array {
        let size = self.values.len() / self.shape.n();
        let values = self.values[first * size..(first + count) * size].to_vec();
        Array { shape: self.shape.with_n(count), values }
    }

    pub fn dot(&self, other: &Array) -> f64 {
        self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum()
    }
}

/// The storage types that a device has.
pub fn elements(gpu: &Gpu) -> Vec<Element> {
    if gpu.has_f16() { vec![Element::F32, Element::F16] } else { vec![Element::F32] }
}

/// Asserts that a kernel's result matches its twin's up to rounding: of sums of `terms` terms in f32, in any
/// order, and of the result's storage type. Errors of many roundings add up like a random walk.
pub fn assert_close(what: &str, actual: &Tensor, expected: &Array, terms: usize) {
    assert_eq!(actual.shape(), expected.shape, "{what}");
    let values = actual.read().expect("a download");
    assert_slice_close(what, &values, expected, terms, actual.element());
    assert_padding_is_zero(what, actual);
}

pub fn assert_slice_close(what: &str, values: &[f32], expected: &Array, terms: usize, stored: Element) {
    let eps = (-24f64).exp2() * (4.0 + (terms as f64).sqrt())
        + if stored == Element::F16 { (-11f64).exp2() } else { 0.0 };
    let rms = |sum: f64| (sum / expected.values.len() as f64).sqrt();
    let scale = rms(expected.values.iter().map(|v| v * v).sum());
    let errors: Vec<f64> = values.iter().zip(&expected.values).map(|(a, e)| f64::from(*a) - e).collect();
    let error = rms(errors.iter().map(|e| e * e).sum());
    assert!(
        error <= 2.0 * eps * scale,
        "{what}: rms error {error:e} of {scale:e}, {:.1} eps",
        error / eps / scale
    );
    for (i, (error, e)) in errors.iter().zip(&expected.values).enumerate() {
        let bound = 16.0 * eps * scale.max(e.abs());
        assert!(
            error.abs() <= bound,
            "{what}: element {i} is off by {error:e}, it should be {e}; bound {bound:e}"
        );
    }
}

/// Kernels may read padding, so every kernel must write zeros there.
fn assert_padding_is_zero(what: &str, tensor: &Tensor) {
    let shape = tensor.shape();
    if shape.c().is_multiple_of(4) {
        return;
    }
    let whole = tensor.binding();
    let bytes = tensor.gpu().download(whole.buffer, whole.offset, whole.size).expect("a download");
    let size = tensor.element().bytes() as usize;
    for (row, bytes) in bytes.chunks(shape.c4() * 4 * size).enumerate() {
        // −0 is accepted: only its sign bit is set.
        let padding = bytes[shape.c() * size..].chunks(size);
        let clean =
            padding.into_iter().all(|v| v[..size - 1].iter().all(|b| *b == 0) && v[size - 1] & 0x7f == 0);
        assert!(clean, "{what}: the padding of row {row} is not zero");
    }
}

/// Asserts ⟨J v, u⟩ = ⟨v, Jᵀ u⟩ within 1e-4 |J v| |u|, for the device's tangent `jv` and adjoint `jtu`.
pub fn assert_adjoint(what: &str, v: &Array, jv: &Tensor, u: &Array, jtu: &Tensor) {
    let host = |t: &Tensor| Array {
        shape: t.shape(),
        values: t.read().expect("a download").iter().map(|v| f64::from(*v)).collect(),
    };
    let (jv, jtu) = (host(jv), host(jtu));
    let (left, right) = (jv.dot(u), v.dot(&jtu));
    let scale = (jv.dot(&jv) * u.dot(u)).sqrt();
    assert!((left - right).abs() <= 1e-4 * scale, "{what}: {left} is not {right}");
}
