// The storage type of activations; a variant may set it to f16. Arithmetic is f32.
alias Element = f32;
alias Element4 = vec4<f32>;
