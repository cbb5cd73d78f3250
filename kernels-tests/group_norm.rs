use crate::support::*;
use tweedie::gpu::{Element, Gpu};
use tweedie::kernels::elementwise::Activation;
use tweedie::kernels::group_norm::{self, Affine, AffineGrad, GroupNorm};
use tweedie::tensor::{Shape, Tensor};

const EPS: f64 = 1e-6;

/// Each element's group, and the groups' elements: `members[n * groups + g]` lists indices into the values.
fn members(shape: Shape, groups: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); shape.n() * groups];
    for i in 0..shape.len() {
        let n = i / (shape.len() / shape.n());
        members[n * groups + i % shape.c() * groups / shape.c()].push(i);
    }
    members
}

/// x̂ and 1 / standard deviation of every element.
fn normalise(x: &Array, groups: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut xhat, mut rstd) = (vec![0.0; x.values.len()], vec![0.0; x.values.len()]);
    for group in members(x.shape, groups) {
        let m = group.len() as f64;
        let mean = group.iter().map(|i| x.values[*i]).sum::<f64>() / m;
        let variance = group.iter().map(|i| (x.values[*i] - mean).powi(2)).sum::<f64>() / m;
        for i in group {
            rstd[i] = 1.0 / (variance + EPS).sqrt();
            xhat[i] = (x.values[i] - mean) * rstd[i];
        }
    }
    (xhat, rstd)
}

fn slope(act: Activation, u: f64) -> (f64, f64) {
    let s = 1.0 / (1.0 + (-u).exp());
    if act == Activation::Swish { (u * s, s * (1.0 + u * (1.0 - s))) } else { (u, 1.0) }
}

fn twin(x: &Array, w: &Array, b: &Array, groups: usize, act: Activation) -> Array {
    let (xhat, _) = normalise(x, groups);
    let c = x.shape.c();
    let value = |i: usize| slope(act, w.values[i % c] * xhat[i] + b.values[i % c]).0;
    Array { shape: x.shape, values: (0..x.values.len()).map(value).collect() }
}

/// rstd (v − mean v − x̂ mean (x̂ v)).
fn project(x: &Array, groups: usize, v: &[f64]) -> Vec<f64> {
    let (xhat, rstd) = normalise(x, groups);
    let mut out = vec![0.0; v.len()];
    for group in members(x.shape, groups) {
        let m = group.len() as f64;
        let mean = group.iter().map(|i| v[*i]).sum::<f64>() / m;
        let moment = group.iter().map(|i| v[*i] * xhat[*i]).sum::<f64>() / m;
        for i in group {
            out[i] = rstd[i] * (v[i] - mean - xhat[i] * moment);
        }
    }
    out
}

fn twin_tangent(x: &Array, w: &Array, b: &Array, groups: usize, act: Activation, v: &Array) -> Array {
    let (xhat, _) = normalise(x, groups);
    let c = x.shape.c();
    let projected = project(x, groups, &v.values);
    let value =
        |i: usize| slope(act, w.values[i % c] * xhat[i] + b.values[i % c]).1 * w.values[i % c] * projected[i];
    Array { shape: x.shape, values: (0..v.values.len()).map(value).collect() }
}

/// The gradients in x, weight and bias.
fn twin_adjoint(x: &Array, w: &Array, b: &Array, groups: usize, act: Activation, dy: &Array) -> [Array; 3] {
    let (xhat, _) = normalise(x, groups);
    let c = x.shape.c();
    let du = |i: usize| dy.values[i] * slope(act, w.values[i % c] * xhat[i] + b.values[i % c]).1;
    let weighted: Vec<f64> = (0..dy.values.len()).map(|i| w.values[i % c] * du(i)).collect();
    let dx = Array { shape: x.shape, values: project(x, groups, &weighted) };
    let (mut dw, mut db) = (Array::zeros(Shape::vector(c)), Array::zeros(Shape::vector(c)));
    for i in 0..dy.values.len() {
        dw.values[i % c] += du(i) * xhat[i];
        db.values[i % c] += du(i);
    }
    [dx, dw, db]
}

/// Shapes and groups: groups of one block of channels, of less and of more, groups that share a block, and
/// images of many chunks.
const CASES: [([usize; 4], usize); 9] = [
    ([2, 5, 6, 24], 4),
    ([2, 4, 4, 32], 8),
    ([1, 1, 1, 4], 1),
    ([3, 7, 5, 6], 3),
    ([2, 3, 3, 7], 7),
    ([1, 1, 3, 5], 1),
    ([1, 65, 1, 8], 2),
    ([1, 63, 64, 12], 3),
    ([1, 127, 129, 4], 1),
];

