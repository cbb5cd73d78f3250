// Max pooling with stride 1: y[o] = the largest x in the part of the window around o that is inside the
// image. The position of the maximum (the first one in order of rows and columns) is a choice, stored once.
// Given the choices, pooling is linear; tangents and adjoints use the same choices.
//
//   choose -> pick      y, and its tangents
//   return_picked       the adjoint
//
// An invocation owns one block of four channels of one pixel of its output and writes nothing else; the
// adjoint gathers.

// include lib/element.wgsl
// include lib/index.wgsl

struct Params {
    n: u32,      // samples of the output
    h: u32,      // of the image
    w: u32,
    oh: u32,     // of the pooled image
    ow: u32,
    c4: u32,
    window: u32, // 15 at most
    pad: u32,
    period: u32, // samples of the choices, which repeat
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;               // [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> choices_out: array<u32>;    // [period, oh, ow, c4]

// A tap of the window, row * window + column, for each of four channels.
fn pack(taps: vec4<u32>) -> u32 { return taps.x | taps.y << 8u | taps.z << 16u | taps.w << 24u; }
fn unpack(word: u32) -> vec4<u32> { return (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u); }

// The choices.
@compute @workgroup_size(WORKGROUP)
fn choose(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.period * p.oh * p.ow * p.c4) { return; }
    let owned = unravel(index, p.ow, p.c4);
    let line = divide(owned.x, p.oh); // sample, row
    var largest = vec4<f32>();
    var taps = vec4<u32>();
    var any = false;
    for (var ty = 0u; ty < p.window; ty++) {
        let iy = line.y + ty - p.pad; // negative numbers wrap around to large ones
        if (iy >= p.h) { continue; }
        for (var tx = 0u; tx < p.window; tx++) {
            let ix = owned.y + tx - p.pad;
            if (ix >= p.w) { continue; }
            let value = vec4<f32>(x[((line.x * p.h + iy) * p.w + ix) * p.c4 + owned.z]);
            let better = (value > largest) | vec4(!any);
            largest = select(largest, value, better);
            taps = select(taps, vec4(ty * p.window + tx), better);
            any = true;
        }
    }
    choices_out[index] = pack(taps);
}

@group(0) @binding(1) var<storage, read> choices: array<u32>;      // [period, oh, ow, c4]
@group(0) @binding(2) var<storage, read_write> y: array<Element4>; // pick: [n, oh, ow, c]; else [n, h, w, c]

// y[o] = x at the choice of o.
@compute @workgroup_size(WORKGROUP)
fn pick(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let sample = p.oh * p.ow * p.c4;
    if (index >= p.n * sample) { return; }
    let owned = unravel(index, p.ow, p.c4);
    let line = divide(owned.x, p.oh);
    let taps = unpack(choices[index - (line.x - divide(line.x, p.period).y) * sample]);
    let iy = vec4(line.y - p.pad) + taps / p.window;
    let ix = vec4(owned.y - p.pad) + taps % p.window;
    let at = ((line.x * p.h + iy) * p.w + ix) * p.c4 + owned.z;
    y[index] = Element4(x[at.x].x, x[at.y].y, x[at.z].z, x[at.w].w);
}

// y[i] = sum of x[o] over the pooled pixels o whose choice is i.
@compute @workgroup_size(WORKGROUP)
fn return_picked(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.n * p.h * p.w * p.c4) { return; }
    let owned = unravel(index, p.w, p.c4);
    let line = divide(owned.x, p.h);
    let repeated = (line.x - divide(line.x, p.period).y) * p.oh * p.ow * p.c4;
    var sum = vec4<f32>();
    for (var ty = 0u; ty < p.window; ty++) {
        let oy = line.y + p.pad - ty;
        if (oy >= p.oh) { continue; }
        for (var tx = 0u; tx < p.window; tx++) {
            let ox = owned.y + p.pad - tx;
            if (ox >= p.ow) { continue; }
            let at = ((line.x * p.oh + oy) * p.ow + ox) * p.c4 + owned.z;
            let chosen = unpack(choices[at - repeated]) == vec4(ty * p.window + tx);
            sum += select(vec4(0.0), vec4<f32>(x[at]), chosen);
        }
    }
    y[index] = Element4(sum);
}
