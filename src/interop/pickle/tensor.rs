//! Storages and the tensors that are views of them.

use std::sync::Arc;

/// A storage of a checkpoint: a file of its archive, or a part of a file in PyTorch's old format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::interop) struct Storage {
    pub dtype: Dtype,
    pub key: Arc<str>,
    /// The number of its elements.
    pub len: usize,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::interop) struct Strided {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

/// Types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::interop) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    /// A type that no network here has, of this many bytes: complex or quantised numbers, ….
    Alien(u8),
}

impl Dtype {
    /// The type of a class `torch.NAMEStorage`.
    pub fn of_storage(name: &str) -> Option<Dtype> {
        Some(match name {
            "DoubleStorage" => Dtype::F64,
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::Bf16,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" | "UntypedStorage" => Dtype::U8,
            "BoolStorage" => Dtype::Bool,
            "ComplexDoubleStorage" => Dtype::Alien(16),
            "ComplexFloatStorage" => Dtype::Alien(8),
            "QInt32Storage" => Dtype::Alien(4),
            "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => Dtype::Alien(1),
            _ => return None,
        })
    }

    /// The type `torch.NAME`.
    pub fn named(name: &str) -> Option<Dtype> {
        Some(match name {
            "float64" | "double" => Dtype::F64,
            "float32" | "float" => Dtype::F32,
            "float16" | "half" => Dtype::F16,
            "bfloat16" => Dtype::Bf16,
            "int64" | "long" => Dtype::I64,
            "int32" | "int" => Dtype::I32,
            "int16" | "short" => Dtype::I16,
            "int8" => Dtype::I8,
            "uint8" => Dtype::U8,
            "bool" => Dtype::Bool,
            "complex128" | "cdouble" => Dtype::Alien(16),
            "complex64" | "cfloat" | "uint64" => Dtype::Alien(8),
            "complex32" | "chalf" | "uint32" | "qint32" => Dtype::Alien(4),
            "uint16" => Dtype::Alien(2),
            "qint8" | "quint8" | "quint4x2" | "quint2x4" => Dtype::Alien(1),
            name if name.starts_with("float8_") => Dtype::Alien(1),
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::Alien(size) => usize::from(size),
        }
    }

    /// Returns true for types that a network's weights can have.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16)
    }
}

impl Strided {
    /// Returns true if every element is inside the storage. A stride of 0 repeats elements, so that a small file can
    /// describe a huge tensor: nothing may be allocated for one before its shape is known to be right.
    pub fn fits(&self) -> bool {
        let mut last = Some(self.offset);
        let mut count = Some(1usize);
        for (extent, stride) in self.shape.iter().zip(&self.stride) {
            count = count.and_then(|count| count.checked_mul(*extent));
            let reach = extent.saturating_sub(1).checked_mul(*stride);
            last = last.zip(reach).and_then(|(last, reach)| last.checked_add(reach));
        }
        match (count, last) {
            (Some(0), _) => true,
            (Some(_), Some(last)) => last < self.storage.len,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_must_lie_inside_its_storage() {
        let storage = Storage { dtype: Dtype::F32, key: "0".into(), len: 6 };
        let tensor = |offset, shape: &[usize], stride: &[usize]| Strided {
            storage: storage.clone(),
            offset,
            shape: shape.to_vec(),
            stride: stride.to_vec(),
        };
        assert!(tensor(0, &[2, 3], &[3, 1]).fits());
        assert!(tensor(0, &[3, 2], &[1, 3]).fits());
        assert!(tensor(0, &[], &[]).fits());
        assert!(tensor(0, &[0, 9], &[9, 1]).fits());
        assert!(tensor(5, &[1 << 40], &[0]).fits());
        assert!(!tensor(6, &[1 << 40], &[0]).fits());
        assert!(!tensor(1, &[2, 3], &[3, 1]).fits());
        assert!(!tensor(0, &[usize::MAX, 2], &[1, usize::MAX]).fits());
        assert!(!tensor(0, &[1 << 40, 1 << 40], &[0, 0]).fits());
    }
}
