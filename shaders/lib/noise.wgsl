// Noise as a function of (seed, purpose, sample, step, element), and never of the shape of a dispatch.

// include lib/philox.wgsl
// include lib/sine.wgsl

// The source of a kernel's noise; a part of the immediates of every such kernel.
struct Noise {
    seed0: u32,
    seed1: u32,
    purpose: u32, // see Purpose in src/random.rs
    step: u32,
    first: u32, // the number of the batch's first sample
    given: u32, // 1: the noise is read from a tensor
}

// Four words for vec4 number `block` of sample `sample` of the batch.
fn noise_bits(noise: Noise, sample: u32, block: u32) -> vec4<u32> {
    return philox(
        vec4(block, noise.step, noise.first + sample, noise.purpose), vec2(noise.seed0, noise.seed1));
}

// Uniform on [0, 1): multiples of 2^-24.
fn uniform_from(bits: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bits >> vec4(8u)) * 0x1p-24f;
}

// Standard normal (Box and Muller 1958), two numbers from two words.
fn normal_from(bits: vec4<u32>) -> vec4<f32> {
    let u = uniform_from(bits);
    // On some drivers the logarithm of 1 is above 0.
    let radius = sqrt(max(-2.0 * log(u.xz + 0x1p-24f), vec2(0.0)));
    let quarters = round(4.0 * u.yyww);
    let rest = 6.283185307179586f * (u.yyww - 0.25 * quarters);
    return radius.xxyy * sine(quarters + vec4(1.0, 0.0, 1.0, 0.0), rest);
}

// -1 or 1.
fn rademacher_from(bits: vec4<u32>) -> vec4<f32> {
    return 1.0 - 2.0 * vec4<f32>(bits >> vec4(31u));
}

// 1 for the channels of a block, 0 for its padding.
fn channel_mask(block: u32, channels: u32) -> vec4<f32> {
    let c = block * 4u + vec4(0u, 1u, 2u, 3u);
    return select(vec4(0.0), vec4(1.0), c < vec4(channels));
}
