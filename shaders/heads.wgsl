// Heads of attention: the channels of a sample as samples of their own, and back. In every entry point an
// invocation owns one vec4 of the output and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl

struct Params {
    samples: u32,  // samples of the whole
    pixels: u32,   // pixels of a sample
    heads: u32,
    channels: u32, // channels of a head
}

var<immediate> p: Params;

const ALIGNED: u32 = 0u; // 1: the channels of a head are a multiple of 4

@group(0) @binding(0) var<storage, read> whole: array<Element4>;           // [samples, pixels, heads · channels]
@group(0) @binding(1) var<storage, read_write> parts: array<Element4>;     // [samples · heads, pixels, channels]

fn blocks_of(channels: u32) -> u32 { return (channels + 3u) / 4u; }

// parts[sample · heads + head, pixel, c] = whole[sample, pixel, head · channels + c].
@compute @workgroup_size(WORKGROUP)
fn split(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = blocks_of(p.channels);
    if (index >= p.samples * p.heads * p.pixels * blocks) { return; }
    let at = unravel(index, p.pixels, blocks); // sample and head, pixel, block of the head
    let part = divide(at.x, p.heads);            // sample, head
    let start = (part.x * p.pixels + at.y) * blocks_of(p.heads * p.channels);
    if (ALIGNED == 1u) {
        parts[index] = whole[start + part.y * blocks + at.z];
        return;
    }
    var value = Element4();
    for (var i = 0u; i < 4u; i++) {
        let c = at.z * 4u + i;
        let channel = part.y * p.channels + c;
        if (c < p.channels) { value[i] = whole[start + channel / 4u][channel % 4u]; }
    }
    parts[index] = value;
}

@group(0) @binding(0) var<storage, read> apart: array<Element4>;           // [samples · heads, pixels, channels]
@group(0) @binding(1) var<storage, read_write> joined: array<Element4>;    // [samples, pixels, heads · channels]

// The inverse of split.
@compute @workgroup_size(WORKGROUP)
fn merge(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = blocks_of(p.heads * p.channels);
    let own = blocks_of(p.channels);
    if (index >= p.samples * p.pixels * blocks) { return; }
    let at = unravel(index, p.pixels, blocks); // sample, pixel, block
    if (ALIGNED == 1u) {
        let part = divide(at.z, own);            // head, block of it
        joined[index] = apart[((at.x * p.heads + part.x) * p.pixels + at.y) * own + part.y];
        return;
    }
    var value = Element4();
    for (var i = 0u; i < 4u; i++) {
        let part = divide(at.z * 4u + i, p.channels); // head, channel of it
        if (part.x < p.heads) {
            value[i] = apart[((at.x * p.heads + part.x) * p.pixels + at.y) * own + part.y / 4u][part.y % 4u];
        }
    }
    joined[index] = value;
}
