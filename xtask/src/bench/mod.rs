//! `cargo xtask bench`: figures that the documentation promises, measured.

mod attach;
mod bed;
mod cost;
mod crowd;
mod detection;
mod drawing;
mod growth;
mod handing;
mod load;
mod pure;
mod report;
mod subject;
mod summary;

use anyhow::Result;

use crate::args::{self, Usage};

const HELP: &str = "\
Usage: cargo xtask bench [--quick] [--rounds N] [--only LOAD,…] [--list]
       cargo xtask bench growth [--minutes N]
       cargo xtask bench handing [--rounds N]
       cargo xtask bench report [--mib N]
       cargo xtask bench pure [NAME]

Measures what it costs a kubelet to be watched, on a cluster of its own: all configurations in turn, several rounds, median and spread. The
whole run takes half an hour, and writes docs/performance.md and docs/performance.json. It ends with pass or FALLS SHORT for each promise, and
fails if one falls short. Needs root, Go, wrk, and a machine that nobody else uses.

Options:
  --quick        fewer loads and rounds, at most five minutes; writes nothing into docs/
  --rounds N     how often each configuration is measured, 5 if not given, 2 with --quick
  --only LOAD,…  these loads alone; writes nothing into docs/
  --list         say which loads there are

Examples:
  cargo xtask bench --quick
  cargo xtask bench --only healthz-8 --rounds 3
  cargo xtask bench growth --help
";

const OWN_HELP: &str = "cargo xtask bench --help";

pub(crate) fn command(args: &[String]) -> Result<()> {
    match args.split_first() {
        Some((what, rest)) if what == "growth" => growth::command(rest),
        Some((what, rest)) if what == "handing" => handing::command(rest),
        Some((what, rest)) if what == "pure" => pure::command(rest),
        Some((what, rest)) if what == "report" => report::command(rest),
        _ if args::help_was_asked(args, HELP) => Ok(()),
        _ => {
            if let Some(options) = parse(args)? {
                return cost::measure(&options);
            }
            args::print(&load::list());
            Ok(())
        }
    }
}

/// What is measured.
pub(crate) struct Options {
    quick: bool,
    rounds: usize,
    only: Option<Vec<&'static load::Load>>,
}

/// `None` if the loads are to be listed.
fn parse(args: &[String]) -> Result<Option<Options>> {
    let wrong = |what: String| Usage::error(what, OWN_HELP);
    let (mut options, mut rounds) = (Options { quick: false, rounds: 0, only: None }, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--list" => return Ok(None),
            "--rounds" => {
                let count = args.next().and_then(|count| count.parse().ok()).filter(|count| (1..=100).contains(count));
                rounds = Some(count.ok_or_else(|| wrong("`--rounds` needs a number from 1 to 100".into()))?);
            }
            "--only" => {
                let names = args.next().ok_or_else(|| wrong("`--only` needs the names of loads".into()))?;
                let find = |name: &str| load::find(name).ok_or_else(|| wrong(format!("there is no load `{name}`")));
                options.only = Some(names.split(',').map(find).collect::<Result<_>>()?);
            }
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    options.rounds = rounds.unwrap_or(if options.quick { 2 } else { 5 });
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parsed = |typed: &[&str]| parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>());
        let options = parsed(&["--quick", "--only", "healthz-8,idle"]).expect("known").expect("not to be listed");
        assert_eq!((options.quick, options.rounds, options.only.map(|only| only.len())), (true, 2, Some(2)));
        assert!(parsed(&["--list"]).expect("known").is_none());
        for typed in [&["lunch"][..], &["--rounds"], &["--rounds", "0"], &["--only"], &["--only", "lunch"]] {
            assert!(parsed(typed).is_err_and(|error| error.is::<Usage>()), "{typed:?}");
        }
    }
}
