//! Group normalisation with the activation fused, its adjoint, its tangent, and the adjoint of its tangent.

use super::elementwise::Activation;
use super::reduce::{self, Axis};
use super::stack::primal_samples;
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("group_norm");

/// About how many operations a `vec4` takes, activation included.
const OPERATIONS: u64 = 64;

/// The groups of channels, and the activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNorm {
    /// The number of groups, each of the same number of neighbouring channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The activation of the scaled and shifted values.
    pub act: Activation,
}

/// The statistics that the adjoint needs along with the input: mean and 1 / standard deviation,
/// `[n, 1, 2, c]`.
#[derive(Clone)]
pub struct Statistics(Tensor);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    samples: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    chunks: u32,
    chunk: u32,
    eps: f32,
    rows: u32,
    v_first: u32,
    y_first: u32,
}

/// `RUN` of the shader.
const RUN: usize = 4;

/// The parameters that all passes of one normalisation share.
#[derive(Clone, Copy)]
struct Pass {
    params: Params,
    act: Activation,
    element: Element,
    c4: usize,
}

impl Pass {
    fn new(spec: &GroupNorm, x: &Tensor, samples: usize) -> Result<Pass> {
        let shape = x.shape();
        let (channels, groups) = (shape.c(), spec.groups);
        check("group_norm", groups > 0 && channels % groups == 0, || {
            format!("{channels} channels do not divide into {groups} groups")
        })?;
        let pixels = shape.h() * shape.w();
        // At least 64 pixels in a chunk, and few enough chunks for one invocation to add up those of a group.
        let chunk = (pixels * (channels / groups)).div_ceil(8192).max(64);
        let params = Params {
            samples: samples as u32,
            pixels: pixels as u32,
            channels: channels as u32,
            groups: groups as u32,
            chunks: pixels.div_ceil(chunk) as u32,
            chunk: chunk as u32,
            eps: spec.eps,
            rows: 0,
            v_first: 0,
            y_first: 0,
        };
        Ok(Pass { params, act: spec.act, element: x.element(), c4: shape.c4() })
    }

    /// The same pass over `rows` cotangents or tangents that begin at sample `first`.
    fn over(self, rows: usize, first: usize) -> Pass {
        let params =
            Params { rows: rows as u32, v_first: first as u32, y_first: first as u32, ..self.params };
        Pass { params, ..self }
    }

    fn act(self, act: Activation) -> Pass {
        Pass { act, ..self }
    }

    fn run(&self, entry: &'static str, adjoint: bool, tensors: &[&Tensor], owned: usize) -> Result<()> {
        let variant = variant(self.act, adjoint).stored(self.element);
        let work = OPERATIONS
            * (self.params.samples.max(self.params.rows) * self.params.pixels) as u64
            * self.c4 as u64;
        launch(tensors[0].gpu(), variant, entry, tensors, &self.params, Extent::Invocations(owned), work)
    }

    fn chunks_of(&self, rows: u32) -> usize {
        (rows * self.params.chunks) as usize * self.c4
    }

    fn runs_of(&self, rows: u32) -> usize {
        rows as usize * (self.params.pixels as usize).div_ceil(RUN) * self.c4
    }

    fn two_per_channel(&self, x: &Tensor, rows: u32, chunks: u32) -> Result<Tensor> {
        let shape = Shape::new(rows as usize, chunks as usize, 2, self.params.channels as usize);
        Ok(Tensor::empty(x.gpu(), shape, Element::F32)?)
    }

    fn statistics(&self, x: &Tensor) -> Result<Statistics> {
        let p = self.params;
        let moments = self.two_per_channel(x, p.samples, p.chunks)?;
        let statistics = self.two_per_channel(x, p.samples, 1)?;
        self.run("moments", false, &[x, &moments], self.chunks_of(p.samples))?;
        self.run("combine", false, &[&moments, &statistics], (p.samples * p.groups) as usize)?;
        Ok(Statistics(statistics))
    }

