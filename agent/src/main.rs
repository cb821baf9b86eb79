//! The `kubewitness` command.

use std::process::ExitCode;

use clap::Parser as _;
use kubewitness::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.log();
    match cli.execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubewitness: {error:#}");
            ExitCode::FAILURE
        }
    }
}
