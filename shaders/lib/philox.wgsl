// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter and a key in,
// four independent words out. `src/random.rs` is its twin, bit for bit.

// The high word of a * b.
fn mul_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let t = a1 * b0 + ((a0 * b0) >> 16u);
    let u = a0 * b1 + (t & 0xffffu);
    return a1 * b1 + (t >> 16u) + (u >> 16u);
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        c = vec4(
            mul_high(0xCD9E8D57u, c.z) ^ c.y ^ k.x, 0xCD9E8D57u * c.z,
            mul_high(0xD2511F53u, c.x) ^ c.w ^ k.y, 0xD2511F53u * c.x);
        k += vec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}
