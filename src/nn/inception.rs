//! Inception v3 (Szegedy 2016) as FID uses it (Heusel 2017): TensorFlow's network of December 2015 with 1008
//! classes. It differs from later ones: average pools do not count the padding, and the last block pools by the
//! maximum. It is only evaluated, so it calls kernels and no engine. Batch norm is folded into the
//! convolutions.

use crate::gpu::Gpu;
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::pool::{self, Pool, Pooled};
use crate::kernels::resize::{self, Align};
use crate::kernels::{KernelError, Result, check, layout};
use crate::tensor::{Shape, Tensor};

/// The side of the images that the network takes.
const SIZE: usize = 299;
/// Length of the features.
const FEATURES: usize = 2048;
/// Number of the logits.
const CLASSES: usize = 1008;
/// Added to the variance by batch norm.
const EPS: f64 = 1e-3;

/// The way from an image to the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// TensorFlow 1's resizing, levels as (x − 128) / 128: the original FID, torch-fidelity's and EDM's.
    TensorFlow,
    /// Resizing between half-pixel centres, 2 x − 1 for x in [0, 1]: pytorch-fid's.
    PyTorch,
}

/// The network on a device.
pub struct Inception {
    gpu: Gpu,
    blocks: Vec<(&'static str, Block)>,
    /// Of the logits, `[1, 1, 2048, 1008]`.
    weight: Tensor,
}

/// The outputs of the network.
pub struct Outputs {
    /// The mean of the last block over its pixels, `[n, 1, 1, 2048]`.
    pub features: Tensor,
    /// The logits without their bias, which the original Inception score leaves out, `[n, 1, 1, 1008]`.
    pub logits: Tensor,
}

/// A part of the network.
enum Block {
    /// Convolution, batch norm and ReLU.
    Conv(Conv),
    Pool(Pool),
    /// Branches with one input, whose outputs are concatenated.
    Join(Vec<Vec<Block>>),
}

struct Conv {
    /// `[kh, kw, c_in, c_out]`.
    weight: Tensor,
    bias: Tensor,
    spec: Conv2d,
}

/// A reader of a checkpoint's tensors: from a name and a shape to values.
pub type TensorReader<'a, E> = dyn FnMut(&str, &[usize]) -> std::result::Result<Vec<f32>, E> + 'a;

impl Inception {
    /// The network with the tensors of a checkpoint: `read` returns a tensor by its name and shape. Names are
    /// those of torchvision's `Inception3`, as in the files of pytorch-fid and torch-fidelity.
    ///
    /// # Errors
    /// The errors of `read`; if the device has no room.
    pub fn build<E: From<KernelError>>(
        gpu: &Gpu,
        read: &mut TensorReader<'_, E>,
    ) -> std::result::Result<Inception, E> {
        let mut b = Builder { gpu, read };
        let mean = || Block::Pool(Pool { pooled: Pooled::Mean, window: 3, stride: 1, pad: 1 });
        let largest = || Block::Pool(Pool { pooled: Pooled::Largest, window: 3, stride: 1, pad: 1 });
        let blocks = vec![
            ("Conv2d_1a_3x3", b.strided("Conv2d_1a_3x3", 3, 32)?),
            ("Conv2d_2a_3x3", b.conv("Conv2d_2a_3x3", [32, 32], [3, 3], 1, [0, 0])?),
            ("Conv2d_2b_3x3", b.same("Conv2d_2b_3x3", 32, 64, [3, 3])?),
            ("MaxPool_1", halved()),
            ("Conv2d_3b_1x1", b.same("Conv2d_3b_1x1", 64, 80, [1, 1])?),
            ("Conv2d_4a_3x3", b.conv("Conv2d_4a_3x3", [80, 192], [3, 3], 1, [0, 0])?),
            ("MaxPool_2", halved()),
            ("Mixed_5b", b.a("Mixed_5b", 192, 32, mean())?),
            ("Mixed_5c", b.a("Mixed_5c", 256, 64, mean())?),
            ("Mixed_5d", b.a("Mixed_5d", 288, 64, mean())?),
            ("Mixed_6a", b.b("Mixed_6a", 288)?),
            ("Mixed_6b", b.c("Mixed_6b", 768, 128, mean())?),
            ("Mixed_6c", b.c("Mixed_6c", 768, 160, mean())?),
            ("Mixed_6d", b.c("Mixed_6d", 768, 160, mean())?),
            ("Mixed_6e", b.c("Mixed_6e", 768, 192, mean())?),
            ("Mixed_7a", b.d("Mixed_7a", 768)?),
            ("Mixed_7b", b.e("Mixed_7b", 1280, mean())?),
            ("Mixed_7c", b.e("Mixed_7c", FEATURES, largest())?),
        ];
        let weight = b.dense("fc.weight")?;
        Ok(Inception { gpu: gpu.clone(), blocks, weight })
    }

