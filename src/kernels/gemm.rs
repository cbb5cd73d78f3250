//! Launching the GEMM body (`shaders/lib/gemm.wgsl`): which form, which tile, how many workgroups.

use super::{Result, launch};
use crate::gpu::{Extent, Gpu, Variant};
use crate::tensor::Tensor;

/// How large a product is: `layers` products of `[rows, depth] × [depth, 4 · columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub layers: usize,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// The blocks of 4 × 4 that an invocation owns, the invocations of a workgroup, and the blocks of k that it stages:
/// `TM`, `TN`, `GM`, `GN`, `GK`. Both operands' tiles fit into 16 KiB, `64 gk (gm tm + gn tn)` bytes.
#[derive(Debug, Clone, Copy)]
struct Tile {
    tm: usize,
    tn: usize,
    gm: usize,
    gn: usize,
    gk: usize,
}

impl Tile {
    /// By the number of columns alone: that of rows depends on the batch, and a sample's bits must not.
    fn for_columns(columns: usize) -> Tile {
        match columns {
            1 => Tile { tm: 2, tn: 1, gm: 32, gn: 1, gk: 3 },
            2..=8 => Tile { tm: 2, tn: 2, gm: 16, gn: 4, gk: 6 },
            _ => Tile { tm: 2, tn: 2, gm: 8, gn: 8, gk: 8 },
        }
    }

    fn apply(self, variant: Variant, staged: bool) -> Variant {
        let variant = variant.with("TM", self.tm as u32).with("TN", self.tn as u32);
        if !staged {
            return variant;
        }
        variant.with("GM", self.gm as u32).with("GN", self.gn as u32).with("GK", self.gk as u32)
    }
}

/// A shader that includes the GEMM body, in both forms and with every tile.
pub(super) fn variants(shader: &Variant) -> Vec<Variant> {
    let tiles = [1, 2, 9].map(Tile::for_columns);
    tiles
        .into_iter()
        .flat_map(|tile| [false, true].map(|staged| tile.apply(shader.clone(), staged)))
        .collect()
}

/// Invocations that the direct form takes for one layer: what splitting a sum is decided by.
pub(super) fn invocations(rows: usize, columns: usize) -> usize {
    let tile = Tile::for_columns(columns);
    rows.div_ceil(4 * tile.tm) * columns.div_ceil(tile.tn)
}

/// Launches `variant`, which includes the GEMM body, over a product.
pub(super) fn run<P: bytemuck::Pod>(
    gpu: &Gpu,
    variant: Variant,
    tensors: &[&Tensor],
    params: &P,
    product: Product,
) -> Result<()> {
    let Product { layers, rows, columns, depth } = product;
    let tile = Tile::for_columns(columns);
    let staged = gpu.stages();
    let work = 8 * (layers * rows * columns * depth) as u64;
    let variant = tile.apply(variant, staged);
    if staged {
        let tiles = rows.div_ceil(4 * tile.tm * tile.gm) * columns.div_ceil(tile.tn * tile.gn);
        launch(gpu, variant, "tiled", tensors, params, Extent::Workgroups(layers * tiles), work)
    } else {
        let owned = Extent::Invocations(layers * invocations(rows, columns));
        launch(gpu, variant, "direct", tensors, params, owned, work)
    }
}
