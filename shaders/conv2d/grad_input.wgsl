// The adjoint of convolution in its input, as a product: A is dy seen through the taps backwards, B the
// transposed weights, C dx. A row is an input pixel, a segment a tap (ky, kx), k an output channel. Each
// element of dx belongs to one invocation (`lib/gemm.wgsl`), which gathers its products instead of scattering
// those of dy.

@group(0) @binding(0) var<storage, read> dy: array<Element4>;           // [n, oh, ow, o]
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;      // [kh, kw, c, o]
@group(0) @binding(2) var<storage, read_write> dx: array<Element4>;     // [n, h, w, c]

// include lib/element.wgsl
// include lib/conv2d.wgsl
// include lib/gemm.wgsl

fn gemm_extent() -> GemmExtent {
    return GemmExtent(1u, g.n * g.h * g.w, g.c4, 4u * g.o4);
}

fn gemm_segments(layer: u32) -> vec2<u32> {
    return vec2(0u, g.kh * g.kw);
}

// The pixel's place in the padded input.
alias AOrigin = Pixels;
// The start of each row's channels; negative if there is no output pixel at this tap.
alias ACursor = vec4<i32>;

fn a_origin(layer: u32, row: u32) -> AOrigin {
    var p = pixels(row, g.h, g.w);
    let inside = p.sample < vec4(i32(g.n));
    p.y = select(vec4(OUTSIDE), p.y + g.pad_y, inside);
    p.x = p.x + g.pad_x;
    return p;
}

fn a_seek(p: AOrigin, segment: u32) -> ACursor {
    let stride = vec4(i32(g.stride));
    let tap = vec2<i32>(divide(segment, g.kw) * g.dilation);
    let ty = p.y - tap.x;
    let tx = p.x - tap.y;
    let oy = ty / stride;
    let ox = tx / stride;
    let meets = (oy * stride == ty) & (ox * stride == tx) & (ty >= vec4(0)) & (tx >= vec4(0));
    let inside = (oy < vec4(i32(g.oh))) & (ox < vec4(i32(g.ow)));
    let start = ((p.sample * i32(g.oh) + oy) * i32(g.ow) + ox) * i32(g.o4);
    return select(vec4(-1), start, meets & inside);
}

fn a_row(start: i32, k: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(dy[u32(max(start, 0)) + k / 4u]), start >= 0);
}

fn a_block(start: ACursor, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(a_row(start.x, k), a_row(start.y, k), a_row(start.z, k), a_row(start.w, k));
}

alias BOrigin = u32;
alias BCursor = u32;

fn b_origin(layer: u32, column: u32) -> BOrigin {
    return min(column, g.c4 - 1u);
}

fn b_seek(column: BOrigin, segment: u32) -> BCursor {
    return (segment * g.c4 + column) * 4u * g.o4;
}

fn b_block(start: BCursor, k: u32) -> mat4x4<f32> {
    let at = start + k / 4u;
    return transpose(mat4x4<f32>(
        weight[at], weight[at + g.o4], weight[at + 2u * g.o4], weight[at + 3u * g.o4]));
}

fn c_store(layer: u32, row: u32, column: u32, value: vec4<f32>) {
    dx[row * g.c4 + column] = Element4(value);
}