    /// Length of the features.
    pub fn dimensions(&self) -> usize {
        FEATURES
    }

    /// Number of the logits.
    pub fn classes(&self) -> usize {
        CLASSES
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Features and logits of images `[n, h, w, 3]` of levels from 0 to 255.
    ///
    /// # Errors
    /// If the images have other channels, or the device refuses.
    pub fn run(&self, levels: &Tensor, input: Input) -> Result<Outputs> {
        let h = self.blocks.iter().try_fold(self.input(levels, input)?, |h, (_, block)| block.forward(&h))?;
        let features = elementwise::mean_pixels(&h)?;
        let logits = conv2d::forward(&features, &self.weight, None, 0, &Conv2d::padded(0))?;
        Ok(Outputs { features, logits })
    }

    /// The name and the output of every block for such images, in order; the first is the network's input.
    ///
    /// # Errors
    /// The errors of [`Inception::run`].
    pub fn blocks(&self, levels: &Tensor, input: Input) -> Result<Vec<(&'static str, Tensor)>> {
        let mut outputs = vec![("input", self.input(levels, input)?)];
        for (name, block) in &self.blocks {
            let output = block.forward(&outputs[outputs.len() - 1].1)?;
            outputs.push((name, output));
        }
        Ok(outputs)
    }

    /// The network's input `[n, 299, 299, 3]`.
    fn input(&self, levels: &Tensor, input: Input) -> Result<Tensor> {
        let shape = levels.shape();
        check("inception", shape.c() == 3, || format!("images {shape}, and the network takes [n, h, w, 3]"))?;
        let (align, scale) = match input {
            Input::TensorFlow => (Align::Origin, 1.0 / 128.0),
            Input::PyTorch => (Align::Centres, 2.0 / 255.0),
        };
        let resized = resize::aligned(levels, [SIZE, SIZE], align)?;
        elementwise::affine(&resized, scale, -1.0, shape.n())
    }
}

/// Max pooling to half the size, without padding.
fn halved() -> Block {
    Block::Pool(Pool { pooled: Pooled::Largest, window: 3, stride: 2, pad: 0 })
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Block::Conv(Conv { weight, bias, spec }) => {
                let y = conv2d::forward(x, weight, Some(bias), x.shape().n(), spec)?;
                elementwise::activate(&y, Activation::Relu, 0)
            }
            Block::Pool(spec) => pool::forward(x, spec),
            Block::Join(branches) => {
                let run =
                    |branch: &Vec<Block>| branch.iter().try_fold(x.clone(), |h, block| block.forward(&h));
                let mut outputs = branches.iter().map(run);
                let first = outputs.next().unwrap_or_else(|| Ok(x.clone()))?;
                outputs.try_fold(first, |joined, output| layout::concat(&joined, &output?))
            }
        }
    }
}

/// Reads the tensors of a checkpoint.
struct Builder<'a, E> {
    gpu: &'a Gpu,
    read: &'a mut TensorReader<'a, E>,
}

/// A block, or an error of the reader.
type Built<E> = std::result::Result<Block, E>;

