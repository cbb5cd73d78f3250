// The GEMM body: C[m, n] = sum over segments s and k < depth of A[m, (s, k)] * B[(s, k), n], in f32.
//
// The unit is a block of 4 x 4: a mat4x4 `b` holds four rows, `b[i]` being row i. The file that includes this
// one defines A, B and C by the hooks
//
//   gemm_extent()                  the size of the product
//   gemm_segments(layer)           the segments x .. y - 1 that a layer sums
//   a_origin(layer, row)           rows row .. row + 3 of A: the data common to all segments
//   a_seek(origin, segment)        and the data of one segment
//   a_block(cursor, k)             their columns k .. k + 3
//   b_origin(layer, column)        likewise for columns 4 * column .. 4 * column + 3 of B
//   b_seek(origin, segment)
//   b_block(cursor, k)             rows k .. k + 3 of B
//   c_store(layer, row, column, value)   row `row`, columns 4 * column .. of C; called inside the extent only
//
// Hooks are only called with k < depth, and depth is a multiple of 4. Past the real end of the operands
// `a_block` must return zeros; `b_block` may return any finite values (usually its last row). Results for
// rows outside of A and columns outside of B are not stored. A layer is a product of its own: a matrix of a
// batch, or a slice of a sum that a later pass completes. There are three forms of the same loop:
//
//   direct     an invocation loads its own operands
//   subgroup   the lanes of a subgroup own the same columns and exchange the blocks of B that they load: for
//              CPUs, where a load costs as much as many multiplications, and a barrier even more
//   tiled      a workgroup stages both operands in workgroup memory
//
// Each element of C belongs to one invocation, which adds its products in order of (s, k). So there are no
// races, and an element's bits do not depend on the rest of the product.

// include lib/index.wgsl

const TM: u32 = 2u; // blocks of rows that an invocation owns
const TN: u32 = 2u; // blocks of columns that it owns
const LANES: u32 = 8u; // subgroup: its lanes, at least TN
const GM: u32 = 8u; // tiled: invocations along the rows of a workgroup's tile
const GN: u32 = 8u; // tiled: along its columns
const GK: u32 = 4u; // tiled: blocks of k that are staged at once

struct GemmExtent {
    layers: u32,
    rows: u32,
    columns: u32, // in blocks of 4
    depth: u32,   // k of one segment, a multiple of 4
}

fn multiply_row(sum: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], sum))));
}

fn multiply_add(sum: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        multiply_row(sum[0], a[0], b),
        multiply_row(sum[1], a[1], b),
        multiply_row(sum[2], a[2], b),
        multiply_row(sum[3], a[3], b),
    );
}

// The blocks of an invocation: [j][i] is block column j, block row i. Loop variables index arrays directly:
// compilers unroll such loops, and an array that keeps a variable index does not stay in registers.
alias Sums = array<array<mat4x4<f32>, TM>, TN>;

// Stores a block whose rows are `step` apart.
fn store_block(extent: GemmExtent, layer: u32, row: u32, step: u32, column: u32, block: mat4x4<f32>) {
    if (column >= extent.columns) { return; }
    for (var i = 0u; i < 4u; i++) {
        let at = row + i * step;
        if (at < extent.rows) { c_store(layer, at, column, block[i]); }
    }
}

@compute @workgroup_size(WORKGROUP)
fn direct(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let extent = gemm_extent();
    let columns = (extent.columns + TN - 1u) / TN;
    let rows = (extent.rows + 4u * TM - 1u) / (4u * TM);
    let index = flat_index(id, groups);
    let at = unravel(index, rows, columns);
    let layer = at.x;
    let row = at.y * 4u * TM;
    let column = at.z * TN;
    if (layer >= extent.layers) { return; }

    var a_origins: array<AOrigin, TM>;
    var b_origins: array<BOrigin, TN>;
    for (var i = 0u; i < TM; i++) { a_origins[i] = a_origin(layer, row + 4u * i); }
    for (var j = 0u; j < TN; j++) { b_origins[j] = b_origin(layer, column + j); }

    var sums: Sums;
    let segments = gemm_segments(layer);
    for (var segment = segments.x; segment < segments.y; segment++) {
        var a_cursors: array<ACursor, TM>;
        var b_cursors: array<BCursor, TN>;
        for (var i = 0u; i < TM; i++) { a_cursors[i] = a_seek(a_origins[i], segment); }
        for (var j = 0u; j < TN; j++) { b_cursors[j] = b_seek(b_origins[j], segment); }
        for (var k = 0u; k < extent.depth; k += 4u) {
            var b: array<mat4x4<f32>, TN>;
            for (var j = 0u; j < TN; j++) { b[j] = b_block(b_cursors[j], k); }
            for (var i = 0u; i < TM; i++) {
                let a = a_block(a_cursors[i], k);
                for (var j = 0u; j < TN; j++) { sums[j][i] = multiply_add(sums[j][i], a, b[j]); }
            }
        }
    }
    for (var j = 0u; j < TN; j++) {
        for (var i = 0u; i < TM; i++) {
            store_block(extent, layer, row + 4u * i, 1u, column + j, sums[j][i]);
        }
    }
}

