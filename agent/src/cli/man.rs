//! `kubewitness man`: the man pages, made of the same definitions as `--help`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser};
use clap_mangen::{Man, generate_to};

use super::{Cli, plugin};

/// Write the man pages, one for each command
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  kubewitness man /usr/local/share/man/man1
  kubewitness man . && man ./kubewitness-report.1")]
pub(super) struct Args {
    /// Where they are written; made if it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let directory = &args.directory;
    write(directory).with_context(|| format!("the man pages cannot be written to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    generate_to(Cli::command(), directory)?;
    // Of the plugin one page is enough: its commands have theirs.
    Man::new(plugin::command()).generate_to(directory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags_and_examples() {
        let directory = std::env::temp_dir().join(format!("kubewitness-man-{}", std::process::id()));
        write(&directory).unwrap();
        let page = |name: &str| fs::read_to_string(directory.join(format!("{name}.1"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        for command in Cli::command().get_subcommands() {
            let page = page(&format!("kubewitness-{}", command.get_name()));
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
            for argument in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&argument.replace('-', "\\-")), "{}: --{argument}", command.get_name());
            }
        }
        assert!(page("kubewitness-run").contains("KUBEWITNESS_EVENTS_MAX_SIZE"), "the settings of the unit are explained by this page");
        assert!(page("kubewitness").contains("kubewitness\\-report(1)"));
        assert!(page("kubectl-kubewitness").contains("rbac"));
        fs::remove_dir_all(directory).unwrap();
    }
}
