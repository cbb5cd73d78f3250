//! Shader assembly: from the `.wgsl` files in `shaders/` to the module that a pipeline is built of.
//!
//! A file is WGSL that any editor understands, with two conventions on top:
//!
//! * a line `// include FOLDER/NAME.wgsl` stands for that file, once;
//! * a line `const NAME: TYPE = DEFAULT;` at the top level may be given another value by a [`Variant`], and
//!   `alias Element = f32;` another storage type. Arithmetic is f32 whatever the storage is.

use super::error::GpuError;
use std::borrow::Cow;
use wgpu::naga;

macro_rules! shaders {
    ($($(#[$doc:meta])* $name:ident = $file:literal),+ $(,)?) => {
        /// The shader files, one per kernel family.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Shader { $($(#[$doc])* $name),+ }

        impl Shader {
            /// Every shader file.
            pub const ALL: &[Shader] = &[$(Shader::$name),+];

            /// The file's name without its ending.
            pub fn name(self) -> &'static str {
                match self { $(Shader::$name => $file),+ }
            }

            fn text(self) -> &'static str {
                match self { $(Shader::$name => include_str!(concat!("../../shaders/", $file, ".wgsl"))),+ }
            }
        }
    };
}

shaders! {
    /// Adam with clipping and the moving average.
    Adam = "adam",
    /// Concatenation, slices, copies.
    Concat = "concat",
    /// Convolution.
    Conv2d = "conv2d/forward",
    /// Its adjoint in the input.
    Conv2dGradInput = "conv2d/grad_input",
    /// Its adjoint in the weights.
    Conv2dGradWeight = "conv2d/grad_weight",
    /// Cross entropy.
    CrossEntropy = "cross_entropy",
    /// Dropout.
    Dropout = "dropout",
    /// What is done element by element.
    Elementwise = "elementwise",
    /// Fourier and sinusoidal embeddings.
    Embedding = "embedding",
    /// Group normalisation with its activation.
    GroupNorm = "group_norm",
    /// Probes and the contraction of the trace estimator.
    Hutchinson = "hutchinson",
    /// Known values put into a state.
    Impute = "impute",
    /// Inner products and errors of samples.
    InnerProduct = "inner_product",
    /// The Langevin step.
    Langevin = "langevin",
    /// Batched matrix product.
    Matmul = "matmul",
    /// Max pooling.
    MaxPool = "max_pool",
    /// The Metropolis–Hastings test.
    Metropolis = "metropolis",
    /// Noise into a tensor.
    Random = "random",
    /// Sums over an axis.
    Reduce = "reduce",
    /// Bilinear resampling.
    Resize = "resize",
    /// Measures the device's ceilings.
    Roofline = "roofline",
    /// Perturbation, and the losses of score matching.
    ScoreMatching = "score_matching",
    /// The reverse-time step.
    SdeStep = "sde_step",
    /// Softmax.
    Softmax = "softmax",
    /// FIR resampling.
    Upfirdn2d = "upfirdn2d",
}

/// A file that can be included: its name after the folder `shaders`, without its ending.
macro_rules! library {
    ($($file:literal),+ $(,)?) => {
        const LIBRARY: &[(&str, &str)] = &[$(($file, include_str!(concat!("../../shaders/", $file, ".wgsl")))),+];
    };
}

library! {
    "conv2d/geometry", "lib/activation", "lib/element", "lib/gemm", "lib/index", "lib/noise", "lib/normal",
    "lib/philox", "lib/sine",
}

/// How a tensor's elements are stored. Arithmetic and accumulation are f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Element {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point, where the adapter has it.
    F16,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
        }
    }
}

/// A shader file with its constants and storage type settled: what one module is compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    /// The file.
    pub shader: Shader,
    /// Values for the file's `const` lines.
    pub constants: Vec<(&'static str, u32)>,
    /// What `Element` stands for.
    pub element: Element,
}

impl Variant {
    /// The file with its own defaults, stored as f32.
    pub fn new(shader: Shader) -> Self {
        Variant { shader, constants: Vec::new(), element: Element::F32 }
    }

    /// The same with a constant set.
    pub fn with(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// The same with another storage type.
    pub fn stored(mut self, element: Element) -> Self {
        self.element = element;
        self
    }

    /// The WGSL text.
    ///
    /// # Errors
    /// [`GpuError::Shader`] if an include or a constant does not exist.
    pub fn assemble(&self) -> Result<String, GpuError> {
        let mut assembly =
            Assembly { variant: self, included: Vec::new(), settled: Vec::new(), text: String::new() };
        if self.element == Element::F16 {
            assembly.text.push_str("enable f16;\n");
        }
        assembly.append(self.shader.text())?;
        match self.constants.iter().find(|(name, _)| !assembly.settled.contains(name)) {
            Some((name, _)) => Err(self.fault(format!("it has no line `const {name}`"))),
            None => Ok(assembly.text),
        }
    }

    /// The module with one of its entry points and what that reaches: others may use what the device lacks.
    ///
    /// # Errors
    /// [`GpuError::Shader`] if the text does not assemble or parse, or has no such entry point.
    pub fn module(&self, entry: &str) -> Result<naga::Module, GpuError> {
        let text = self.assemble()?;
        let mut module =
            naga::front::wgsl::parse_str(&text).map_err(|e| self.fault(e.emit_to_string(&text)))?;
        module.entry_points.retain(|e| e.name == entry);
        if module.entry_points.is_empty() {
            return Err(self.fault(format!("it has no entry point `{entry}`")));
        }
        naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
        Ok(module)
    }

    /// An error about this variant.
    pub(super) fn fault(&self, reason: impl Into<String>) -> GpuError {
        GpuError::Shader {
            shader: format!("{}.wgsl {:?}", self.shader.name(), self.constants),
            reason: reason.into(),
        }
    }
}

struct Assembly<'a> {
    variant: &'a Variant,
    included: Vec<&'static str>,
    settled: Vec<&'static str>,
    text: String,
}

impl Assembly<'_> {
    fn append(&mut self, source: &str) -> Result<(), GpuError> {
        for line in source.lines() {
            match line.strip_prefix("// include ").and_then(|rest| rest.strip_suffix(".wgsl")) {
                Some(name) => self.include(name)?,
                None => {
                    let line = self.settle(line);
                    self.text.push_str(&line);
                    self.text.push('\n');
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, name: &str) -> Result<(), GpuError> {
        let Some(&(name, text)) = LIBRARY.iter().find(|(known, _)| *known == name) else {
            return Err(self.variant.fault(format!("there is no shaders/{name}.wgsl")));
        };
        if self.included.contains(&name) {
            return Ok(());
        }
        self.included.push(name);
        self.append(text)
    }

    /// The line, with the value that the variant gives to its constant or alias.
    fn settle<'l>(&mut self, line: &'l str) -> Cow<'l, str> {
        if let (Some(alias), Element::F16) = (line.strip_prefix("alias Element"), self.variant.element) {
            return format!("alias Element{}", alias.replace("f32", "f16")).into();
        }
        let declared = line.strip_prefix("const ").and_then(|rest| rest.split_once(": "));
        let Some((name, rest)) = declared else { return line.into() };
        let Some(&(name, value)) = self.variant.constants.iter().find(|(known, _)| *known == name) else {
            return line.into();
        };
        self.settled.push(name);
        let kind = rest.split(' ').next().unwrap_or("u32");
        format!("const {name}: {kind} = {kind}({value}u);").into()
    }
}