// A workgroup is exactly one subgroup: launched only if all subgroups have the same size.
@compute @workgroup_size(LANES)
fn subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let extent = gemm_extent();
    let columns = (extent.columns + TN - 1u) / TN;
    let rows = (extent.rows + 4u * TM * LANES - 1u) / (4u * TM * LANES);
    let at = unravel(group.x + group.y * groups.x, rows, columns);
    let layer = at.x;
    let row = (at.y * LANES + lane) * 4u * TM;
    let column = at.z * TN;
    if (layer >= extent.layers) { return; }

    // A lane loads one block of B out of LANES / TN blocks of k. The loop over them is unrolled too: a
    // shuffle from a constant lane is a broadcast.
    let own_k = lane / TN * 4u;
    let own_origin = b_origin(layer, column + lane % TN);
    var a_origins: array<AOrigin, TM>;
    for (var i = 0u; i < TM; i++) { a_origins[i] = a_origin(layer, row + 4u * i); }

    var sums: Sums;
    let segments = gemm_segments(layer);
    for (var segment = segments.x; segment < segments.y; segment++) {
        let own_cursor = b_seek(own_origin, segment);
        var a_cursors: array<ACursor, TM>;
        for (var i = 0u; i < TM; i++) { a_cursors[i] = a_seek(a_origins[i], segment); }
        for (var first = 0u; first < extent.depth; first += LANES / TN * 4u) {
            let own = b_block(own_cursor, min(first + own_k, extent.depth - 4u));
            for (var t = 0u; t < LANES / TN; t++) {
                let k = first + 4u * t;
                if (k >= extent.depth) { break; }
                var a: array<mat4x4<f32>, TM>;
                for (var i = 0u; i < TM; i++) { a[i] = a_block(a_cursors[i], k); }
                for (var j = 0u; j < TN; j++) {
                    let b = block_of_lane(own, t * TN + j);
                    for (var i = 0u; i < TM; i++) { sums[j][i] = multiply_add(sums[j][i], a[i], b); }
                }
            }
        }
    }
    for (var j = 0u; j < TN; j++) {
        for (var i = 0u; i < TM; i++) {
            store_block(extent, layer, row + 4u * i, 1u, column + j, sums[j][i]);
        }
    }
}

fn block_of_lane(block: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupShuffle(block[0], lane), subgroupShuffle(block[1], lane),
        subgroupShuffle(block[2], lane), subgroupShuffle(block[3], lane));
}

// The staged operands: row r of A's tile, four k of block kb, at kb * A_PITCH + r; row i of B's block kb,
// block of columns j, at (i * GK + kb) * B_PITCH + j. With GK = 4 the pitches place the writes of neighbours
// in different banks.
const A_PITCH: u32 = 4u * GM * TM + 1u;
const B_PITCH: u32 = GN * TN + 2u;
var<workgroup> a_tile: array<vec4<f32>, GK * A_PITCH>;
var<workgroup> b_tile: array<vec4<f32>, 4u * GK * B_PITCH>;

const_assert 16u * GK * (A_PITCH + 4u * B_PITCH) <= 16384u; // available on every adapter

const INVOCATIONS: u32 = GM * GN; // of a workgroup
const_assert INVOCATIONS % GK == 0u;
const STRIDE: u32 = INVOCATIONS / GK; // between the blocks that an invocation stages
const A_EACH: u32 = (GK * GM * TM + INVOCATIONS - 1u) / INVOCATIONS; // the most blocks of one invocation
const B_EACH: u32 = (GK * GN * TN + INVOCATIONS - 1u) / INVOCATIONS;