    /// Group means of `v` and of `v x̂`, and the sums per channel behind them.
    fn means(&self, adjoint: bool, at: Point<'_>, v: &Tensor) -> Result<Means> {
        let p = self.params;
        let shape = Shape::new(2, p.rows as usize, p.chunks as usize, p.channels as usize);
        let sums = Tensor::empty(v.gpu(), shape, Element::F32)?;
        let [x, statistics, weight, bias] = at.operands();
        let operands = [x, statistics, weight, bias, v, &sums];
        self.run("project_sums", adjoint, &operands, self.chunks_of(p.rows))?;
        let means = self.combine_means(adjoint, &sums, at.affine)?;
        Ok(Means { means, sums })
    }

    fn combine_means(&self, adjoint: bool, sums: &Tensor, affine: Affine<'_>) -> Result<Tensor> {
        let p = self.params;
        let means = self.two_per_channel(sums, p.rows, 1)?;
        self.run("project_combine", adjoint, &[sums, &means, affine.weight], (p.rows * p.groups) as usize)?;
        Ok(means)
    }

    /// `J v` or its adjoint, from the group means of `v`, written to the samples of `out` that `v` has in its
    /// stack.
    fn project(&self, adjoint: bool, at: Point<'_>, v: &Tensor, means: &Tensor, out: &Tensor) -> Result<()> {
        let [x, statistics, weight, bias] = at.operands();
        let operands = [x, statistics, weight, bias, v, means, out];
        self.run("project", adjoint, &operands, self.runs_of(self.params.rows))
    }
}

/// The point at which the normalisation is differentiated.
#[derive(Clone, Copy)]
struct Point<'a> {
    x: &'a Tensor,
    statistics: &'a Statistics,
    affine: Affine<'a>,
}

impl<'a> Point<'a> {
    fn operands(self) -> [&'a Tensor; 4] {
        [self.x, &self.statistics.0, self.affine.weight, self.affine.bias]
    }
}

fn variant(act: Activation, adjoint: bool) -> Variant {
    Variant::new(SHADER).with("ACT", act.code()).with("ADJOINT", adjoint.into())
}

pub(super) fn variants() -> Vec<Variant> {
    Activation::ALL.into_iter().flat_map(|act| [false, true].map(|adjoint| variant(act, adjoint))).collect()
}

struct Means {
    means: Tensor,
    sums: Tensor,
}

/// The weight and the bias, `[c]` each.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// Multiplies the normalised values.
    pub weight: &'a Tensor,
    /// Added afterwards.
    pub bias: &'a Tensor,
}

/// `y = act(weight · x̂ + bias)` of a stack's primal, and `J ẋ` of its `probes` tangents.
///
/// # Errors
/// If the shapes do not fit.
pub fn forward(
    x: &Tensor,
    affine: Affine<'_>,
    spec: &GroupNorm,
    probes: usize,
) -> Result<(Tensor, Statistics)> {
    check_affine(x, affine)?;
    let samples = primal_samples("group_norm", x, probes)?;
    let pass = Pass::new(spec, x, samples)?;
    let statistics = pass.statistics(x)?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let operands = [x, &statistics.0, affine.weight, affine.bias, &y];
    pass.run("apply", false, &operands, pass.runs_of(pass.params.samples))?;
    if probes > 0 {
        let tangents = pass.over(probes * samples, samples);
        let at = Point { x, statistics: &statistics, affine };
        let m = tangents.means(false, at, x)?;
        tangents.project(false, at, x, &m.means, &y)?;
    }
    Ok((y, statistics))
}

/// The destinations of the gradients in weight and bias; `true` adds to their contents.
#[derive(Clone, Copy)]
pub struct AffineGrad<'a> {
    /// The weight's gradient, `[c]`.
    pub weight: (&'a Tensor, bool),
    /// The bias's gradient, `[c]`.
    pub bias: (&'a Tensor, bool),
}

/// The adjoint of [`forward`] without tangents: returns the gradient in `x`, and writes those in weight and
/// bias to `into`.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(
    x: &Tensor,
    affine: Affine<'_>,
    statistics: &Statistics,
    dy: &Tensor,
    spec: &GroupNorm,
    into: AffineGrad<'_>,
) -> Result<Tensor> {
    check_affine(x, affine)?;
    check_shape("group_norm", "the output's gradient", dy, x.shape())?;
    let pass = Pass::new(spec, x, x.shape().n())?.over(x.shape().n(), 0);
    let at = Point { x, statistics, affine };
    let m = pass.means(true, at, dy)?;
    let dx = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    pass.project(true, at, dy, &m.means, &dx)?;
    affine_gradients(&m.sums, into)?;
    Ok(dx)
}

