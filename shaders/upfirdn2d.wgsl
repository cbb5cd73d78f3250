// Upsample by zeros, pad, filter, downsample (Karras et al. 2019): along each axis
//
//   y[o] = sum over i of taps[i] * z[o * DOWN + i - pad],  z[q * UP] = x[q], zero elsewhere and outside,
//
// with taps = kernel flipped, applied to rows and columns alike. Nearest-neighbour upsampling and mean
// pooling are its box filters. The adjoint is the same kernel with UP and DOWN exchanged and the taps
// reversed.
//
// An invocation owns a square of B x B outputs of one block of channels and writes nothing else. B * DOWN is
// a multiple of UP, so that the pairs of taps and inputs of a square depend on PHASE alone and are known at
// compile time.

// include lib/element.wgsl
// include lib/index.wgsl

@group(0) @binding(0) var<storage, read> x: array<Element4>;         // [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> y: array<Element4>;   // [n, oh, ow, c]

const UP: u32 = 2u;      // upsampling factor
const DOWN: u32 = 1u;    // downsampling factor
const LEN: u32 = 4u;     // taps along an axis, 12 at most
const PHASE_Y: u32 = 0u; // (first input under the square) * UP - (the square's first position)
const PHASE_X: u32 = 0u;
const B: u32 = 4u;       // side of the square of outputs
const SPAN: u32 = 5u;    // inputs along an axis on which a square may depend

struct Params {
    n: u32,
    h: u32,
    w: u32,
    c4: u32,
    oh: u32,
    ow: u32,
    pad_y: i32,
    pad_x: i32,
    taps_y: array<vec4<f32>, 3>,
    taps_x: array<vec4<f32>, 3>,
}

var<immediate> p: Params;

fn tap_y(i: u32) -> f32 { return p.taps_y[i / 4u][i % 4u]; }
fn tap_x(i: u32) -> f32 { return p.taps_x[i / 4u][i % 4u]; }

// The first input at or after position o * DOWN - pad of the upsampled axis.
fn first_input(o: u32, pad: i32) -> i32 {
    let position = i32(o * DOWN) - pad + i32(UP) * 1024; // positive before the division
    return (position + i32(UP) - 1) / i32(UP) - 1024;
}

@compute @workgroup_size(WORKGROUP)
fn upfirdn2d(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let columns = (p.ow + B - 1u) / B;
    let rows = (p.oh + B - 1u) / B;
    if (index >= p.n * rows * columns * p.c4) { return; }
    let square = unravel(index, columns, p.c4);
    let line = divide(square.x, rows);
    let sample = line.x;
    let oy = line.y * B;
    let ox = square.y * B;
    let block = square.z;
    let qy = first_input(oy, p.pad_y);
    let qx = first_input(ox, p.pad_x);

    var sums: array<vec4<f32>, B * B>;
    for (var j = 0u; j < SPAN; j++) {
        let iy = qy + i32(j);
        if (iy < 0 || iy >= i32(p.h)) { continue; }
        // One input row, filtered along x.
        var line: array<vec4<f32>, B>;
        for (var i = 0u; i < SPAN; i++) {
            let ix = qx + i32(i);
            if (ix < 0 || ix >= i32(p.w)) { continue; }
            let value = vec4<f32>(x[((sample * p.h + u32(iy)) * p.w + u32(ix)) * p.c4 + block]);
            for (var b = 0u; b < B; b++) {
                // Negative differences wrap around to large ones.
                let tap = i * UP + PHASE_X - b * DOWN;
                if (tap < LEN) { line[b] += tap_x(tap) * value; }
            }
        }
        for (var a = 0u; a < B; a++) {
            let tap = j * UP + PHASE_Y - a * DOWN;
            if (tap < LEN) {
                for (var b = 0u; b < B; b++) { sums[a * B + b] += tap_y(tap) * line[b]; }
            }
        }
    }
    for (var a = 0u; a < B; a++) {
        for (var b = 0u; b < B; b++) {
            if (oy + a < p.oh && ox + b < p.ow) {
                y[((sample * p.oh + oy + a) * p.ow + ox + b) * p.c4 + block] = Element4(sums[a * B + b]);
            }
        }
    }
}
