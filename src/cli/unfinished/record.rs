//! Records of a file: a line of JSON with lengths and a checksum, then figures as JSON and values as little-endian bytes.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};

/// A finished part.
#[derive(Debug, PartialEq)]
pub struct Record {
    /// Figures about the values, as JSON.
    pub figures: String,
    pub values: Vec<f32>,
}

/// The first line of a record.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The checksum of figures and values.
    crc32: u32,
    /// Bytes of the figures.
    figures: usize,
    /// Bytes of the values.
    values: usize,
}

impl Record {
    /// Reads the next record; `None` at the end, or where a record is cut short or damaged.
    pub fn read(source: &mut impl BufRead) -> Option<Record> {
        let mut line = Vec::new();
        source.by_ref().take(1024).read_until(b'\n', &mut line).ok()?;
        let line: Line = serde_json::from_slice(&line).ok()?;
        let mut take = |length: usize| {
            let mut bytes = Vec::new();
            source.by_ref().take(length as u64).read_to_end(&mut bytes).ok()?;
            (bytes.len() == length).then_some(bytes)
        };
        let (figures, values) = (take(line.figures)?, take(line.values)?);
        let whole = checksum(&figures, &values) == line.crc32 && values.len().is_multiple_of(4);
        whole.then_some(())?;
        let figures = String::from_utf8(figures).ok()?;
        Some(Record { figures, values: bytemuck::pod_collect_to_vec(&values) })
    }

    /// Writes the record in one piece.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        let (figures, values) = (self.figures.as_bytes(), bytemuck::cast_slice(&self.values));
        let crc32 = checksum(figures, values);
        let line = Line { crc32, figures: figures.len(), values: values.len() };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        sink.write_all(&[&bytes, figures, values].concat())
    }
}

fn checksum(figures: &[u8], values: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(figures);
    sum.update(values);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written_up_to_the_first_that_is_cut_or_damaged() {
        let records = [(r#"[0.1,7]"#, vec![1.5, -0.0]), ("null", vec![])]
            .map(|(figures, values)| Record { figures: figures.into(), values });
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.write(&mut bytes).unwrap());
        let all = |mut bytes: &[u8]| std::iter::from_fn(|| Record::read(&mut bytes)).collect::<Vec<_>>();
        assert_eq!(all(&bytes), records);
        for length in 0..bytes.len() {
            assert!(all(&bytes[..length]).len() < 2);
        }
        for byte in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[byte] ^= 1;
            assert_ne!(all(&changed), records, "byte {byte}");
        }
    }
}
