//! A writer of PyTorch's checkpoints, in both formats.

use std::io::{Cursor, Write};

/// A pickle of protocol 2, with the storages of its tensors.
#[derive(Default, Clone)]
pub struct Pickler {
    /// Without the end, if it has none yet.
    pub pickle: Vec<u8>,
    pub storages: Vec<Vec<u8>>,
}

/// A value of Python's.
#[derive(Clone)]
pub enum Py {
    None,
    Int(i32),
    Float(f64),
    Text(&'static str),
    Dict(Vec<(String, Py)>),
    List(Vec<Py>),
    /// A tensor of float32.
    Tensor(Vec<usize>, Vec<f32>),
    /// A tensor with its type's name, its storage's bytes and number of elements, its offset and its strides.
    View {
        kind: &'static str,
        bytes: Vec<u8>,
        len: usize,
        offset: usize,
        shape: Vec<usize>,
        stride: Vec<usize>,
    },
    /// The instructions that build it.
    Code(Vec<u8>),
}

/// A dictionary.
pub fn dict<const N: usize>(pairs: [(&str, Py); N]) -> Py {
    Py::Dict(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

impl Pickler {
    /// A checkpoint with this value.
    pub fn of(value: &Py) -> Pickler {
        let mut p = Pickler { pickle: b"\x80\x02".to_vec(), storages: Vec::new() };
        p.value(value);
        p.pickle.push(b'.');
        p
    }

    fn value(&mut self, value: &Py) {
        match value {
            Py::None => self.pickle.push(b'N'),
            Py::Int(value) => {
                self.pickle.push(b'J');
                self.pickle.extend(value.to_le_bytes());
            }
            Py::Float(value) => {
                self.pickle.push(b'G');
                self.pickle.extend(value.to_be_bytes());
            }
            Py::Text(text) => self.text(text),
            Py::Dict(pairs) => {
                self.pickle.extend(b"ccollections\nOrderedDict\n)R(");
                for (key, value) in pairs {
                    self.text(key);
                    self.value(value);
                }
                self.pickle.push(b'u');
            }
            Py::List(items) => {
                self.pickle.extend(b"](");
                items.iter().for_each(|item| self.value(item));
                self.pickle.push(b'e');
            }
            Py::Tensor(shape, values) => self.tensor(shape, values),
            Py::View { kind, bytes, len, offset, shape, stride } => {
                self.view(kind, bytes.clone(), *len, *offset, shape, stride);
            }
            Py::Code(code) => self.pickle.extend(code),
        }
    }

    pub fn text(&mut self, text: &str) {
        self.pickle.push(b'X');
        self.pickle.extend((text.len() as u32).to_le_bytes());
        self.pickle.extend(text.bytes());
    }

    pub fn int(&mut self, value: usize) {
        self.pickle.push(b'J');
        self.pickle.extend((value as i32).to_le_bytes());
    }

    pub fn tensor(&mut self, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stride: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        self.view("Float", bytes, values.len(), 0, shape, &stride);
    }

    fn view(
        &mut self,
        kind: &str,
        bytes: Vec<u8>,
        len: usize,
        offset: usize,
        shape: &[usize],
        stride: &[usize],
    ) {
        self.pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.pickle.extend(format!("ctorch\n{kind}Storage\n").bytes());
        self.text(&self.storages.len().to_string());
        self.text("cpu");
        self.int(len);
        self.pickle.extend(b"tQ");
        self.int(offset);
        for numbers in [shape, stride] {
            self.pickle.push(b'(');
            numbers.iter().for_each(|number| self.int(*number));
            self.pickle.push(b't');
        }
        self.pickle.extend(b"\x89}tR");
        self.storages.push(bytes);
    }

    /// The pickle with its end.
    fn ended(&self) -> Vec<u8> {
        let end: &[u8] = if self.pickle.ends_with(b".") { b"" } else { b"." };
        [&self.pickle[..], end].concat()
    }

    /// PyTorch's format since 1.6.
    pub fn archive(self) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let names = (0..self.storages.len()).map(|i| format!("x/data/{i}"));
        let pickle = self.ended();
        let entries = names.zip(&self.storages).chain([("x/data.pkl".to_string(), &pickle)]);
        for (name, bytes) in entries {
            zip.start_file(name, stored).expect("an entry");
            zip.write_all(bytes).expect("bytes");
        }
        zip.finish().expect("an archive").into_inner()
    }

    /// PyTorch's format before 1.6; the storages hold float32.
    pub fn legacy(self) -> Vec<u8> {
        let mut bytes =
            b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
        let mut system = Pickler { pickle: b"\x80\x02}".to_vec(), storages: Vec::new() };
        system.text("little_endian");
        system.pickle.extend(b"\x88s.");
        bytes.extend(system.pickle);
        bytes.extend(self.ended());
        let mut keys = Pickler { pickle: b"\x80\x02](".to_vec(), storages: Vec::new() };
        (0..self.storages.len()).for_each(|key| keys.text(&key.to_string()));
        keys.pickle.extend(b"e.");
        bytes.extend(keys.pickle);
        for storage in &self.storages {
            bytes.extend((storage.len() as u64 / 4).to_le_bytes());
            bytes.extend(storage);
        }
        bytes
    }
}
