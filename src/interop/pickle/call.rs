//! The functions and classes that are known by name, and what they make.

use super::machine::Machine;
use super::tensor::{Dtype, Storage, Strided};
use super::{InteropError, Object, damaged, readable};

/// The known functions and classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::interop) enum Class {
    Dict,
    Size,
    Storage(Dtype),
    Dtype(Dtype),
    /// A tensor, in its first, second or third form.
    RebuildTensor,
    RebuildTensor3,
    RebuildParameter,
    /// A tensor with attributes, made by another of these functions.
    RebuildFromType,
    NumpyType,
    NumpyScalar,
    Encode,
}

/// A type of NumPy's: its kind and its size, as in `f8`, and whether its bytes are in big-endian order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::interop) struct NumpyType {
    kind: u8,
    size: usize,
    pub(super) big: bool,
}

/// The longest name of a storage and the largest number of axes. Both are copied with every tensor that
/// refers to them, so they are bounded. So is the length of a number's bytes.
const KEY: usize = 64;
const AXES: usize = 8;
const NUMBER: usize = 16;

impl Class {
    /// A known function or class, or an opaque object.
    pub(super) fn named(module: &str, name: &str) -> Object {
        let class = match (module, name) {
            ("collections", "OrderedDict" | "defaultdict" | "Counter")
            | ("builtins" | "__builtin__", "dict") => Some(Class::Dict),
            ("torch", "Size") => Some(Class::Size),
            ("torch" | "torch.cuda", _) if name.ends_with("Storage") => {
                Dtype::of_storage(name).map(Class::Storage)
            }
            ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Some(Class::Storage(Dtype::U8)),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Class::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Class::RebuildTensor3),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Some(Class::RebuildParameter)
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Some(Class::RebuildFromType),
            ("torch", _) => Dtype::named(name).map(Class::Dtype),
            ("numpy", "dtype") => Some(Class::NumpyType),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Some(Class::NumpyScalar),
            ("_codecs", "encode") => Some(Class::Encode),
            _ => None,
        };
        match class {
            Some(class) => Object::Class(class),
            None => Object::Opaque(readable(&format!("{module}.{name}")).into()),
        }
    }
}

