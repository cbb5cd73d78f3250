//! Files of other programs, by how they begin or by the names in them.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// The kind of a file that holds no network of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// Nothing.
    Empty,
    /// HTML, or XML.
    WebPage,
    /// The pointer that Git LFS leaves in a file's place.
    LfsPointer,
    /// Text in JSON.
    Json,
    /// An archive or a compressed file around others.
    Packed,
    /// NumPy's arrays.
    Numpy,
    /// HDF5, Keras's format.
    Hdf5,
    /// GGUF.
    Gguf,
    /// MessagePack, Flax's format.
    Flax,
    /// A pickle of EDM's or StyleGAN's, with classes as source code.
    Edm,
    /// A pickle that PyTorch has not written.
    Pickle,
    /// TorchScript, or a network pickled as an object.
    Module,
    /// The weights of EDM's networks.
    EdmNetwork,
    /// k-diffusion's.
    KDiffusion,
    /// guided-diffusion's, or its relatives'.
    GuidedDiffusion,
    /// latent-diffusion's: Stable Diffusion.
    LatentDiffusion,
    /// lucidrains's denoising-diffusion-pytorch's.
    Lucidrains,
    /// Hugging Face's `UNet2DModel`.
    Diffusers,
    /// DDIM's, and its relatives'.
    Ddim,
    /// DiT's.
    Dit,
    /// StyleGAN's.
    StyleGan,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let other = "; its network is not one of this program's";
        let (text, end) = match self {
            Foreign::Empty => ("empty; download it again", ""),
            Foreign::WebPage => (
                "a web page, not weights: a server answered the download with it; open it in a browser to see why, and \
                 download the file again",
                "",
            ),
            Foreign::LfsPointer => {
                ("a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`", "")
            }
            Foreign::Json => ("text in JSON, not weights", ""),
            Foreign::Packed => ("an archive or a compressed file, not a checkpoint; unpack it first", ""),
            Foreign::Numpy => ("an archive of NumPy's arrays, not a PyTorch checkpoint", ""),
            Foreign::Hdf5 => ("an HDF5 file, Keras's format, not a PyTorch checkpoint", ""),
            Foreign::Gguf => ("a GGUF file, not a PyTorch checkpoint", ""),
            Foreign::Flax => (
                "a Flax checkpoint, as the reference's JAX implementation writes; the checkpoints of its PyTorch \
                 implementation (.pth) are read",
                "",
            ),
            Foreign::Edm => (
                "a pickle of EDM's or StyleGAN's, with Python classes as source code: loading it runs code, which this \
                 program never does",
                other,
            ),
            Foreign::Pickle => (
                "a bare pickle that torch.save has not written: loading it runs code, which this program never does; \
                 save the weights with torch.save, as a dictionary of tensors",
                "",
            ),
            Foreign::Module => (
                "a network saved as a Python object: loading it runs code, which this program never does; save its \
                 state_dict()",
                "",
            ),
            Foreign::Diffusers => (
                "a file of Hugging Face's UNet2DModel; convert the folder that holds it and its config.json",
                "",
            ),
            Foreign::EdmNetwork => ("a checkpoint of EDM", other),
            Foreign::KDiffusion => ("a checkpoint of k-diffusion", other),
            Foreign::GuidedDiffusion => (
                "a checkpoint of guided-diffusion or a relative (improved-diffusion, consistency models)",
                other,
            ),
            Foreign::LatentDiffusion => ("a checkpoint of latent-diffusion (Stable Diffusion)", other),
            Foreign::Lucidrains => ("a checkpoint of lucidrains's denoising-diffusion-pytorch", other),
            Foreign::Ddim => ("a checkpoint of DDIM or a relative (pytorch_diffusion)", other),
            Foreign::Dit => ("a checkpoint of DiT", other),
            Foreign::StyleGan => ("a checkpoint of StyleGAN", other),
        };
        write!(f, "{text}{end}")
    }
}

/// The kinds of files with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A checkpoint of PyTorch's, of any age; or another pickle or archive.
    Torch,
    /// A safetensors file.
    Safetensors,
    /// A known kind without weights that can be read.
    Foreign(Foreign),
    /// None that is known.
    Unknown,
}

/// The kind of a file, by its first bytes, whatever its name is.
///
/// # Errors
/// If it cannot be read.
pub fn file_kind(path: &Path) -> std::io::Result<FileKind> {
    let mut start = Vec::new();
    crate::files::open(path)?.take(START as u64).read_to_end(&mut start)?;
    Ok(kind_of(&start))
}

/// The number of bytes at a file's beginning that tell its kind.
pub(super) const START: usize = 512;

