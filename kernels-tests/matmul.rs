use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::matmul::{self, Matmul};
use tweedie::tensor::Shape;

fn twin(a: &Array, b: &Array, spec: Matmul, shape: Shape, k: usize) -> Array {
    let entry = |m: &Array, transposed, n, i, j| if transposed { m.at(n, 0, j, i) } else { m.at(n, 0, i, j) };
    Array::from_fn(shape, |n, _, i, j| {
        let sum: f64 =
            (0..k).map(|l| entry(a, spec.a_transposed, n, i, l) * entry(b, spec.b_transposed, n, l, j)).sum();
        f64::from(spec.alpha) * sum
    })
}

fn operands(n: usize, [m, k, c]: [usize; 3], spec: Matmul, element: Element) -> (Array, Array) {
    let shape =
        |rows, columns, t| if t { Shape::new(n, 1, columns, rows) } else { Shape::new(n, 1, rows, columns) };
    let a = Array::random(shape(m, k, spec.a_transposed), 1, element);
    (a, Array::random(shape(k, c, spec.b_transposed), 2, element))
}

fn specs() -> impl Iterator<Item = Matmul> {
    (0..4).map(|bits| Matmul { a_transposed: bits & 1 != 0, b_transposed: bits & 2 != 0, alpha: 0.37 })
}

/// Odd and prime sizes, 1, a tile's size, and one more or less.
const SIZES: [[usize; 3]; 8] =
    [[1, 1, 1], [7, 5, 3], [8, 8, 8], [9, 4, 7], [64, 33, 31], [65, 1, 64], [13, 67, 5], [63, 64, 65]];

#[test]
fn products_match_their_twin_whichever_operand_is_transposed() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (size, spec) in SIZES.into_iter().flat_map(|s| specs().map(move |spec| (s, spec))) {
                let (a, b) = operands(3, size, spec, element);
                let c = matmul::matmul(&a.upload(gpu, element), &b.upload(gpu, element), spec).unwrap();
                let what = format!("{size:?} {spec:?} {element:?}");
                assert_close(&what, &c, &twin(&a, &b, spec, c.shape(), size[1]), size[1]);
            }
        }
    }
}

#[test]
fn an_infinite_number_stays_one_however_many_blocks_are_staged_beyond_the_end() {
    for (gpu, k) in gpus().iter().flat_map(|gpu| [4, 12, 16, 20, 68].map(|k| (gpu, k))) {
        let spec = Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 };
        let (a, mut b) = operands(1, [9, k, 7], spec, Element::F32);
        // At the last k, next to the blocks beyond the end.
        b.values[(k - 1) * 7 + 2] = f64::INFINITY;
        let c = matmul::matmul(&a.f32(gpu), &b.f32(gpu), spec).unwrap().read().unwrap();
        for (i, value) in c.iter().enumerate() {
            let (row, infinite) = (i / 7, i % 7 == 2);
            let factor = a.at(0, 0, row, k - 1) as f32;
            let expected = if infinite { *value == factor * f32::INFINITY } else { value.is_finite() };
            assert!(expected, "k = {k}, [{row}, {}]: {value}", i % 7);
        }
    }
}

#[test]
fn both_gradients_are_adjoint_to_the_product() {
    let gpu = &gpus()[0];
    for (size, spec) in SIZES.into_iter().flat_map(|s| specs().map(move |spec| (s, spec))) {
        let (a, b) = operands(2, size, spec, Element::F32);
        let (ta, tb) = (a.f32(gpu), b.f32(gpu));
        let c = matmul::matmul(&ta, &tb, spec).unwrap();
        let u = Array::random(c.shape(), 3, Element::F32);
        let (da, db) = matmul::gradients(&ta, &tb, &u.f32(gpu), spec).unwrap();
        // The product is linear in each operand: its tangent in the direction of the operand is itself.
        assert_adjoint("in a", &a, &c, &u, &da);
        assert_adjoint("in b", &b, &c, &u, &db);
    }
}

#[test]
fn matrices_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let a = Array::zeros(Shape::new(2, 1, 3, 4)).f32(gpu);
    let b = Array::zeros(Shape::new(2, 1, 5, 3)).f32(gpu);
    let spec = Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 };
    assert!(matmul::matmul(&a, &b, spec).map(|_| ()).unwrap_err().to_string().contains("have no product"));
}
