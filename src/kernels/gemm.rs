//! Launches the GEMM body (`shaders/lib/gemm.wgsl`): chooses its form, its tile and the number of workgroups.

use super::{MULTIPLY_ADD, Result, launch};
use crate::gpu::{Extent, Gpu, Sharing, Variant};
use crate::tensor::Tensor;

/// The size of a product: `layers` products of `[rows, depth] × [depth, 4 · columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub layers: usize,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// The blocks of 4 × 4 that an invocation owns, the invocations of a workgroup, and the blocks of k that it
/// stages: `TM`, `TN`, `GM`, `GN`, `GK`, a divisor of `gm gn`. Both operands' staged tiles fit into 16 KiB,
/// which every adapter has: `16 gk (4 gm tm + 1) + 64 gk (gn tn + 2)` bytes. A subgroup stages none, and its
/// lanes lie along the rows.
#[derive(Debug, Clone, Copy)]
struct Tile {
    tm: usize,
    tn: usize,
    gm: usize,
    gn: usize,
    gk: usize,
}

/// The most blocks of columns that a lane of a subgroup owns. On llvmpipe, whose subgroups of eight lanes can
/// share no more, 8 is faster than 2 and 4.
const SUBGROUP_COLUMNS: usize = 8;

impl Tile {
    /// The tile depends on the number of columns alone: the number of rows depends on the batch, and a
    /// sample's bits must not.
    fn new(sharing: Sharing, columns: usize) -> Tile {
        match (sharing, columns) {
            (Sharing::Subgroup(lanes), _) => {
                let tn = columns.next_power_of_two().min(SUBGROUP_COLUMNS).min(lanes as usize);
                Tile { tm: 2, tn, gm: lanes as usize, gn: 1, gk: 1 }
            }
            (_, 1) => Tile { tm: 2, tn: 1, gm: 32, gn: 1, gk: 2 },
            (_, 2..=8) => Tile { tm: 2, tn: 2, gm: 16, gn: 4, gk: 4 },
            _ => Tile { tm: 2, tn: 2, gm: 8, gn: 8, gk: 4 },
        }
    }

    fn invocations(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(4 * self.tm) * columns.div_ceil(self.tn)
    }

    fn workgroups(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(4 * self.tm * self.gm) * columns.div_ceil(self.tn * self.gn)
    }

    fn apply(self, sharing: Sharing, variant: Variant) -> Variant {
        let constants = [("TM", self.tm), ("TN", self.tn), ("GM", self.gm), ("GN", self.gn), ("GK", self.gk)];
        let variant = constants.into_iter().fold(variant, |v, (name, value)| v.with(name, value as u32));
        match sharing {
            Sharing::Subgroup(lanes) => variant.with("LANES", lanes),
            Sharing::None | Sharing::Workgroup => variant,
        }
    }
}

/// The variants of a shader that includes the GEMM body, one for each tile. The direct form has the tiles of
/// the tiled one.
pub(super) fn variants(shader: &Variant) -> Vec<Variant> {
    let subgroups = Sharing::SUBGROUPS.map(Sharing::Subgroup);
    let mut all = Vec::new();
    for sharing in [Sharing::Workgroup].into_iter().chain(subgroups) {
        for columns in [1, 2, 4, 8, 9] {
            let variant = Tile::new(sharing, columns).apply(sharing, shader.clone());
            if !all.contains(&variant) {
                all.push(variant);
            }
        }
    }
    all
}

/// Invocations of one layer: they decide whether a sum is split.
pub(super) fn invocations(gpu: &Gpu, rows: usize, columns: usize) -> usize {
    Tile::new(gpu.sharing(), columns).invocations(rows, columns)
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
    let sharing = gpu.sharing();
    let tile = Tile::new(sharing, columns);
    let (entry, extent) = match sharing {
        Sharing::None => ("direct", Extent::Invocations(layers * tile.invocations(rows, columns))),
        Sharing::Subgroup(_) => ("subgroup", Extent::Workgroups(layers * tile.workgroups(rows, columns))),
        Sharing::Workgroup => ("tiled", Extent::Workgroups(layers * tile.workgroups(rows, columns))),
    };
    let work = (MULTIPLY_ADD * layers * rows * columns * depth) as u64;
    launch(gpu, tile.apply(sharing, variant), entry, tensors, params, extent, work)
}