struct Case {
    what: String,
    spec: GroupNorm,
    x: Array,
    w: Array,
    b: Array,
}

fn cases(element: Element) -> Vec<Case> {
    let acts = [Activation::Identity, Activation::Swish];
    let all = CASES.into_iter().flat_map(|(shape, groups)| acts.map(|act| (Shape(shape), groups, act)));
    all.map(|(shape, groups, act)| Case {
        what: format!("{shape} in {groups} groups, {act:?}, {element:?}"),
        spec: GroupNorm { groups, eps: EPS as f32, act },
        // The mean is large compared with the deviation: plain sums of squares would cancel.
        x: rounded(Array::random(shape, 1, element).map(|v| v + 8.0), element),
        w: Array::random(Shape::vector(shape.c()), 2, Element::F32),
        b: Array::random(Shape::vector(shape.c()), 3, Element::F32),
    })
    .collect()
}

fn rounded(x: Array, element: Element) -> Array {
    x.map(|v| match element {
        Element::F32 => f64::from(v as f32),
        Element::F16 => half::f16::from_f64(v).to_f64(),
    })
}

fn affine_gradients(gpu: &Gpu, c: usize) -> [Tensor; 2] {
    [Array::zeros(Shape::vector(c)).f32(gpu), Array::zeros(Shape::vector(c)).f32(gpu)]
}

#[test]
fn the_output_and_its_gradients_match_their_twins() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for Case { what, spec, x, w, b } in cases(element) {
                let (tx, tw, tb) = (x.upload(gpu, element), w.f32(gpu), b.f32(gpu));
                let affine = Affine { weight: &tw, bias: &tb };
                let (y, statistics) = group_norm::forward(&tx, affine, &spec, 0).unwrap();
                // Subtracting the mean of 8 loses three bits.
                assert_close(&what, &y, &twin(&x, &w, &b, spec.groups, spec.act), 2000);

                let dy = Array::random(x.shape, 4, element);
                let tdy = dy.upload(gpu, element);
                let [dw, db] = affine_gradients(gpu, x.shape.c());
                for accumulate in [false, true] {
                    let into = AffineGrad { weight: (&dw, accumulate), bias: (&db, accumulate) };
                    let dx = group_norm::backward(&tx, affine, &statistics, &tdy, &spec, into).unwrap();
                    let [twin_dx, twin_dw, twin_db] = twin_adjoint(&x, &w, &b, spec.groups, spec.act, &dy);
                    let times = if accumulate { 2.0 } else { 1.0 };
                    // With one element per group, the mean is the element: x̂ and dx are rounding errors.
                    if x.shape.len() > spec.groups * x.shape.n() {
                        assert_close(&what, &dx, &twin_dx, 2000);
                        assert_close(&what, &dw, &twin_dw.map(|v| times * v), 2000 + x.shape.rows());
                    }
                    assert_close(&what, &db, &twin_db.map(|v| times * v), 2000 + x.shape.rows());
                }
            }
        }
    }
}

#[test]
fn a_stack_carries_the_tangents() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for Case { what, spec, x, w, b } in cases(element) {
                let n = x.shape.n();
                if x.shape.len() == spec.groups * n {
                    continue;
                }
                let v = Array::random(x.shape.with_n(2 * n), 5, element);
                let mut stack = x.clone();
                stack.shape = x.shape.with_n(3 * n);
                stack.values.extend(&v.values);
                let (tw, tb) = (w.f32(gpu), b.f32(gpu));
                let affine = Affine { weight: &tw, bias: &tb };
                let (y, _) = group_norm::forward(&stack.upload(gpu, element), affine, &spec, 2).unwrap();
                let mut expected = twin(&x, &w, &b, spec.groups, spec.act);
                expected.shape = stack.shape;
                for k in 0..2 {
                    let tangent = twin_tangent(&x, &w, &b, spec.groups, spec.act, &v.samples(k * n, n));
                    expected.values.extend(tangent.values);
                }
                assert_close(&what, &y, &expected, 4000);
            }
        }
    }
}

