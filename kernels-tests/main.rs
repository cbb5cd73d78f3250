//! The WGSL kernels against plain float64 twins, one file per kernel family. A twin states the computation in
//! about fifteen lines and shares no code with the kernel. Each test runs with every way of sharing operands,
//! checked and unchecked.

// A twin indexes as its formula does.
#![allow(clippy::needless_range_loop)]

mod support;

mod adam;
mod combine;
mod conv2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod embedding;
mod group_norm;
mod heads;
mod hutchinson;
mod impute;
mod inner_product;
mod kernel;
mod langevin;
mod layout;
mod matmul;
mod max_pool;
mod metropolis;
mod pool;
mod random;
mod reduce;
mod resize;
mod roofline;
mod score_matching;

mod softmax;
mod upfirdn2d;
