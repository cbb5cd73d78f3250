//! The three engines on one function that uses every primitive inside its graph.

use crate::support::gpu;
use tweedie::autodiff::{Dual, DualValue, Eager, Engine, Parameter, Tape, TapeValue};
use tweedie::gpu::Gpu;
use tweedie::kernels::Result;
use tweedie::kernels::conv2d::{Conv2d, weight_shape};
use tweedie::kernels::elementwise::Activation;
use tweedie::kernels::group_norm::GroupNorm;
use tweedie::kernels::layout;
use tweedie::kernels::matmul::Matmul;
use tweedie::kernels::max_pool::MaxPool;
use tweedie::kernels::random::{Distribution, fill};
use tweedie::kernels::upfirdn2d::Upfirdn2d;
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

fn random(shape: Shape, seed: u64) -> Tensor {
    random_on(gpu(), shape, seed)
}

fn random_on(gpu: &Gpu, shape: Shape, seed: u64) -> Tensor {
    fill(gpu, shape, Key::new(seed, Purpose::Other(0)), Distribution::Normal { std: 0.5 }).expect("noise")
}

/// Weights and biases, with memory for their gradients.
fn parameters(gpu: &Gpu) -> Vec<Parameter> {
    let shapes = [
        weight_shape(3, 3, 6, 10),
        Shape::vector(10),
        Shape::vector(10),
        Shape::vector(10),
        weight_shape(1, 1, 10, 10),
        Shape::vector(10),
        weight_shape(1, 1, 5, 10),
        weight_shape(3, 3, 16, 6),
    ];
    let parameter = |(id, shape): (usize, Shape)| Parameter {
        id,
        value: random_on(gpu, shape, 100 + id as u64),
        gradient: Some(Tensor::zeros(gpu, shape).expect("memory")),
    };
    shapes.into_iter().enumerate().map(parameter).collect()
}

/// An image whose pixels differ by at least 1.
fn steps(gpu: &Gpu, shape: Shape) -> Tensor {
    let pixels = shape.h() * shape.w();
    let values: Vec<f32> = (0..shape.len()).map(|i| (7 * (i / shape.c()) % pixels) as f32).collect();
    Tensor::from_slice(gpu, shape, &values).expect("an upload")
}

/// Convolution, group norm, resampling of every kind, attention with two heads, dropout, pooling, sums, scalings, slices and
/// concatenations.
fn function<E: Engine>(e: &mut E, x: &E::Value, p: &[Parameter]) -> Result<E::Value> {
    let [w0, b0, gamma, beta, w1, b1, w2, w3] = std::array::from_fn(|i| e.parameter(&p[i]));
    let shape = e.shape(x);
    let gpu = p[0].value.gpu();
    let h = e.affine(x, 2.0, -1.0)?;
    let h = e.conv2d(&h, &w0, Some(&b0), &Conv2d::padded(1))?;
    let context = e.constant(&random_on(gpu, Shape::new(shape.n(), 1, 1, 5), 7));
    let context = e.conv2d(&context, &w2, None, &Conv2d::padded(0))?;
    let h = e.add_channels(&h, &context)?;
    let h = e.group_norm(&h, &gamma, &beta, &GroupNorm { groups: 5, eps: 1e-6, act: Activation::Swish })?;
    let h = e.dropout(&h, 0.2, Key::new(3, Purpose::Dropout(1)))?;
    let small = e.upfirdn2d(&h, &Upfirdn2d::downsample(&[1.0, 3.0, 3.0, 1.0]))?;
    let q = e.conv2d(&small, &w1, Some(&b1), &Conv2d::padded(0))?;
    let matrices = Shape::new(shape.n(), 1, shape.h() / 2 * (shape.w() / 2), 10);
    let (q, k) = (e.reshape(&q, matrices)?, e.reshape(&small, matrices)?);
    let (q, k) = (e.split_heads(&q, 2)?, e.split_heads(&k, 2)?);
    let scores = e.matmul(&q, &k, Matmul { a_transposed: false, b_transposed: true, alpha: 0.3 })?;
    let weights = e.softmax(&scores)?;
    let mixed = e.matmul(&weights, &k, Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 })?;
    let mixed = e.merge_heads(&mixed, 2)?;
    let mixed = e.reshape(&mixed, Shape::new(shape.n(), shape.h() / 2, shape.w() / 2, 10))?;
    let mixed = e.activation(&mixed, Activation::Elu)?;
    let large = e.upfirdn2d(&mixed, &Upfirdn2d::upsample(&[1.0, 3.0, 3.0, 1.0]))?;
    let h = e.blend(&h, 0.7, &large, 0.7)?;
    // Far apart, so that a small step does not change the maximum.
    let steps = e.constant(&steps(gpu, e.shape(&mixed)));
    let pooled = e.blend(&mixed, 0.2, &steps, 0.2)?;
    let pooled = e.max_pool(&pooled, MaxPool::around(3))?;
    let pooled = e.resize(&pooled, [shape.h(), shape.w()])?;
    let means = e.mean_pixels(&h)?;
    let scaled = e.scale_channels(&pooled, &means)?;
    let scaled = e.scale_channels(&scaled, &gamma)?;
    let (left, right) = (e.channels(&scaled, 0, 3)?, e.channels(&scaled, 3, 7)?);
    let swapped = e.concat(&right, &left)?;
    let h = e.blend(&h, 1.0, &swapped, 0.5)?;
    let h = e.concat(&h, x)?;
    let y = e.conv2d(&h, &w3, None, &Conv2d::padded(1))?;
    e.scale_samples(&y, &random_on(gpu, Shape::new(shape.n(), 1, 1, 1), 8))
}

