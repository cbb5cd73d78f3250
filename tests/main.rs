//! Tests of the library against reference values, analytic answers and itself, and of the program from the
//! command line.
//!
//! Tests that need `../shared` are skipped without it and print the reason.

mod pickler;
mod support;

mod architecture;
mod bound;
mod classes;
mod cli;
mod cli_classes;
mod cli_control;
mod cli_data;
mod cli_evaluate;
mod cli_images;
mod cli_ode;
#[cfg(unix)]
mod cli_resume;
#[cfg(unix)]
mod cli_runs;
mod cli_toys;
mod diffusers;
mod distributions;
mod engines;
mod examples;
mod families;
mod fast_solvers;
mod gpu_faults;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod hugging_face;
mod imports;
mod inception;
mod interop;
mod inverse;
mod networks;
mod objectives;
mod ode;
mod ops;
mod portability;
mod published;
mod refinenets;
#[cfg(target_os = "linux")]
mod reliability;
mod sampling_options;
mod score_command;
mod score_sde;
mod solvers_pc;
mod toys;
mod training;
mod watching;
mod weights;
