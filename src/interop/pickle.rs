//! A reader of Python's pickles that builds numbers, strings, lists, dictionaries and tensors, and runs no
//! code: a pickle names the functions that it calls, and only the variants of [`Class`] are known here.
//!
//! Objects are stored in one table and refer to each other by index, so a list that a pickle contains a
//! thousand times is stored once, as in the file.

use super::InteropError;

/// A pickle's objects.
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: usize,
}

/// The kinds of objects in a pickle.
#[derive(Debug, Clone)]
pub(super) enum Object {
    /// None, a boolean or a float: no reader of checkpoints needs its value.
    Other,
    Int(i64),
    Text(String),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Storage(Storage),
    Tensor(Strided),
    Class(Class),
}

/// A file of a checkpoint's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub dtype: Dtype,
    pub key: String,
    pub len: usize,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strided {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

/// Types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
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
}

/// The functions and classes that a pickle may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    OrderedDict,
    Storage(Dtype),
    RebuildTensor,
    RebuildParameter,
}

impl Class {
    fn named(module: &str, name: &str) -> Result<Class, InteropError> {
        let dtype = match name {
            "DoubleStorage" => Some(Dtype::F64),
            "FloatStorage" => Some(Dtype::F32),
            "HalfStorage" => Some(Dtype::F16),
            "BFloat16Storage" => Some(Dtype::Bf16),
            "LongStorage" => Some(Dtype::I64),
            "IntStorage" => Some(Dtype::I32),
            "ShortStorage" => Some(Dtype::I16),
            "CharStorage" => Some(Dtype::I8),
            "ByteStorage" => Some(Dtype::U8),
            "BoolStorage" => Some(Dtype::Bool),
            _ => None,
        };
        match (module, name, dtype) {
            ("collections", "OrderedDict", _) => Ok(Class::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2", _) => Ok(Class::RebuildTensor),
            ("torch._utils", "_rebuild_parameter", _) => Ok(Class::RebuildParameter),
            ("torch", _, Some(dtype)) => Ok(Class::Storage(dtype)),
            _ => Err(InteropError::Code(readable(&format!("{module}.{name}")))),
        }
    }
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }
}

/// One object of a pickle.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pickle: &'a Pickle,
    id: usize,
}

