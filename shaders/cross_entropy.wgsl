// The cross entropy of logits and one label per sample, weight (log sum exp(x) - x[label]), with its gradient
// in the logits, weight (softmax(x) - one-hot(label)).
//
// An invocation owns one sample, its loss and its row of the gradient, and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl

struct Params {
    samples: u32,
    classes: u32,
    weight: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> logits: array<Element4>;            // [samples, classes]
@group(0) @binding(1) var<storage, read> labels: array<vec4<f32>>;           // [samples], in the first lane
@group(0) @binding(2) var<storage, read_write> loss: array<vec4<f32>>;       // [samples], in the first lane
@group(0) @binding(3) var<storage, read_write> gradient: array<Element4>;    // [samples, classes]

fn classes_of(block: u32) -> vec4<u32> {
    return 4u * block + vec4(0u, 1u, 2u, 3u);
}

// The logits of a block minus `top`; a large negative number past the last class.
fn above(row: u32, block: u32, top: f32) -> vec4<f32> {
    return select(vec4(-3.0e38), vec4<f32>(logits[row + block]) - top, classes_of(block) < vec4(p.classes));
}

@compute @workgroup_size(WORKGROUP)
fn cross_entropy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let sample = flat_index(id, groups);
    if (sample >= p.samples) { return; }
    let blocks = (p.classes + 3u) / 4u;
    let row = sample * blocks;
    let label = u32(labels[sample].x);

    var largest = vec4(-3.0e38);
    for (var block = 0u; block < blocks; block++) { largest = max(largest, above(row, block, 0.0)); }
    let top = max(max(largest.x, largest.y), max(largest.z, largest.w));
    var sums = vec4<f32>();
    for (var block = 0u; block < blocks; block++) { sums += exp(above(row, block, top)); }
    let sum = (sums.x + sums.y) + (sums.z + sums.w);

    loss[sample] = vec4(p.weight * (log(sum) - above(row, label / 4u, top)[label % 4u]), 0.0, 0.0, 0.0);
    for (var block = 0u; block < blocks; block++) {
        let hit = select(vec4(0.0), vec4(1.0), classes_of(block) == vec4(label));
        gradient[row + block] = Element4(p.weight * (exp(above(row, block, top)) / sum - hit));
    }
}
