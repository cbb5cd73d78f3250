//! Batched matrix product. Matrices are `[n, 1, rows, columns]`, a batch of `n`.

use super::gemm::{self, Product};
use super::{Result, check, check_shape, shader};
use crate::gpu::{Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("matmul");

/// The form of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matmul {
    /// The first operand is `[n, 1, k, m]`.
    pub a_transposed: bool,
    /// The second operand is `[n, 1, n, k]`.
    pub b_transposed: bool,
    /// Factor of the product.
    pub alpha: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    layers: u32,
    m: u32,
    n: u32,
    k: u32,
    alpha: f32,
}

/// `alpha · a · b`.
///
/// # Errors
/// If the shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor, spec: Matmul) -> Result<Tensor> {
    let extents = |t: &Tensor, transposed| match transposed {
        false => (t.shape().w(), t.shape().c()),
        true => (t.shape().c(), t.shape().w()),
    };
    let ((m, k), (k_b, n)) = (extents(a, spec.a_transposed), extents(b, spec.b_transposed));
    let layers = a.shape().n();
    let fits = k == k_b && layers == b.shape().n() && a.shape().h() == 1 && b.shape().h() == 1;
    check("matmul", fits, || format!("{} and {} have no product {spec:?}", a.shape(), b.shape()))?;
    let c = Tensor::empty(a.gpu(), Shape::new(layers, 1, m, n), a.element())?;
    let params = Params { layers: layers as u32, m: m as u32, n: n as u32, k: k as u32, alpha: spec.alpha };
    let variant = variant(spec.a_transposed, spec.b_transposed).stored(a.element());
    let product = Product { layers, rows: m, columns: n.div_ceil(4), depth: k.next_multiple_of(4) };
    gemm::run(a.gpu(), variant, &[a, b, &c], &params, product)?;
    Ok(c)
}

fn variant(a_transposed: bool, b_transposed: bool) -> Variant {
    let shader = Variant::new(SHADER);
    shader.with("A_TRANSPOSED", a_transposed.into()).with("B_TRANSPOSED", b_transposed.into())
}

pub(super) fn variants() -> Vec<Variant> {
    let forms = [(false, false), (false, true), (true, false), (true, true)];
    forms.into_iter().flat_map(|(a, b)| gemm::variants(&variant(a, b))).collect()
}

/// The adjoints of [`matmul`] in its operands: `(da, db)` from `dc`.
///
/// # Errors
/// If the shapes do not fit.
pub fn gradients(a: &Tensor, b: &Tensor, dc: &Tensor, spec: Matmul) -> Result<(Tensor, Tensor)> {
    let (ta, tb, alpha) = (spec.a_transposed, spec.b_transposed, spec.alpha);
    let product =
        |x: &Tensor, tx, y: &Tensor, ty| matmul(x, y, Matmul { a_transposed: tx, b_transposed: ty, alpha });
    // c = op(a) op(b): d op(a) = dc op(b)ᵀ, d op(b) = op(a)ᵀ dc; transposed where the operand is.
    let da = if ta { product(b, tb, dc, true)? } else { product(dc, false, b, !tb)? };
    let db = if tb { product(dc, true, a, ta)? } else { product(a, !ta, dc, false)? };
    check_shape("matmul", "a's gradient", &da, a.shape())?;
    check_shape("matmul", "b's gradient", &db, b.shape())?;
    Ok((da, db))
}
