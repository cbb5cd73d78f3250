//! Pipelines: compiled on first use, kept for the device's life, and on disk where the backend can.

use super::error::GpuError;
use super::shader::Variant;
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
}

/// All pipelines of one device.
pub(super) struct Pipelines {
    device: wgpu::Device,
    checked: bool,
    pipelines: Mutex<HashMap<(Variant, &'static str), Arc<Pipeline>>>,
    disk: Option<DiskCache>,
}

impl Pipelines {
    /// `checked`: whether the compiled shaders test every index and bound every loop. The kernels guard their
    /// own edges, so they need neither; the tests run both ways.
    pub(super) fn new(device: wgpu::Device, info: &wgpu::AdapterInfo, checked: bool) -> Self {
        let disk = DiskCache::open(&device, info);
        Pipelines { device, checked, pipelines: Mutex::default(), disk }
    }

    pub(super) fn get(
        &self,
        variant: &Variant,
        entry: &'static str,
        immediates: usize,
    ) -> Result<Arc<Pipeline>, GpuError> {
        let key = (variant.clone(), entry);
        let mut pipelines = lock(&self.pipelines);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(variant, entry, immediates)?);
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
    ) -> Result<Pipeline, GpuError> {
        let module = variant.module(entry)?;
        let workgroup = module.entry_points[0].workgroup_size.iter().product();
        let declared = immediates_size(&module).map_err(|e| variant.fault(e.to_string()))?;
        if declared != immediates {
            return Err(
                variant.fault(format!("`{entry}` takes {declared} bytes of immediates, not {immediates}"))
            );
        }
        let label = format!("{}.{entry}", variant.shader.name());
        let module = self.shader_module(variant, module)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            // Every kernel writes its workgroup memory before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
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
        Ok(Pipeline { raw, layout, workgroup, label })
    }

    fn shader_module(&self, variant: &Variant, module: naga::Module) -> Result<wgpu::ShaderModule, GpuError> {
        let checks = match self.checked {
            true => wgpu::ShaderRuntimeChecks::checked(),
            false => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        // SAFETY: our shaders have no unbounded loop, divide by no zero, and index only inside their bindings:
        // every kernel guards its edges, and the kernel tests run with the checks on as well.
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
            disk.save();
        }
    }
}

/// The size of the immediates that a module's entry point takes: what it has no use for is gone.
fn immediates_size(module: &naga::Module) -> Result<usize, naga::proc::LayoutError> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx())?;
    let mut variables = module.global_variables.iter().map(|(_, variable)| variable);
    let immediates = variables.find(|variable| variable.space == naga::AddressSpace::Immediate);
    Ok(immediates.map_or(0, |variable| layouter[variable.ty].size as usize))
}

/// The backend's own pipeline cache, in the user's cache folder. Vulkan has one; the others do without.
struct DiskCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

impl DiskCache {
    fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(info)?;
        let path = dirs::cache_dir()?.join("tweedie").join(name);
        let data = std::fs::read(&path).ok();
        // SAFETY: the file was written by `save` below; the driver checks its header and its version, and
        // `fallback` discards what it does not know.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("tweedie"),
                data: data.as_deref(),
                fallback: true,
            })
        };
        Some(DiskCache { cache, path })
    }

    /// Best effort: without the file the next start compiles again.
    fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let Some(folder) = self.path.parent() else { return };
        let aside = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&aside, data));
        if written.and_then(|()| std::fs::rename(&aside, &self.path)).is_err() {
            let _ = std::fs::remove_file(&aside);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
