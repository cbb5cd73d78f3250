// How activations are stored; a variant may make it f16. Arithmetic is f32.
alias Element = f32;
alias Element4 = vec4<f32>;
