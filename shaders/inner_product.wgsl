// One number per sample: the inner product of two tensors, and the square of an error in units of its
// tolerance. And samples scaled to a given norm. An invocation owns one chunk and its partial sum, or one
// vec4 of the output, and writes nothing else; `reduce.wgsl` adds up the chunks.

// include lib/chunk.wgsl

struct Params {
    cut: Chunks,
    rtol: f32, // scaled_error: relative tolerance
    atol: f32, // scaled_error: absolute tolerance
    norm: f32, // normalise: norm of the output
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;                // [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;                // [n, h, w, c]
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;    // [n, chunks]

// Sums of a b, lane by lane.
@compute @workgroup_size(WORKGROUP)
fn inner(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) { sum += a[i] * b[i]; }
    partial[index] = sum;
}

@group(0) @binding(2) var<storage, read> e: array<vec4<f32>>;                   // [n, h, w, c]: an error
@group(0) @binding(3) var<storage, read_write> partial_error: array<vec4<f32>>; // [n, chunks]

// Sums of (e / (atol + rtol max(|a|, |b|)))^2, lane by lane.
@compute @workgroup_size(WORKGROUP)
fn scaled_error(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) {
        let scaled = e[i] / (p.atol + p.rtol * max(abs(a[i]), abs(b[i])));
        sum += scaled * scaled;
    }
    partial_error[index] = sum;
}

@group(0) @binding(1) var<storage, read> squares: array<vec4<f32>>;          // [n]: a . a, in lanes
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;          // [n, h, w, c]

// y = a norm / |a|.
@compute @workgroup_size(WORKGROUP)
fn normalise(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.cut.samples * p.cut.sample) { return; }
    let square = dot(squares[divide(i, p.cut.sample).x], vec4(1.0));
    y[i] = a[i] * (p.norm * inverseSqrt(square));
}
