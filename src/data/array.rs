//! Arrays of numpy, `.npy` and `.npz`: a whole file or a refusal.

use super::DataError;
use crate::files;
use half::f16;
use npyz::{NpyHeader, Order};
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// An array, and what else its archive holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The extents, none of them 0.
    pub shape: Vec<usize>,
    /// The numbers, in order.
    pub numbers: Numbers,
    /// The labels beside it in its archive, `[n]` whole numbers, and their name.
    pub labels: Option<(String, Vec<u32>)>,
    /// The other arrays of its archive, which are no images: their names.
    pub left_out: Vec<String>,
}

/// The names under which archives hold labels.
const LABELS: [&str; 4] = ["labels", "label", "y", "arr_1"];

/// The numbers of an array, by their type in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Bytes: levels, if they are images.
    Levels(Vec<u8>),
    /// Half and single precision, finite.
    Single(Vec<f32>),
    /// Double precision, finite.
    Double(Vec<f64>),
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Numbers::Levels(numbers) => numbers.len(),
            Numbers::Single(numbers) => numbers.len(),
            Numbers::Double(numbers) => numbers.len(),
        }
    }

    fn finite(&self) -> bool {
        match self {
            Numbers::Levels(_) => true,
            Numbers::Single(numbers) => numbers.iter().all(|v| v.is_finite()),
            Numbers::Double(numbers) => numbers.iter().all(|v| (*v as f32).is_finite()),
        }
    }

    /// The values of images: levels as shares of 255, others as they are.
    pub fn images(self) -> Vec<f32> {
        match self {
            Numbers::Levels(levels) => levels.iter().map(|v| (f64::from(*v) / 255.0) as f32).collect(),
            Numbers::Single(numbers) => numbers,
            Numbers::Double(numbers) => numbers.into_iter().map(|v| v as f32).collect(),
        }
    }

    /// The numbers themselves.
    pub fn doubles(self) -> Vec<f64> {
        match self {
            Numbers::Levels(numbers) => numbers.into_iter().map(f64::from).collect(),
            Numbers::Single(numbers) => numbers.into_iter().map(f64::from).collect(),
            Numbers::Double(numbers) => numbers,
        }
    }
}

impl Array {
    /// Reads `.npy`, or of `.npz` the array `samples`, `arr_0` or the only one of at least three axes, and its labels: `[n]` whole
    /// numbers called `labels`, `label`, `y` or `arr_1`.
    ///
    /// # Errors
    /// If the file is no array of numbers, is damaged, holds a second array of images, or anything after an array.
    pub fn read(path: &Path) -> Result<Array, DataError> {
        let read = || {
            let unreadable = |e: std::io::Error| format!("it cannot be read ({e})");
            let mut file = files::open(path).map_err(unreadable)?;
            let mut start = Vec::new();
            file.by_ref().take(2).read_to_end(&mut start).map_err(unreadable)?;
            file.rewind().map_err(unreadable)?;
            match &start[..] {
                b"PK" => archive(BufReader::new(file)),
                _ => numbers(&whole(file, "it")?, "it"),
            }
        };
        read().map_err(|what| DataError::Format { path: path.display().to_string(), what })
    }

    /// Reads the arrays with these names from an archive; `None` if the file is none, or lacks one of them.
    ///
    /// # Errors
    /// If the archive or one of these arrays is damaged, or no array of numbers.
    pub fn named<const N: usize>(path: &Path, names: [&str; N]) -> Result<Option<[Array; N]>, DataError> {
        let read = || {
            let mut file = files::open(path).map_err(|e| format!("it cannot be read ({e})"))?;
            let mut start = Vec::new();
            file.by_ref().take(2).read_to_end(&mut start).map_err(|e| format!("it cannot be read ({e})"))?;
            if start != b"PK" {
                return Ok(None);
            }
            let mut archive = opened(BufReader::new(file))?;
            let entries = names.map(|name| format!("{name}.npy"));
            if !entries.iter().all(|entry| archive.index_for_name(entry).is_some()) {
                return Ok(None);
            }
            let mut arrays = Vec::with_capacity(N);
            for (entry, name) in entries.iter().zip(names) {
                let source = archive.by_name(entry).map_err(damaged)?;
                arrays.push(numbers(&whole(source, &format!("its entry {entry}"))?, &format!("`{name}`"))?);
            }
            Ok(arrays.try_into().ok())
        };
        read().map_err(|what| DataError::Format { path: path.display().to_string(), what })
    }

