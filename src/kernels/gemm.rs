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

/// The blocks of 4 × 4 that an invocation owns, and the invocations of a workgroup: `TM`, `TN`, `GM`, `GN`.
#[derive(Debug, Clone, Copy)]
struct Tile {
    tm: usize,
    tn: usize,
    gm: usize,
    gn: usize,
}

impl Tile {
    /// By the number of columns alone: that of rows depends on the batch, and a sample's bits must not.
    fn for_columns(columns: usize) -> Tile {
        match columns {
            1 => Tile { tm: 2, tn: 1, gm: 64, gn: 1 },
            2..=8 => Tile { tm: 2, tn: 2, gm: 16, gn: 4 },
            _ => Tile { tm: 2, tn: 2, gm: 8, gn: 8 },
        }
    }

    fn apply(self, variant: Variant, staged: bool) -> Variant {
        let variant = variant.with("TM", self.tm as u32).with("TN", self.tn as u32);
        if staged { variant.with("GM", self.gm as u32).with("GN", self.gn as u32) } else { variant }
    }
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