/// The kind of a file that begins with these bytes.
pub(super) fn kind_of(start: &[u8]) -> FileKind {
    let text =
        String::from_utf8_lossy(start).trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_lowercase();
    let magic = |magic: &[u8]| start.starts_with(magic);
    // MessagePack: a map whose first key is a text.
    let keyed = |at: usize| start.get(at).is_some_and(|byte| matches!(byte, 0xa0..=0xbf | 0xd9));
    let foreign = match start.first() {
        None => Foreign::Empty,
        _ if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") => {
            Foreign::WebPage
        }
        _ if text.starts_with("version https://git-lfs.") => Foreign::LfsPointer,
        _ if start.get(8) == Some(&b'{') && !text.starts_with('{') => return FileKind::Safetensors,
        _ if text.starts_with('{') || text.starts_with('[') => Foreign::Json,
        _ if magic(b"PK") => return FileKind::Torch,
        _ if [&b"\x1f\x8b"[..], b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"]
            .iter()
            .any(|m| magic(m)) =>
        {
            Foreign::Packed
        }
        _ if start.get(257..262) == Some(b"ustar") => Foreign::Packed,
        _ if magic(b"\x93NUMPY") => Foreign::Numpy,
        _ if magic(b"\x89HDF") => Foreign::Hdf5,
        _ if magic(b"GGUF") => Foreign::Gguf,
        Some(0x81..=0x8f) if keyed(1) => Foreign::Flax,
        Some(0xde) if keyed(3) => Foreign::Flax,
        Some(0x80) => return FileKind::Torch,
        _ => return FileKind::Unknown,
    };
    FileKind::Foreign(foreign)
}

/// Marks in the names of tensors, and whose networks have them. The first that is found counts.
const MARKS: &[(&str, Foreign)] = &[
    ("first_stage_model.", Foreign::LatentDiffusion),
    ("model.diffusion_model.", Foreign::LatentDiffusion),
    ("inner_model.", Foreign::KDiffusion),
    ("input_blocks.", Foreign::GuidedDiffusion),
    ("time_embed.", Foreign::GuidedDiffusion),
    ("output_blocks.", Foreign::GuidedDiffusion),
    ("down_blocks.", Foreign::Diffusers),
    ("time_embedding.linear_", Foreign::Diffusers),
    ("adaLN_modulation.", Foreign::Dit),
    ("init_conv.", Foreign::Lucidrains),
    ("denoise_fn.", Foreign::Lucidrains),
    ("map_layer0.", Foreign::EdmNetwork),
    ("map_noise.", Foreign::EdmNetwork),
    ("temb.dense.", Foreign::Ddim),
    ("synthesis.b4.", Foreign::StyleGan),
];

/// Whose network has tensors of these names.
pub(super) fn network<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Foreign> {
    let marked = |mark: &str| {
        let begins =
            |name: &str| name.match_indices(mark).any(|(at, _)| at == 0 || name[..at].ends_with(['.', '/']));
        names.clone().any(begins)
    };
    MARKS.iter().find(|(mark, _)| marked(mark)).map(|(_, foreign)| *foreign)
}

/// Whose pickle it is that begins so and that PyTorch has not written.
pub(super) fn pickle(bytes: &[u8]) -> Foreign {
    let named = |module: &[u8]| bytes.windows(module.len()).any(|window| window == module);
    match named(b"torch_utils.persistence") || named(b"dnnlib.") {
        true => Foreign::Edm,
        false => Foreign::Pickle,
    }
}

/// The kind of an archive with these entries; none for a checkpoint of PyTorch's.
pub(super) fn archive(names: &[String]) -> Foreign {
    match names.iter().any(|name| name.ends_with(".npy")) {
        true => Foreign::Numpy,
        false => Foreign::Packed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_how_they_begin() {
        for (start, kind) in [
            (&b""[..], FileKind::Foreign(Foreign::Empty)),
            (b"\xef\xbb\xbf\n<!DOCTYPE html>", FileKind::Foreign(Foreign::WebPage)),
            (b"<html lang=\"en\">", FileKind::Foreign(Foreign::WebPage)),
            (b"<?xml version='1.0'?><Error>", FileKind::Foreign(Foreign::WebPage)),
            (b"version https://git-lfs.github.com/spec/v1\noid", FileKind::Foreign(Foreign::LfsPointer)),
            (b"{\"message\": \"Not Found\"}", FileKind::Foreign(Foreign::Json)),
            (b"\x83\xa9optimizer\x82", FileKind::Foreign(Foreign::Flax)),
            (b"\xde\x00\x10\xa4step\x01", FileKind::Foreign(Foreign::Flax)),
            (b"\x1f\x8b\x08\x00", FileKind::Foreign(Foreign::Packed)),
            (b"PK\x03\x04", FileKind::Torch),
            (b"\x80\x02\x8a\nl\xfc", FileKind::Torch),
            (b"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":", FileKind::Safetensors),
            (b"hello", FileKind::Unknown),
        ] {
            assert_eq!(kind_of(start), kind, "{:?}", String::from_utf8_lossy(start));
        }
    }

    #[test]
    fn networks_are_known_by_the_names_of_their_tensors() {
        let known = |names: &[&str]| network(names.iter().copied());
        assert_eq!(known(&["step", "model.inner_model.proj_in.weight"]), Some(Foreign::KDiffusion));
        assert_eq!(known(&["time_embed.0.weight"]), Some(Foreign::GuidedDiffusion));
        assert_eq!(known(&["ema.ema_model.model.init_conv.weight"]), Some(Foreign::Lucidrains));
        assert_eq!(
            known(&["state_dict/model.diffusion_model.input_blocks.0"]),
            Some(Foreign::LatentDiffusion)
        );
        assert_eq!(known(&["all_modules.0.weight", "preinit_conv.weight"]), None);
    }
}