    /// Reads the bytes of a `.npz` file, or else of a `.npy` file.
    ///
    /// # Errors
    /// As for [`Array::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Array, DataError> {
        let read = match bytes.starts_with(b"PK") {
            true => archive(std::io::Cursor::new(bytes)),
            false => numbers(bytes, "it"),
        };
        read.map_err(|what| DataError::Format { path: "the file".into(), what })
    }
}

/// The bytes of a file or of an entry (see [`files::whole`]).
fn whole(source: impl Read, name: &str) -> Result<Vec<u8>, String> {
    files::whole(source).map_err(|e| format!("{name} is truncated or damaged ({e})"))
}

/// The fault of an archive.
fn damaged(error: zip::result::ZipError) -> String {
    match error {
        zip::result::ZipError::UnsupportedArchive(form) => {
            format!("its archive has a form that is not read ({form}); save it with numpy.savez")
        }
        e => format!("its archive is truncated or damaged ({e})"),
    }
}

/// Opens an archive without other bytes around it.
fn opened<R: Read + Seek>(mut file: R) -> Result<zip::ZipArchive<R>, String> {
    file.rewind().map_err(|e| format!("it cannot be read ({e})"))?;
    let found = zip::ZipArchive::new(&mut file).map_err(damaged)?;
    let (begins, comment, entries) = (found.offset(), found.comment().len(), found.len());
    let fault = files::archive_fault(&mut file, begins, comment, entries);
    if let Some(fault) = fault.map_err(|e| format!("it cannot be read ({e})"))? {
        return Err(format!("its archive: {fault}"));
    }
    zip::ZipArchive::new(file).map_err(damaged)
}

fn archive<R: Read + Seek>(file: R) -> Result<Array, String> {
    let mut archive = opened(file)?;
    let all: Vec<String> = (0..archive.len())
        .map(|i| {
            let entry = archive.by_index_raw(i).map_err(damaged)?;
            entry.name().map(|name| name.into_owned()).map_err(damaged)
        })
        .collect::<Result<_, _>>()?;
    let chosen = chosen(&all).ok_or_else(|| {
        let others = if all.is_empty() { "nothing".into() } else { all.join(", ") };
        format!("it holds no array `samples` or `arr_0`, nor a single one, but {others}")
    })?;
    let mut array = None;
    let (mut left_out, mut labels) = (Vec::new(), Vec::new());
    for entry in &all {
        let bytes = whole(archive.by_name(entry).map_err(damaged)?, &format!("its entry {entry}"))?;
        let name = entry.strip_suffix(".npy").unwrap_or(entry);
        if name == chosen {
            array = Some(numbers(&bytes, &format!("`{name}`"))?);
        } else if header(&mut &bytes[..], entry).is_ok_and(|header| header.shape().len() == 4) {
            return Err(format!(
                "besides `{chosen}` it holds images in `{name}`, which nothing would read; save one array a file"
            ));
        } else if let (true, Some(numbers)) = (LABELS.contains(&name), whole_numbers(&bytes, entry)) {
            labels.push((name.to_string(), numbers));
        } else {
            left_out.push(name.to_string());
        }
    }
    let array = array.ok_or("its array is missing")?;
    let n = array.shape.first().copied();
    let (labels, others): (Vec<_>, Vec<_>) =
        labels.into_iter().partition(|(_, found)| Some(found.len()) == n);
    let mut labels = labels.into_iter();
    let taken = labels.next();
    left_out.extend(others.into_iter().chain(labels).map(|(name, _)| name));
    Ok(Array { left_out, labels: taken, ..array })
}

