// Sums over a sample in two passes: here an invocation owns one chunk of a sample and its partial sum, there
// `reduce.wgsl` or the kernel itself adds up a sample's chunks. The order of a sum depends on the sample's size alone.

// include lib/index.wgsl

// How a tensor is cut; the fields of every such kernel's immediates.
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