const SHAPE: Shape = Shape([2, 6, 10, 6]);

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.read().expect("a download"), b.read().expect("a download"));
    a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn tangents(x: &Tensor, directions: &[&Tensor], p: &[Parameter]) -> Tensor {
    let mut dual = Dual::new(Eager, directions.len());
    let stack = layout::stack(&[&[x], directions].concat()).expect("a stack");
    let x = dual.variable(stack);
    function(&mut dual, &x, p).expect("a value").stack().clone()
}

fn part(stack: &Tensor, k: usize) -> Tensor {
    layout::samples(stack, k * SHAPE.n(), SHAPE.n()).expect("a part")
}

fn assert_equal(what: &str, a: f64, b: f64, scale: f64) {
    assert!((a - b).abs() <= 1e-4 * scale, "{what}: {a} is not {b}, of {scale}");
}

/// softmax(q kᵀ) k, without heads.
fn attention<E: Engine>(e: &mut E, q: &E::Value, k: &E::Value) -> Result<E::Value> {
    let scores = e.matmul(q, k, Matmul { a_transposed: false, b_transposed: true, alpha: 0.5 })?;
    let weights = e.softmax(&scores)?;
    e.matmul(&weights, k, Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 })
}

#[test]
fn heads_are_attention_of_slices_of_the_channels() {
    for (heads, channels) in [(3, 4), (2, 5)] {
        let shape = Shape::new(2, 1, 7, heads * channels);
        let (q, k, e) = (random(shape, 1), random(shape, 2), &mut Eager);
        let split = [&q, &k].map(|x| e.split_heads(x, heads).expect("heads"));
        let all = attention(e, &split[0], &split[1]).expect("a value");
        let all = e.merge_heads(&all, heads).expect("channels").read().expect("a download");
        let one = |head: usize| {
            let [q, k] = [&q, &k].map(|x| layout::slice(x, head * channels, channels).expect("a slice"));
            attention(&mut Eager, &q, &k).expect("a value").read().expect("a download")
        };
        let each: Vec<Vec<f32>> = (0..heads).map(one).collect();
        for (i, value) in all.iter().enumerate() {
            let (row, c) = (i / (heads * channels), i % (heads * channels));
            assert_eq!(*value, each[c / channels][row * channels + c % channels], "{heads} heads, {i}");
        }
    }
}

#[test]
fn every_engine_gives_the_same_value() {
    let (x, p) = (random(SHAPE, 1), parameters(gpu()));
    let eager = function(&mut Eager, &x, &p).expect("a value").read().expect("a download");
    let mut tape = Tape::new();
    let variable = tape.variable(&x);
    let taped = function(&mut tape, &variable, &p).expect("a value").tensor().read().expect("a download");
    assert_eq!(eager, taped);
    let stacked = part(&tangents(&x, &[&random(SHAPE, 2)], &p), 0).read().expect("a download");
    assert_eq!(eager, stacked);
}

#[test]
fn the_tape_is_adjoint_to_the_tangent_and_probes_do_not_mix() {
    let (x, p) = (random(SHAPE, 1), parameters(gpu()));
    let (v, w, u) = (random(SHAPE, 2), random(SHAPE, 3), random(SHAPE, 4));
    let both = tangents(&x, &[&v, &w], &p);
    let alone = tangents(&x, &[&w], &p);
    assert_eq!(part(&both, 2).read().expect("a download"), part(&alone, 1).read().expect("a download"));

    let mut tape = Tape::new();
    let variable = tape.variable(&x);
    let y = function(&mut tape, &variable, &p).expect("a value");
    let gradient = tape.backward(&y, u.clone()).expect("gradients").take(&variable).expect("a gradient");
    for (k, v) in [(1, &v), (2, &w)] {
        let jv = part(&both, k);
        assert_equal("adjoint", dot(&jv, &u), dot(v, &gradient), (dot(&jv, &jv) * dot(&u, &u)).sqrt());
    }
}

