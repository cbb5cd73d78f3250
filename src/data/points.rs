//! Points of one's own: a CSV file, or an array of numpy.

use super::{DataError, FloatDataset};
use crate::files;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The root mean square of the coordinates of points that the noise levels of a toy model fit.
const SCALES: std::ops::RangeInclusive<f64> = 0.02..=10.0;

/// Reads points: two numbers a line of text, or an array `[n, 2]` or `[n, 1, 1, 2]`.
///
/// # Errors
/// If a line is not two finite numbers, if there are no points, or if their scale is far from 1.
pub fn read_points(path: &Path) -> Result<FloatDataset, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let points = if is_text(path)? { text(path)? } else { array(path)? };
    let square: f64 = points.iter().map(|v| f64::from(*v).powi(2)).sum();
    let scale = (square / points.len() as f64).sqrt();
    if !SCALES.contains(&scale) {
        return Err(wrong(format!(
            "its coordinates have a root mean square of {scale:.3e}, and models of points expect about 0.5; subtract the \
             mean and divide by twice the standard deviation"
        )));
    }
    let n = points.len() / 2;
    FloatDataset::new(points, [n, 1, 1, 2], None)
}

/// Returns true if a file begins as text does.
pub(super) fn is_text(path: &Path) -> Result<bool, DataError> {
    let mut start = Vec::new();
    let begin = files::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    begin.map_err(|e| DataError::Read { path: path.display().to_string(), reason: e.to_string() })?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let of_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    Ok(!start.is_empty() && start.iter().all(of_text))
}

/// The points of a text.
fn text(path: &Path) -> Result<Vec<f32>, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let text = files::read_to_string(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => wrong("it is no text of two numbers a line".into()),
        _ => DataError::Read { path: path.display().to_string(), reason: e.to_string() },
    })?;
    parsed(text.trim_start_matches('\u{feff}')).map_err(wrong)
}

/// The points of a text: two numbers a line, between commas, semicolons, tabs or spaces. Lines that are empty or begin with
/// `#` hold no point, and the first may hold names.
fn parsed(text: &str) -> Result<Vec<f32>, String> {
    let mut points = Vec::new();
    let mut named = false;
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = match [',', ';', '\t'].into_iter().find(|mark| line.contains(*mark)) {
            Some(mark) => line.split(mark).map(str::trim).collect(),
            None => line.split_whitespace().collect(),
        };
        let numbers: Vec<Option<f32>> = cells.iter().map(|cell| cell.parse().ok()).collect();
        match numbers[..] {
            [Some(x), Some(y)] if x.is_finite() && y.is_finite() => points.extend([x, y]),
            [None, None] if points.is_empty() && !named => named = true,
            _ => {
                let shown: String = line.chars().take(40).collect();
                return Err(format!("line {number}, `{shown}`, is not two finite numbers"));
            }
        }
    }
    if points.is_empty() { Err("it holds no line of two numbers".into()) } else { Ok(points) }
}

#[cfg(feature = "images")]
fn array(path: &Path) -> Result<Vec<f32>, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let super::Array { shape, numbers, .. } = super::Array::read(path)?;
    match shape[..] {
        [_, 2] | [_, 1, 1, 2] => Ok(numbers.doubles().into_iter().map(|v| v as f32).collect()),
        _ => Err(wrong(format!("its shape {shape:?} is not [n, 2]"))),
    }
}

#[cfg(not(feature = "images"))]
fn array(path: &Path) -> Result<Vec<f32>, DataError> {
    let what = "this program is built without the feature `images`; save the points as CSV".into();
    Err(DataError::Format { path: path.display().to_string(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_numbers_are_points() {
        for text in ["0.5,1\n-1,2e-1\n", "x,y\r\n0.5, 1\r\n-1;0.2\r\n", "# made by hand\n\n0.5 1\n-1\t0.2"] {
            assert_eq!(parsed(text), Ok(vec![0.5, 1.0, -1.0, 0.2]), "{text}");
        }
    }

    #[test]
    fn another_line_is_refused_by_its_number() {
        for (text, line) in [
            ("1,2\n3\n", 2),
            ("x,y\n1,2\n3,4,5\n", 3),
            ("1,2\n\n3,nan\n", 3),
            ("1,2\nx,y\n", 2),
            ("x,y\nx,y\n1,2", 2),
            ("1,2\n3,1e39\n", 2),
            ("1,x\n", 1),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line}, ")), "{error}");
        }
        assert!(parsed("x,y\n").unwrap_err().contains("no line"));
    }

    #[test]
    fn points_far_from_a_scale_of_1_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.csv");
        std::fs::write(&path, "500,100\n-20,300\n").unwrap();
        assert!(read_points(&path).unwrap_err().to_string().contains("root mean square of 2.96"));
    }
}
