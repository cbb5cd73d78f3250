// The device's ceilings: multiply-adds from registers, and a copy of memory. An invocation owns one vec4 of
// the output and writes nothing else.

// include lib/index.wgsl

struct Params {
    blocks: u32, // vec4s of the output
    rounds: u32, // multiply_adds: rounds of 8 x 4 multiply-adds, at most 30,000
    a: f32,
    b: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;            // [blocks]
@group(0) @binding(1) var<storage, read_write> destination: array<vec4<f32>>; // [blocks]

@compute @workgroup_size(WORKGROUP)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { destination[i] = source[i]; }
}

@group(0) @binding(0) var<storage, read_write> results: array<vec4<f32>>;     // [blocks]

// Eight independent chains of multiply-adds, to hide their latency.
@compute @workgroup_size(WORKGROUP)
fn multiply_adds(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    var chains: array<vec4<f32>, 8>;
    for (var c = 0u; c < 8u; c++) { chains[c] = vec4(f32(i + c)); }
    for (var round = 0u; round < p.rounds; round++) {
        for (var c = 0u; c < 8u; c++) { chains[c] = fma(chains[c], vec4(p.a), vec4(p.b)); }
    }
    var sum = vec4<f32>();
    for (var c = 0u; c < 8u; c++) { sum += chains[c]; }
    results[i] = sum;
}
