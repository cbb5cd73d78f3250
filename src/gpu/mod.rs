//! The device: adapters, buffers, shader assembly, pipelines, the command stream and timing.
//!
//! ```no_run
//! # fn main() -> Result<(), tweedie::gpu::GpuError> {
//! let gpu = tweedie::gpu::Gpu::open(None)?;
//! println!("{} through {}", gpu.adapter().name(), gpu.adapter().backend());
//! # Ok(())
//! # }
//! ```

mod adapter;
mod error;
mod faults;
mod pipeline;
mod pool;
mod shader;
mod stream;
mod timing;

pub use adapter::{Adapter, AdapterKind, Sharing, adapters, choose, choose_among};
pub use error::{Bytes, GpuError};
pub use faults::is_guarded;
pub use pool::{Buffer, MemoryUse};
pub use shader::{Element, Shader, Variant};
pub use timing::KernelTime;

pub(crate) use pipeline::Checks;

use faults::{Faults, guard};
use pipeline::Pipelines;
use pool::Pool;
use std::sync::{Arc, Mutex, MutexGuard};
use stream::Stream;

/// Bytes of immediates, which hold a kernel's shapes and scalars: as many as every backend has.
const MAX_IMMEDIATES: u32 = 128;
/// The most operations in one submission, on a processor or a small GPU, and on a large one.
const MAX_WORK: [u64; 2] = [20_000_000_000, 500_000_000_000];

/// An open device. Cloning it is cheap; every clone is the same device.
#[derive(Clone)]
pub struct Gpu(Arc<Shared>);

impl PartialEq for Gpu {
    fn eq(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gpu {}

struct Shared {
    // Fields drop in this order: recorded commands before the resources that they use.
    stream: Mutex<Stream>,
    pipelines: Pipelines,
    pool: Arc<Pool>,
    timestamps: bool,
    options: Options,
    limits: wgpu::Limits,
    faults: Faults,
    queue: wgpu::Queue,
    device: wgpu::Device,
    adapter: Adapter,
}

/// Options for opening a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Compile every shader with run-time checks of its indices and bounds on its loops.
    pub checked: bool,
    /// The way in which kernels share operands. Default: through workgroup memory on GPUs; on processors,
    /// where a barrier costs more than loads, through subgroups if all have the same size.
    pub sharing: Option<Sharing>,
    /// The bytes of device memory to use at most. Default: all that the adapter has.
    pub memory: Option<u64>,
}

/// A range of a buffer for one binding of a kernel.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// The start of the range in bytes; a multiple of [`Gpu::alignment`].
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Binding<'_> {
    /// Bytes that a kernel sees: a binding cannot be empty, and wgpu takes 0 for the rest of the buffer.
    fn span(&self) -> u64 {
        if self.size > 0 { self.size } else { self.buffer.raw().size() - self.offset }
    }
}

/// The extent of a launch.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// At least this many invocations.
    Invocations(usize),
    /// This many workgroups.
    Workgroups(usize),
}

/// One kernel launch.
pub(crate) struct Dispatch<'a> {
    /// The shader.
    pub variant: Variant,
    /// Its entry point.
    pub entry: &'static str,
    /// Its bindings 0, 1, …
    pub bindings: &'a [Binding<'a>],
    /// The bytes of its `var<immediate>`.
    pub immediates: &'a [u8],
    /// How much it covers. More than 65,535 workgroups are folded into two dimensions.
    pub extent: Extent,
    /// About how many operations it takes, to bound what one submission holds.
    pub work: u64,
    /// Whether it is compiled with run-time checks.
    pub checks: Checks,
}

