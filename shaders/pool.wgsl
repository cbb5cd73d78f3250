// Pooling without derivatives: y[o] = the mean or the largest x of the part of o's window that is inside the
// image, with any stride. Pixels outside of the image count neither in the sum nor in its divisor.
//
// An invocation owns one block of four channels of one pixel of y and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl

const LARGEST: u32 = 0u; // 1: the largest, not the mean

struct Params {
    n: u32,      // samples
    h: u32,      // of the image
    w: u32,
    oh: u32,     // of the pooled image
    ow: u32,
    c4: u32,
    window: u32,
    stride: u32,
    pad: u32,    // less than the window
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;         // [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> y: array<Element4>;   // [n, oh, ow, c]

@compute @workgroup_size(WORKGROUP)
fn pool(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.n * p.oh * p.ow * p.c4) { return; }
    let owned = unravel(index, p.ow, p.c4);
    let line = divide(owned.x, p.oh); // sample, row
    var result = vec4<f32>();
    var count = 0u;
    for (var ty = 0u; ty < p.window; ty++) {
        let iy = line.y * p.stride + ty - p.pad; // negative numbers wrap around to large ones
        if (iy >= p.h) { continue; }
        for (var tx = 0u; tx < p.window; tx++) {
            let ix = owned.y * p.stride + tx - p.pad;
            if (ix >= p.w) { continue; }
            let value = vec4<f32>(x[((line.x * p.h + iy) * p.w + ix) * p.c4 + owned.z]);
            if (LARGEST == 1u) {
                result = select(max(result, value), value, count == 0u);
            } else {
                result += value;
            }
            count++;
        }
    }
    let divisor = select(f32(max(count, 1u)), 1.0, LARGEST == 1u);
    y[index] = Element4(result / divisor);
}