/// The name of the array that is read, among the entries of an archive.
fn chosen(entries: &[String]) -> Option<&str> {
    let arrays: Vec<&str> = entries.iter().filter_map(|name| name.strip_suffix(".npy")).collect();
    let named =
        ["samples", "arr_0"].into_iter().find_map(|name| arrays.iter().copied().find(|own| *own == name));
    let others: Vec<&str> = arrays.iter().copied().filter(|name| !LABELS.contains(name)).collect();
    match (named, &arrays[..], &others[..]) {
        (Some(name), ..) => Some(name),
        (None, [only], _) | (None, _, [only]) => Some(only),
        _ => None,
    }
}

/// The shape of the array that [`Array::read`] reads, by its header; none if there is no such header.
pub(super) fn shape(path: &Path) -> Option<Vec<u64>> {
    let begin = |source: &mut dyn Read| {
        let mut start = Vec::new();
        source.take(LONGEST_HEADER as u64 + 12).read_to_end(&mut start).ok()?;
        Some(header(&mut &start[..], "it").ok()?.shape().to_vec())
    };
    let mut file = files::open(path).ok()?;
    match zip::ZipArchive::new(BufReader::new(files::open(path).ok()?)) {
        Ok(mut archive) => {
            let entries: Vec<String> =
                archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
            let name = format!("{}.npy", chosen(&entries)?);
            begin(&mut archive.by_name(&name).ok()?)
        }
        Err(_) => begin(&mut file),
    }
}

/// The bytes of the longest header, as for numpy.
const LONGEST_HEADER: usize = 10_000;

/// The brackets of a header; an array of numbers has two. The parser takes time that grows exponentially with their depth.
const MOST_BRACKETS: usize = 8;

