use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::resize::{self, Align};
use tweedie::tensor::Shape;

const CASES: [([usize; 4], [usize; 2]); 9] = [
    ([2, 4, 4, 6], [8, 8]),
    ([1, 16, 16, 4], [32, 32]),
    ([2, 5, 3, 7], [5, 3]),
    ([1, 3, 7, 5], [13, 2]),
    ([1, 9, 8, 3], [4, 3]),
    ([2, 1, 2, 4], [5, 7]),
    ([1, 6, 5, 1], [1, 1]),
    ([1, 1, 1, 9], [3, 4]),
    ([1, 2, 31, 4], [67, 30]),
];

const ALIGNMENTS: [Align; 3] = [Align::Corners, Align::Origin, Align::Centres];

/// The weight of pixel `i` of `size` pixels at position `o` of `out` positions.
fn weight(align: Align, o: usize, i: usize, size: usize, out: usize) -> f64 {
    let (o, scale) = (o as f64, size as f64 / out as f64);
    let at = match align {
        Align::Corners if out == 1 => 0.0,
        Align::Corners => o * (size - 1) as f64 / (out - 1) as f64,
        Align::Origin => o * scale,
        Align::Centres => (o + 0.5) * scale - 0.5,
    };
    (1.0 - (at.clamp(0.0, (size - 1) as f64) - i as f64).abs()).max(0.0)
}

#[test]
fn resampling_matches_its_twin() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (shape, [oh, ow]) in CASES {
                for align in ALIGNMENTS {
                    let shape = Shape(shape);
                    let x = Array::random(shape, 1, element);
                    let y = resize::aligned(&x.upload(gpu, element), [oh, ow], align).unwrap();
                    let twin = Array::from_fn(Shape::new(shape.n(), oh, ow, shape.c()), |n, h, w, c| {
                        let mut sum = 0.0;
                        for i in 0..shape.h() {
                            for j in 0..shape.w() {
                                let row = weight(align, h, i, shape.h(), oh);
                                sum += row * weight(align, w, j, shape.w(), ow) * x.at(n, i, j, c);
                            }
                        }
                        sum
                    });
                    assert_close(&format!("{shape} to {oh} x {ow} {align:?} {element:?}"), &y, &twin, 4);
                }
            }
        }
    }
}

#[test]
fn the_adjoint_is_adjoint_to_the_resampling() {
    for gpu in gpus() {
        for (shape, size) in CASES {
            let v = Array::random(Shape(shape), 1, Element::F32);
            let jv = resize::forward(&v.f32(gpu), size).unwrap();
            let u = Array::random(jv.shape(), 2, Element::F32);
            let jtu = resize::backward(&u.f32(gpu), v.shape).unwrap();
            assert_adjoint(&format!("{shape:?} to {size:?}"), &v, &jv, &u, &jtu);
        }
    }
}

#[test]
fn corners_stay_corners_and_the_same_size_is_the_same_image() {
    let gpu = &gpus()[0];
    let x = Array { shape: Shape::new(1, 1, 3, 1), values: vec![1.0, 2.0, 5.0] };
    let y = resize::forward(&x.f32(gpu), [2, 5]).unwrap().read().unwrap();
    assert_eq!(y, [1.0, 1.5, 2.0, 3.5, 5.0, 1.0, 1.5, 2.0, 3.5, 5.0]);
    assert_eq!(resize::forward(&x.f32(gpu), [1, 3]).unwrap().read().unwrap(), [1.0, 2.0, 5.0]);
    assert!(resize::forward(&x.f32(gpu), [0, 3]).is_err());
}
