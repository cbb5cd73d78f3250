// Sums over an axis in a fixed order: y[o, i] = sum over l of x[o, l, i]. A long axis is summed in two
// passes, its runs and then the sums of runs. An invocation owns one vec4 of y and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl

struct Params {
    outer: u32,
    length: u32,     // of the axis
    inner: u32,      // vec4s
    run: u32,        // length of the part that one invocation sums; there are ceil(length / run) parts
    first: u32,      // the start of x, in vec4s
    accumulate: u32, // 1: add to the contents of y
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;            // [outer, length, inner]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;     // [outer, runs, inner]

@compute @workgroup_size(WORKGROUP)
fn sum_axis(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let runs = (p.length + p.run - 1u) / p.run;
    if (index >= p.outer * runs * p.inner) { return; }
    let at = unravel(index, runs, p.inner);
    let o = at.x;
    let run = at.y;
    let i = at.z;
    var sum = vec4<f32>();
    for (var l = run * p.run; l < min((run + 1u) * p.run, p.length); l++) {
        sum += vec4<f32>(x[p.first + (o * p.length + l) * p.inner + i]);
    }
    if (p.accumulate == 1u) { sum += y[index]; }
    y[index] = sum;
}