impl Gpu {
    /// Opens the adapter `wanted`, or by default the best one (see [`choose`]).
    ///
    /// # Errors
    /// If there is no such adapter, if it lacks a feature that the kernels need, or if the driver cannot open
    /// it.
    pub fn open(wanted: Option<&str>) -> Result<Gpu, GpuError> {
        Gpu::with(choose(wanted)?, Options::default())
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// If the adapter lacks a feature that the kernels need, or if the driver cannot open it.
    pub fn with(adapter: Adapter, options: Options) -> Result<Gpu, GpuError> {
        let limits = adapter.raw.limits();
        let available = adapter.raw.features();
        let lacking =
            |missing: &str| GpuError::Unsupported { adapter: adapter.name().into(), missing: missing.into() };
        if !available.contains(wgpu::Features::IMMEDIATES) || limits.max_immediate_size < MAX_IMMEDIATES {
            return Err(lacking("128 bytes of immediates (push constants)"));
        }
        if options.sharing.is_some_and(|sharing| !adapter.sharings().contains(&sharing)) {
            return Err(lacking("the requested way of sharing operands"));
        }
        let wished = wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | wgpu::Features::PIPELINE_CACHE;
        let features = wgpu::Features::IMMEDIATES | (available & wished);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tweedie"),
            required_features: features,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let refused = |reason| GpuError::Open { adapter: adapter.name().into(), reason };
        let request = guard(|| pollster::block_on(adapter.raw.request_device(&descriptor)));
        let (device, queue) = request.map_err(refused)?.map_err(|e| refused(e.to_string()))?;
        let faults = Faults::watch(&device);
        let pool = Pool::new(
            faults.clone(),
            device.clone(),
            adapter.name().into(),
            limits.max_buffer_size,
            options.memory.or(adapter.memory()),
        );
        let max_work = MAX_WORK[usize::from(adapter.kind() == AdapterKind::Discrete)];
        Ok(Gpu(Arc::new(Shared {
            stream: Mutex::new(Stream::new(device.clone(), queue.clone(), faults.clone(), max_work)),
            pipelines: Pipelines::new(
                device.clone(),
                faults.clone(),
                &adapter.raw.get_info(),
                options.checked,
            ),
            faults,
            pool,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS),
            options,
            limits,
            queue,
            device,
            adapter,
        })))
    }

    /// The adapter this device was opened on.
    pub fn adapter(&self) -> &Adapter {
        &self.0.adapter
    }

    /// The way in which kernels share operands (see [`Options::sharing`]).
    pub fn sharing(&self) -> Sharing {
        self.0.options.sharing.unwrap_or_else(|| self.adapter().sharing())
    }

    /// About how many invocations keep the device busy.
    pub fn parallelism(&self) -> usize {
        match self.adapter().kind() {
            AdapterKind::Cpu => 256,
            AdapterKind::Discrete => 65536,
            AdapterKind::Integrated | AdapterKind::Virtual | AdapterKind::Other => 8192,
        }
    }

    /// Whether tensors can be stored as f16.
    pub fn has_f16(&self) -> bool {
        self.0.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// The alignment of the start of a binding, in bytes.
    pub fn alignment(&self) -> u64 {
        u64::from(self.0.limits.min_storage_buffer_offset_alignment).max(256)
    }

    /// The most bytes in one binding.
    pub fn max_binding(&self) -> u64 {
        self.0.limits.max_storage_buffer_binding_size
    }

    /// The most bytes in one buffer.
    pub fn max_buffer(&self) -> u64 {
        self.0.limits.max_buffer_size
    }

    /// Bytes in use on the device.
    pub fn memory(&self) -> MemoryUse {
        self.0.pool.usage()
    }

    /// The peak of live bytes while `work` is recorded, beyond those live before it.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn peak<E>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let (before, live) = (self.0.pool.restart_peak(0), self.memory().live);
        let result = work();
        let peak = self.memory().peak;
        self.0.pool.restart_peak(before.max(peak));
        result.map(|()| peak - live)
    }

    /// The number of pipelines compiled so far.
    pub fn pipelines(&self) -> usize {
        self.0.pipelines.count()
    }

    /// A buffer of at least `bytes`, with unspecified contents.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], or [`GpuError::TooLarge`] beyond [`Gpu::max_buffer`].
    pub fn allocate(&self, bytes: u64) -> Result<Buffer, GpuError> {
        self.0.pool.allocate(bytes)
    }

    /// Checks a binding of `bytes` bytes against [`Gpu::max_binding`]; `what` names it in the error.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] if it is larger.
    pub fn check_binding(&self, bytes: u64, what: impl FnOnce() -> String) -> Result<(), GpuError> {
        self.check_limit(bytes, Some(self.max_binding()), "bind at once", what)
    }

    /// Checks `count` buffers of `bytes` bytes each, before any is allocated, against [`Gpu::max_buffer`] and against
    /// the adapter's memory, where it is known; `what` names them in the error.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] if they are larger.
    pub fn check_allocation(
        &self,
        bytes: u64,
        count: u64,
        what: impl Fn() -> String,
    ) -> Result<(), GpuError> {
        self.check_limit(bytes, Some(self.max_buffer()), "allocate", &what)?;
        self.check_limit(count.saturating_mul(bytes), self.adapter().memory(), "hold", what)
    }

