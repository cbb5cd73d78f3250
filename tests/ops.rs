//! Every primitive on every engine against `../shared/fixtures/ops.safetensors` (PyTorch, float64): forward,
//! adjoint and tangent.

use crate::support::*;
use std::collections::HashMap;
use tweedie::autodiff::{Dual, Eager, Engine, Tape};
use tweedie::kernels::Result;
use tweedie::kernels::conv2d::{Conv2d, weight_shape};
use tweedie::kernels::elementwise::Activation;
use tweedie::kernels::group_norm::GroupNorm;
use tweedie::kernels::matmul::Matmul;
use tweedie::kernels::upfirdn2d::Upfirdn2d;
use tweedie::tensor::{Shape, Tensor};

const OPS: [&str; 14] = [
    "conv1x1",
    "conv3x3",
    "conv3x3_c3",
    "conv3x3_stride2",
    "conv3x3_stride2_asym",
    "conv3x3_dilated",
    "linear",
    "group_norm",
    "group_norm_silu",
    "fir_up2",
    "fir_down2",
    "upfirdn_general",
    "softmax",
    "attention",
];

fn conv(op: &str) -> Conv2d {
    let plain = Conv2d::padded(1);
    match op {
        "conv3x3_stride2" => Conv2d { stride: 2, ..plain },
        "conv3x3_stride2_asym" => Conv2d { stride: 2, dilation: 1, pad: [0, 1, 0, 1] },
        "conv3x3_dilated" => Conv2d { stride: 1, dilation: 4, pad: [4; 4] },
        "conv1x1" | "linear" => Conv2d::padded(0),
        _ => plain,
    }
}

/// The two factors of the asymmetric kernel of `upfirdn_general`, an outer product: from a row and a column.
fn general_kernel() -> [Vec<f32>; 2] {
    let path = shared("fixtures/fir_kernels.safetensors").expect("it stands beside ops.safetensors");
    let kernel = &read_safetensors(&path)["KA"];
    let width = kernel.shape[1];
    let pivot = kernel.values.iter().position(|v| *v != 0.0).expect("a kernel");
    let row = kernel.values[pivot / width * width..][..width].iter().map(|v| *v as f32).collect();
    let column = (0..kernel.shape[0])
        .map(|y| (kernel.values[y * width + pivot % width] / kernel.values[pivot]) as f32)
        .collect();
    [column, row]
}

fn apply<E: Engine>(e: &mut E, op: &str, inputs: &HashMap<String, E::Value>) -> Result<E::Value> {
    let x = inputs.get("x").or(inputs.get("q")).expect("an input");
    let fir = [1.0, 3.0, 3.0, 1.0];
    match op {
        "group_norm" | "group_norm_silu" => {
            let (groups, act) =
                if op == "group_norm" { (4, Activation::Identity) } else { (8, Activation::Swish) };
            e.group_norm(x, &inputs["w"], &inputs["b"], &GroupNorm { groups, eps: 1e-6, act })
        }
        "fir_up2" => e.upfirdn2d(x, &Upfirdn2d::upsample(&fir)),
        "fir_down2" => e.upfirdn2d(x, &Upfirdn2d::downsample(&fir)),
        "upfirdn_general" => {
            e.upfirdn2d(x, &Upfirdn2d { kernel: general_kernel(), up: 3, down: 2, pad: [2, 3, 2, 3] })
        }
        "softmax" => e.softmax(x),
        "attention" => {
            let alpha = (e.shape(x).c() as f32).powf(-0.5);
            let scores =
                e.matmul(x, &inputs["k"], Matmul { a_transposed: false, b_transposed: true, alpha })?;
            let weights = e.softmax(&scores)?;
            e.matmul(&weights, &inputs["v"], Matmul { a_transposed: false, b_transposed: false, alpha: 1.0 })
        }
        _ => e.conv2d(x, &inputs["w"], Some(&inputs["b"]), &conv(op)),
    }
}

