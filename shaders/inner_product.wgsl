// One number per sample: the inner product of two tensors, and the square of an error in units of its
// tolerance. An invocation owns one chunk and its partial sum, lane by lane; `reduce.wgsl` adds up the
// chunks.

// include lib/chunk.wgsl

struct Params {
    cut: Chunks,
    rtol: f32,
    atol: f32,
    norm: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;                // [n, h, w, c]
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;                // [n, h, w, c]
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;    // [n, chunks]

@compute @workgroup_size(WORKGROUP)
fn inner(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) { sum += a[i] * b[i]; }
    partial[index] = sum;
}

@group(0) @binding(2) var<storage, read> e: array<vec4<f32>>;                // [n, h, w, c]: an error
@group(0) @binding(3) var<storage, read_write> partial_error: array<vec4<f32>>; // [n, chunks]

// (e / (atol + rtol max(|a|, |b|)))^2.
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

// y = a norm / |a|. An invocation owns one vec4.
@compute @workgroup_size(WORKGROUP)
fn normalise(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.cut.samples * p.cut.sample) { return; }
    let square = dot(squares[divide(i, p.cut.sample).x], vec4(1.0));
    y[i] = a[i] * (p.norm * inverseSqrt(square));
}
