//! The stack machine that runs a pickle.

use super::call::Class;
use super::{InteropError, Object, Pickle, damaged};

/// The machine: the rest of the pickle, the objects made so far, and what the instructions refer to.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    pub objects: Vec<Object>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: Vec<Option<usize>>,
    /// References copied from object to object.
    copied: usize,
}

/// The largest number of objects, above that of any checkpoint, and the largest length of the stack and of
/// the memo.
const OBJECTS: usize = 1 << 21;

/// Reads the pickle that the bytes begin with.
pub(super) fn run(bytes: &[u8]) -> Result<Pickle, InteropError> {
    let (stack, marks, memo) = (Vec::new(), Vec::new(), Vec::new());
    let mut machine = Machine { bytes, at: 0, objects: Vec::new(), stack, marks, memo, copied: 0 };
    loop {
        match machine.byte()? {
            b'.' => break,
            code => machine.step(code)?,
        }
    }
    let root = machine.pop()?;
    Ok(Pickle { objects: machine.objects, root, len: machine.at })
}

impl Machine<'_> {
    fn step(&mut self, code: u8) -> Result<(), InteropError> {
        match code {
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            // Buffers outside the pickle: PyTorch writes none.
            0x98 => Ok(()),
            b'(' => {
                self.marks.push(self.stack.len());
                self.room(self.marks.len())
            }
            b'0' => self.discard(),
            b'1' => self.pop_mark().map(drop),
            b'2' => self.top_id().and_then(|id| self.refer(id)),
            b'N' => self.push(Object::Other),
            0x88 | 0x89 => self.push(Object::Bool(code == 0x88)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(code),
            b'I' | b'L' | b'F' => self.number_as_text(code),
            b'G' => {
                let value = f64::from_be_bytes(self.take()?);
                self.push(Object::Float(value))
            }
            0x8c | b'X' | 0x8d | b'U' | b'T' | b'V' | b'S' => self.string(code),
            b'B' | b'C' | 0x8e | 0x96 => {
                let bytes = self.counted(code)?.to_vec();
                self.push(Object::Bytes(bytes))
            }
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            0x8f => self.push(Object::Other),
            b't' | b'l' | b'd' | 0x91 | 0x85..=0x87 => self.collect(code),
            b'a' | b'e' | 0x90 => self.append(code),
            b's' | b'u' => self.set_items(code),
            b'c' => {
                let class = self.global()?;
                self.push(class)
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push(Class::named(&module, &name))
            }
            b'q' | b'r' | b'p' | 0x94 => self.remember(code),
            b'h' | b'j' | b'g' => self.recall(code),
            b'Q' => self.persistent(),
            b'P' => {
                self.line()?;
                self.push(Object::Opaque("a persistent object".into()))
            }
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments)
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments)
            }
            b'i' | b'o' => self.instance(code),
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

    /// The bytes after their count, which has 1, 4 or 8 bytes.
    fn counted(&mut self, code: u8) -> Result<&[u8], InteropError> {
        let len = match code {
            0x8c | b'U' | b'C' => usize::from(self.byte()?),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.take()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(self.take()?)).unwrap_or(usize::MAX),
        };
        self.slice(len)
    }

    /// A line of text, without its end.
    fn line(&mut self) -> Result<String, InteropError> {
        let len = self.bytes[self.at..].iter().position(|byte| *byte == b'\n');
        let len = len.ok_or_else(|| damaged("a line of its pickle has no end"))?;
        let text = String::from_utf8_lossy(self.slice(len)?).into_owned();
        self.skip(1)?;
        Ok(text)
    }

    fn global(&mut self) -> Result<Object, InteropError> {
        let (module, name) = (self.line()?, self.line()?);
        Ok(Class::named(&module, &name))
    }

    /// Refuses a number of things beyond that of any checkpoint.
    fn room(&self, count: usize) -> Result<(), InteropError> {
        match count <= OBJECTS {
            true => Ok(()),
            false => Err(damaged("its pickle holds more objects than any checkpoint")),
        }
    }

    /// Counts references that are copied, not moved: without a limit a small pickle could copy a long list
    /// again and again.
    pub fn copying(&mut self, count: usize) -> Result<(), InteropError> {
        self.copied = self.copied.saturating_add(count);
        self.room(self.copied)
    }

    pub fn push(&mut self, object: Object) -> Result<(), InteropError> {
        self.room(self.objects.len() + 1)?;
        self.objects.push(object);
        self.refer(self.objects.len() - 1)
    }

    /// Pushes an object that exists already.
    fn refer(&mut self, id: usize) -> Result<(), InteropError> {
        self.stack.push(id);
        self.room(self.stack.len())
    }

    pub fn pop(&mut self) -> Result<usize, InteropError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let id = if self.stack.len() > floor { self.stack.pop() } else { None };
        id.ok_or_else(|| damaged("its pickle pops from an empty stack"))
    }

    /// Drops the last object or, if nothing is above it, the last mark.
    fn discard(&mut self) -> Result<(), InteropError> {
        match self.marks.last() {
            Some(mark) if *mark == self.stack.len() => drop(self.marks.pop()),
            _ => drop(self.pop()?),
        }
        Ok(())
    }

    fn pop_text(&mut self) -> Result<String, InteropError> {
        let id = self.pop()?;
        match &self.objects[id] {
            // Longer than any name, and copied.
            Object::Text(text) if text.len() <= 1024 => Ok(text.clone()),
            _ => Err(damaged("its pickle uses an object that is no name as a name")),
        }
    }

    /// Everything since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<usize>, InteropError> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its pickle ends a list without a beginning"))?;
        Ok(self.stack.split_off(mark))
    }

    fn top_id(&self) -> Result<usize, InteropError> {
        self.stack.last().copied().ok_or_else(|| damaged("its pickle needs an object on an empty stack"))
    }

    fn top(&mut self) -> Result<&mut Object, InteropError> {
        let id = self.top_id()?;
        Ok(&mut self.objects[id])
    }

    fn integer(&mut self, code: u8) -> Result<(), InteropError> {
        let value = match code {
            b'K' => i128::from(self.byte()?),
            b'M' => i128::from(u16::from_le_bytes(self.take()?)),
            b'J' => i128::from(i32::from_le_bytes(self.take()?)),
            _ => {
                let len = match code {
                    0x8a => usize::from(self.byte()?),
                    _ => u32::from_le_bytes(self.take()?) as usize,
                };
                let bytes = self.slice(len)?;
                // Two's complement, little-endian, of `len` bytes.
                let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let mut whole = [fill; 16];
                if len > whole.len() {
                    return self.push(Object::Other);
                }
                whole[..len].copy_from_slice(bytes);
                i128::from_le_bytes(whole)
            }
        };
        self.push(Object::Int(value))
    }

    /// A number of the first protocols.
    fn number_as_text(&mut self, code: u8) -> Result<(), InteropError> {
        let text = self.line()?;
        let wrong = || damaged("its pickle holds a number without digits");
        let object = match (code, &text[..]) {
            (b'I', "00" | "01") => Object::Bool(text == "01"),
            (b'F', text) => Object::Float(text.parse().map_err(|_| wrong())?),
            (_, text) => {
                let digits = text.trim_end_matches('L');
                match digits.parse() {
                    Ok(value) => Object::Int(value),
                    Err(_) if digits.len() > 38 => Object::Other,
                    Err(_) => return Err(wrong()),
                }
            }
        };
        self.push(object)
    }

    fn string(&mut self, code: u8) -> Result<(), InteropError> {
        let text = match code {
            b'V' => self.line()?,
            b'S' => self.line()?.trim_matches(['\'', '"']).to_string(),
            _ => String::from_utf8_lossy(self.counted(code)?).into_owned(),
        };
        self.push(Object::Text(text))
    }

    /// Makes a tuple, a list, a dictionary or a frozen set of the objects since the last mark, or a tuple of
    /// the last one, two or three.
    fn collect(&mut self, code: u8) -> Result<(), InteropError> {
        let items = match code {
            0x85..=0x87 => {
                let mut items =
                    (0x85..=code).map(|_| self.pop()).collect::<Result<Vec<usize>, InteropError>>()?;
                items.reverse();
                items
            }
            _ => self.pop_mark()?,
        };
        let object = match code {
            b'l' => Object::List(items),
            b'd' => Object::Dict(pairs(&items)?),
            0x91 => Object::Other,
            _ => Object::Tuple(items),
        };
        self.push(object)
    }

    fn append(&mut self, code: u8) -> Result<(), InteropError> {
        let items = if code == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        match self.top()? {
            Object::List(list) => list.extend(items),
            // A set, or an object of a class derived from list.
            Object::Other | Object::Opaque(_) => {}
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
        let items = pairs(&items)?;
        match self.top()? {
            Object::Dict(pairs) => pairs.extend(items),
            // An object of a class derived from dict.
            Object::Opaque(_) => {}
            _ => return Err(damaged("its pickle sets a key of an object that is no dictionary")),
        }
        Ok(())
    }

    /// A place of the memo.
    fn place(&mut self, code: u8) -> Result<usize, InteropError> {
        match code {
            b'q' | b'h' => Ok(usize::from(self.byte()?)),
            b'r' | b'j' => Ok(u32::from_le_bytes(self.take()?) as usize),
            b'p' | b'g' => {
                let text = self.line()?;
                text.parse().map_err(|_| damaged("its pickle names no place of the memo"))
            }
            _ => Ok(self.memo.len()),
        }
    }

    fn remember(&mut self, code: u8) -> Result<(), InteropError> {
        let place = self.place(code)?;
        let id = self.top_id()?;
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
        let place = self.place(code)?;
        let id = self.memo.get(place).copied().flatten();
        self.refer(id.ok_or_else(|| damaged("its pickle reads an empty place of the memo"))?)
    }

    /// An object of a class of Python's first years.
    fn instance(&mut self, code: u8) -> Result<(), InteropError> {
        let arguments = self.pop_mark()?;
        let class = match code {
            b'i' => self.global()?,
            _ => arguments.first().map_or(Object::Other, |id| self.objects[*id].clone()),
        };
        match class {
            class @ Object::Opaque(_) => self.push(class),
            _ => self.push(Object::Opaque("an instance".into())),
        }
    }

    /// Attributes of an object: an ordered dictionary's `_metadata`, for example. Only a type of NumPy's has
    /// one that matters.
    fn build(&mut self) -> Result<(), InteropError> {
        let state = self.pop()?;
        let top = self.top_id()?;
        let order = match &self.objects[state] {
            Object::Tuple(parts) => parts.get(1).copied(),
            _ => None,
        };
        let big = order.is_some_and(|id| matches!(&self.objects[id], Object::Text(text) if text == ">"));
        if let Object::NumpyType(of) = &mut self.objects[top] {
            of.big |= big;
        }
        Ok(())
    }
}

fn pairs(items: &[usize]) -> Result<Vec<(usize, usize)>, InteropError> {
    match items.len() % 2 {
        0 => Ok(items.chunks(2).map(|pair| (pair[0], pair[1])).collect()),
        _ => Err(damaged("its pickle sets a key without a value")),
    }
}
