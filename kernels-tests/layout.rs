use crate::support::*;
use tweedie::kernels::layout;
use tweedie::tensor::Shape;

#[test]
fn channels_are_joined_and_cut_wherever_the_seam_falls() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (c_a, c_b) in [(4, 4), (8, 5), (3, 5), (1, 1), (6, 2), (7, 12)] {
                let shape = Shape::new(2, 3, 5, c_a);
                let (a, b) = (Array::random(shape, 1, element), Array::random(shape.with_c(c_b), 2, element));
                let y = layout::concat(&a.upload(gpu, element), &b.upload(gpu, element)).unwrap();
                let twin = Array::from_fn(shape.with_c(c_a + c_b), |n, h, w, c| {
                    if c < c_a { a.at(n, h, w, c) } else { b.at(n, h, w, c - c_a) }
                });
                let what = format!("{c_a} and {c_b}");
                assert_close(&what, &y, &twin, 0);
                assert_close(&what, &layout::slice(&y, 0, c_a).unwrap(), &a, 0);
                assert_close(&what, &layout::slice(&y, c_a, c_b).unwrap(), &b, 0);
            }
        }
    }
}

#[test]
fn samples_are_stacked_cut_and_extended_by_zeros() {
    for gpu in gpus() {
        for element in elements(gpu) {
            let whole = Array::random(Shape::new(5, 2, 3, 6), 1, element);
            let (a, b) = (whole.samples(0, 2), whole.samples(2, 3));
            let (ta, tb) = (a.upload(gpu, element), b.upload(gpu, element));
            let y = layout::stack(&[&ta, &tb]).unwrap();
            assert_close("stack", &y, &whole, 0);
            assert_close("samples", &layout::samples(&y, 2, 3).unwrap(), &b, 0);
            let mut extended = a.clone();
            extended.shape = a.shape.with_n(4);
            extended.values.resize(extended.shape.len(), 0.0);
            assert_close("extend", &layout::extend(&ta, 4).unwrap(), &extended, 0);
        }
    }
}

#[test]
fn zeros_are_zeros_whatever_a_tensor_holds() {
    for gpu in gpus() {
        let shape = Shape::new(3, 1, 2, 5);
        let x = Array::from_fn(shape, |n, _, _, _| [f64::INFINITY, f64::NAN, 1.0][n]);
        let zeros = Array::zeros(shape);
        assert_close("zeros_like", &layout::zeros_like(&x.f32(gpu)).unwrap(), &zeros, 0);
    }
}

#[test]
fn samples_are_gathered_by_their_numbers_in_both() {
    for gpu in gpus() {
        for element in elements(gpu) {
            let whole = Array::random(Shape::new(5, 2, 3, 6), 1, element);
            let (a, b) = (whole.samples(0, 2), whole.samples(2, 3));
            let (ta, tb) = (a.upload(gpu, element), b.upload(gpu, element));
            let picks = [4, 0, 0, 3, 1, 2, 4];
            let twin = Array::from_fn(whole.shape.with_n(7), |n, h, w, c| whole.at(picks[n], h, w, c));
            assert_close("gather", &layout::gather(&ta, &tb, &picks).unwrap(), &twin, 0);
        }
    }
}

#[test]
fn what_does_not_exist_is_refused() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(2, 1, 1, 4)).f32(gpu);
    let y = Array::zeros(Shape::new(3, 1, 1, 4)).f32(gpu);
    let z = Array::zeros(Shape::new(3, 1, 2, 4)).f32(gpu);
    assert!(layout::concat(&x, &y).is_err());
    assert!(layout::slice(&x, 2, 3).is_err());
    assert!(layout::samples(&x, 1, 2).is_err());
    assert!(layout::stack(&[&y, &z]).is_err());
    assert!(layout::stack(&[]).is_err());
    assert!(layout::gather(&x, &y, &[5]).is_err());
    assert!(layout::gather(&y, &z, &[0]).is_err());
}
