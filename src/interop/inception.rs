//! The published weights of FID's Inception v3, `.pth` files of pytorch-fid and torch-fidelity.

use super::InteropError;
use super::torch::TorchFile;
use super::weights::Named;
use crate::nn::TensorReader;
use std::path::Path;

/// An open file of weights, under the names of torchvision's `Inception3`.
pub struct InceptionFile(TorchFile);

impl InceptionFile {
    /// Opens a file. Its tensors are read on request.
    ///
    /// # Errors
    /// If it is damaged, no checkpoint of PyTorch's, or requires running code.
    pub fn open(path: &Path) -> Result<InceptionFile, InteropError> {
        TorchFile::open(path).map(InceptionFile)
    }

    /// The reader of its tensors: from a name and a shape to values.
    ///
    /// # Errors
    /// If the file holds no dictionary of tensors. The reader's: if there is no such tensor, or it has another
    /// shape, no floating-point numbers, or values that are not finite.
    pub fn tensors(&self) -> Result<Box<TensorReader<'_, InteropError>>, InteropError> {
        let named = Named::of(&self.0)?;
        Ok(Box::new(move |name: &str, shape: &[usize]| named.values(name, shape, "FID's Inception v3")))
    }
}