/// A fixture's array in this crate's layout: `[n, h, w, c]`; weights (`w` of a convolution or a dense layer,
/// OIHW or OI) `[kh, kw, c_in, c_out]` with rows of zeros up to a multiple of 4.
fn ours(op: &str, name: &str, array: &Reference) -> (Shape, Vec<f64>) {
    match (op, name, array.shape.as_slice()) {
        (_, "w", &[o, i, kh, kw]) => weights(kh, kw, i, o, &array.permuted(&[2, 3, 1, 0]).values),
        (_, "w", &[o, i]) => weights(1, 1, i, o, &array.permuted(&[1, 0]).values),
        ("softmax", _, &[rows, columns]) => (Shape::new(1, 1, rows, columns), array.values.clone()),
        ("attention", _, &[n, c, h, w]) => (Shape::new(n, 1, h * w, c), array.permuted(&[0, 2, 3, 1]).values),
        (_, _, &[len]) => (Shape::vector(len), array.values.clone()),
        (_, _, &[n, c]) => (Shape::new(n, 1, 1, c), array.values.clone()),
        (_, _, &[n, c, h, w]) => (Shape::new(n, h, w, c), array.permuted(&[0, 2, 3, 1]).values),
        (_, _, shape) => panic!("{op}: {shape:?}"),
    }
}

fn weights(kh: usize, kw: usize, ci: usize, co: usize, values: &[f64]) -> (Shape, Vec<f64>) {
    let shape = weight_shape(kh, kw, ci, co);
    let tap = |values: &[f64]| [values, &vec![0.0; (shape.w() - ci) * co]].concat();
    (shape, values.chunks(ci * co).flat_map(tap).collect())
}

fn upload((shape, values): (Shape, Vec<f64>)) -> Tensor {
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    Tensor::from_slice(gpu(), shape, &values).expect("an upload")
}

fn assert_matches(what: &str, actual: &Tensor, (shape, expected): (Shape, Vec<f64>)) {
    assert_eq!(actual.shape(), shape, "{what}");
    let error = relative_error(&actual.read().expect("a download"), &expected);
    assert!(error < 2e-6, "{what}: relative error {error:e}");
}

/// The arrays `op/kind/NAME`, by name.
fn group<'a>(all: &'a HashMap<String, Reference>, op: &str, kind: &str) -> HashMap<String, &'a Reference> {
    let prefix = format!("{op}/{kind}/");
    all.iter().filter_map(|(name, array)| Some((name.strip_prefix(&prefix)?.to_string(), array))).collect()
}

#[test]
fn every_primitive_agrees_forward_adjoint_and_tangent() {
    let Some(path) = shared("fixtures/ops.safetensors") else { return };
    let all = read_safetensors(&path);
    for op in OPS {
        let inputs = group(&all, op, "in");
        let out = ours(op, "out", &all[&format!("{op}/out")]);

        let mut tape = Tape::new();
        let variables: HashMap<_, _> = inputs
            .iter()
            .map(|(name, array)| (name.clone(), tape.variable(&upload(ours(op, name, array)))))
            .collect();
        let y = apply(&mut tape, op, &variables).expect(op);
        assert_matches(&format!("{op} forward"), y.tensor(), out);
        let seed = upload(ours(op, "out", &all[&format!("{op}/out_cotangent")]));
        let mut gradients = tape.backward(&y, seed).expect(op);
        for (name, array) in group(&all, op, "grad") {
            let gradient = gradients.take(&variables[&name]).expect("a gradient");
            assert_matches(&format!("{op} adjoint in {name}"), &gradient, ours(op, &name, array));
        }

        let tangents = group(&all, op, "tangent");
        let mut dual = Dual::new(Eager, 1);
        let variables: HashMap<_, _> = inputs
            .iter()
            .map(|(name, array)| {
                let parts = [array, tangents[name]].map(|array| upload(ours(op, name, array)));
                let stack = tweedie::kernels::layout::stack(&[&parts[0], &parts[1]]).expect("a stack");
                (name.clone(), dual.variable(stack))
            })
            .collect();
        let y = apply(&mut dual, op, &variables).expect(op);
        let expected = ours(op, "out", &all[&format!("{op}/out_tangent")]);
        let n = y.stack().shape().n() / 2;
        let tangent = tweedie::kernels::layout::samples(y.stack(), n, n).expect("a part");
        assert_matches(&format!("{op} tangent"), &tangent, expected);
    }
}
