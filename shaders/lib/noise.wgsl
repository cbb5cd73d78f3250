// Noise that is a function of what it is for: (seed, purpose, sample, step, element), never of a dispatch's shape.

// include lib/philox.wgsl
// include lib/sine.wgsl

// Where a kernel's noise comes from; the fields of every such kernel's immediates.
struct Noise {
    seed0: u32,
    seed1: u32,
    purpose: u32,
    step: u32,
    first: u32, // the number of the batch's first sample
    given: u32, // 1: read from a tensor instead
}

// Four words for the vec4 number `block` of the batch's sample `sample`.
fn noise_bits(noise: Noise, sample: u32, block: u32) -> vec4<u32> {
    return philox(vec4(block, noise.step, noise.first + sample, noise.purpose), vec2(noise.seed0, noise.seed1));
}

// Uniform on [0, 1): multiples of 2^-24.
fn uniform_from(bits: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bits >> vec4(8u)) * 0x1p-24f;
}

// Standard normal (Box and Muller 1958), two from two words.
fn normal_from(bits: vec4<u32>) -> vec4<f32> {
    let u = uniform_from(bits);
    // A driver may have the logarithm of 1 above 0.
    let radius = sqrt(max(-2.0 * log(u.xz + 0x1p-24f), vec2(0.0)));
    let quarters = round(4.0 * u.yyww);
    let rest = 6.283185307179586f * (u.yyww - 0.25 * quarters);
    return radius.xxyy * sine(quarters + vec4(1.0, 0.0, 1.0, 0.0), rest);
}

// -1 or 1.
fn rademacher_from(bits: vec4<u32>) -> vec4<f32> {
    return 1.0 - 2.0 * vec4<f32>(bits >> vec4(31u));
}

// A block of a tensor whose channels end inside it: 1 for channels there are, 0 for padding.
fn channel_mask(block: u32, channels: u32) -> vec4<f32> {
    let c = block * 4u + vec4(0u, 1u, 2u, 3u);
    return select(vec4(0.0), vec4(1.0), c < vec4(channels));
}