impl Machine<'_> {
    /// A storage: ("storage", class, file name, device, length), and in the old format the part of another
    /// storage that it is, or None.
    pub(super) fn persistent(&mut self) -> Result<(), InteropError> {
        let id = self.pop()?;
        let node = |id: usize| &self.objects[id];
        let wrong = || damaged("its pickle refers to an invalid storage");
        let parts = match node(id) {
            Object::Tuple(parts) if matches!(parts.first().map(|id| node(*id)), Some(Object::Text(kind)) if kind == "storage") => {
                &parts[..]
            }
            _ => return self.push(Object::Opaque("a persistent object".into())),
        };
        let &[_, class, key, _, len, ref view @ ..] = parts else { return Err(wrong()) };
        let (Object::Text(key), Object::Int(len)) = (node(key), node(len)) else { return Err(wrong()) };
        let dtype = match node(class) {
            Object::Class(Class::Storage(dtype)) => *dtype,
            Object::Opaque(name) => {
                let name = name.clone();
                return self.push(Object::Opaque(name));
            }
            _ => return Err(wrong()),
        };
        if key.len() > KEY {
            return Err(wrong());
        }
        let len = usize::try_from(*len).map_err(|_| wrong())?;
        let start = match view.first().map(|id| node(*id)) {
            None | Some(Object::Other) => 0,
            Some(Object::Tuple(view)) => match view[..] {
                [_, start, _] => self.natural(start).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let storage = Storage { dtype, key: key[..].into(), len };
        self.push(Object::Storage { storage, start })
    }

    /// Calls a function with a tuple of arguments. The result of one that is not known is opaque.
    pub(super) fn call(&mut self, class: usize, arguments: usize) -> Result<(), InteropError> {
        let made = match (&self.objects[class], &self.objects[arguments]) {
            (Object::Opaque(name), _) => Object::Opaque(name.clone()),
            (Object::Class(class), Object::Tuple(arguments)) => {
                // No known function reads more arguments than this.
                let (class, arguments) = (*class, arguments.iter().take(AXES).copied().collect::<Vec<_>>());
                self.made(class, &arguments)?
            }
            _ => return Err(damaged("its pickle calls an object that is no function")),
        };
        self.push(made)
    }

    fn made(&mut self, class: Class, arguments: &[usize]) -> Result<Object, InteropError> {
        let first = arguments.first().map(|id| &self.objects[*id]);
        match (class, first) {
            (Class::Dict, Some(Object::List(items))) => {
                let items = items.clone();
                self.dictionary(&items)
            }
            (Class::Dict, _) => Ok(Object::Dict(Vec::new())),
            (Class::Size, Some(Object::Tuple(items))) if items.len() <= AXES => {
                Ok(Object::Tuple(items.clone()))
            }
            (Class::RebuildTensor, _) => self.strided(arguments, None),
            (Class::RebuildTensor3, _) => {
                let dtype = arguments.get(6).map(|id| &self.objects[*id]);
                match dtype {
                    Some(Object::Class(Class::Dtype(dtype))) => self.strided(arguments, Some(*dtype)),
                    _ => Err(damaged("its pickle describes a tensor without a type")),
                }
            }
            (Class::RebuildParameter, Some(object @ (Object::Tensor(_) | Object::Opaque(_)))) => {
                Ok(object.clone())
            }
            (Class::RebuildParameter, _) => {
                Err(damaged("its pickle makes a parameter of an object that is no tensor"))
            }
            (Class::RebuildFromType, Some(function)) => self.rebuilt(function.clone(), arguments),
            (Class::NumpyType, Some(Object::Text(code))) => Ok(numpy_type(code)),
            (Class::NumpyScalar, Some(Object::NumpyType(of))) => {
                let bytes = arguments.get(1).map(|id| &self.objects[*id]);
                Ok(match bytes {
                    Some(Object::Bytes(bytes)) => of.number(bytes),
                    _ => Object::Other,
                })
            }
            (Class::Encode, Some(Object::Text(text))) => Ok(latin1(text)),
            // Unusual, but nothing that weights are made of.
            _ => Ok(Object::Other),
        }
    }

    /// A dictionary from a list of pairs, as Python 2 wrote it.
    fn dictionary(&mut self, items: &[usize]) -> Result<Object, InteropError> {
        self.copying(items.len())?;
        let pair = |id: &usize| match &self.objects[*id] {
            Object::List(pair) | Object::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(damaged("its pickle makes a dictionary of a list without pairs")),
        };
        Ok(Object::Dict(items.iter().map(pair).collect::<Result<Vec<_>, _>>()?))
    }

    /// (function, type, its arguments, attributes).
    fn rebuilt(&mut self, function: Object, arguments: &[usize]) -> Result<Object, InteropError> {
        let inner = arguments.get(2).map(|id| &self.objects[*id]);
        match (function, inner) {
            // Not itself again, which would be a call without an end.
            (Object::Class(class), Some(Object::Tuple(inner))) if class != Class::RebuildFromType => {
                let inner: Vec<usize> = inner.iter().take(AXES).copied().collect();
                self.made(class, &inner)
            }
            (function @ Object::Opaque(_), _) => Ok(function),
            _ => Err(damaged("its pickle makes a tensor of an object that is no tensor")),
        }
    }

    fn natural(&self, id: usize) -> Option<usize> {
        match &self.objects[id] {
            Object::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// (storage, offset, shape, stride, …); a storage of bytes takes the given type.
    fn strided(&self, arguments: &[usize], dtype: Option<Dtype>) -> Result<Object, InteropError> {
        let wrong = || damaged("its pickle describes an invalid tensor");
        let &[storage, offset, shape, stride, ..] = arguments else { return Err(wrong()) };
        let numbers = |id: usize| match &self.objects[id] {
            Object::Tuple(items) | Object::List(items) if items.len() <= AXES => {
                items.iter().map(|id| self.natural(*id).ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()
            }
            _ => Err(wrong()),
        };
        let (storage, start) = match &self.objects[storage] {
            Object::Storage { storage, start } => (storage, *start),
            Object::Opaque(name) => return Ok(Object::Opaque(name.clone())),
            _ => return Err(wrong()),
        };
        let offset = self.natural(offset).and_then(|offset| offset.checked_add(start)).ok_or_else(wrong)?;
        let (shape, stride) = (numbers(shape)?, numbers(stride)?);
        if shape.len() != stride.len() {
            return Err(wrong());
        }
        let storage = match dtype.filter(|_| storage.dtype == Dtype::U8) {
            Some(dtype) => Storage { dtype, len: storage.len / dtype.size().max(1), ..storage.clone() },
            None => storage.clone(),
        };
        let tensor = Strided { storage, offset, shape, stride };
        match tensor.fits() {
            true => Ok(Object::Tensor(tensor)),
            false => Err(damaged("its pickle describes a tensor outside its storage")),
        }
    }
}

/// A type from its code, with or without a sign for the order of its bytes: `f8`, `<i4`.
fn numpy_type(code: &str) -> Object {
    let bare = code.trim_start_matches(['<', '>', '=', '|']);
    let kind = bare.bytes().next().unwrap_or(b'?');
    match bare.get(1..).and_then(|size| size.parse().ok()) {
        Some(size) => Object::NumpyType(NumpyType { kind, size, big: code.starts_with('>') }),
        None => Object::Other,
    }
}

impl NumpyType {
    /// The number that these bytes are.
    fn number(self, bytes: &[u8]) -> Object {
        if bytes.len() != self.size || self.size > 8 || self.size == 0 {
            return Object::Other;
        }
        let mut bytes = bytes.to_vec();
        if self.big {
            bytes.reverse();
        }
        let mut word = [0; 8];
        word[..self.size].copy_from_slice(&bytes);
        let unsigned = u64::from_le_bytes(word);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            (b'u', _) => Object::Int(unsigned.into()),
            (b'i', _) => Object::Int((((unsigned << unused) as i64) >> unused).into()),
            (b'f', 8) => Object::Float(f64::from_le_bytes(word)),
            (b'f', 4) => Object::Float(f32::from_bits(unsigned as u32).into()),
            (b'f', 2) => Object::Float(half::f16::from_bits(unsigned as u16).into()),
            _ => Object::Other,
        }
    }
}

/// The bytes of a short text of Latin-1: in old protocols, which have no bytes, a number's are written so.
fn latin1(text: &str) -> Object {
    let bytes = text.chars().take(NUMBER + 1).map(|c| u8::try_from(u32::from(c)));
    match bytes.collect::<Result<Vec<u8>, _>>() {
        Ok(bytes) if bytes.len() <= NUMBER => Object::Bytes(bytes),
        _ => Object::Other,
    }
}
