// Sums over a sample in two passes. In the first, an invocation owns one chunk of a sample and its partial
// sum; in the second, `reduce.wgsl` or a pass of the kernel adds up the chunks in order. The order of a sum
// depends on the sample's size alone.

// include lib/index.wgsl

// The partition of a tensor; a part of the immediates of every such kernel.
struct Chunks {
    samples: u32,
    sample: u32, // vec4s of a sample
    chunks: u32, // of a sample
    run: u32,    // vec4s of a chunk; the last one may be shorter
}

// The vec4s first .. end of the tensor, all of one sample.
struct Chunk {
    sample: u32,
    first: u32,
    end: u32,
}

fn chunk_of(cut: Chunks, index: u32) -> Chunk {
    let at = divide(index, cut.chunks); // sample, chunk of it
    let base = at.x * cut.sample;
    let first = at.y * cut.run;
    return Chunk(at.x, base + first, base + min(first + cut.run, cut.sample));
}
