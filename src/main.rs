//! The `tweedie` program: see [`tweedie::cli`].

fn main() -> std::process::ExitCode {
    tweedie::cli::main()
}
