// The storage type of activations, f16 in some variants. Arithmetic is f32.
alias Element = f32;
alias Element4 = vec4<f32>;
