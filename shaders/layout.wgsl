// Copies of tensors: along channels (concatenation and its adjoint, the slice) and along samples. In every
// entry point an invocation owns one vec4 of the output and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl

struct Params {
    rows: u32,   // pixels of all samples. copy, zero: vec4s. gather: samples of the output
    first: u32,  // slice: the first channel. copy: the first vec4 of the source. gather: samples of before
    second: u32, // copy, zero: the first vec4 of the destination. gather: vec4s of a sample
    a: u32,      // channels of a, or of x
    b: u32,      // channels of b, or of the slice
}

var<immediate> p: Params;

const ALIGNED: u32 = 0u; // 1: the seam is at a multiple of 4 channels

@group(0) @binding(0) var<storage, read> a: array<Element4>;            // [rows, a]
@group(0) @binding(1) var<storage, read> b: array<Element4>;            // [rows, b]
@group(0) @binding(2) var<storage, read_write> y: array<Element4>;      // [rows, a + b]

fn blocks_of(channels: u32) -> u32 { return (channels + 3u) / 4u; }

// y = [a, b]. A vec4 of the output may have channels of both.
@compute @workgroup_size(WORKGROUP)
fn concat(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = blocks_of(p.a + p.b);
    if (index >= p.rows * blocks) { return; }
    let at = divide(index, blocks); // row, block of it
    let block = at.y;
    let from_a = at.x * blocks_of(p.a);
    let from_b = at.x * blocks_of(p.b);
    if (ALIGNED == 1u) {
        if (block < p.a / 4u) {
            y[index] = a[from_a + block];
        } else {
            y[index] = b[from_b + block - p.a / 4u];
        }
        return;
    }
    var value = Element4();
    for (var i = 0u; i < 4u; i++) {
        let channel = block * 4u + i;
        if (channel < p.a) {
            value[i] = a[from_a + channel / 4u][channel % 4u];
        } else if (channel < p.a + p.b) {
            value[i] = b[from_b + (channel - p.a) / 4u][(channel - p.a) % 4u];
        }
    }
    y[index] = value;
}

@group(0) @binding(1) var<storage, read_write> part: array<Element4>;   // [rows, b]

// part = channels first .. first + b of a.
@compute @workgroup_size(WORKGROUP)
fn slice(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = blocks_of(p.b);
    if (index >= p.rows * blocks) { return; }
    let at = divide(index, blocks); // row, block of it
    let start = at.x * blocks_of(p.a);
    if (ALIGNED == 1u) {
        part[index] = a[start + p.first / 4u + at.y];
        return;
    }
    var value = Element4();
    for (var i = 0u; i < 4u; i++) {
        let channel = p.first + at.y * 4u + i;
        if (channel < p.first + p.b) { value[i] = a[start + channel / 4u][channel % 4u]; }
    }
    part[index] = value;
}

@group(0) @binding(0) var<storage, read> source: array<Element4>;             // vec4s
@group(0) @binding(1) var<storage, read_write> destination: array<Element4>;  // vec4s

// Copies `rows` vec4s from number `first` of the source to number `second` of the destination.
@compute @workgroup_size(WORKGROUP)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index < p.rows) { destination[p.second + index] = source[p.first + index]; }
}

@group(0) @binding(0) var<storage, read_write> zeroed: array<Element4>;       // vec4s

// Sets `rows` vec4s to zero, from number `second` on.
@compute @workgroup_size(WORKGROUP)
fn zero(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index < p.rows) { zeroed[p.second + index] = Element4(); }
}

@group(0) @binding(0) var<storage, read> before: array<Element4>;             // [first, h, w, c]
@group(0) @binding(1) var<storage, read> after: array<Element4>;              // [.., h, w, c]
@group(0) @binding(2) var<storage, read> picks: array<u32>;                   // [rows]: numbers of samples
@group(0) @binding(3) var<storage, read_write> gathered: array<Element4>;     // [rows, h, w, c]

// gathered[i] = sample number picks[i] of [before; after].
@compute @workgroup_size(WORKGROUP)
fn gather(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.rows * p.second) { return; }
    let at = divide(index, p.second); // sample, vec4 of it
    let pick = picks[at.x];
    if (pick < p.first) {
        gathered[index] = before[pick * p.second + at.y];
    } else {
        gathered[index] = after[(pick - p.first) * p.second + at.y];
    }
}