@compute @workgroup_size(INVOCATIONS)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let extent = gemm_extent();
    let columns = (extent.columns + GN * TN - 1u) / (GN * TN);
    let rows = (extent.rows + 4u * GM * TM - 1u) / (4u * GM * TM);
    let index = group.x + group.y * groups.x;
    let tile = unravel(index, rows, columns);
    let layer = tile.x;
    let row = tile.y * 4u * GM * TM;
    let column = tile.z * GN * TN;
    if (layer >= extent.layers) { return; }
    let m = local / GN;
    let n = local % GN;

    // An invocation stages one block of k, kb, of the blocks of rows (of columns) own, own + STRIDE, ..
    let kb = local % GK;
    let own = local / GK;
    var a_origins: array<AOrigin, A_EACH>;
    var b_origins: array<BOrigin, B_EACH>;
    for (var i = 0u; i < A_EACH; i++) { a_origins[i] = a_origin(layer, row + 4u * (own + i * STRIDE)); }
    for (var j = 0u; j < B_EACH; j++) { b_origins[j] = b_origin(layer, column + own + j * STRIDE); }

    let segments = gemm_segments(layer);
    let blocks = extent.depth / 4u; // of one segment
    let begin = segments.x * blocks;
    let end = segments.y * blocks;
    var k = divide(begin + kb, blocks); // segment, block of it
    var segment = segments.y; // no segment yet
    var a_cursors: array<ACursor, A_EACH>;
    var b_cursors: array<BCursor, B_EACH>;
    var a_next: array<mat4x4<f32>, A_EACH>;
    var b_next: array<mat4x4<f32>, B_EACH>;

    // A turn loads the tile that begins at `first`, and multiplies the previous one while the loads are
    // pending. All invocations take the same number of turns. The first barrier of a turn ends the reads of
    // the old tile before it is overwritten; the second ends the writes of the new one before it is read.
    var sums: Sums;
    for (var first = begin; first < end + GK; first += GK) {
        if (first < end) {
            if (k.y >= blocks) { k = vec2(k.x, 0u) + divide(k.y, blocks); }
            if (first + kb < end) {
                if (k.x != segment) {
                    segment = k.x;
                    for (var i = 0u; i < A_EACH; i++) { a_cursors[i] = a_seek(a_origins[i], segment); }
                    for (var j = 0u; j < B_EACH; j++) { b_cursors[j] = b_seek(b_origins[j], segment); }
                }
                for (var i = 0u; i < A_EACH; i++) { a_next[i] = a_block(a_cursors[i], 4u * k.y); }
                for (var j = 0u; j < B_EACH; j++) {
                    if (own + j * STRIDE < GN * TN) { b_next[j] = b_block(b_cursors[j], 4u * k.y); }
                }
            } else {
                // Zeros past the end add nothing, even to an infinity.
                for (var i = 0u; i < A_EACH; i++) { a_next[i] = mat4x4<f32>(); }
                for (var j = 0u; j < B_EACH; j++) { b_next[j] = mat4x4<f32>(); }
            }
            k.y += GK;
        }
        if (first > begin) {
            for (var t = 0u; t < GK; t++) {
                var b: array<mat4x4<f32>, TN>;
                for (var j = 0u; j < TN; j++) {
                    let at = t * B_PITCH + j * GN + n;
                    b[j] = mat4x4<f32>(
                        b_tile[at], b_tile[at + GK * B_PITCH],
                        b_tile[at + 2u * GK * B_PITCH], b_tile[at + 3u * GK * B_PITCH]);
                }
                for (var i = 0u; i < TM; i++) {
                    let at = t * A_PITCH + 4u * i * GM + m;
                    let a = mat4x4<f32>(
                        a_tile[at], a_tile[at + GM], a_tile[at + 2u * GM], a_tile[at + 3u * GM]);
                    for (var j = 0u; j < TN; j++) { sums[j][i] = multiply_add(sums[j][i], a, b[j]); }
                }
            }
        }
        workgroupBarrier();
        if (first < end) {
            for (var i = 0u; i < A_EACH; i++) {
                let block = own + i * STRIDE;
                if (block < GM * TM) {
                    let at = kb * A_PITCH + 4u * block;
                    for (var r = 0u; r < 4u; r++) { a_tile[at + r] = a_next[i][r]; }
                }
            }
            for (var j = 0u; j < B_EACH; j++) {
                let block = own + j * STRIDE;
                if (block < GN * TN) {
                    let at = kb * B_PITCH + block;
                    for (var r = 0u; r < 4u; r++) { b_tile[at + r * GK * B_PITCH] = b_next[j][r]; }
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < TM; i++) {
        for (var j = 0u; j < TN; j++) {
            store_block(extent, layer, row + 4u * i * GM + m, GM, column + j * GN + n, sums[j][i]);
        }
    }
}