/// ∂/∂x ⟨u, J(x) v⟩ by reverse over forward; the gradients in the parameters are written to their memory.
fn reverse_over_forward(x: &Tensor, v: &Tensor, u: &Tensor, p: &[Parameter]) -> Tensor {
    let mut dual = Dual::new(Tape::new(), 1);
    let stack: TapeValue = dual.engine.variable(&layout::stack(&[x, v]).expect("a stack"));
    let input: DualValue<TapeValue> = dual.variable(stack.clone());
    let y = function(&mut dual, &input, p).expect("a value");
    let zero = Tensor::zeros(gpu(), u.shape()).expect("memory");
    let seed = layout::stack(&[&zero, u]).expect("a stack");
    let mut gradients = dual.engine.backward(y.stack(), seed).expect("gradients");
    part(&gradients.take(&stack).expect("a gradient"), 0)
}

#[test]
fn reverse_over_forward_gives_a_symmetric_second_derivative() {
    // H v = ∂/∂x ⟨u, J(x) v⟩ is the Hessian of ⟨u, f(x)⟩ times v: ⟨H v, w⟩ = ⟨v, H w⟩.
    let (x, p) = (random(SHAPE, 1), parameters(gpu()));
    let (v, w, u) = (random(SHAPE, 2), random(SHAPE, 3), random(SHAPE, 4));
    let (hv, hw) = (reverse_over_forward(&x, &v, &u, &p), reverse_over_forward(&x, &w, &u, &p));
    let scale = (dot(&hv, &hv) * dot(&w, &w)).sqrt();
    assert!(scale > 0.1, "the second derivative is not zero");
    assert_equal("symmetry", dot(&hv, &w), dot(&v, &hw), scale);

    // A difference of first derivatives agrees within f32's precision.
    let h = 0.01;
    let at = |h: f32| {
        let x = tweedie::kernels::elementwise::blend(&x, 1.0, &w, h).expect("a sum");
        dot(&part(&tangents(&x, &[&v], &p), 1), &u)
    };
    let difference = (at(h) - at(-h)) / (2.0 * f64::from(h));
    assert!((difference - dot(&hv, &w)).abs() < 0.02 * scale, "{difference} is not {}", dot(&hv, &w));
}

#[test]
fn reverse_over_forward_reaches_the_parameters() {
    // The difference of ⟨u, J(x) v⟩ in each parameter matches its gradient.
    let (x, p) = (random(SHAPE, 1), parameters(gpu()));
    let (v, u) = (random(SHAPE, 2), random(SHAPE, 4));
    reverse_over_forward(&x, &v, &u, &p);
    for (id, name) in
        [(0, "a convolution's weight"), (2, "a norm's weight"), (3, "a norm's bias"), (4, "a query's")]
    {
        let d = random(p[id].value.shape(), 50);
        let at = |h: f32| {
            let mut moved = p.to_vec();
            moved[id].value = tweedie::kernels::elementwise::blend(&p[id].value, 1.0, &d, h).expect("a sum");
            dot(&part(&tangents(&x, &[&v], &moved), 1), &u)
        };
        let h = 0.01;
        let difference = (at(h) - at(-h)) / (2.0 * f64::from(h));
        let gradient = p[id].gradient.as_ref().expect("a place");
        let scale = (dot(gradient, gradient) * dot(&d, &d)).sqrt();
        let actual = dot(gradient, &d);
        assert!(
            scale > 0.1 && (difference - actual).abs() < 0.02 * scale,
            "{name}: {actual} is not {difference}"
        );
    }
}

#[test]
fn the_tape_holds_no_memory_once_it_has_run() {
    // A separate device, because other tests allocate on the shared one at the same time.
    let gpu = Gpu::open(None).expect("an adapter");
    let (x, p) = (random_on(&gpu, SHAPE, 1), parameters(&gpu));
    let u = random_on(&gpu, SHAPE, 4);
    let step = || {
        let before = gpu.memory().live;
        let mut tape = Tape::new();
        let variable = tape.variable(&x);
        let y = function(&mut tape, &variable, &p).expect("a value");
        let held = gpu.memory().live;
        drop(tape.backward(&y, u.clone()).expect("gradients"));
        (before, held)
    };
    let ((before, held), (after, _)) = (step(), step());
    assert!(held > before);
    assert_eq!(before, after);
}

#[test]
fn the_tangents_of_a_constant_are_zero_where_it_is_infinite_too() {
    let shape = Shape::new(1, 2, 2, 4);
    let constant = Tensor::from_slice(gpu(), shape, &vec![f32::INFINITY; shape.len()]).unwrap();
    let mut dual = Dual::new(Eager, 2);
    let x = dual.variable(random(shape.with_n(3), 1));
    let constant = dual.constant(&constant);
    let y = dual.concat(&x, &constant).unwrap();
    let tangents = layout::samples(&layout::slice(y.stack(), 4, 4).unwrap(), 1, 2).unwrap();
    assert!(tangents.read().unwrap().iter().all(|v| *v == 0.0));
}
