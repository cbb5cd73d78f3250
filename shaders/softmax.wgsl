// Softmax over the last axis, y = exp(x - max) / sum, its adjoint and its tangent, and the adjoint of the
// tangent. The Jacobian, J v = y (v - y . v), is symmetric: adjoint and tangent are both `project`.
//
// LANES invocations own one row: one on CPUs; on GPUs a part of a workgroup, so that neighbouring invocations
// read neighbouring memory. Each writes every LANES-th vec4 of the row and nothing else. Lanes exchange sums
// through workgroup memory, between barriers.

// include lib/element.wgsl
// include lib/index.wgsl

const LANES: u32 = 1u;

struct Params {
    rows: u32,
    columns: u32,
    period: u32, // row r of v belongs to row r % period of y
    first: u32,  // the first row in v and in the output
}

var<immediate> p: Params;

var<workgroup> shared_values: array<f32, WORKGROUP>;

// The row's sum (or maximum) from those of its lanes, in a fixed order.
fn across_lanes(value: f32, local: u32, maximum: bool) -> f32 {
    if (LANES == 1u) { return value; }
    shared_values[local] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (local % LANES < step) {
            let a = shared_values[local];
            let b = shared_values[local + step];
            shared_values[local] = select(a + b, max(a, b), maximum);
        }
        workgroupBarrier();
    }
    let result = shared_values[local / LANES * LANES];
    workgroupBarrier();
    return result;
}

fn horizontal_sum(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }

fn inside(block: u32) -> vec4<bool> {
    return 4u * block + vec4(0u, 1u, 2u, 3u) < vec4(p.columns);
}

@group(0) @binding(0) var<storage, read> x: array<Element4>;          // [rows, columns]
@group(0) @binding(1) var<storage, read_write> y: array<Element4>;    // [rows, columns]

// y = softmax(x).
@compute @workgroup_size(WORKGROUP)
fn softmax(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(id, groups);
    let c4 = (p.columns + 3u) / 4u;
    // No early return: every lane must reach the barriers.
    let row = min(index / LANES, p.rows - 1u) * c4;
    let lane = index % LANES;
    var top = vec4(-3.0e38);
    for (var block = lane; block < c4; block += LANES) {
        top = max(top, select(vec4(-3.0e38), vec4<f32>(x[row + block]), inside(block)));
    }
    let maximum = across_lanes(max(max(top.x, top.y), max(top.z, top.w)), local, true);
    var sum = vec4<f32>();
    for (var block = lane; block < c4; block += LANES) {
        sum += select(vec4<f32>(), exp(vec4<f32>(x[row + block]) - maximum), inside(block));
    }
    let scale = 1.0 / across_lanes(horizontal_sum(sum), local, false);
    if (index / LANES < p.rows) {
        for (var block = lane; block < c4; block += LANES) {
            let value = exp(vec4<f32>(x[row + block]) - maximum) * scale;
            y[row + block] = Element4(select(vec4<f32>(), value, inside(block)));
        }
    }
}

@group(0) @binding(0) var<storage, read> output: array<Element4>; // [period, columns]: the softmax itself
@group(0) @binding(1) var<storage, read> v: array<Element4>;              // [.., columns]
@group(0) @binding(2) var<storage, read_write> projected: array<Element4>; // [.., columns]

// projected = J v.
@compute @workgroup_size(WORKGROUP)
fn project(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(id, groups);
    let c4 = (p.columns + 3u) / 4u;
    let row = min(index / LANES, p.rows - 1u);
    let lane = index % LANES;
    let base = divide(row, p.period).y * c4;
    let at = (p.first + row) * c4;
    var sum = vec4<f32>();
    for (var block = lane; block < c4; block += LANES) {
        sum += vec4<f32>(output[base + block]) * vec4<f32>(v[at + block]);
    }
    let mean = across_lanes(horizontal_sum(sum), local, false);
    if (index / LANES < p.rows) {
        for (var block = lane; block < c4; block += LANES) {
            projected[at + block] =
                Element4(vec4<f32>(output[base + block]) * (vec4<f32>(v[at + block]) - mean));
        }
    }
}

// [.., columns], tangent rows from `first`
@group(0) @binding(1) var<storage, read> cotangent: array<Element4>;
@group(0) @binding(2) var<storage, read> tangent: array<Element4>; // [.., columns], tangent rows from `first`
@group(0) @binding(3) var<storage, read_write> pulled: array<Element4>;   // [period, columns]

// pulled = the whole cotangent of y: its own, plus d(u . J v) / dy = u v - u (y . v) - v (y . u) for each
// tangent v with cotangent u. J times the result is the gradient in x.
@compute @workgroup_size(WORKGROUP)
fn curvature(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(id, groups);
    let c4 = (p.columns + 3u) / 4u;
    let row = min(index / LANES, p.period - 1u);
    let lane = index % LANES;
    let owned = index / LANES < p.period;
    if (owned) {
        for (var block = lane; block < c4; block += LANES) {
            pulled[row * c4 + block] = cotangent[row * c4 + block];
        }
    }
    // A uniform loop: every lane passes the same number of barriers.
    for (var t = 0u; t < p.rows / p.period; t++) {
        let at = (p.first + t * p.period + row) * c4;
        var yu = vec4<f32>();
        var yv = vec4<f32>();
        for (var block = lane; block < c4; block += LANES) {
            let value = vec4<f32>(output[row * c4 + block]);
            yu += value * vec4<f32>(cotangent[at + block]);
            yv += value * vec4<f32>(tangent[at + block]);
        }
        let mean_u = across_lanes(horizontal_sum(yu), local, false);
        let mean_v = across_lanes(horizontal_sum(yv), local, false);
        if (owned) {
            for (var block = lane; block < c4; block += LANES) {
                let u = vec4<f32>(cotangent[at + block]);
                let w = vec4<f32>(tangent[at + block]);
                let sum = vec4<f32>(pulled[row * c4 + block]) + u * w - u * mean_v - w * mean_u;
                pulled[row * c4 + block] = Element4(sum);
            }
        }
    }
}
