// Indices of one-dimensional dispatches. Workgroups beyond the limit of one dimension (65,535) continue in
// further rows.
const WORKGROUP: u32 = 64u;

// The number of the invocation, across all rows of workgroups.
fn flat_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * WORKGROUP;
}

// Quotient and remainder of a / d, by one division: integer division is slow, and rarely vectorised.
fn divide(a: u32, d: u32) -> vec2<u32> {
    let quotient = a / d;
    return vec2(quotient, a - quotient * d);
}

// (i, j, k) of the element `index` of an array [.., middle, inner].
fn unravel(index: u32, middle: u32, inner: u32) -> vec3<u32> {
    let low = divide(index, inner);
    return vec3(divide(low.x, middle), low.y);
}
