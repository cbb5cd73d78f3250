// Convolution, y = x * weight + bias (`lib/conv2d.wgsl`), as a product: A is x seen through the taps, B the
// weights, C the output. A row is an output pixel, a segment a tap (ky, kx), k an input channel. Each element
// of y belongs to one invocation (`lib/gemm.wgsl`).

@group(0) @binding(0) var<storage, read> x: array<Element4>;            // [n, h, w, c]
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;      // [kh, kw, c, o]
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [o]
@group(0) @binding(3) var<storage, read_write> y: array<Element4>;      // [n, oh, ow, o]

// include lib/element.wgsl
// include lib/conv2d.wgsl
// include lib/gemm.wgsl

fn gemm_extent() -> GemmExtent {
    return GemmExtent(1u, g.n * g.oh * g.ow, g.o4, 4u * g.c4);
}

fn gemm_segments(layer: u32) -> vec2<u32> {
    return vec2(0u, g.kh * g.kw);
}

// The input pixel under tap (0, 0).
alias AOrigin = Pixels;
// The start of each row's channels; negative in the padding.
alias ACursor = vec4<i32>;

fn a_origin(layer: u32, row: u32) -> AOrigin {
    var p = pixels(row, g.oh, g.ow);
    let inside = p.sample < vec4(i32(g.n));
    p.y = select(vec4(OUTSIDE), p.y * i32(g.stride) - g.pad_y, inside);
    p.x = p.x * i32(g.stride) - g.pad_x;
    return p;
}

fn a_seek(p: AOrigin, segment: u32) -> ACursor {
    let tap = vec2<i32>(divide(segment, g.kw) * g.dilation);
    let y = p.y + tap.x;
    let x = p.x + tap.y;
    let h = i32(g.h);
    let w = i32(g.w);
    let inside = (y >= vec4(0)) & (y < vec4(h)) & (x >= vec4(0)) & (x < vec4(w));
    return select(vec4(-1), ((p.sample * h + y) * w + x) * i32(g.c4), inside);
}

fn a_row(start: i32, k: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(x[u32(max(start, 0)) + k / 4u]), start >= 0);
}

fn a_block(start: ACursor, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(a_row(start.x, k), a_row(start.y, k), a_row(start.z, k), a_row(start.w, k));
}

alias BOrigin = u32;
alias BCursor = u32;

fn b_origin(layer: u32, column: u32) -> BOrigin {
    return min(column, g.o4 - 1u);
}

fn b_seek(column: BOrigin, segment: u32) -> BCursor {
    return segment * 4u * g.c4 * g.o4 + column;
}

fn b_block(start: BCursor, k: u32) -> mat4x4<f32> {
    let at = start + k * g.o4;
    return mat4x4<f32>(weight[at], weight[at + g.o4], weight[at + 2u * g.o4], weight[at + 3u * g.o4]);
}

fn c_store(layer: u32, row: u32, column: u32, value: vec4<f32>) {
    let shift = select(vec4<f32>(), bias[column], row < g.bias_rows);
    y[row * g.o4 + column] = Element4(value + shift);
}
