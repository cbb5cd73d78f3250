//! Pipelines: compiled on first use, kept for the device's life, and on disk where the backend can.

use super::Binding;
use super::error::GpuError;
use super::faults::Faults;
use super::shader::Variant;
use crate::files::write_whole;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use wgpu::naga;

/// One entry point of one variant, ready to dispatch.
pub struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// Invocations in a workgroup.
    pub(super) workgroup: u32,
    pub(super) label: String,
    slots: Vec<Slot>,
}

/// A binding that an entry point declares.
struct Slot {
    /// Its size in bytes, with one element of an array whose length is not fixed.
    size: u64,
    writes: bool,
}

/// Whether a shader is compiled with tests of every index, bounds on every loop and workgroup memory that is
/// cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Checks {
    On,
    /// For shaders that need none, with the immediates and bindings of this launch.
    Off,
}

impl Pipeline {
    /// Checks the number and the sizes of bindings against those that the entry point declares, and that none
    /// that it writes shares a buffer with one that it only reads. wgpu reports these too, but to the device
    /// and not to the caller.
    pub(super) fn check(&self, bindings: &[Binding<'_>]) -> Result<(), String> {
        if bindings.len() != self.slots.len() {
            return Err(format!("it declares {} bindings and gets {}", self.slots.len(), bindings.len()));
        }
        for (i, (binding, slot)) in bindings.iter().zip(&self.slots).enumerate() {
            if binding.span() < slot.size {
                return Err(format!("binding {i} holds {} bytes, less than {}", binding.span(), slot.size));
            }
            let mut before = bindings.iter().zip(&self.slots).take(i);
            let shares = |(other, declared): (&Binding<'_>, &Slot)| {
                std::ptr::eq(other.buffer, binding.buffer) && declared.writes != slot.writes
            };
            if let Some(j) = before.position(shares) {
                return Err(format!("bindings {j} and {i} share memory, and one of them is written"));
            }
        }
        Ok(())
    }
}

/// A variant, its entry point, and whether it has run-time checks.
type Key = (Variant, &'static str, Checks);

/// All pipelines of one device.
pub(super) struct Pipelines {
    device: wgpu::Device,
    faults: Faults,
    checked: bool,
    pipelines: Mutex<HashMap<Key, Arc<Pipeline>>>,
    disk: Option<DiskCache>,
}

impl Pipelines {
    /// `checked`: whether every shader is compiled with run-time checks. This crate's kernels need none; the
    /// tests run both ways.
    pub(super) fn new(device: wgpu::Device, faults: Faults, info: &wgpu::AdapterInfo, checked: bool) -> Self {
        let disk = DiskCache::open(&device, info);
        Pipelines { device, faults, checked, pipelines: Mutex::default(), disk }
    }

    pub(super) fn get(
        &self,
        variant: &Variant,
        entry: &'static str,
        immediates: usize,
        checks: Checks,
    ) -> Result<Arc<Pipeline>, GpuError> {
        let checks = if self.checked { Checks::On } else { checks };
        let key = (variant.clone(), entry, checks);
        let mut pipelines = lock(&self.pipelines);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let compiled = self.faults.guard(|| self.compile(variant, entry, immediates, checks))?;
        // A lost device makes a shader fail as well: its own error says more.
        let pipeline = Arc::new(compiled.map_err(|error| self.faults.check().err().unwrap_or(error))?);
        pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// How many pipelines have been compiled.
    pub(super) fn count(&self) -> usize {
        lock(&self.pipelines).len()
    }

    fn compile(
        &self,
        variant: &Variant,
        entry: &'static str,
        immediates: usize,
        checks: Checks,
    ) -> Result<Pipeline, GpuError> {
        let module = variant.module(entry)?;
        let workgroup = module.entry_points[0].workgroup_size.iter().product();
        let declared = immediates_size(&module).map_err(|e| variant.fault(e.to_string()))?;
        if declared != immediates {
            return Err(
                variant.fault(format!("`{entry}` takes {declared} bytes of immediates, not {immediates}"))
            );
        }
        let slots = slots(&module).map_err(|reason| variant.fault(format!("`{entry}` {reason}")))?;
        let label = format!("{}.{entry}", variant.shader.name());
        let module = self.shader_module(variant, module, checks)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            // This crate's kernels write their workgroup memory before they read it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: checks == Checks::On,
                ..Default::default()
            },
            cache: self.disk.as_ref().map(|disk| &disk.cache),
        });
        for scope in [internal, scope] {
            if let Some(error) = pollster::block_on(scope.pop()) {
                return Err(variant.fault(error.to_string()));
            }
        }
        let layout = raw.get_bind_group_layout(0);
        Ok(Pipeline { raw, layout, workgroup, label, slots })
    }

