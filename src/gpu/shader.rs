//! Shader assembly: from WGSL text to the module that a pipeline is built of.
//!
//! A shader is WGSL that any editor understands, with two conventions on top:
//!
//! * a line `// include lib/NAME.wgsl` stands for that file of the folder `shaders`, once;
//! * a line `const NAME: TYPE = DEFAULT;` may be given another value by a [`Variant`], and
//!   `alias Element = f32;` another storage type. Arithmetic is f32 whatever the storage is.

use super::error::GpuError;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use wgpu::naga;

/// The text of one or more kernels that share bindings and constants.
///
/// Two shaders are equal if both their names and their texts are.
///
/// ```
/// use tweedie::gpu::{Shader, Variant};
///
/// const SCALE: Shader = Shader::new(
///     "scale",
///     "// include lib/index.wgsl
///     // ... bindings and entry points",
/// );
/// assert!(Variant::new(SCALE).assemble()?.contains("fn flat_index"));
/// # Ok::<(), tweedie::gpu::GpuError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Shader {
    name: &'static str,
    text: &'static str,
}

impl Shader {
    /// A shader with the conventions above: `name` appears in errors and profiles, `text` is often an
    /// `include_str!`.
    pub const fn new(name: &'static str, text: &'static str) -> Shader {
        Shader { name, text }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl PartialEq for Shader {
    fn eq(&self, other: &Shader) -> bool {
        // Each dispatch looks its pipeline up: the texts are compared only where two addresses hold one name.
        self.name == other.name && (std::ptr::eq(self.text, other.text) || self.text == other.text)
    }
}

impl Eq for Shader {}

impl Hash for Shader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Shader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The files that can be included: path below `shaders` without its ending, and text.
macro_rules! library {
    ($($file:literal),+ $(,)?) => {
        const LIBRARY: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../../shaders/", $file, ".wgsl")))),+];
    };
}

library! {
    "lib/activation", "lib/chunk", "lib/conv2d", "lib/element", "lib/gemm", "lib/index", "lib/noise", "lib/normal",
    "lib/philox", "lib/sine",
}

/// The storage type of a tensor's elements. Arithmetic and accumulation are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Element {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point, if the adapter has it.
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

/// A shader with its constants and storage type settled: the source of one module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The text.
    pub shader: Shader,
    /// Values for its `const` lines.
    pub constants: Vec<(&'static str, u32)>,
    /// The type `Element` of the text.
    pub element: Element,
}

impl Variant {
    /// The shader with its own defaults, stored as f32.
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
        assembly.append(self.shader.text)?;
        match self.constants.iter().find(|(name, _)| !assembly.settled.contains(name)) {
            Some((name, _)) => Err(self.fault(format!("it has no line `const {name}`"))),
            None => Ok(assembly.text),
        }
    }

    /// The module of one entry point and all that it uses, without the others, which may need features that
    /// the device lacks.
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
            match line.trim().strip_prefix("// include ").and_then(|rest| rest.strip_suffix(".wgsl")) {
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
            return Err(self.variant.fault(format!("there is no include {name}.wgsl")));
        };
        if self.included.contains(&name) {
            return Ok(());
        }
        self.included.push(name);
        self.append(text)
    }

    /// The line, with the variant's value of its constant or alias.
    fn settle<'l>(&mut self, line: &'l str) -> Cow<'l, str> {
        let text = line.trim_start();
        if let (Some(alias), Element::F16) = (text.strip_prefix("alias Element"), self.variant.element) {
            return format!("alias Element{}", alias.replace("f32", "f16")).into();
        }
        let declared = text.strip_prefix("const ").and_then(|rest| rest.split_once(": "));
        let Some((name, rest)) = declared else { return line.into() };
        let Some(&(name, value)) = self.variant.constants.iter().find(|(known, _)| *known == name) else {
            return line.into();
        };
        self.settled.push(name);
        let kind = rest.split(' ').next().unwrap_or("u32");
        format!("const {name}: {kind} = {kind}({value}u);").into()
    }
}