/// Reads the header at the beginning of a `.npy` file.
fn header(bytes: &mut &[u8], name: &str) -> Result<NpyHeader, String> {
    // The header's own length comes from the file.
    let (start, length) = match bytes.get(6..12) {
        Some([1, _, low, high, ..]) => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        Some([_, _, length @ ..]) => {
            (12, length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
        _ => (0, 0),
    };
    let text = bytes.get(start..).unwrap_or_default();
    let text = text.get(..length).ok_or_else(|| format!("{name} ends inside its header"))?;
    if length > LONGEST_HEADER || text.iter().filter(|byte| b"([{".contains(byte)).count() > MOST_BRACKETS {
        return Err(format!("the header of {name} is not that of an array of numbers"));
    }
    NpyHeader::from_reader(bytes).map_err(|e| {
        // The parser draws a picture of several lines.
        format!("{name} is no array of numpy ({})", e.to_string().lines().next().unwrap_or_default())
    })
}

/// Whole numbers from 0 in the bytes of a `.npy` file of one axis; none if it holds others.
fn whole_numbers(bytes: &[u8], name: &str) -> Option<Vec<u32>> {
    let mut rest = bytes;
    let header = header(&mut rest, name).ok()?;
    let kind = header.dtype().descr();
    let (signed, size) = match kind.trim_matches('\'') {
        "|u1" => (false, 1),
        "<u2" => (false, 2),
        "<u4" => (false, 4),
        "<u8" => (false, 8),
        "|i1" => (true, 1),
        "<i2" => (true, 2),
        "<i4" => (true, 4),
        "<i8" => (true, 8),
        _ => return None,
    };
    let number = |bytes: &[u8]| {
        let number = bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        // A negative number has its highest bit set, and is beyond 32 bits or refused here.
        let negative = signed && bytes.last().is_some_and(|byte| *byte > 127);
        u32::try_from(number).ok().filter(|_| !negative)
    };
    let whole = header.shape().len() == 1 && Some(rest.len() as u64) == header.shape()[0].checked_mul(size);
    whole.then(|| rest.chunks_exact(size as usize).map(number).collect()).flatten()
}

/// The array in the bytes of a `.npy` file.
fn numbers(bytes: &[u8], name: &str) -> Result<Array, String> {
    let mut rest = bytes;
    let header = header(&mut rest, name)?;
    let shape = header.shape().to_vec();
    if header.order() == Order::Fortran && shape.len() > 1 {
        return Err(format!("{name} is stored in Fortran order; save it after numpy.ascontiguousarray"));
    }
    let kind = header.dtype().descr();
    let size = match kind.trim_matches('\'') {
        "|u1" => 1,
        "<f2" => 2,
        "<f4" => 4,
        "<f8" => 8,
        other => {
            return Err(format!(
                "{name} holds numbers of type {other}, not uint8, float16, float32 or float64"
            ));
        }
    };
    let numbers = match size {
        1 => Numbers::Levels(rest.to_vec()),
        2 => Numbers::Single(
            bytemuck::pod_collect_to_vec::<u8, f16>(&rest[..rest.len() / 2 * 2])
                .iter()
                .map(|v| v.to_f32())
                .collect(),
        ),
        4 => Numbers::Single(bytemuck::pod_collect_to_vec(&rest[..rest.len() / 4 * 4])),
        _ => Numbers::Double(bytemuck::pod_collect_to_vec(&rest[..rest.len() / 8 * 8])),
    };
    // The extents come from the file, and their product may overflow.
    let len = shape.iter().try_fold(1, |len: u64, extent| len.checked_mul(*extent));
    let found = numbers.len() as u64;
    match len {
        Some(0) => Err(format!("{name} is empty, {shape:?}")),
        Some(len) if found < len => {
            Err(format!("{name} holds fewer numbers than its header says; it is truncated"))
        }
        Some(len) if rest.len() as u64 > len * size => Err(format!(
            "{name} continues after the {len} numbers of its header's shape, {shape:?}, by {} bytes",
            rest.len() as u64 - len * size
        )),
        None => Err(format!("its header says {shape:?}, and it holds {found} numbers")),
        Some(_) if !numbers.finite() => Err(format!("{name} holds numbers that are not finite")),
        Some(_) => {
            let shape = shape.into_iter().map(|extent| extent as usize).collect();
            Ok(Array { shape, numbers, labels: None, left_out: Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), data].concat()
    }

    fn npz(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in entries {
            archive.start_file(*name, stored).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn refused(bytes: &[u8]) -> String {
        Array::from_bytes(bytes).unwrap_err().to_string()
    }

    #[test]
    fn arrays_of_four_types_are_read_under_three_names() {
        let ones: [(&str, Vec<u8>); 4] = [
            ("|u1", vec![255; 2]),
            ("<f2", f16::ONE.to_le_bytes().repeat(2)),
            ("<f4", 1f32.to_le_bytes().repeat(2)),
            ("<f8", 1f64.to_le_bytes().repeat(2)),
        ];
        for (kind, data) in ones {
            let array = npy(kind, "(2, 1, 1, 1)", &data);
            for bytes in [array.clone()]
                .into_iter()
                .chain(["samples.npy", "arr_0.npy", "x.npy"].map(|name| npz(&[(name, &array)])))
            {
                let read = Array::from_bytes(&bytes).unwrap();
                assert_eq!(
                    (&read.shape[..], read.numbers.images()),
                    (&[2, 1, 1, 1][..], vec![1.0; 2]),
                    "{kind}"
                );
            }
        }
        assert!(refused(&npy("<i4", "(1,)", &[0; 4])).contains("type <i4"));
    }

    #[test]
    fn nothing_in_an_archive_is_left_unread() {
        let images = npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
        let labels = npy("<i8", "(2,)", &[0; 16]);
        let read = Array::from_bytes(&npz(&[("arr_0.npy", &images), ("arr_1.npy", &labels)])).unwrap();
        assert_eq!((&read.left_out[..], read.labels), (&[][..], Some(("arr_1".into(), vec![0, 0]))));
        assert!(refused(&npz(&[("arr_0.npy", &images), ("arr_1.npy", &images)])).contains("`arr_1`"));
        assert!(refused(&npz(&[("a.npy", &images), ("b.npy", &images)])).contains("a.npy, b.npy"));
        let mut twice = npz(&[("arr_0.npy", &images), ("arr_1.npy", &labels)]);
        for at in 0..twice.len() - 5 {
            if twice[at..].starts_with(b"arr_1") {
                twice[at + 4] = b'0';
            }
        }
        assert!(refused(&twice).contains("an entry twice"));
        let longer = [images.clone(), vec![3]].concat();
        assert!(refused(&longer).contains("continues after"));
        assert!(refused(&npz(&[("samples.npy", &longer)])).contains("`samples` continues after"));
        let whole = npz(&[("samples.npy", &images)]);
        for bytes in [[whole.clone(), vec![0]].concat(), [vec![0], whole.clone()].concat()] {
            assert!(Array::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn labels_are_whole_numbers_for_each_image() {
        let images = npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
        let read = |name: &str, labels: Vec<u8>| {
            Array::from_bytes(&npz(&[("x.npy", &images), (name, &labels)])).unwrap()
        };
        let wide = [300u64, 7].map(u64::to_le_bytes).concat();
        assert_eq!(read("y.npy", npy("<i8", "(2,)", &wide)).labels, Some(("y".into(), vec![300, 7])));
        assert_eq!(
            read("label.npy", npy("|u1", "(2,)", &[200, 0])).labels,
            Some(("label".into(), vec![200, 0]))
        );
        for labels in [
            npy("<i4", "(2,)", &[1, 0, 0, 0, 255, 255, 255, 255]),
            npy("<f4", "(2,)", &[0; 8]),
            npy("|u1", "(3,)", &[0; 3]),
            npy("|u1", "(1, 2)", &[0; 2]),
        ] {
            let read = read("labels.npy", labels);
            assert_eq!((read.labels, &read.left_out[..]), (None, &["labels".to_string()][..]));
        }
    }

    #[test]
    fn a_header_of_brackets_is_refused_before_it_is_parsed() {
        let images = npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
        for nested in ["{".repeat(40), "[(".repeat(20)] {
            let deep = npy("|u1", &nested, &[1, 2]);
            assert!(refused(&deep).contains("not that of an array of numbers"), "{nested}");
            let archive = npz(&[("samples.npy", &images), ("x.npy", &deep)]);
            assert_eq!(Array::from_bytes(&archive).unwrap().left_out, ["x"]);
        }
        // A version with longer headers.
        let long = [&b"\x93NUMPY\x02\x00"[..], &20_000u32.to_le_bytes(), &[b' '; 20_000]].concat();
        assert!(refused(&long).contains("not that of an array of numbers"));
    }

    #[test]
    fn a_changed_or_missing_byte_of_an_array_in_an_archive_is_refused() {
        let images = npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
        let whole = npz(&[("samples.npy", &images)]);
        let data = whole.windows(images.len()).position(|part| part == images).unwrap() + images.len() - 1;
        let mut flipped = whole.clone();
        flipped[data] ^= 1;
        assert!(refused(&flipped).contains("damaged"));
        assert!((0..whole.len()).all(|length| Array::from_bytes(&whole[..length]).is_err()));
        assert!((0..images.len()).all(|length| Array::from_bytes(&images[..length]).is_err()));
        assert!(refused(&npy("<f4", "(4294967296, 4294967296, 1, 1)", &[])).contains("it holds 0 numbers"));
    }
}
