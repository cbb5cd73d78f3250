use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::conv2d::{self, Conv2d};
use tweedie::tensor::Shape;

/// Calls `each` with the indices in x, w and y of every product of
/// y[n, oy, ox, o] = b[o] + Σ x[n, oy s + ky d − top, ox s + kx d − left, c] w[ky, kx, c, o].
fn taps(
    spec: &Conv2d,
    x: Shape,
    w: Shape,
    y: Shape,
    mut each: impl FnMut([usize; 4], [usize; 4], [usize; 4]),
) {
    for (n, oy, ox) in
        (0..y.n()).flat_map(|n| (0..y.h()).flat_map(move |a| (0..y.w()).map(move |b| (n, a, b))))
    {
        for (ky, kx) in (0..w.n()).flat_map(|a| (0..w.h()).map(move |b| (a, b))) {
            let iy = (oy * spec.stride + ky * spec.dilation).wrapping_sub(spec.pad[0]);
            let ix = (ox * spec.stride + kx * spec.dilation).wrapping_sub(spec.pad[2]);
            if iy < x.h() && ix < x.w() {
                for c in 0..x.c() {
                    for o in 0..y.c() {
                        each([n, iy, ix, c], [ky, kx, c, o], [n, oy, ox, o]);
                    }
                }
            }
        }
    }
}

fn twin_forward(x: &Array, w: &Array, b: &Array, bias_samples: usize, spec: &Conv2d, y: Shape) -> Array {
    let mut out = Array::from_fn(y, |n, _, _, o| if n < bias_samples { b.values[o] } else { 0.0 });
    taps(spec, x.shape, w.shape, y, |i, k, o| *out.at_mut(o[0], o[1], o[2], o[3]) += at(x, i) * at(w, k));
    out
}

fn twin_grad_input(dy: &Array, w: &Array, x: Shape, spec: &Conv2d) -> Array {
    let mut dx = Array::zeros(x);
    taps(spec, x, w.shape, dy.shape, |i, k, o| *dx.at_mut(i[0], i[1], i[2], i[3]) += at(dy, o) * at(w, k));
    dx
}

fn twin_grad_weight(x: &Array, dy: &Array, w: Shape, spec: &Conv2d) -> Array {
    let mut dw = Array::zeros(w);
    taps(spec, x.shape, w, dy.shape, |i, k, o| *dw.at_mut(k[0], k[1], k[2], k[3]) += at(x, i) * at(dy, o));
    dw
}

fn at(a: &Array, i: [usize; 4]) -> f64 {
    a.at(i[0], i[1], i[2], i[3])
}

/// Weights whose rows beyond the input's channels are zero, like those of a parameter.
fn weights(kh: usize, kw: usize, ci: usize, co: usize, seed: u16) -> Array {
    let mut w = Array::random(conv2d::weight_shape(kh, kw, ci, co), seed, Element::F32);
    let shape = w.shape;
    for (i, value) in w.values.iter_mut().enumerate() {
        if i / shape.c() % shape.w() >= ci {
            *value = 0.0;
        }
    }
    w
}

const ASYMMETRIC: Conv2d = Conv2d { stride: 2, dilation: 1, pad: [0, 1, 0, 1] };

/// The shape of x, the window, the output channels and the geometry. Sizes are odd, prime, 1, a tile's, and
/// one more or less.
fn cases() -> Vec<(Shape, usize, usize, usize, Conv2d)> {
    let plain = Conv2d::padded(1);
    vec![
        (Shape::new(1, 1, 1, 1), 1, 1, 1, Conv2d::padded(0)),
        (Shape::new(2, 5, 5, 20), 1, 1, 7, Conv2d::padded(0)),
        (Shape::new(3, 1, 1, 17), 1, 1, 65, Conv2d::padded(0)),
        (Shape::new(2, 9, 7, 8), 3, 3, 12, plain),
        (Shape::new(2, 8, 8, 3), 3, 3, 16, plain),
        (Shape::new(1, 7, 11, 13), 3, 3, 3, plain),
        (Shape::new(2, 8, 8, 31), 3, 3, 33, plain),
        (Shape::new(1, 17, 5, 4), 3, 3, 64, plain),
        (Shape::new(2, 10, 8, 8), 3, 3, 8, Conv2d { stride: 2, ..plain }),
        (Shape::new(2, 8, 8, 8), 3, 3, 8, ASYMMETRIC),
        (Shape::new(1, 7, 9, 5), 3, 3, 6, ASYMMETRIC),
        (Shape::new(2, 12, 12, 8), 3, 3, 8, Conv2d { stride: 1, dilation: 4, pad: [4; 4] }),
        (Shape::new(1, 6, 9, 2), 5, 3, 3, Conv2d { stride: 3, dilation: 1, pad: [2, 1, 0, 2] }),
        (Shape::new(1, 4, 3, 36), 3, 3, 40, Conv2d::padded(0)),
    ]
}

