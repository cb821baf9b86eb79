//! The filters that pages give to `jq` are filters, and those of the runbooks find the events that they are about.

use std::fs;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use kubewitness_pages::{all, root};

/// What a filter makes of one value; an error where it is none, or fails.
fn filtered(filter: &str, input: Val) -> Result<usize, String> {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code: filter, path: () }).map_err(|errors| format!("{errors:?}"))?;
    let compiled = Compiler::default().with_funs(functions).compile(modules).map_err(|errors| format!("{errors:?}"))?;
    let context = Ctx::<data::JustLut<Val>>::new(&compiled.lut, Vars::new([]));
    let outputs: Result<Vec<_>, _> = compiled.id.run((context, input)).map(unwrap_valr).collect();
    outputs.map(|outputs| outputs.len()).map_err(|error| error.to_string())
}

/// Page and line, the filter, and whether it reads lines as they are.
fn filters() -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for page in all() {
        for typed in page.typed() {
            for invocation in typed.invocations().into_iter().filter(|invocation| invocation.program == "jq") {
                let is_raw = invocation.arguments.iter().any(|word| word == "--raw-input");
                let filter = invocation.arguments.into_iter().find(|word| !word.starts_with('-')).expect("jq is told a filter");
                found.push((format!("{}:{}", page.path, typed.line), filter, is_raw));
            }
        }
    }
    assert!(found.len() > 10, "only {} are found", found.len());
    found
}

#[test]
fn every_filter_is_one() {
    for (place, filter, _) in filters() {
        // What the filter of something else makes of null does not matter, only that it can be read.
        let of_null = filtered(&filter, Val::Null);
        assert!(!of_null.as_ref().is_err_and(|error| error.starts_with('[')), "{place}: {filter}\n{of_null:?}");
    }
    assert!(filtered(".[", Val::Null).is_err_and(|error| error.starts_with('[')), "this is none");
}

/// An event with what the filter asks for is found; one without it is passed over, and so is what is no event.
#[test]
fn the_runbooks_find_their_events() {
    let sample = fs::read_to_string(root().join("docs/sample/events.jsonl")).expect("the sample");
    let attack = sample.lines().find(|line| line.contains("\"unlogged-exec\"")).expect("the sample has an attack");
    for (place, filter, is_raw) in filters() {
        if !is_raw {
            continue;
        }
        let count = |line: &str| filtered(&filter, Val::from(line.to_owned())).unwrap_or_else(|error| panic!("{place}: {filter}\n{error}"));
        let asked = filter.split_once("contains(\"").and_then(|(_, rest)| rest.split('"').next());
        let (with, without) = match asked {
            Some(finding) => {
                (attack.replace("\"unlogged-exec\"", &format!("\"{finding},exec-attempt\"")), attack.replace("unlogged-exec", "another"))
            }
            None => (attack.replace("kubewitness.dev/transport", "kubewitness.dev/completeness"), attack.to_owned()),
        };
        // Lines of the log begin with a time, whose year jaq takes for a number and jq for an error.
        assert_eq!((count(&with), count(&without), count("kubewitness: attached")), (1, 0, 0), "{place}: {filter}");
    }
}
