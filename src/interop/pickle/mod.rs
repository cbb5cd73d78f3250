//! A reader of Python's pickles that builds numbers, texts, lists, dictionaries and tensors, and runs no code:
//! a pickle names the functions that it calls, and only the variants of [`Class`] are known here. What any
//! other function would make is an [`Object::Opaque`], of which nothing is known but the function's name.
//!
//! Objects are stored in one table and refer to each other by index, so a list that a pickle contains a
//! thousand times is stored once, as in the file.

mod call;
mod machine;
mod tensor;

use super::InteropError;
use call::{Class, NumpyType};
use std::sync::Arc;
pub(super) use tensor::{Dtype, Storage, Strided};

/// A pickle's objects.
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: usize,
    len: usize,
}

/// The kinds of objects in a pickle.
#[derive(Debug, Clone)]
pub(super) enum Object {
    /// A value that no reader of checkpoints needs: None, a set, a huge integer, ….
    Other,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Storage {
        storage: Storage,
        /// Its first element in the file's storage: storages of PyTorch's first years may be parts of others.
        start: usize,
    },
    Tensor(Strided),
    NumpyType(NumpyType),
    Class(Class),
    /// The result of the function or class of this name, or the function itself.
    Opaque(Arc<str>),
}

/// One object of a pickle.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pickle: &'a Pickle,
    id: usize,
}

impl<'a> Node<'a> {
    /// Its number, the same wherever the pickle refers to it.
    pub fn id(self) -> usize {
        self.id
    }

    pub fn object(self) -> &'a Object {
        &self.pickle.objects[self.id]
    }

    fn at(self, id: usize) -> Node<'a> {
        Node { pickle: self.pickle, id }
    }

    /// The value under a key of a dictionary; of several, the last, as in Python.
    pub fn get(self, key: &str) -> Option<Node<'a>> {
        let found = self.pairs().filter(|(name, _)| name.text() == Some(key)).last();
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

    pub fn int(self) -> Option<i128> {
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
    /// Reads the pickle that the bytes begin with; others may follow it.
    pub fn read(bytes: &[u8]) -> Result<Pickle, InteropError> {
        machine::run(bytes)
    }

    pub fn root(&self) -> Node<'_> {
        Node { pickle: self, id: self.root }
    }

    /// The number of its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The storages that the file must hold.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage { storage, .. } => Some(storage),
            _ => None,
        })
    }
}

fn damaged(what: impl Into<String>) -> InteropError {
    InteropError::Damaged(what.into())
}