#[test]
fn convolution_and_its_adjoints_match_their_twins() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (i, (shape, kh, kw, co, spec)) in cases().into_iter().enumerate() {
                let what = format!("case {i} {shape} {kh}x{kw} -> {co} {spec:?} {element:?}");
                let x = Array::random(shape, 1, element);
                let w = weights(kh, kw, shape.c(), co, 2);
                let b = Array::random(Shape::vector(co), 3, Element::F32);
                let (tx, tw, tb) = (x.upload(gpu, element), w.f32(gpu), b.f32(gpu));
                let y = conv2d::forward(&tx, &tw, Some(&tb), shape.n(), &spec).unwrap();
                let terms = kh * kw * shape.c();
                assert_close(&what, &y, &twin_forward(&x, &w, &b, shape.n(), &spec, y.shape()), terms);

                let dy = Array::random(y.shape(), 4, element);
                let tdy = dy.upload(gpu, element);
                let dx = conv2d::grad_input(&tdy, &tw, shape, &spec).unwrap();
                assert_close(&what, &dx, &twin_grad_input(&dy, &w, shape, &spec), kh * kw * co);

                let dw = Array::zeros(w.shape).f32(gpu);
                conv2d::grad_weight(&tx, &tdy, &spec, &dw, false).unwrap();
                let twin = twin_grad_weight(&x, &dy, w.shape, &spec);
                assert_close(&what, &dw, &twin, y.shape().rows());
                conv2d::grad_weight(&tx, &tdy, &spec, &dw, true).unwrap();
                assert_close(&what, &dw, &twin.map(|v| 2.0 * v), y.shape().rows());
            }
        }
    }
}

#[test]
fn a_bias_goes_to_the_primal_samples_of_a_stack_only() {
    let gpu = &gpus()[0];
    let x = Array::random(Shape::new(6, 3, 3, 4), 1, Element::F32);
    let (w, b) = (weights(3, 3, 4, 4, 2), Array::random(Shape::vector(4), 3, Element::F32));
    let spec = Conv2d::padded(1);
    let y = conv2d::forward(&x.f32(gpu), &w.f32(gpu), Some(&b.f32(gpu)), 2, &spec).unwrap();
    assert_close("bias", &y, &twin_forward(&x, &w, &b, 2, &spec, y.shape()), 36);
}

#[test]
fn the_adjoints_are_adjoint_to_the_tangent_on_odd_sizes() {
    let gpu = &gpus()[0];
    for (shape, kh, kw, co, spec) in cases() {
        let v = Array::random(shape, 5, Element::F32);
        let w = weights(kh, kw, shape.c(), co, 6);
        let tw = w.f32(gpu);
        let jv = conv2d::forward(&v.f32(gpu), &tw, None, 0, &spec).unwrap();
        let u = Array::random(jv.shape(), 7, Element::F32);
        let jtu = conv2d::grad_input(&u.f32(gpu), &tw, shape, &spec).unwrap();
        assert_adjoint("in the input", &v, &jv, &u, &jtu);
        let dw = Array::zeros(w.shape).f32(gpu);
        conv2d::grad_weight(&v.f32(gpu), &u.f32(gpu), &spec, &dw, false).unwrap();
        assert_adjoint("in the weights", &w, &jv, &u, &dw);
    }
}

#[test]
fn a_sample_has_the_same_bits_in_any_batch() {
    for gpu in gpus() {
        let w = weights(3, 3, 5, 7, 2).f32(gpu);
        let x = Array::random(Shape::new(9, 5, 7, 5), 1, Element::F32);
        let spec = Conv2d::padded(1);
        let whole = conv2d::forward(&x.f32(gpu), &w, None, 0, &spec).unwrap().read().unwrap();
        let part = conv2d::forward(&x.samples(7, 2).f32(gpu), &w, None, 0, &spec).unwrap().read().unwrap();
        assert_eq!(whole[7 * whole.len() / 9..], part);
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(1, 2, 2, 4)).f32(gpu);
    let refuse = |shape: Shape, pad| {
        let w = Array::zeros(shape).f32(gpu);
        conv2d::forward(&x, &w, None, 0, &Conv2d::padded(pad)).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refuse(Shape::new(3, 3, 8, 4), 1).contains("do not take 4 channels"));
    assert!(refuse(Shape::new(3, 3, 4, 4), 0).contains("do not fit"));
}
