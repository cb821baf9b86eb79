//! What pages tell people to type for helm and kubectl: the real ones know every command and flag of it, and the chart every value.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use kubewitness_pages::console::Invocation;
use kubewitness_pages::{all, root};
use kubewitness_tests::build::{KubernetesProgram, Release};

use crate::{chart, helm_with, reference, said};

/// Where each stands, and what it is, of one program.
fn told(program: &str) -> Vec<(String, Invocation)> {
    let pages = all();
    let lines = pages.iter().flat_map(|page| page.typed().into_iter().chain(page.run_by_ci()).map(|typed| (page.path.clone(), typed)));
    let all = lines.flat_map(|(path, typed)| {
        let place = format!("{path}:{}", typed.line);
        typed.invocations().into_iter().map(move |invocation| (place.clone(), invocation))
    });
    let found: Vec<_> = all.filter(|(_, invocation)| invocation.program == program).collect();
    assert!(!found.is_empty(), "no page has a line of {program}");
    found
}

/// Asked for help, both read all that they are told, and do nothing of it.
fn is_known(place: &str, invocation: &Invocation, run: impl Fn(&[&str]) -> Output) {
    let Invocation { program, arguments, .. } = invocation;
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    words.push("--help");
    let output = run(&words);
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{place}: {program} {}\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    // Of a command that it does not know it shows its own help.
    let of_namespace = |at: usize| at > 0 && ["--namespace", "-n"].contains(&words[at - 1]);
    let verb = words.iter().enumerate().find(|(at, word)| !word.starts_with('-') && !of_namespace(*at)).expect("a command").1;
    assert!(help.contains(&format!("\n  {program} {verb}")), "{place}: {program} has no command {verb}\n{help}");
}

#[test]
fn helm_knows_every_line_of_it() {
    for (place, invocation) in told("helm") {
        is_known(&place, &invocation, helm_with);
    }
    assert!(!helm_with(&["install", "--no-such-flag", "--help"]).status.success(), "it reads what comes before --help");
}

#[test]
fn kubectl_knows_every_line_of_it() {
    let kubectl = Release::V1_36.program(KubernetesProgram::Kubectl).build().expect("kubectl builds");
    let run = |words: &[&str]| Command::new(&kubectl).args(words).env("KUBECONFIG", "/nonexistent").output().expect("kubectl starts");
    for (place, invocation) in told("kubectl") {
        is_known(&place, &invocation, run);
    }
    assert!(!run(&["logs", "--no-such-flag", "--help"]).status.success(), "it reads what comes before --help");
}

/// What is installed, rendered: a value that the chart does not know is an error.
#[test]
fn the_chart_knows_what_it_is_installed_with() {
    let mut rendered = 0;
    for (place, Invocation { arguments, .. }) in told("helm") {
        if arguments.first().is_none_or(|verb| verb != "install") {
            continue;
        }
        // A page leaves to the reader which registry and which digest.
        let digest = format!("sha256:{}", "0".repeat(64));
        let words = arguments[1..].iter().map(|word| word.replace("sha256:…", &digest).replace("REGISTRY", "registry.example"));
        let words: Vec<String> = words.collect();
        let chart = words.iter().find(|word| Path::new(word).components().count() > 1).unwrap_or_else(|| panic!("{place}: which chart?"));
        let here = root().join(chart);
        let words: Vec<&str> = words.iter().map(|word| if word == chart { here.to_str().expect("text") } else { word }).collect();
        assert!(said(&helm_with(&[&["template"], &words[..]].concat())).contains("kind: DaemonSet"), "{place}");
        rendered += 1;
    }
    assert!(rendered > 2, "{rendered}");
}

/// Values that pages name in passing, such as `--set prometheus.rules=true` or `events.sink=file`, are values of the chart.
#[test]
fn the_chart_has_every_value_that_is_named() {
    let values = fs::read_to_string(chart().join("values.yaml")).expect("there are values");
    let known: Vec<String> = reference::read(&values).into_iter().map(|value| value.path).collect();
    let mut seen = 0;
    for page in all() {
        for (line, span) in page.spans() {
            let words = span.split_whitespace().filter(|word| *word != "--set");
            for path in words.filter_map(|word| Some(word.split_once('=')?.0)).filter(|path| is_path(path)) {
                seen += 1;
                // What is below a value may be the reader's to choose.
                let is_known =
                    known.iter().any(|value| path == value || path.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with('.')));
                assert!(is_known, "{}:{line}: the chart has no value {path}", page.path);
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// `prometheus.rules`, and not `--flag` or `NAME`.
fn is_path(text: &str) -> bool {
    let is_name =
        |part: &str| part.starts_with(|first: char| first.is_ascii_lowercase()) && part.chars().all(|c| c.is_ascii_alphanumeric());
    text.contains('.') && text.split('.').all(is_name)
}
