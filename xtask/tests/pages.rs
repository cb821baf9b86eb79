//! Every `cargo xtask` line that pages tell people to type is one that xtask knows, and so is every other line of cargo.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use kubewitness_pages::{
    all,
    console::{Invocation, invocations},
    root,
};

/// Programs of others that pages use, and where they are looked at; what is not among them fails the test.
const OTHERS: &[(&str, &str)] = &[
    ("kubewitness", "agent/tests/pages"),
    ("helm", "tests/tests/rendering/pages.rs, with the real one"),
    ("kubectl", "tests/tests/rendering/pages.rs, with the real one"),
    ("amtool", "not run: it silences an alert of a running Alertmanager. tests/tests/rules.rs runs it on the example of the same page"),
    ("cd", "a word of the shell: the folder must be there"),
    ("curl", "not run: it asks a running agent"),
    ("grep", "not run: it reads the log of a cluster"),
    ("jq", "xtask/pages/tests/filters.rs, with another program that reads its language"),
    ("journalctl", "not run: it reads the log of a node"),
    ("kustomize", "not run: it renders a folder of the reader's"),
    ("ls", "not run: it looks at a folder of the node's"),
    ("mkdir", "not run: it makes a folder of the node's"),
    ("nsenter", "what stands behind its -- is looked at"),
    ("sed", "not run: it changes a file of the repository, which must be there"),
    ("sort", "not run: it sorts what a cluster says"),
    ("systemctl", "not run: it starts a unit of the node's; cargo xtask package --try does"),
    ("tail", "not run: it reads the log of a cluster"),
    ("websocat", "not run: cargo xtask demo does, with these flags"),
];

/// A command line of a page.
struct Told {
    /// `docs/rbac.md:8`
    place: String,
    /// The folder that an earlier line went into.
    folder: Option<String>,
    invocation: Invocation,
}

/// All of them, those in spans of code too.
fn told() -> Vec<Told> {
    let mut told = Vec::new();
    for page in all() {
        let mut add = |line: usize, folder: Option<String>, found: Vec<Invocation>| {
            let place = format!("{}:{line}", page.path);
            told.extend(found.into_iter().map(|invocation| Told { place: place.clone(), folder: folder.clone(), invocation }));
        };
        for typed in page.typed().into_iter().chain(page.run_by_ci()) {
            add(typed.line, typed.folder.clone(), typed.invocations());
        }
        for (line, span) in page.spans() {
            add(line, None, invocations(&span).into_iter().filter(|invocation| invocation.program == "cargo").collect());
        }
    }
    told
}

fn said(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("xtask starts");
    assert!(output.status.success(), "cargo xtask {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_program_is_looked_at_somewhere() {
    let told = told();
    for Told { place, folder, invocation: Invocation { program, arguments, .. } } in &told {
        if program.is_empty() || program == "cargo" {
            continue;
        }
        assert!(OTHERS.iter().any(|(known, _)| known == program), "{place}: who looks at `{program}`?");
        if program == "cd" {
            assert!(root().join(&arguments[0]).is_dir(), "{place}: there is no folder {}", arguments[0]);
        }
        // What lies in the repository is there, whoever is told of it. `deploy/` alone is a folder of the reader's.
        let own = ["deploy/", "docs/", "tests/", "agent/"];
        for word in arguments.iter().filter(|word| *word != "deploy/" && own.iter().any(|own| word.starts_with(own))) {
            assert!(root().join(word).exists(), "{place}: there is no {word}");
        }
        if let Some(folder) = folder {
            let is_file = |word: &&String| Path::new(word).extension().is_some_and(|extension| extension == "yaml");
            for file in arguments.iter().filter(is_file) {
                assert!(root().join(folder).join(file).exists(), "{place}: there is no {file} in {folder}");
            }
        }
    }
    for (known, _) in OTHERS {
        assert!(told.iter().any(|told| told.invocation.program == *known), "no page uses {known}");
    }
}

/// The help of a command says all that it takes. Nothing is done but to print it.
#[test]
fn xtask_knows_every_line_of_it() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    for Told { place, invocation: Invocation { program, arguments, .. }, .. } in told() {
        let [first, command, rest @ ..] = &arguments[..] else { continue };
        if program != "cargo" || first != "xtask" {
            continue;
        }
        seen += 1;
        let help = helps.entry(command.clone()).or_insert_with(|| {
            let help = said(&[command, "--help"]);
            // Its parts are listed by themselves, and nothing is done.
            let parts = if has_word(&help, "--list") { said(&[command, "--list"]) } else { String::new() };
            help + &parts
        });
        // Behind these another program is told something.
        let own: Vec<&str> = rest.iter().map(String::as_str).take_while(|word| !["--", "kubectl"].contains(word)).collect();
        for (at, word) in own.iter().enumerate() {
            // What a flag takes is the reader's to choose.
            let chosen = |flag: &str| ["NAME", "VERSION", "FILE", "JSON"].iter().any(|kind| help.contains(&format!("{flag} {kind}")));
            if *word == "--help" || at > 0 && own[at - 1].starts_with("--") && chosen(own[at - 1]) {
                continue;
            }
            for word in word.split(',').filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase() || first == '-')) {
                assert!(has_word(help, word), "{place}: `cargo xtask {command} --help` does not tell of {word}\n{help}");
            }
        }
    }
    assert!(seen > 40, "only {seen} are found");
}

/// Whether a text has this word, and not only a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_part);
        let after = text[at + word.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

#[test]
fn tests_that_are_named_are_there() {
    let mut seen = 0;
    for Told { place, invocation: Invocation { program, arguments, .. }, .. } in told() {
        let toolchain = arguments.iter().find(|word| word.starts_with('+'));
        let mut words = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('+')).peekable();
        if program != "cargo" || words.next_if_eq(&"test").is_none() {
            continue;
        }
        assert!(toolchain.is_none_or(|toolchain| toolchain == "+1.98.0"), "{place}: {toolchain:?} is not the project's");
        let (mut package, mut filters, mut targets) = ("", Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            match word {
                "-p" => package = words.next().unwrap_or_default(),
                "--test" => targets.extend(words.next()),
                "--features" | "--test-threads" => drop(words.next()),
                _ if word.starts_with(|first: char| first.is_ascii_lowercase()) => filters.push(word),
                _ => {}
            }
        }
        let folder = match package {
            "" => root().to_owned(),
            "kubewitness" => root().join("agent"),
            "kubewitness-tests" => root().join("tests"),
            other => panic!("{place}: where is {other}?"),
        };
        for filter in filters {
            seen += 1;
            let named = |(file, text): &(String, String)| file.contains(filter) || text.contains(filter);
            assert!(sources(&folder).iter().any(named), "{place}: no test is named {filter}");
        }
        for target in targets {
            seen += 1;
            let tests = folder.join("tests");
            let named = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest").contains(&format!("name = \"{target}\""));
            let there = tests.join(format!("{target}.rs")).is_file() || tests.join(target).join("main.rs").is_file();
            assert!(named || there, "{place}: {package} has no test {target}");
        }
    }
    assert!(seen > 15, "only {seen} are found");
}

/// Sources below a folder, with what is in them.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push((entry.display().to_string(), fs::read_to_string(&entry).expect("a source")));
        }
    }
    found
}
