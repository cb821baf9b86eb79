//! The `kubewitness` command.

use std::process::ExitCode;

use kubewitness::{causes::in_one_line, cli::Cli};

/// musl's own allocator gives memory back to the kernel and asks for it again all the time.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::typed();
    cli.log();
    match cli.execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubewitness: {}", in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