/// Sums over samples and chunks: of the cotangents for the bias, of the cotangents times x̂ for the weight.
fn affine_gradients(sums: &Tensor, into: AffineGrad<'_>) -> Result<()> {
    let shape = sums.shape();
    let length = shape.h() * shape.w();
    let axis = |half| Axis { first: half * length * shape.c4(), outer: 1, length, inner: shape.c4() };
    reduce::sum_axis(sums, axis(0), into.bias.0, into.bias.1)?;
    reduce::sum_axis(sums, axis(1), into.weight.0, into.weight.1)
}

/// The adjoint of [`forward`] on a stack `[x; v₁; …; v_K]` with `probes` tangents, without activation, from
/// the cotangents `[dy; u₁; …; u_K]`. With the Jacobian J = ∂y/∂x, which is symmetric up to the weight, the
/// cotangent of each vₖ is Jᵀ uₖ, and that of x is Jᵀ dy + Σₖ ∂(uₖ · J vₖ)/∂x (`shaders/group_norm.wgsl`,
/// `curvature`).
///
/// # Errors
/// If the shapes do not fit, or if there is an activation.
pub fn backward_stack(
    x: &Tensor,
    affine: Affine<'_>,
    statistics: &Statistics,
    dy: &Tensor,
    spec: &GroupNorm,
    probes: usize,
    into: AffineGrad<'_>,
) -> Result<Tensor> {
    if probes == 0 {
        return backward(x, affine, statistics, dy, spec, into);
    }
    check_affine(x, affine)?;
    check_shape("group_norm", "the output's gradient", dy, x.shape())?;
    check("group_norm", spec.act == Activation::Identity, || "a stack's adjoint takes no activation".into())?;
    let samples = primal_samples("group_norm", x, probes)?;
    let rows = probes * samples;
    let whole = Pass::new(spec, x, samples)?;
    let at = Point { x, statistics, affine };
    let dx = Tensor::empty(x.gpu(), x.shape(), x.element())?;

    // The primal's cotangent through J, as without tangents.
    let primal = whole.over(samples, 0);
    let m = primal.means(true, at, dy)?;
    primal.project(true, at, dy, &m.means, &dx)?;
    affine_gradients(&m.sums, into)?;

    // The tangents' cotangents u through J, which is symmetric.
    let tangents = whole.over(rows, samples);
    let u = tangents.means(true, at, dy)?;
    tangents.project(true, at, dy, &u.means, &dx)?;

    // The derivative of u · J v in x, through J.
    let v = tangents.means(false, at, x)?;
    let uv_sums = Tensor::empty(x.gpu(), v.sums.shape(), Element::F32)?;
    tangents.run("curvature_sums", true, &[dy, x, &uv_sums], tangents.chunks_of(rows as u32))?;
    let uv = tangents.combine_means(true, &uv_sums, affine)?;
    let operands = [dy, x, affine.weight, &u.means, &v.means, &uv, x, &dx, &statistics.0];
    tangents.run("curvature", true, &operands, samples * x.shape().sample_vec4s())?;

    // The weight also multiplies J v: its gradient gains Σ u · (J v), with J v at weight 1 and without
    // activation.
    let ones = Tensor::from_slice(x.gpu(), affine.weight.shape(), &vec![1.0; x.shape().c()])?;
    let plain = Point { affine: Affine { weight: &ones, bias: affine.bias }, ..at };
    let jv = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    tangents.act(Activation::Identity).project(false, plain, x, &v.means, &jv)?;
    tangents.run("curvature_sums", true, &[dy, &jv, &uv_sums], tangents.chunks_of(rows as u32))?;
    let length = rows * tangents.params.chunks as usize;
    let axis = Axis { first: 0, outer: 1, length, inner: x.shape().c4() };
    reduce::sum_axis(&uv_sums, axis, into.weight.0, true)?;
    Ok(dx)
}

fn check_affine(x: &Tensor, affine: Affine<'_>) -> Result<()> {
    let expected = Shape::vector(x.shape().c());
    check_shape("group_norm", "the weight", affine.weight, expected)?;
    check_shape("group_norm", "the bias", affine.bias, expected)
}
