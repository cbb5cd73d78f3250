// Batched matrix product, c = alpha * a . b, with either operand transposed: the GEMM body over matrices
// [rows, columns] whose last axis is padded to a multiple of 4. A layer is a matrix of the batch. Each
// element of c belongs to one invocation (`lib/gemm.wgsl`).

// include lib/element.wgsl

@group(0) @binding(0) var<storage, read> a: array<Element4>;         // [layers, m, k], or transposed
@group(0) @binding(1) var<storage, read> b: array<Element4>;         // [layers, k, n], or transposed
@group(0) @binding(2) var<storage, read_write> c: array<Element4>;   // [layers, m, n]

const A_TRANSPOSED: u32 = 0u; // 1: a is [layers, k, m]
const B_TRANSPOSED: u32 = 0u; // 1: b is [layers, n, k]

struct Params {
    layers: u32,
    m: u32,
    n: u32,
    k: u32,
    alpha: f32,
}

var<immediate> p: Params;

// include lib/gemm.wgsl

fn gemm_extent() -> GemmExtent {
    return GemmExtent(p.layers, p.m, (p.n + 3u) / 4u, (p.k + 3u) / 4u * 4u);
}

fn gemm_segments(layer: u32) -> vec2<u32> {
    return vec2(0u, 1u);
}

// The start of an operand's block, its stride from row to row, and the number of rows from there on.
struct Panel {
    start: u32,
    stride: u32,
    rows: u32,
}

// Four rows of a matrix of `rows` from `row` on; rows beyond repeat the last one.
fn panel_of(layer: u32, row: u32, rows: u32, columns: u32) -> Panel {
    let stride = (columns + 3u) / 4u;
    let first = min(row, rows - 1u);
    return Panel((layer * rows + first) * stride, stride, rows - first);
}

fn at_row(panel: Panel, row: u32) -> u32 {
    return panel.start + min(row, panel.rows - 1u) * panel.stride;
}

alias AOrigin = Panel;
alias ACursor = Panel;

// Not transposed: rows of C are rows of a. Transposed: they are columns, and the panel starts at row 0.
fn a_origin(layer: u32, row: u32) -> AOrigin {
    if (A_TRANSPOSED == 0u) { return panel_of(layer, row, p.m, p.k); }
    var whole = panel_of(layer, 0u, p.k, p.m);
    whole.start += min(row / 4u, whole.stride - 1u);
    return whole;
}

fn a_seek(origin: AOrigin, segment: u32) -> ACursor { return origin; }

fn a_block(panel: ACursor, k: u32) -> mat4x4<f32> {
    if (A_TRANSPOSED == 0u) {
        let at = k / 4u;
        return mat4x4<f32>(
            vec4<f32>(a[at_row(panel, 0u) + at]), vec4<f32>(a[at_row(panel, 1u) + at]),
            vec4<f32>(a[at_row(panel, 2u) + at]), vec4<f32>(a[at_row(panel, 3u) + at]));
    }
    return transpose(mat4x4<f32>(
        a_row(panel, k), a_row(panel, k + 1u), a_row(panel, k + 2u), a_row(panel, k + 3u)));
}

// Zero beyond the last k: the contract of `a_block`.
fn a_row(panel: ACursor, k: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(a[at_row(panel, k)]), k < p.k);
}

alias BOrigin = Panel;
alias BCursor = Panel;

fn b_origin(layer: u32, column: u32) -> BOrigin {
    if (B_TRANSPOSED == 1u) { return panel_of(layer, 4u * column, p.n, p.k); }
    var whole = panel_of(layer, 0u, p.k, p.n);
    whole.start += min(column, whole.stride - 1u);
    return whole;
}

fn b_seek(origin: BOrigin, segment: u32) -> BCursor { return origin; }

fn b_block(panel: BCursor, k: u32) -> mat4x4<f32> {
    if (B_TRANSPOSED == 1u) {
        let at = k / 4u;
        return transpose(mat4x4<f32>(
            vec4<f32>(b[at_row(panel, 0u) + at]), vec4<f32>(b[at_row(panel, 1u) + at]),
            vec4<f32>(b[at_row(panel, 2u) + at]), vec4<f32>(b[at_row(panel, 3u) + at])));
    }
    return mat4x4<f32>(
        vec4<f32>(b[at_row(panel, k)]), vec4<f32>(b[at_row(panel, k + 1u)]),
        vec4<f32>(b[at_row(panel, k + 2u)]), vec4<f32>(b[at_row(panel, k + 3u)]));
}

fn c_store(layer: u32, row: u32, column: u32, value: vec4<f32>) {
    // The last block of columns may extend into the padding, which stays zero.
    let index = 4u * column + vec4(0u, 1u, 2u, 3u);
    let kept = select(vec4<f32>(), p.alpha * value, index < vec4(p.n));
    c[(layer * p.m + row) * ((p.n + 3u) / 4u) + column] = Element4(kept);
}
