//! Tensors in safetensors files, in the layout of other programs: images are `[n, c, h, w]`.

use super::{Batch, paths::written};
use crate::cli::note;
use crate::files::repeated_name;
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::{Path, PathBuf};

/// A safetensors file in memory.
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    pub fn read(path: &Path) -> anyhow::Result<Tensors> {
        let bytes = crate::files::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        SafeTensors::deserialize(&bytes)
            .with_context(|| format!("{} is truncated or no safetensors file", path.display()))?;
        if let Some(name) = repeated_name(&bytes) {
            bail!("{} holds two tensors called `{name}`; write it again with one", path.display());
        }
        Ok(Tensors { path: path.to_path_buf(), bytes })
    }

    /// Names the tensors other than those that are read.
    pub fn only(&self, read: &[&str]) {
        let names = SafeTensors::deserialize(&self.bytes).map(|file| {
            file.names().into_iter().filter(|name| !read.contains(name)).map(String::from).collect::<Vec<_>>()
        });
        if let Some(names) = names.ok().filter(|names| !names.is_empty()) {
            note(format!("{}: not read here: {}", self.path.display(), names.join(", ")));
        }
    }

    /// A tensor's shape and values.
    pub fn tensor(&self, name: &str) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
        let path = self.path.display();
        let file = SafeTensors::deserialize(&self.bytes)?;
        let view = file.tensor(name).map_err(|_| {
            let names: Vec<&str> = file.names().into_iter().collect();
            anyhow::anyhow!("{path} has no tensor `{name}`; it has {}", names.join(", "))
        })?;
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
            Dtype::F64 => {
                let values: Vec<f64> = bytemuck::pod_collect_to_vec(view.data());
                values.into_iter().map(|v| v as f32).collect()
            }
            other => bail!("`{name}` of {path} is {other:?}; it must be F32 or F64"),
        };
        ensure!(values.iter().all(|v| v.is_finite()), "`{name}` of {path} has values that are not finite");
        Ok((view.shape().to_vec(), values))
    }

    /// A tensor `[n, c, h, w]`.
    pub fn images(&self, name: &str) -> anyhow::Result<Batch> {
        let (shape, values) = self.tensor(name)?;
        let [n, c, h, w] = shape[..] else {
            bail!("`{name}` of {} is {shape:?}; it must be [n, c, h, w]", self.path.display());
        };
        ensure!(!values.is_empty(), "{} holds no image: `{name}` is {shape:?}", self.path.display());
        Ok(Batch::from_channels(Shape::new(n, h, w, c), &values))
    }

    /// The probes `[n, c, h, w]` or `[k, n, c, h, w]` for samples of a shape, if the file has them: k, and the probes as
    /// `[k n, h, w, c]`. Options for random probes then conflict with them: `drawn` lists these, and whether they are given.
    pub fn probes(
        &self,
        name: &str,
        samples: Shape,
        drawn: &[(&str, bool)],
    ) -> anyhow::Result<Option<(usize, Batch)>> {
        if SafeTensors::deserialize(&self.bytes)?.tensor(name).is_err() {
            return Ok(None);
        }
        if let Some((option, _)) = drawn.iter().find(|(_, given)| *given) {
            let path = self.path.display();
            bail!("--{option}: {path} has the probes, `{name}`, and none are drawn; leave the option out");
        }
        let (shape, values) = self.tensor(name)?;
        let Shape([n, h, w, c]) = samples;
        let count = match shape.strip_suffix(&[n, c, h, w]) {
            Some([]) => 1,
            Some([k]) if *k > 0 => *k,
            _ => bail!(
                "`{name}` of {} has shape {shape:?}, [{n}, {c}, {h}, {w}] or [k, {n}, {c}, {h}, {w}] is needed",
                self.path.display()
            ),
        };
        Ok(Some((count, Batch::from_channels(samples.with_n(count * n), &values))))
    }
}

/// A tensor to write: its name, shape and values.
pub type Named<'a> = (&'a str, Vec<usize>, Vec<f32>);

/// Images as a tensor `[n, c, h, w]`.
pub fn images<'a>(name: &'a str, Batch { shape, values }: &Batch) -> Named<'a> {
    let (n, h, w, c) = (shape.n(), shape.h(), shape.w(), shape.c());
    let at = |i: usize| {
        let (plane, pixel) = (i / (h * w), i % (h * w));
        values[(plane / c * h * w + pixel) * c + plane % c]
    };
    (name, vec![n, c, h, w], (0..shape.len()).map(at).collect())
}

/// Writes a file of tensors atomically.
pub fn write(path: &Path, tensors: &[Named<'_>]) -> anyhow::Result<()> {
    let views = tensors
        .iter()
        .map(|(name, shape, values)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    written(path, &safetensors::serialize(views, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let one = r#""x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        for (header, twice) in [(format!("{{{one}}}"), false), (format!("{{{one},{one}}}"), true)] {
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Tensors::read(&path).is_err_and(|e| e.to_string().contains("called `x`")), twice);
        }
    }

    #[test]
    fn images_are_written_by_channel_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let shape = Shape::new(2, 2, 3, 2);
        let batch = Batch { shape, values: (0..24).map(|v| v as f32).collect() };
        let named = images("x", &batch);
        assert_eq!(named.1, [2, 2, 2, 3]);
        // The first image's first channel: every other number.
        assert_eq!(named.2[..6], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        write(&path, &[named]).unwrap();
        let file = Tensors::read(&path).unwrap();
        let read = file.images("x").unwrap();
        assert_eq!((read.shape, &read.values), (shape, &batch.values));
        assert_eq!(read.part(1, 1).values, batch.values[12..]);
        assert!(file.tensor("z").unwrap_err().to_string().contains("has no tensor `z`; it has x"));
    }
}
