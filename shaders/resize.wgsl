// Bilinear resampling: along an axis of `size` pixels resampled to `out`
//
//   y[o] = sum over i of hat(at(o) - i) x[i],  hat(d) = max(0, 1 - |d|),
//
// where at(o), limited to 0 .. size - 1, is
//
//   o (size - 1) / (out - 1)            ALIGN 0: corner pixels become corner pixels
//   o size / out                        ALIGN 1: left and upper edges become edges (TensorFlow 1)
//   (o + 1/2) size / out - 1/2          ALIGN 2: edges of the image become edges (half-pixel centres)
//
// as a quotient of integers, so that the adjoint, which only ALIGN 0 has, has the same weights. An invocation
// owns one block of four channels of one pixel of its output and writes nothing else; the adjoint gathers.

// include lib/element.wgsl
// include lib/index.wgsl

const ALIGN: u32 = 0u;

struct Params {
    n: u32,
    h: u32,  // of the image
    w: u32,
    oh: u32, // of the resampled image
    ow: u32,
    c4: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;         // [n, h, w, c]; adjoint: [n, oh, ow, c]
@group(0) @binding(1) var<storage, read_write> y: array<Element4>;   // [n, oh, ow, c]; adjoint: [n, h, w, c]

// The pixel at or before position o of the resampled axis, the next pixel, and the latter's weight.
struct Position {
    first: u32,
    second: u32,
    weight: f32,
}

fn position(o: u32, size: u32, out: u32) -> Position {
    var whole = max(out, 2u) - 1u;
    var numerator = o * (size - 1u);
    if (ALIGN == 1u) {
        whole = out;
        numerator = o * size;
    }
    if (ALIGN == 2u) {
        whole = 2u * out;
        numerator = max((2u * o + 1u) * size, out) - out;
    }
    let at = divide(numerator, whole);
    return Position(at.x, min(at.x + 1u, size - 1u), f32(at.y) / f32(whole));
}

// [n, h, w, c] -> [n, oh, ow, c]
@compute @workgroup_size(WORKGROUP)
fn resize(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.n * p.oh * p.ow * p.c4) { return; }
    let owned = unravel(index, p.ow, p.c4);
    let line = divide(owned.x, p.oh); // sample, row
    let row = position(line.y, p.h, p.oh);
    let column = position(owned.y, p.w, p.ow);
    let upper = (line.x * p.h + row.first) * p.w;
    let lower = (line.x * p.h + row.second) * p.w;
    let a = vec4<f32>(x[(upper + column.first) * p.c4 + owned.z]);
    let b = vec4<f32>(x[(upper + column.second) * p.c4 + owned.z]);
    let c = vec4<f32>(x[(lower + column.first) * p.c4 + owned.z]);
    let d = vec4<f32>(x[(lower + column.second) * p.c4 + owned.z]);
    y[index] = Element4(mix(mix(a, b, column.weight), mix(c, d, column.weight), row.weight));
}

// The positions [x, y) of the resampled axis that depend on pixel i.
fn span(i: u32, size: u32, out: u32) -> vec2<u32> {
    if (size == 1u) { return vec2(0u, out); }
    let whole = max(out, 2u) - 1u;
    var first = 0u;
    if (i > 0u) { first = (i - 1u) * whole / (size - 1u) + 1u; }
    return vec2(first, min(((i + 1u) * whole + size - 2u) / (size - 1u), out));
}

// The weight of pixel i at position o of the resampled axis, one of its `span`.
fn hat(i: u32, o: u32, size: u32, out: u32) -> f32 {
    let whole = i32(max(out, 2u)) - 1;
    return f32(whole - abs(i32(o * (size - 1u)) - i32(i) * whole)) / f32(whole);
}

// [n, oh, ow, c] -> [n, h, w, c]
@compute @workgroup_size(WORKGROUP)
fn resize_adjoint(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.n * p.h * p.w * p.c4) { return; }
    let owned = unravel(index, p.w, p.c4);
    let line = divide(owned.x, p.h);
    let rows = span(line.y, p.h, p.oh);
    let columns = span(owned.y, p.w, p.ow);
    var sum = vec4<f32>();
    for (var oy = rows.x; oy < rows.y; oy++) {
        var part = vec4<f32>();
        for (var ox = columns.x; ox < columns.y; ox++) {
            let value = vec4<f32>(x[((line.x * p.oh + oy) * p.ow + ox) * p.c4 + owned.z]);
            part += hat(owned.y, ox, p.w, p.ow) * value;
        }
        sum += hat(line.y, oy, p.h, p.oh) * part;
    }
    y[index] = Element4(sum);
}
