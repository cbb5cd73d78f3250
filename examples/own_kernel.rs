//! A kernel of one's own: the ideal denoiser of a finite data set (Karras et al. 2022, appendix B.3),
//!
//! D(x; σ) = Σₖ wₖ yₖ, w = softmax(−|x − yₖ|² / 2σ²),
//!
//! in WGSL, dispatched over tensors and compared with the same formula in float64.
//!
//!     cargo run --example own_kernel

use bytemuck::{Pod, Zeroable};
use tweedie::gpu::{Element, Extent, Gpu, Shader, Variant};
use tweedie::kernels::Kernel;
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

const DENOISER: Shader = Shader::new(
    "ideal_denoiser",
    "
    // include lib/index.wgsl

    struct Params {
        samples: u32,
        points: u32,
        blocks: u32, // vec4s of a sample
        sigma: f32,
    }

    var<immediate> p: Params;

    @group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;               // [samples, blocks]
    @group(0) @binding(1) var<storage, read> data: array<vec4<f32>>;            // [points, blocks]
    @group(0) @binding(2) var<storage, read_write> denoised: array<vec4<f32>>;  // [samples, blocks]

    fn log_weight(sample: u32, point: u32) -> f32 {
        var square = 0.0;
        for (var b = 0u; b < p.blocks; b++) {
            let difference = x[sample * p.blocks + b] - data[point * p.blocks + b];
            square += dot(difference, difference);
        }
        return -square / (2.0 * p.sigma * p.sigma);
    }

    // An invocation owns one vec4 of a sample, and computes the weights of that sample for itself.
    @compute @workgroup_size(WORKGROUP)
    fn denoise(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
        let index = flat_index(id, groups);
        if (index >= p.samples * p.blocks) { return; }
        let at = divide(index, p.blocks); // sample, vec4 of it
        var largest = log_weight(at.x, 0u);
        for (var k = 1u; k < p.points; k++) { largest = max(largest, log_weight(at.x, k)); }
        var total = 0.0;
        var sum = vec4<f32>();
        for (var k = 0u; k < p.points; k++) {
            let weight = exp(log_weight(at.x, k) - largest);
            total += weight;
            sum += weight * data[k * p.blocks + at.y];
        }
        denoised[index] = sum / total;
    }
",
);

/// The shader's `Params`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    samples: u32,
    points: u32,
    blocks: u32,
    sigma: f32,
}

const SAMPLES: usize = 50;
const POINTS: usize = 40;
const DIMENSION: usize = 6;
const SIGMA: f32 = 0.8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(None)?;
    let (x, data) = (normal(1, SAMPLES * DIMENSION), normal(2, POINTS * DIMENSION));

    let shape = Shape::new(SAMPLES, 1, 1, DIMENSION);
    let denoised = Tensor::empty(&gpu, shape, Element::F32)?;
    let blocks = shape.sample_vec4s();
    let params =
        Params { samples: SAMPLES as u32, points: POINTS as u32, blocks: blocks as u32, sigma: SIGMA };
    let work = 4 * 2 * shape.vec4s() * POINTS * DIMENSION;
    Kernel::new(Variant::new(DENOISER), "denoise").launch(
        &[
            &Tensor::from_slice(&gpu, shape, &x)?,
            &Tensor::from_slice(&gpu, shape.with_n(POINTS), &data)?,
            &denoised,
        ],
        &params,
        Extent::Invocations(shape.vec4s()),
        work as u64,
    )?;

    let expected = x.chunks(DIMENSION).flat_map(|x| denoise(x, &data));
    let error =
        denoised.read()?.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    println!(
        "denoised {SAMPLES} points on {}; largest difference to float64: {error:.1e}",
        gpu.adapter().name()
    );
    if error < 1e-5 { Ok(()) } else { Err("the kernel and the formula disagree".into()) }
}

/// Standard normal numbers.
fn normal(stream: u16, count: usize) -> Vec<f32> {
    let key = Key::new(0, Purpose::Other(stream));
    (0..count.div_ceil(4) as u32).flat_map(|block| key.normal(0, block)).take(count).collect()
}

/// D(x; σ) on the host.
fn denoise(x: &[f32], data: &[f32]) -> Vec<f64> {
    let square = |y: &[f32]| -> f64 { x.iter().zip(y).map(|(a, b)| f64::from(a - b).powi(2)).sum() };
    let log_weights: Vec<f64> =
        data.chunks(DIMENSION).map(|y| -square(y) / (2.0 * f64::from(SIGMA).powi(2))).collect();
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log_weights.iter().map(|w| (w - largest).exp()).collect();
    let mean = |i: usize| -> f64 {
        let sum: f64 = weights.iter().zip(data.chunks(DIMENSION)).map(|(w, y)| w * f64::from(y[i])).sum();
        sum / weights.iter().sum::<f64>()
    };
    (0..DIMENSION).map(mean).collect()
}
