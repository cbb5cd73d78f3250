//! Adapters: listing, ordering, choosing.

use super::error::GpuError;
use wgpu::DeviceType;

/// The way in which the invocations of a matrix product or a convolution share the operands that they load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each invocation loads its own.
    None,
    /// The lanes of a subgroup of this size exchange theirs.
    Subgroup(u32),
    /// A workgroup stages them in workgroup memory.
    Workgroup,
}

impl Sharing {
    /// The subgroup sizes that the kernels support.
    pub const SUBGROUPS: [u32; 5] = [4, 8, 16, 32, 64];
}

/// The kind of device behind an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU seen through a virtual machine.
    Virtual,
    /// A driver that runs shaders on the processor.
    Cpu,
    /// Unknown.
    Other,
}

impl std::fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Cpu => "cpu",
            AdapterKind::Other => "other",
        })
    }
}

/// One adapter of this machine.
pub struct Adapter {
    pub(super) raw: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

impl Adapter {
    /// The driver's name for the device.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Its graphics API: `vulkan`, `metal` or `dx12`.
    pub fn backend(&self) -> String {
        self.info.backend.to_string()
    }

    /// The driver and its version, if known.
    pub fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().to_string()
    }

    /// Its kind.
    pub fn kind(&self) -> AdapterKind {
        match self.info.device_type {
            DeviceType::DiscreteGpu => AdapterKind::Discrete,
            DeviceType::IntegratedGpu => AdapterKind::Integrated,
            DeviceType::VirtualGpu => AdapterKind::Virtual,
            DeviceType::Cpu => AdapterKind::Cpu,
            DeviceType::Other => AdapterKind::Other,
        }
    }

    /// Whether the "GPU" is a driver that runs shaders on the processor.
    pub fn is_cpu(&self) -> bool {
        self.kind() == AdapterKind::Cpu
    }

    /// Whether it can store tensors as f16.
    pub fn has_f16(&self) -> bool {
        self.raw.features().contains(wgpu::Features::SHADER_F16)
    }

    /// The ways of sharing operands that it supports, from [`Sharing::None`] to the widest. Subgroups are
    /// supported if all have the same size.
    pub fn sharings(&self) -> Vec<Sharing> {
        let (lanes, most) = (self.info.subgroup_min_size, self.info.subgroup_max_size);
        let subgroups = self.raw.features().contains(wgpu::Features::SUBGROUP)
            && lanes == most
            && Sharing::SUBGROUPS.contains(&lanes);
        let subgroup = subgroups.then_some(Sharing::Subgroup(lanes));
        [Some(Sharing::None), subgroup, Some(Sharing::Workgroup)].into_iter().flatten().collect()
    }

    /// The default way of sharing: the widest, but without workgroup memory on processors.
    pub(super) fn sharing(&self) -> Sharing {
        let suits = |sharing: &Sharing| !self.is_cpu() || *sharing != Sharing::Workgroup;
        self.sharings().into_iter().rfind(suits).unwrap_or(Sharing::None)
    }

    /// The most bytes in one storage binding.
    pub fn max_binding(&self) -> u64 {
        self.raw.limits().max_storage_buffer_binding_size
    }

    /// The device's memory in bytes, if known: the largest device-local heap or, for a software driver, whose
    /// heap size is arbitrary, the memory that the machine has available now.
    pub fn memory(&self) -> Option<u64> {
        let host = self.is_cpu().then(crate::memory::available).flatten();
        host.or_else(|| largest_device_local_heap(&self.raw))
    }
}

/// All adapters, best first: discrete, integrated, others, software. The index of an adapter in this list
/// selects it in [`choose`].
pub fn adapters() -> Vec<Adapter> {
    let instance = instance();
    let raw = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let mut all: Vec<Adapter> = raw.into_iter().map(|raw| Adapter { info: raw.get_info(), raw }).collect();
    all.sort_by_key(|adapter| rank(adapter.kind()));
    all
}

/// The adapter `wanted`: an index, or a part of a name in upper or lower case. Without it, the one named by
/// the environment variable `WGPU_ADAPTER_NAME`; without that, the best.
///
/// # Errors
/// [`GpuError::NoAdapter`] if the machine has none, [`GpuError::NoSuchAdapter`] if none matches.
pub fn choose(wanted: Option<&str>) -> Result<Adapter, GpuError> {
    let mut all = adapters();
    choose_among(&all, wanted).map(|index| all.swap_remove(index))
}

/// The index in `all`, the list of [`adapters`], of the adapter that [`choose`] takes.
///
/// # Errors
/// Those of [`choose`].
pub fn choose_among(all: &[Adapter], wanted: Option<&str>) -> Result<usize, GpuError> {
    let from_env = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty());
    let wanted = wanted.map(str::to_string).or(from_env);
    if all.is_empty() {
        return Err(GpuError::NoAdapter);
    }
    let names: Vec<&str> = all.iter().map(Adapter::name).collect();
    position(&names, wanted.as_deref()).ok_or_else(|| GpuError::NoSuchAdapter {
        wanted: wanted.unwrap_or_default(),
        available: names.iter().enumerate().map(|(i, n)| format!("{i}: {n}")).collect::<Vec<_>>().join(", "),
    })
}

fn position(names: &[&str], wanted: Option<&str>) -> Option<usize> {
    let Some(wanted) = wanted else { return Some(0) };
    if let Ok(index) = wanted.parse::<usize>() {
        return (index < names.len()).then_some(index);
    }
    let wanted = wanted.to_lowercase();
    // The empty string is a part of every name.
    names.iter().position(|name| !wanted.is_empty() && name.to_lowercase().contains(&wanted))
}

fn rank(kind: AdapterKind) -> u8 {
    match kind {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Virtual | AdapterKind::Other => 2,
        AdapterKind::Cpu => 3,
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends &= wgpu::Backends::PRIMARY;
    // DX12, and Vulkan with VK_EXT_memory_budget, then refuse an allocation instead of thrashing.
    descriptor.memory_budget_thresholds.for_resource_creation = Some(95);
    wgpu::Instance::new(descriptor)
}

#[cfg(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd"))]
#[expect(unsafe_code, reason = "wgpu tells the sizes of a device's heaps through Vulkan's own handles only")]
fn largest_device_local_heap(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handle is only read, while `adapter` keeps it alive.
    let hal = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = hal.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(hal.raw_physical_device()) };
    let heaps = memory.memory_heaps_as_slice().iter();
    // Bit 0 is VK_MEMORY_HEAP_DEVICE_LOCAL_BIT (Vulkan 1.3, VkMemoryHeapFlagBits).
    heaps.filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max()
}

#[cfg(not(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn largest_device_local_heap(_: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_chosen_by_index_by_part_of_its_name_or_as_the_first() {
        let names = ["NVIDIA GeForce RTX 4090", "llvmpipe (LLVM 15)"];
        assert_eq!(position(&names, None), Some(0));
        assert_eq!(position(&names, Some("1")), Some(1));
        assert_eq!(position(&names, Some("2")), None);
        assert_eq!(position(&names, Some("LLVMpipe")), Some(1));
        assert_eq!(position(&names, Some("radeon")), None);
    }

    #[test]
    fn discrete_comes_before_integrated_and_software_last() {
        use AdapterKind::{Cpu, Discrete, Integrated, Other};
        let mut kinds = [Cpu, Other, Integrated, Discrete];
        kinds.sort_by_key(|kind| rank(*kind));
        assert_eq!(kinds, [Discrete, Integrated, Other, Cpu]);
    }
}