impl<E: From<KernelError>> Builder<'_, E> {
    fn tensor(&self, shape: Shape, values: &[f32]) -> std::result::Result<Tensor, E> {
        Ok(Tensor::from_slice(self.gpu, shape, values).map_err(KernelError::from)?)
    }

    /// Convolution and batch norm: γ (w ∗ x − μ) / √(σ² + ε) + β is a convolution with weights w γ / √(σ² + ε)
    /// and the bias β − μ γ / √(σ² + ε).
    fn conv(
        &mut self,
        name: &str,
        [c_in, c_out]: [usize; 2],
        [kh, kw]: [usize; 2],
        stride: usize,
        [above, left]: [usize; 2],
    ) -> Built<E> {
        let weight = (self.read)(&format!("{name}.conv.weight"), &[c_out, c_in, kh, kw])?;
        let mut norm = |what: &str| (self.read)(&format!("{name}.bn.{what}"), &[c_out]);
        let (gamma, beta) = (norm("weight")?, norm("bias")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        let scales: Vec<f64> =
            gamma.iter().zip(&variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + EPS).sqrt()).collect();
        let shape = conv2d::weight_shape(kh, kw, c_in, c_out);
        let mut memory = vec![0.0; shape.len()];
        for (i, value) in weight.iter().enumerate() {
            let (o, k, tap) = (i / (c_in * kh * kw), i / (kh * kw) % c_in, i % (kh * kw));
            memory[(tap * shape.w() + k) * c_out + o] = (f64::from(*value) * scales[o]) as f32;
        }
        let shift = |o: usize| (f64::from(beta[o]) - f64::from(mean[o]) * scales[o]) as f32;
        let bias: Vec<f32> = (0..c_out).map(shift).collect();
        Ok(Block::Conv(Conv {
            weight: self.tensor(shape, &memory)?,
            bias: self.tensor(Shape::vector(c_out), &bias)?,
            spec: Conv2d { stride, dilation: 1, pad: [above, above, left, left] },
        }))
    }

    /// A convolution that keeps the size.
    fn same(&mut self, name: &str, c_in: usize, c_out: usize, window: [usize; 2]) -> Built<E> {
        self.conv(name, [c_in, c_out], window, 1, window.map(|k| k / 2))
    }

    /// A 3 × 3 convolution of stride 2 without padding.
    fn strided(&mut self, name: &str, c_in: usize, c_out: usize) -> Built<E> {
        self.conv(name, [c_in, c_out], [3, 3], 2, [0, 0])
    }

    /// A branch of convolutions that keep the size: the name, the output channels and the window of each.
    fn branch(
        &mut self,
        block: &str,
        mut c_in: usize,
        convs: &[(&str, usize, [usize; 2])],
    ) -> std::result::Result<Vec<Block>, E> {
        let mut branch = Vec::new();
        for (name, c_out, window) in convs {
            branch.push(self.same(&format!("{block}.{name}"), c_in, *c_out, *window)?);
            c_in = *c_out;
        }
        Ok(branch)
    }

    /// Pooling and a 1 × 1 convolution.
    fn pooled(
        &mut self,
        block: &str,
        c_in: usize,
        c_out: usize,
        pool: Block,
    ) -> std::result::Result<Vec<Block>, E> {
        Ok(vec![pool, self.same(&format!("{block}.branch_pool"), c_in, c_out, [1, 1])?])
    }

    /// torchvision's `InceptionA`.
    fn a(&mut self, name: &str, c: usize, pooled: usize, pool: Block) -> Built<E> {
        Ok(Block::Join(vec![
            self.branch(name, c, &[("branch1x1", 64, [1, 1])])?,
            self.branch(name, c, &[("branch5x5_1", 48, [1, 1]), ("branch5x5_2", 64, [5, 5])])?,
            self.branch(
                name,
                c,
                &[
                    ("branch3x3dbl_1", 64, [1, 1]),
                    ("branch3x3dbl_2", 96, [3, 3]),
                    ("branch3x3dbl_3", 96, [3, 3]),
                ],
            )?,
            self.pooled(name, c, pooled, pool)?,
        ]))
    }

    /// torchvision's `InceptionB`, which halves the size.
    fn b(&mut self, name: &str, c: usize) -> Built<E> {
        let first = vec![self.strided(&format!("{name}.branch3x3"), c, 384)?];
        let mut second =
            self.branch(name, c, &[("branch3x3dbl_1", 64, [1, 1]), ("branch3x3dbl_2", 96, [3, 3])])?;
        second.push(self.strided(&format!("{name}.branch3x3dbl_3"), 96, 96)?);
        Ok(Block::Join(vec![first, second, vec![halved()]]))
    }

    /// torchvision's `InceptionC`, with `inner` channels inside the branches.
    fn c(&mut self, name: &str, c: usize, inner: usize, pool: Block) -> Built<E> {
        let (row, column) = ([1, 7], [7, 1]);
        Ok(Block::Join(vec![
            self.branch(name, c, &[("branch1x1", 192, [1, 1])])?,
            self.branch(
                name,
                c,
                &[("branch7x7_1", inner, [1, 1]), ("branch7x7_2", inner, row), ("branch7x7_3", 192, column)],
            )?,
            self.branch(
                name,
                c,
                &[
                    ("branch7x7dbl_1", inner, [1, 1]),
                    ("branch7x7dbl_2", inner, column),
                    ("branch7x7dbl_3", inner, row),
                    ("branch7x7dbl_4", inner, column),
                    ("branch7x7dbl_5", 192, row),
                ],
            )?,
            self.pooled(name, c, 192, pool)?,
        ]))
    }

    /// torchvision's `InceptionD`, which halves the size.
    fn d(&mut self, name: &str, c: usize) -> Built<E> {
        let mut first = self.branch(name, c, &[("branch3x3_1", 192, [1, 1])])?;
        first.push(self.strided(&format!("{name}.branch3x3_2"), 192, 320)?);
        let mut second = self.branch(
            name,
            c,
            &[("branch7x7x3_1", 192, [1, 1]), ("branch7x7x3_2", 192, [1, 7]), ("branch7x7x3_3", 192, [7, 1])],
        )?;
        second.push(self.strided(&format!("{name}.branch7x7x3_4"), 192, 192)?);
        Ok(Block::Join(vec![first, second, vec![halved()]]))
    }

    /// torchvision's `InceptionE`, whose inner branches end in two convolutions each.
    fn e(&mut self, name: &str, c: usize, pool: Block) -> Built<E> {
        let mut fork = |stem: &str| -> Built<E> {
            Ok(Block::Join(vec![
                self.branch(name, 384, &[(&format!("{stem}a"), 384, [1, 3])])?,
                self.branch(name, 384, &[(&format!("{stem}b"), 384, [3, 1])])?,
            ]))
        };
        let forks = [fork("branch3x3_2")?, fork("branch3x3dbl_3")?];
        let [first, second] = forks;
        let mut single = self.branch(name, c, &[("branch3x3_1", 384, [1, 1])])?;
        single.push(first);
        let mut double =
            self.branch(name, c, &[("branch3x3dbl_1", 448, [1, 1]), ("branch3x3dbl_2", 384, [3, 3])])?;
        double.push(second);
        Ok(Block::Join(vec![
            self.branch(name, c, &[("branch1x1", 320, [1, 1])])?,
            single,
            double,
            self.pooled(name, c, 192, pool)?,
        ]))
    }

    /// The weights of the last layer.
    fn dense(&mut self, name: &str) -> std::result::Result<Tensor, E> {
        let weight = (self.read)(name, &[CLASSES, FEATURES])?;
        let at = |i: usize| weight[i % CLASSES * FEATURES + i / CLASSES];
        let transposed: Vec<f32> = (0..weight.len()).map(at).collect();
        self.tensor(conv2d::weight_shape(1, 1, FEATURES, CLASSES), &transposed)
    }
}