    #[expect(unsafe_code, reason = "shaders without run-time checks are the driver's to trust")]
    fn shader_module(
        &self,
        variant: &Variant,
        module: naga::Module,
        checks: Checks,
    ) -> Result<wgpu::ShaderModule, GpuError> {
        let checks = match checks {
            Checks::On => wgpu::ShaderRuntimeChecks::checked(),
            Checks::Off => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        // SAFETY: `Checks::Off` comes from two places. `kernels::launch` is private to this crate's kernels:
        // they have no unbounded loop, divide by no zero and index only inside their bindings, for each
        // family checks its shapes and each invocation guards its edges; the kernel tests run with the checks
        // on as well. The caller of the unsafe `Kernel::launch_unchecked` has promised the same.
        let raw = unsafe {
            self.device.create_shader_module_trusted(
                wgpu::ShaderModuleDescriptor {
                    label: Some(variant.shader.name()),
                    source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
                },
                checks,
            )
        };
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(variant.fault(error.to_string())),
            None => Ok(raw),
        }
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            let _ = self.faults.guard(|| disk.save());
        }
    }
}

/// The bindings of a module's entry point: storage buffers of group 0, numbered without a gap.
/// [`Variant::module`] has removed those that it does not use.
fn slots(module: &naga::Module) -> Result<Vec<Slot>, String> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
    let mut slots = std::collections::BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(at) = &variable.binding else { continue };
        let naga::AddressSpace::Storage { access } = variable.space else {
            return Err(format!("binds something other than storage at {}", at.binding));
        };
        if at.group != 0 {
            return Err(format!("has a binding in group {}; all are in group 0", at.group));
        }
        let size = u64::from(layouter[variable.ty].size);
        slots.insert(at.binding, Slot { size, writes: access.contains(naga::StorageAccess::STORE) });
    }
    let numbered = slots.keys().copied().eq(0..slots.len() as u32);
    if slots.is_empty() || !numbered {
        return Err(format!("uses the bindings {:?}, not 0, 1, … without a gap", slots.keys()));
    }
    Ok(slots.into_values().collect())
}

/// The size of the immediates of a module's entry point.
fn immediates_size(module: &naga::Module) -> Result<usize, naga::proc::LayoutError> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx())?;
    let mut variables = module.global_variables.iter().map(|(_, variable)| variable);
    let immediates = variables.find(|variable| variable.space == naga::AddressSpace::Immediate);
    Ok(immediates.map_or(0, |variable| layouter[variable.ty].size as usize))
}

/// The backend's own pipeline cache, in the user's cache folder. Only Vulkan has one.
struct DiskCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

impl DiskCache {
    #[expect(unsafe_code, reason = "the driver trusts the data of a pipeline cache")]
    fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(info)?;
        let path = dirs::cache_dir()?.join("tweedie").join(name);
        let file = std::fs::read(&path).ok();
        let data = file.as_deref().and_then(unsealed);
        // SAFETY: the data are what `save` below has got from this driver, or nothing: the checksum and the name of
        // the file, made of adapter and driver, say so. The driver checks its own header and version as well, and
        // `fallback` discards unknown data.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("tweedie"),
                data,
                fallback: true,
            })
        };
        Some(DiskCache { cache, path })
    }

    /// Writes the file if possible; without it the next start compiles again.
    fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let Some(folder) = self.path.parent() else { return };
        let file = [&crc32fast::hash(&data).to_le_bytes()[..], &data].concat();
        let _ = std::fs::create_dir_all(folder).and_then(|()| write_whole(&self.path, &file));
    }
}

/// The data of a cache's file, behind their checksum; none if they are damaged.
fn unsealed(file: &[u8]) -> Option<&[u8]> {
    let (sum, data) = file.split_first_chunk()?;
    (crc32fast::hash(data) == u32::from_le_bytes(*sum)).then_some(data)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
