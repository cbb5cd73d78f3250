// The adjoint of convolution in its weights, as a product: A is x seen through the taps, transposed, B is dy,
// C the gradient. A row is (ky, kx, input channel), a segment a row of the output image, k a pixel of it.
// With several layers, each sums a slice of the output rows, and `reduce.wgsl` adds up the layers in order.
// Each element of a layer belongs to one invocation (`lib/gemm.wgsl`).

@group(0) @binding(0) var<storage, read> x: array<Element4>;                // [n, h, w, c]
@group(0) @binding(1) var<storage, read> dy: array<Element4>;               // [n, oh, ow, o]
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;   // [layers, kh, kw, c, o]

// include lib/element.wgsl
// include lib/conv2d.wgsl
// include lib/gemm.wgsl

fn gemm_extent() -> GemmExtent {
    return GemmExtent(g.layers, 4u * g.kh * g.kw * g.c4, g.o4, (g.ow + 3u) / 4u * 4u);
}

fn gemm_segments(layer: u32) -> vec2<u32> {
    let lines = g.n * g.oh;
    let share = (lines + g.layers - 1u) / g.layers;
    return vec2(min(layer * share, lines), min((layer + 1u) * share, lines));
}

// A tap and four of its channels.
struct AOrigin {
    y: i32,
    x: i32,
    channel: i32, // in blocks of 4
}

// The start of the line of the image, negative outside of it, and the column under the line's first pixel.
struct ACursor {
    start: i32,
    x: i32,
}

fn a_origin(layer: u32, row: u32) -> AOrigin {
    let at = divide(min(row / 4u, g.kh * g.kw * g.c4 - 1u), g.c4);
    let tap = divide(at.x, g.kw);
    return AOrigin(i32(tap.x * g.dilation) - g.pad_y, i32(tap.y * g.dilation) - g.pad_x, i32(at.y));
}

fn a_seek(origin: AOrigin, segment: u32) -> ACursor {
    let line = divide(segment, g.oh);
    let y = i32(line.y * g.stride) + origin.y;
    let start = (i32(line.x * g.h) + y) * i32(g.w * g.c4) + origin.channel;
    return ACursor(select(-1, start, y >= 0 && y < i32(g.h)), origin.x);
}

fn a_pixel(cursor: ACursor, k: u32) -> vec4<f32> {
    let column = i32(k * g.stride) + cursor.x;
    let inside = cursor.start >= 0 && column >= 0 && column < i32(g.w) && k < g.ow;
    let at = select(0, cursor.start + column * i32(g.c4), inside);
    return select(vec4<f32>(), vec4<f32>(x[at]), inside);
}

fn a_block(cursor: ACursor, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(
        a_pixel(cursor, k), a_pixel(cursor, k + 1u), a_pixel(cursor, k + 2u), a_pixel(cursor, k + 3u)));
}

struct BCursor {
    start: u32,
    column: u32,
}
alias BOrigin = u32;

fn b_origin(layer: u32, column: u32) -> BOrigin {
    return min(column, g.o4 - 1u);
}

fn b_seek(column: BOrigin, segment: u32) -> BCursor {
    return BCursor(segment * g.ow, column);
}

fn b_row(cursor: BCursor, k: u32) -> vec4<f32> {
    return vec4<f32>(dy[(cursor.start + min(k, g.ow - 1u)) * g.o4 + cursor.column]);
}

fn b_block(cursor: BCursor, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(b_row(cursor, k), b_row(cursor, k + 1u), b_row(cursor, k + 2u), b_row(cursor, k + 3u));
}

fn c_store(layer: u32, row: u32, column: u32, value: vec4<f32>) {
    let at = (layer * 4u * g.kh * g.kw * g.c4 + row) * g.o4 + column;
    dweight[at] = value + select(vec4<f32>(), dweight[at], g.accumulate != 0u);
}
