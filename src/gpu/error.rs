//! The errors of the device layer.

use std::fmt;

/// An error of the device layer. A message names the cause and, where there is one, a remedy.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// No Vulkan, Metal or DX12 adapter answered.
    #[error(
        "no Vulkan, Metal or DX12 adapter was found; install your GPU's driver, or a software one \
         (Debian, Ubuntu: apt-get install mesa-vulkan-drivers)"
    )]
    NoAdapter,
    /// The adapter that was asked for does not exist.
    #[error("no adapter matches `{wanted}`; the adapters are {available}")]
    NoSuchAdapter {
        /// The requested name or index.
        wanted: String,
        /// The adapters of this machine, as `index: name`.
        available: String,
    },
    /// The adapter lacks something every kernel needs.
    #[error("adapter {adapter} lacks {missing}")]
    Unsupported {
        /// The adapter's name.
        adapter: String,
        /// The feature or limit it lacks.
        missing: String,
    },
    /// The driver would not open the adapter.
    #[error("adapter {adapter} could not be opened: {reason}")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The device has no memory left for an allocation.
    #[error(
        "out of device memory: an allocation of {wanted} failed with {in_use} in use{}; \
         use a smaller batch or a smaller model",
        .budget.map(|b| format!(" of {b}")).unwrap_or_default()
    )]
    OutOfMemory {
        /// The size of the allocation that failed.
        wanted: Bytes,
        /// The memory allocated before.
        in_use: Bytes,
        /// The memory of the device, where it is known.
        budget: Option<Bytes>,
    },
    /// The driver has run out of memory in a call of its own.
    #[error(
        "the driver is out of memory ({0}); use a smaller batch or a smaller model, or close other programs"
    )]
    DriverMemory(String),
    /// A tensor is larger than the adapter can hold or bind.
    #[error(
        "{what} takes {size}, more than the {limit} that {adapter} can {verb}; \
         use a smaller batch or a smaller model"
    )]
    TooLarge {
        /// The tensor, or the kernel and its binding.
        what: String,
        /// Its size.
        size: Bytes,
        /// The adapter's limit.
        limit: Bytes,
        /// The adapter's name.
        adapter: String,
        /// The operation that the limit is for: `allocate`, `hold` or `bind at once`.
        verb: &'static str,
    },
    /// A shader does not assemble, validate or compile, or does not fit its launch. With a kernel of this
    /// crate it is a bug of ours or of the driver.
    #[error("shader {shader} was rejected: {reason}")]
    Shader {
        /// File and entry point.
        shader: String,
        /// The message of the validator or the driver.
        reason: String,
    },
    /// The device rejected a command: a bug of ours or of the driver.
    #[error("the device rejected a command: {0}")]
    Rejected(String),
    /// The device is gone: reset, unplugged, or hung.
    #[error("the device was lost ({0})")]
    Lost(String),
}

impl GpuError {
    /// The same error, with a name for the tensor that was too large.
    pub(crate) fn about(self, name: String) -> GpuError {
        match self {
            GpuError::TooLarge { size, limit, adapter, verb, .. } => {
                GpuError::TooLarge { what: name, size, limit, adapter, verb }
            }
            other => other,
        }
    }
}

/// A number of bytes, printed with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < units.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {}", units[unit]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_with_the_largest_fitting_unit() {
        assert_eq!(Bytes(17).to_string(), "17 B");
        assert_eq!(Bytes(1024).to_string(), "1.0 KiB");
        assert_eq!(Bytes(128 << 20).to_string(), "128.0 MiB");
        assert_eq!(Bytes(5 << 50).to_string(), "5120.0 TiB");
    }
}
