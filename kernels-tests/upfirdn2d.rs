use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::upfirdn2d::{self, Upfirdn2d};
use tweedie::tensor::Shape;

/// Inserts zeros between the pixels and around the image, convolves, and keeps every `down`-th pixel.
fn twin(x: &Array, spec: &Upfirdn2d, y: Shape) -> Array {
    let [ky, kx] = &spec.kernel;
    let at = |position: isize, size: usize| {
        let inside = position >= 0
            && position % spec.up as isize == 0
            && position / (spec.up as isize) < size as isize;
        inside.then_some(position as usize / spec.up)
    };
    Array::from_fn(y, |n, oy, ox, c| {
        let mut sum = 0.0;
        for (i, ty) in ky.iter().rev().enumerate() {
            for (j, tx) in kx.iter().rev().enumerate() {
                let iy = at((oy * spec.down + i) as isize - spec.pad[0], x.shape.h());
                let ix = at((ox * spec.down + j) as isize - spec.pad[2], x.shape.w());
                if let (Some(iy), Some(ix)) = (iy, ix) {
                    sum += f64::from(*ty) * f64::from(*tx) * x.at(n, iy, ix, c);
                }
            }
        }
        sum
    })
}

fn specs() -> Vec<Upfirdn2d> {
    let fir = [1.0, 3.0, 3.0, 1.0];
    let general = |up, down, pad| Upfirdn2d {
        kernel: [vec![0.1, -0.4, 0.9, 0.3, 0.2], vec![1.0, 0.5, -0.2, 0.0, 0.7]],
        up,
        down,
        pad,
    };
    vec![
        Upfirdn2d::upsample(&fir),
        Upfirdn2d::downsample(&fir),
        Upfirdn2d::blur(&fir, 4),
        Upfirdn2d::upsample_before_conv(&fir),
        Upfirdn2d::upsample(&[1.0, 2.0, 1.0]),
        Upfirdn2d::nearest(),
        Upfirdn2d::mean(),
        Upfirdn2d::average(5),
        general(1, 1, [2, 2, 2, 2]),
        general(3, 2, [2, 3, 2, 3]),
        general(2, 3, [0, 4, 3, 1]),
        general(3, 1, [1, 0, 0, 2]),
        general(1, 3, [4, 0, 1, 5]),
        general(2, 2, [5, 5, 5, 5]),
        general(2, 1, [-1, 3, 4, -2]),
    ]
}

const SHAPES: [[usize; 4]; 4] = [[2, 5, 4, 6], [1, 8, 10, 3], [2, 7, 7, 16], [1, 6, 3, 5]];

#[test]
fn resampling_matches_its_twin() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (spec, shape) in
                specs().into_iter().flat_map(|s| SHAPES.map(|shape| (s.clone(), Shape(shape))))
            {
                let x = Array::random(shape, 1, element);
                let y = upfirdn2d::forward(&x.upload(gpu, element), &spec).unwrap();
                assert_close(
                    &format!("{spec:?} of {shape} {element:?}"),
                    &y,
                    &twin(&x, &spec, y.shape()),
                    25,
                );
            }
        }
    }
}

#[test]
fn the_adjoint_is_adjoint_to_the_resampling() {
    for gpu in gpus() {
        for (spec, shape) in specs().into_iter().flat_map(|s| SHAPES.map(|shape| (s.clone(), Shape(shape)))) {
            let v = Array::random(shape, 1, Element::F32);
            let jv = upfirdn2d::forward(&v.f32(gpu), &spec).unwrap();
            let u = Array::random(jv.shape(), 2, Element::F32);
            let jtu = upfirdn2d::backward(&u.f32(gpu), shape, &spec).unwrap();
            assert_adjoint(&format!("{spec:?} of {shape}"), &v, &jv, &u, &jtu);
        }
    }
}

#[test]
fn nearest_repeats_and_mean_averages() {
    let gpu = &gpus()[0];
    let x = Array { shape: Shape::new(1, 1, 2, 1), values: vec![3.0, 5.0] };
    let up = upfirdn2d::forward(&x.f32(gpu), &Upfirdn2d::nearest()).unwrap();
    assert_eq!(up.read().unwrap(), [3.0, 3.0, 5.0, 5.0, 3.0, 3.0, 5.0, 5.0]);
    let down = upfirdn2d::forward(&up, &Upfirdn2d::mean()).unwrap();
    assert_eq!(down.read().unwrap(), [3.0, 5.0]);
}

#[test]
fn a_filter_that_does_not_fit_is_refused() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(1, 2, 2, 4)).f32(gpu);
    let spec =
        |taps: usize| Upfirdn2d { kernel: [vec![1.0; taps], vec![1.0; taps]], up: 1, down: 1, pad: [0; 4] };
    assert!(upfirdn2d::forward(&x, &spec(3)).is_err());
    let wide = Upfirdn2d { pad: [9; 4], ..spec(13) };
    assert!(upfirdn2d::forward(&x, &wide).map(|_| ()).unwrap_err().to_string().contains("1 to 12"));
}