#[test]
fn the_adjoint_is_adjoint_to_the_tangent() {
    let gpu = &gpus()[0];
    for Case { what, spec, x, w, b } in cases(Element::F32) {
        let n = x.shape.n();
        if x.shape.len() == spec.groups * n {
            continue;
        }
        let (v, u) = (Array::random(x.shape, 5, Element::F32), Array::random(x.shape, 6, Element::F32));
        let mut stack = x.clone();
        stack.shape = x.shape.with_n(2 * n);
        stack.values.extend(&v.values);
        let (tx, tw, tb) = (x.f32(gpu), w.f32(gpu), b.f32(gpu));
        let affine = Affine { weight: &tw, bias: &tb };
        let (y, _) = group_norm::forward(&stack.f32(gpu), affine, &spec, 1).unwrap();
        let jv = tweedie::kernels::layout::samples(&y, n, n).unwrap();
        let (_, statistics) = group_norm::forward(&tx, affine, &spec, 0).unwrap();
        let [dw, db] = affine_gradients(gpu, x.shape.c());
        let into = AffineGrad { weight: (&dw, false), bias: (&db, false) };
        let jtu = group_norm::backward(&tx, affine, &statistics, &u.f32(gpu), &spec, into).unwrap();
        assert_adjoint(&what, &v, &jv, &u, &jtu);
    }
}

#[test]
fn the_adjoint_of_the_tangents_is_the_derivative_of_their_pairing() {
    // d/dh of ⟨u₀, y⟩ + Σ ⟨uₖ, J vₖ⟩ along a direction of x, v and the weight, by central differences of the
    // twin.
    let gpu = &gpus()[0];
    for Case { what, spec, x, w, b } in cases(Element::F32) {
        let n = x.shape.n();
        if spec.act != Activation::Identity || x.shape.len() == spec.groups * n {
            continue;
        }
        let all = x.shape.with_n(3 * n);
        let random = |seed| Array::random(all, seed, Element::F32);
        let (mut stack, u, d) = (random(4), random(5), random(6));
        stack.values[..x.values.len()].copy_from_slice(&x.values);
        let dw = Array::random(w.shape, 7, Element::F32);
        let along = |a: &Array, d: &Array, h: f64| Array {
            shape: a.shape,
            values: a.values.iter().zip(&d.values).map(|(a, d)| a + h * d).collect(),
        };
        let pairing = |h: f64| {
            let (s, w) = (along(&stack, &d, h), along(&w, &dw, h));
            let x = s.samples(0, n);
            let y = twin(&x, &w, &b, spec.groups, spec.act).dot(&u.samples(0, n));
            let tangents = (1..3).map(|k| {
                twin_tangent(&x, &w, &b, spec.groups, spec.act, &s.samples(k * n, n))
                    .dot(&u.samples(k * n, n))
            });
            y + tangents.sum::<f64>()
        };
        let expected = (pairing(1e-5) - pairing(-1e-5)) / 2e-5;

        let (tx, tw, tb) = (stack.f32(gpu), w.f32(gpu), b.f32(gpu));
        let affine = Affine { weight: &tw, bias: &tb };
        let (_, statistics) = group_norm::forward(&tx, affine, &spec, 2).unwrap();
        let [gw, gb] = affine_gradients(gpu, x.shape.c());
        let into = AffineGrad { weight: (&gw, false), bias: (&gb, false) };
        let dx = group_norm::backward_stack(&tx, affine, &statistics, &u.f32(gpu), &spec, 2, into).unwrap();
        let dot = |t: &Tensor, d: &Array| {
            t.read().unwrap().iter().zip(&d.values).map(|(a, b)| f64::from(*a) * b).sum::<f64>()
        };
        let actual = dot(&dx, &d) + dot(&gw, &dw);
        let scale =
            (dx.read().unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() * d.dot(&d)).sqrt();
        assert!((actual - expected).abs() <= 2e-5 * scale, "{what}: {actual} is not {expected} of {scale}");
    }
}

#[test]
fn channels_that_do_not_divide_into_groups_are_refused() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(1, 2, 2, 6)).f32(gpu);
    let [weight, bias] = affine_gradients(gpu, 6);
    let spec = GroupNorm { groups: 4, eps: 1e-6, act: Activation::Identity };
    let affine = Affine { weight: &weight, bias: &bias };
    let error = group_norm::forward(&x, affine, &spec, 0).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("6 channels do not divide into 4 groups"), "{error}");
}