/// A name that is safe to print: shortened, without control characters.
pub(super) fn readable(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_read() {
        // Made by hand: {'a': [1, -2, 3.5], 'b': (True, None)}, protocol 2, with a memo.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG\x40\x0c\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00b\x88N\x86u.";
        let pickle = Pickle::read(bytes).unwrap();
        assert_eq!(pickle.len(), bytes.len());
        let a: Vec<&Object> = pickle.root().get("a").unwrap().items().map(Node::object).collect();
        assert!(matches!(a[..], [Object::Int(1), Object::Int(-2), Object::Float(3.5)]));
        let b: Vec<&Object> = pickle.root().get("b").unwrap().items().map(Node::object).collect();
        assert!(matches!(b[..], [Object::Bool(true), Object::Other]));
        assert!(pickle.root().get("c").is_none());
    }

    #[test]
    fn the_first_protocols_are_read() {
        // {'a': [1, True, 2 ** 80, -1.5, 'x']} twice, of protocol 0.
        let bytes = b"(dp0\nVa\np1\n(lp2\nI1\naI01\naL1208925819614629174706176L\naF-1.5\naS'x'\nasg0\n\x86.";
        let pickle = Pickle::read(bytes).unwrap();
        let both: Vec<Node<'_>> = pickle.root().items().collect();
        assert_eq!(both[0].id(), both[1].id());
        let a: Vec<&Object> = both[1].get("a").unwrap().items().map(Node::object).collect();
        let huge = 1i128 << 80;
        assert!(
            matches!(a[..4], [Object::Int(1), Object::Bool(true), Object::Int(n), Object::Float(-1.5)] if *n == huge)
        );
        assert!(matches!(a[4], Object::Text(text) if text == "x"));
    }

    #[test]
    fn numbers_of_any_size_and_of_numpy_are_read() {
        let read = |bytes: &[u8]| Pickle::read(bytes).unwrap().root().object().clone();
        assert!(matches!(read(b"\x80\x02\x8a\x00."), Object::Int(0)));
        assert!(matches!(read(b"\x80\x02\x8a\x01\xff."), Object::Int(-1)));
        let eighty = b"\x80\x02\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01.";
        assert!(matches!(read(eighty), Object::Int(n) if n == 1 << 80));
        // Beyond any number that is needed.
        let bytes = [&b"\x80\x02\x8b\x2c\x01\x00\x00"[..], &[1; 300], b"."].concat();
        assert!(matches!(read(&bytes), Object::Other));
        for (code, order, text, expected) in [
            ("i8", "<", "\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00", 7.0),
            ("i4", ">", "\\x00\\x00\\x00\\x07", 7.0),
            ("u2", "<", "\\xff\\xff", 65535.0),
            ("f4", "<", "\\x00\\x00\\xe0\\x40", 7.0),
            ("f8", ">", "\\x40\\x1c\\x00\\x00\\x00\\x00\\x00\\x00", 7.0),
        ] {
            // Protocol 2 has no bytes: they are a text that is encoded as Latin-1.
            let bytes: String = text
                .split("\\x")
                .skip(1)
                .map(|hex| char::from(u8::from_str_radix(hex, 16).unwrap()))
                .collect();
            let mut pickle = b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n".to_vec();
            let push = |pickle: &mut Vec<u8>, text: &str| {
                pickle.push(b'X');
                pickle.extend((text.len() as u32).to_le_bytes());
                pickle.extend(text.bytes());
            };
            push(&mut pickle, code);
            pickle.extend(b"\x89\x88\x87R(K\x03");
            push(&mut pickle, order);
            pickle.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbc_codecs\nencode\n");
            push(&mut pickle, &bytes);
            push(&mut pickle, "latin1");
            pickle.extend(b"\x86R\x86R.");
            let number = match read(&pickle) {
                Object::Int(value) => value as f64,
                Object::Float(value) => value,
                other => panic!("{code}: {other:?}"),
            };
            assert_eq!(number, expected, "{code}");
        }
    }

    #[test]
    fn code_is_never_called_and_its_results_are_opaque() {
        // cos\nsystem\n (S'true' R: what pickle.loads would run.
        for (bytes, name) in [
            (&b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."[..], "os.system"),
            (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "builtins.eval"),
            (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "os.system"),
            (b"\x80\x02ctorch._utils\n_rebuild_something\n)R.", "torch._utils._rebuild_something"),
            (b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb.", "argparse.Namespace"),
            (b"(ios\nsystem\n.", "os.system"),
            (b"(cos\nsystem\nK\x01o.", "os.system"),
            (b"\x80\x02cmine\nDict\n)RX\x01\x00\x00\x00aK\x01s.", "mine.Dict"),
        ] {
            let pickle = Pickle::read(bytes).unwrap();
            assert!(matches!(pickle.root().object(), Object::Opaque(is) if &**is == name), "{name}");
        }
        // Extensions are registered by number in a running program only.
        assert!(matches!(Pickle::read(b"\x80\x02\x82\x01."), Err(InteropError::Code(_))));
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
        // The stack: one object, referred to again and again.
        let bytes = [&b"\x80\x02Nq\x00"[..], &b"h\x00".repeat(1 << 23)].concat();
        assert!(refused(&bytes).contains("more objects"));
        // A long list of pairs, made a dictionary again and again.
        let mut bytes = b"\x80\x02](".to_vec();
        (0..1000).for_each(|_| bytes.extend(b"NN\x86"));
        bytes.extend(b"eq\x00");
        bytes.extend(b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(1 << 13));
        assert!(refused(&bytes).contains("more objects"));
    }

    #[test]
    fn every_prefix_of_a_pickle_is_refused() {
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01M\x02\x00eu.";
        assert!(Pickle::read(bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(Pickle::read(&bytes[..len]).is_err(), "{len}");
        }
    }
}
