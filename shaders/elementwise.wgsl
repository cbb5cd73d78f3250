// Elementwise kernels: activations with their derivatives, sums, scalings. An operand with a period repeats
// along the samples. In every entry point an invocation owns one vec4 of the output and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/activation.wgsl

struct Params {
    blocks: u32, // vec4s of the output
    other: u32,  // the extent or the period of an operand: see the entry points
    sample: u32, // vec4s of a sample
    channels: u32,
    alpha: f32,
    beta: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> a: array<Element4>;        // the first operand
@group(0) @binding(1) var<storage, read> b: array<Element4>;        // the second operand
@group(0) @binding(2) var<storage, read_write> y: array<Element4>;  // the output, [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> y1: array<Element4>; // the output of entries with one operand

// y = act(a).
@compute @workgroup_size(WORKGROUP)
fn activate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { y1[i] = Element4(act(vec4<f32>(a[i]))); }
}

// y = act'(a) b: the activation's adjoint and its tangent. a repeats after `other` vec4s.
@compute @workgroup_size(WORKGROUP)
fn activation_slope(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { y[i] = Element4(act_slope(vec4<f32>(a[divide(i, p.other).y])) * vec4<f32>(b[i])); }
}

@group(0) @binding(1) var<storage, read> c: array<Element4>;        // cotangents of the stack a

// y = act'(x) c_0 + sum over k of act''(x) v_k c_k, for stacks a = [x; v_1; ..] and c = [c_0; c_1; ..], of
// `other` vec4s each.
@compute @workgroup_size(WORKGROUP)
fn activation_curvature(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let x = vec4<f32>(a[i]);
    var sum = act_slope(x) * vec4<f32>(c[i]);
    for (var t = i + p.blocks; t < p.other; t += p.blocks) {
        sum += act_curvature(x) * vec4<f32>(a[t]) * vec4<f32>(c[t]);
    }
    y[i] = Element4(sum);
}

// y = alpha a + beta b; b counts as zero from vec4 number `other` on.
@compute @workgroup_size(WORKGROUP)
fn blend(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    var sum = p.alpha * vec4<f32>(a[i]);
    if (i < p.other) { sum += p.beta * vec4<f32>(b[i]); }
    y[i] = Element4(sum);
}

// y += alpha a.
@compute @workgroup_size(WORKGROUP)
fn accumulate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { y1[i] = Element4(vec4<f32>(y1[i]) + p.alpha * vec4<f32>(a[i])); }
}

// y = alpha a + beta; the shift applies before vec4 number `other`, and not to padding.
@compute @workgroup_size(WORKGROUP)
fn affine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let channel = 4u * divide(i, (p.channels + 3u) / 4u).y + vec4(0u, 1u, 2u, 3u);
    let shift = select(vec4(0.0), vec4(p.beta), channel < vec4(p.channels));
    y1[i] = Element4(p.alpha * vec4<f32>(a[i]) + select(vec4(0.0), shift, i < p.other));
}

// y = min(max(a, alpha), beta); padding stays zero.
@compute @workgroup_size(WORKGROUP)
fn clamp_to_range(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let channel = 4u * divide(i, (p.channels + 3u) / 4u).y + vec4(0u, 1u, 2u, 3u);
    let value = min(max(vec4<f32>(a[i]), vec4(p.alpha)), vec4(p.beta));
    y1[i] = Element4(select(vec4(0.0), value, channel < vec4(p.channels)));
}

@group(0) @binding(1) var<storage, read> s: array<f32>;             // [other, 1], padded

// y = a s[sample]; s repeats after `other` samples.
@compute @workgroup_size(WORKGROUP)
fn scale_samples(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { y[i] = Element4(vec4<f32>(a[i]) * s[4u * unravel(i, p.other, p.sample).y]); }
}

// y = a + b[sample, channel]; b counts as zero from sample `other` on.
@compute @workgroup_size(WORKGROUP)
fn add_channels(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let c4 = (p.channels + 3u) / 4u;
    var sum = vec4<f32>(a[i]);
    let sample = divide(i, p.sample).x;
    if (sample < p.other) { sum += vec4<f32>(b[sample * c4 + divide(i, c4).y]); }
    y[i] = Element4(sum);
}

// y = a b[sample, channel]; b repeats after `other` samples.
@compute @workgroup_size(WORKGROUP)
fn scale_channels(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let c4 = (p.channels + 3u) / 4u;
    let sample = divide(divide(i, p.sample).x, p.other).y;
    y[i] = Element4(vec4<f32>(a[i]) * vec4<f32>(b[sample * c4 + divide(i, c4).y]));
}

// y = a b.
@compute @workgroup_size(WORKGROUP)
fn multiply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i < p.blocks) { y[i] = Element4(vec4<f32>(a[i]) * vec4<f32>(b[i])); }
}

// y = alpha a[sample, channel], for every pixel.
@compute @workgroup_size(WORKGROUP)
fn spread(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let c4 = (p.channels + 3u) / 4u;
    y1[i] = Element4(p.alpha * vec4<f32>(a[divide(i, p.sample).x * c4 + divide(i, c4).y]));
}