impl<'a> Node<'a> {
    pub fn object(self) -> &'a Object {
        &self.pickle.objects[self.id]
    }

    fn at(self, id: usize) -> Node<'a> {
        Node { pickle: self.pickle, id }
    }

    /// The value under a key of a dictionary.
    pub fn get(self, key: &str) -> Option<Node<'a>> {
        let found = self.pairs().find(|(name, _)| matches!(name.object(), Object::Text(text) if text == key));
        found.map(|(_, value)| value)
    }

    /// A dictionary's keys and values; empty for any other object.
    pub fn pairs(self) -> impl Iterator<Item = (Node<'a>, Node<'a>)> {
        let pairs = match self.object() {
            Object::Dict(pairs) => &pairs[..],
            _ => &[],
        };
        pairs.iter().map(move |(key, value)| (self.at(*key), self.at(*value)))
    }

    /// The items of a list or a tuple; empty for any other object.
    pub fn items(self) -> impl Iterator<Item = Node<'a>> {
        let items = match self.object() {
            Object::List(items) | Object::Tuple(items) => &items[..],
            _ => &[],
        };
        items.iter().map(move |id| self.at(*id))
    }

    pub fn text(self) -> Option<&'a str> {
        match self.object() {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(self) -> Option<i64> {
        match self.object() {
            Object::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn tensor(self) -> Option<&'a Strided> {
        match self.object() {
            Object::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl Pickle {
    /// Reads a pickle of protocol 2 or later.
    pub fn read(bytes: &[u8]) -> Result<Pickle, InteropError> {
        Machine { bytes, at: 0, objects: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() }
            .run()
    }

    pub fn root(&self) -> Node<'_> {
        Node { pickle: self, id: self.root }
    }
}

/// The stack machine that runs a pickle.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: Vec<Option<usize>>,
}

/// The largest number of objects, above that of any checkpoint, and the largest length of the memo.
const OBJECTS: usize = 1 << 21;
/// The longest name of a storage and the largest number of axes. Both are copied with every tensor that
/// refers to them, so they are bounded.
const KEY: usize = 64;
const AXES: usize = 8;

fn damaged(what: impl Into<String>) -> InteropError {
    InteropError::Damaged(what.into())
}

/// A name that is safe to print: shortened, without control characters.
fn readable(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Machine<'_> {
    fn run(mut self) -> Result<Pickle, InteropError> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { objects: self.objects, root });
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), InteropError> {
        match code {
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'N' => self.push(Object::Other),
            0x88 | 0x89 => self.push(Object::Other),
            b'K' | b'M' | b'J' | 0x8a => self.integer(code),
            b'G' => {
                self.skip(8)?;
                self.push(Object::Other)
            }
            0x8c | b'X' | 0x8d | b'U' | b'T' => self.string(code),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b't' | 0x85 | 0x86 | 0x87 => self.tuple(code),
            b'a' | b'e' => self.append(code),
            b's' | b'u' => self.set_items(code),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let class = Class::named(&module, &name)?;
                self.push(Object::Class(class))
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                let class = Class::named(&module, &name)?;
                self.push(Object::Class(class))
            }
            b'q' | b'r' | 0x94 => self.remember(code),
            b'h' | b'j' => self.recall(code),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            other => Err(InteropError::Code(format!("opcode {other:#04x}"))),
        }
    }

    fn byte(&mut self) -> Result<u8, InteropError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], InteropError> {
        let taken = self.slice(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(taken);
        Ok(bytes)
    }

    fn slice(&mut self, len: usize) -> Result<&[u8], InteropError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| damaged("its pickle is truncated"))?;
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    fn skip(&mut self, len: usize) -> Result<(), InteropError> {
        self.slice(len).map(drop)
    }

    fn line(&mut self) -> Result<String, InteropError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(256).position(|byte| *byte == b'\n');
        let len = len.ok_or_else(|| damaged("a name in its pickle has no end"))?;
        let text = String::from_utf8_lossy(self.slice(len)?).into_owned();
        self.skip(1)?;
        Ok(text)
    }

    fn push(&mut self, object: Object) -> Result<(), InteropError> {
        if self.objects.len() >= OBJECTS {
            return Err(damaged("its pickle holds more objects than any checkpoint"));
        }
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
        Ok(())
    }

    fn pop(&mut self) -> Result<usize, InteropError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(|| damaged("its pickle pops from an empty stack")),
            false => Err(damaged("its pickle pops from an empty stack")),
        }
    }

    fn pop_text(&mut self) -> Result<String, InteropError> {
        let id = self.pop()?;
        match &self.objects[id] {
            Object::Text(text) => Ok(text.clone()),
            _ => Err(damaged("its pickle uses an object that is no text as a name")),
        }
    }

    /// Everything since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<usize>, InteropError> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its pickle ends a list without a beginning"))?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Object, InteropError> {
        let id = *self.stack.last().ok_or_else(|| damaged("its pickle adds to an empty stack"))?;
        Ok(&mut self.objects[id])
    }

    fn integer(&mut self, code: u8) -> Result<(), InteropError> {
        let value = match code {
            b'K' => i64::from(self.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.take()?)),
            b'J' => i64::from(i32::from_le_bytes(self.take()?)),
            _ => {
                let len = usize::from(self.byte()?);
                let bytes = self.slice(len)?;
                if len > 8 {
                    return Err(damaged("its pickle holds an integer of more than 64 bits"));
                }
                // Two's complement, little-endian, of `len` bytes.
                let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let mut whole = [fill; 8];
                whole[..len].copy_from_slice(bytes);
                i64::from_le_bytes(whole)
            }
        };
        self.push(Object::Int(value))
    }

    fn string(&mut self, code: u8) -> Result<(), InteropError> {
        let len = match code {
            0x8c | b'U' => usize::from(self.byte()?),
            b'X' | b'T' => u32::from_le_bytes(self.take()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(self.take()?)).unwrap_or(usize::MAX),
        };
        let text = String::from_utf8_lossy(self.slice(len)?).into_owned();
        self.push(Object::Text(text))
    }

    fn tuple(&mut self, code: u8) -> Result<(), InteropError> {
        let items = match code {
            b't' => self.pop_mark()?,
            _ => {
                let mut items =
                    (0x85..=code).map(|_| self.pop()).collect::<Result<Vec<usize>, InteropError>>()?;
                items.reverse();
                items
            }
        };
        self.push(Object::Tuple(items))
    }

    fn append(&mut self, code: u8) -> Result<(), InteropError> {
        let items = if code == b'e' { self.pop_mark()? } else { vec![self.pop()?] };
        match self.top()? {
            Object::List(list) => list.extend(items),
            _ => return Err(damaged("its pickle appends to an object that is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, code: u8) -> Result<(), InteropError> {
        let items = match code {
            b'u' => self.pop_mark()?,
            _ => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
        };
        if items.len() % 2 != 0 {
            return Err(damaged("its pickle sets a key without a value"));
        }
        match self.top()? {
            Object::Dict(pairs) => pairs.extend(items.chunks(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err(damaged("its pickle sets a key of an object that is no dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<(), InteropError> {
        let place = match code {
            b'q' => usize::from(self.byte()?),
            b'r' => u32::from_le_bytes(self.take()?) as usize,
            _ => self.memo.len(),
        };
        let id = *self.stack.last().ok_or_else(|| damaged("its pickle memoizes from an empty stack"))?;
        if place >= OBJECTS {
            return Err(damaged("its pickle has too large a memo"));
        }
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(id);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<(), InteropError> {
        let place = match code {
            b'h' => usize::from(self.byte()?),
            _ => u32::from_le_bytes(self.take()?) as usize,
        };
        let id = self.memo.get(place).copied().flatten();
        self.stack.push(id.ok_or_else(|| damaged("its pickle reads an empty place of the memo"))?);
        Ok(())
    }

    /// A storage: ("storage", class, file name, device, length).
    fn persistent(&mut self) -> Result<(), InteropError> {
        let id = self.pop()?;
        let node = |id: usize| &self.objects[id];
        let wrong = || damaged("its pickle refers to an invalid storage");
        let Object::Tuple(parts) = node(id) else { return Err(wrong()) };
        let &[kind, class, key, _, len] = &parts[..] else { return Err(wrong()) };
        let storage = match (node(kind), node(class), node(key), node(len)) {
            (
                Object::Text(kind),
                Object::Class(Class::Storage(dtype)),
                Object::Text(key),
                Object::Int(len),
            ) if kind == "storage" && key.len() <= KEY => {
                let len = usize::try_from(*len).map_err(|_| wrong())?;
                Storage { dtype: *dtype, key: key.clone(), len }
            }
            _ => return Err(wrong()),
        };
        self.push(Object::Storage(storage))
    }

    /// Calls one of the known functions.
    fn reduce(&mut self) -> Result<(), InteropError> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        let (Object::Tuple(arguments), Object::Class(class)) =
            (&self.objects[arguments], &self.objects[class])
        else {
            return Err(damaged("its pickle calls an object that is no function"));
        };
        // No known function reads more arguments than this.
        let arguments: Vec<usize> = arguments.iter().take(AXES).copied().collect();
        let class = *class;
        match class {
            Class::OrderedDict if arguments.is_empty() => self.push(Object::Dict(Vec::new())),
            Class::RebuildTensor => {
                let tensor = self.strided(&arguments)?;
                self.push(Object::Tensor(tensor))
            }
            Class::RebuildParameter => {
                let tensor = arguments.first().map(|id| self.objects[*id].clone());
                match tensor {
                    Some(tensor @ Object::Tensor(_)) => self.push(tensor),
                    _ => Err(damaged("its pickle makes a parameter of an object that is no tensor")),
                }
            }
            _ => Err(damaged(format!("its pickle calls {class:?} with {} arguments", arguments.len()))),
        }
    }

    /// (storage, offset, shape, stride, …).
    fn strided(&self, arguments: &[usize]) -> Result<Strided, InteropError> {
        let wrong = || damaged("its pickle describes an invalid tensor");
        let &[storage, offset, shape, stride, ..] = arguments else { return Err(wrong()) };
        let number = |id: usize| match &self.objects[id] {
            Object::Int(value) => usize::try_from(*value).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        let numbers = |id: usize| match &self.objects[id] {
            Object::Tuple(items) if items.len() <= AXES => {
                items.iter().map(|id| number(*id)).collect::<Result<Vec<usize>, _>>()
            }
            _ => Err(wrong()),
        };
        let Object::Storage(storage) = &self.objects[storage] else { return Err(wrong()) };
        let (offset, shape, stride) = (number(offset)?, numbers(shape)?, numbers(stride)?);
        if shape.len() != stride.len() {
            return Err(wrong());
        }
        let tensor = Strided { storage: storage.clone(), offset, shape, stride };
        match tensor.fits() {
            true => Ok(tensor),
            false => Err(damaged("its pickle describes a tensor outside its storage")),
        }
    }

    /// Attributes of an object. Only an ordered dictionary's `_metadata` is accepted, and ignored.
    fn build(&mut self) -> Result<(), InteropError> {
        self.pop()?;
        match self.top()? {
            Object::Dict(_) => Ok(()),
            _ => Err(InteropError::Code("an object's state".into())),
        }
    }
}

impl Strided {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of elements of the storage from the tensor's first to its last, both included. The tensor
    /// must fit ([`Strided::fits`]).
    pub fn span(&self) -> usize {
        if self.len() == 0 {
            return 0;
        }
        let reach = |(extent, stride): (&usize, &usize)| (extent - 1) * stride;
        1 + self.shape.iter().zip(&self.stride).map(reach).sum::<usize>()
    }

    /// Returns true if every element is inside the storage.
    fn fits(&self) -> bool {
        let mut last = Some(self.offset);
        let mut count = Some(1usize);
        for (extent, stride) in self.shape.iter().zip(&self.stride) {
            count = count.and_then(|count| count.checked_mul(*extent));
            let reach = extent.saturating_sub(1).checked_mul(*stride);
            last = last.zip(reach).and_then(|(last, reach)| last.checked_add(reach));
        }
        match (count, last) {
            (Some(0), _) => true,
            // A stride of 0 repeats elements, which would let a small file describe a huge tensor;
            // checkpoints have no such tensors.
            (Some(count), Some(last)) => count <= self.storage.len && last < self.storage.len,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_read() {
        // Made by hand: {'a': [1, -2, 3.5], 'b': (True, None)}, protocol 2, with a memo.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG\x40\x0c\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00b\x88N\x86u.";
        let pickle = Pickle::read(bytes).unwrap();
        let a: Vec<&Object> = pickle.root().get("a").unwrap().items().map(Node::object).collect();
        assert!(matches!(a[..], [Object::Int(1), Object::Int(-2), Object::Other]));
        let b: Vec<&Object> = pickle.root().get("b").unwrap().items().map(Node::object).collect();
        assert!(matches!(b[..], [Object::Other, Object::Other]));
        assert!(pickle.root().get("c").is_none());
    }

    #[test]
    fn code_is_never_called_but_named_and_refused() {
        // cos\nsystem\n (S'true' R: what pickle.loads would run.
        for bytes in [
            &b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."[..],
            &b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."[..],
            &b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."[..],
            &b"\x80\x02ctorch._utils\n_rebuild_something\n)R."[..],
        ] {
            assert!(matches!(Pickle::read(bytes), Err(InteropError::Code(_))));
        }
        let text = Pickle::read(b"\x80\x02cos\nsystem\n.").map(drop).unwrap_err().to_string();
        assert!(text.contains("os.system"), "{text}");
    }

    #[test]
    fn a_small_pickle_cannot_take_much_memory() {
        let refused = |bytes: &[u8]| match Pickle::read(bytes) {
            Err(InteropError::Damaged(why)) => why,
            _ => panic!("read"),
        };
        // A hundred million times None; the memo's last place; and a long storage name.
        assert!(refused(&vec![b'N'; 100_000_000]).contains("more objects"));
        assert!(refused(b"\x80\x02Nr\xff\xff\xff\xff.").contains("memo"));
        let mut bytes = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x00\x10\x00\x00".to_vec();
        bytes.extend([b'k'; 4096]);
        bytes.extend(b"NK\x01tQ.");
        assert!(refused(&bytes).contains("storage"));
    }

    #[test]
    fn every_prefix_of_a_pickle_is_refused() {
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01M\x02\x00eu.";
        assert!(Pickle::read(bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(Pickle::read(&bytes[..len]).is_err(), "{len}");
        }
    }

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
        assert!(!tensor(1, &[2, 3], &[3, 1]).fits());
        assert!(!tensor(0, &[1 << 40], &[0]).fits());
        assert!(!tensor(0, &[usize::MAX, 2], &[1, usize::MAX]).fits());
    }
}