    fn check_limit(
        &self,
        bytes: u64,
        limit: Option<u64>,
        verb: &'static str,
        what: impl FnOnce() -> String,
    ) -> Result<(), GpuError> {
        let Some(limit) = limit.filter(|limit| bytes > *limit) else { return Ok(()) };
        let (size, limit, adapter) = (Bytes(bytes), Bytes(limit), self.adapter().name().into());
        Err(GpuError::TooLarge { what: what(), size, limit, adapter, verb })
    }

    /// Records a kernel launch. It runs after everything recorded before it.
    ///
    /// # Errors
    /// [`GpuError::Shader`] if the shader does not compile or declares other bindings, and any error that the
    /// device reported since the last call.
    pub(crate) fn dispatch(&self, dispatch: Dispatch<'_>) -> Result<(), GpuError> {
        let Dispatch { variant, entry, bindings, immediates, extent, work, checks } = dispatch;
        let pipeline = self.0.pipelines.get(&variant, entry, immediates.len(), checks)?;
        let groups = match extent {
            Extent::Workgroups(groups) => groups,
            Extent::Invocations(count) => count.div_ceil(pipeline.workgroup as usize),
        };
        if groups == 0 {
            return Ok(());
        }
        pipeline.check(bindings).map_err(|reason| variant.fault(reason))?;
        let grid = self.fold(groups).ok_or_else(|| variant.fault(format!("it has {groups} workgroups")))?;
        let entries: Vec<wgpu::BindGroupEntry<'_>> = bindings.iter().enumerate().map(entry_of).collect();
        let descriptor = wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        };
        let bind_group = self.0.faults.guard(|| self.0.device.create_bind_group(&descriptor))?;
        self.stream().dispatch(&pipeline, &bind_group, immediates, grid, work)
    }

    /// Writes `bytes` at `offset` of a buffer, after everything recorded so far has run.
    ///
    /// # Errors
    /// Any error that the device reported since the last call.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<(), GpuError> {
        // A write happens before the next submission, hence before all commands that are recorded but not yet
        // submitted.
        self.stream().flush()?;
        self.0.faults.guard(|| self.0.queue.write_buffer(buffer.raw(), offset, bytes))
    }

    /// Reads `size` bytes at `offset` of a buffer after everything recorded so far. Waits for the device.
    ///
    /// # Errors
    /// [`GpuError::Lost`] if the device no longer answers, and any other error that it reported since the
    /// last call.
    pub fn download(&self, buffer: &Buffer, offset: u64, size: u64) -> Result<Vec<u8>, GpuError> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("download"),
            size: size.next_multiple_of(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let staging = self.0.faults.guard(|| self.0.device.create_buffer(&descriptor))?;
        let mut stream = self.stream();
        stream.encode(|encoder| {
            encoder.copy_buffer_to_buffer(buffer.raw(), offset, &staging, 0, size.next_multiple_of(4));
        });
        stream.flush()?;
        let slice = staging.slice(..);
        self.0.faults.guard(|| slice.map_async(wgpu::MapMode::Read, |_| {}))?;
        stream.synchronize()?;
        let mapped = self.0.faults.guard(|| slice.get_mapped_range())?;
        let mapped = mapped.map_err(|e| GpuError::Lost(e.to_string()))?;
        Ok(mapped[..size as usize].to_vec())
    }

    /// Submits the recorded commands, without waiting.
    ///
    /// # Errors
    /// Any error that the device reported since the last call.
    pub fn flush(&self) -> Result<(), GpuError> {
        self.stream().flush()
    }

    /// Submits the recorded commands and waits for the device.
    ///
    /// # Errors
    /// [`GpuError::Lost`] if the device no longer answers, and any other error that it reported since the
    /// last call.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        self.stream().synchronize()
    }

    /// Workgroups in two dimensions, each within the adapter's limit, if they fit; the kernels test the flat
    /// index.
    fn fold(&self, groups: usize) -> Option<[u32; 2]> {
        let limit = self.0.limits.max_compute_workgroups_per_dimension as usize;
        let rows = groups.div_ceil(limit);
        (rows <= limit).then(|| [groups.div_ceil(rows) as u32, rows as u32])
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.0.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn entry_of<'a>((slot, binding): (usize, &Binding<'a>)) -> wgpu::BindGroupEntry<'a> {
    wgpu::BindGroupEntry {
        binding: slot as u32,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: binding.buffer.raw(),
            offset: binding.offset,
            size: std::num::NonZeroU64::new(binding.size),
        }),
    }
}
