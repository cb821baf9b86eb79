//! Command lines as they stand in pages: the little of the shell's grammar that is used there, and nothing else.

use std::iter::Peekable;
use std::str::Chars;

/// What is typed after a `$`, and what is shown to come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The line in the page, from 1.
    pub line: usize,
    /// The command line, of several lines if it goes on in the next one.
    pub text: String,
    /// The lines below it, up to the next `$`.
    pub output: Vec<String>,
    /// The folder that an earlier line of the block went into.
    pub folder: Option<String>,
}

/// One program with its arguments, out of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Variables that are set for it, as in `NAME=value`.
    pub variables: Vec<String>,
    /// What is run, without the folder that it lies in; empty where variables alone are set.
    pub program: String,
    /// What it is told.
    pub arguments: Vec<String>,
    /// Whether it reads what the one before it prints.
    pub reads: bool,
}

/// Programs behind whose `--` another one stands.
const CARRIERS: [&str; 3] = ["kubectl", "nsenter", "systemd-nspawn"];

/// The name by which kubectl knows the agent's own program.
const PLUGIN: &str = "kubewitness";

/// Takes a block apart, whose first line is `line`.
pub(crate) fn typed(block: &str, line: usize) -> Vec<Typed> {
    let mut found: Vec<Typed> = Vec::new();
    let mut folder = None;
    for (number, text) in block.lines().enumerate() {
        match (text.strip_prefix("$ "), found.last_mut()) {
            (Some(begun), _) => {
                found.push(Typed { line: line + number, text: begun.to_owned(), output: Vec::new(), folder: folder.clone() });
            }
            (None, Some(last)) if last.output.is_empty() && goes_on(&last.text) => {
                last.text.push('\n');
                last.text.push_str(text);
            }
            (None, Some(last)) => last.output.push(text.to_owned()),
            // A line of output without a command above it.
            (None, None) => found.push(Typed { line: line + number, text: String::new(), output: vec![text.to_owned()], folder: None }),
        }
        if let Some(into) = text.strip_prefix("$ cd ") {
            folder = Some(into.trim().to_owned());
        }
    }
    found
}

/// Whether a shell would wait for another line.
fn goes_on(text: &str) -> bool {
    let mut words = Words { rest: text.chars().peekable(), open: false };
    let last = std::iter::from_fn(|| words.next()).last();
    words.open || text.ends_with('\\') || matches!(last, Some(Token::Then { pipe: true }))
}

impl Typed {
    /// The programs that it runs, also those in `$(…)`, behind `sudo` and behind the `--` of `kubectl exec`.
    pub fn invocations(&self) -> Vec<Invocation> {
        invocations(&self.text)
    }
}

/// The programs that a command line runs.
pub fn invocations(text: &str) -> Vec<Invocation> {
    let mut words = Words { rest: text.chars().peekable(), open: false };
    let mut found = Vec::new();
    let mut current: Vec<String> = Vec::new();
    let mut reads = false;
    let mut skip = false;
    loop {
        match words.next() {
            // The file that is written to is no argument.
            Some(Token::Word(_)) if skip => skip = false,
            Some(Token::Word(word)) => {
                if let Some(inner) = word.split_once("$(").and_then(|(_, inner)| inner.strip_suffix(')')) {
                    found.extend(invocations(inner));
                }
                current.push(word);
            }
            Some(Token::Redirection) => skip = true,
            Some(Token::Then { pipe }) => {
                found.extend(taken_apart(std::mem::take(&mut current), reads));
                reads = pipe;
            }
            None => {
                found.extend(taken_apart(current, reads));
                return found;
            }
        }
    }
}

/// A list of words without what only says as whom or where it is run, and what stands behind its `--`.
fn taken_apart(words: Vec<String>, reads: bool) -> Vec<Invocation> {
    let is_variable =
        |word: &String| word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    let mut words = words.into_iter().peekable();
    let mut variables = Vec::new();
    while let Some(word) = words.next_if(|word| is_variable(word) || ["sudo", "env", "-E"].contains(&word.as_str())) {
        if is_variable(&word) {
            variables.push(word);
        }
    }
    let Some(path) = words.next() else {
        let alone = Invocation { variables, ..Invocation::default() };
        return if alone.variables.is_empty() { Vec::new() } else { vec![alone] };
    };
    let mut program = path.rsplit('/').next().unwrap_or_default().to_owned();
    // A plugin of kubectl is a program of its own, whatever kubectl thinks of its flags.
    if program == "kubectl" && words.next_if(|word| word == PLUGIN).is_some() {
        PLUGIN.clone_into(&mut program);
    }
    let arguments: Vec<String> = words.collect();
    let carried = arguments.iter().position(|word| word == "--").filter(|_| CARRIERS.contains(&program.as_str()));
    let inner = carried.map(|at| arguments[at + 1..].to_vec()).unwrap_or_default();
    let outer = carried.map_or(&arguments[..], |at| &arguments[..at]).to_vec();
    let mut found = vec![Invocation { variables, program, arguments: outer, reads }];
    found.extend(taken_apart(inner, reads));
    found
}

enum Token {
    Word(String),
    /// `>`, `<` and the like; a file follows.
    Redirection,
    /// `|`, `&&`, `||`, `;`, `&` or the end of a line: another program follows.
    Then {
        pipe: bool,
    },
}

struct Words<'a> {
    rest: Peekable<Chars<'a>>,
    /// A quote or a parenthesis was not closed.
    open: bool,
}

impl Words<'_> {
    fn next(&mut self) -> Option<Token> {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        let next = *self.rest.peek()?;
        match next {
            '#' => {
                while self.rest.next_if(|c| *c != '\n').is_some() {}
                self.next()
            }
            '\\' if self.rest.clone().nth(1) == Some('\n') => {
                self.rest.nth(1);
                self.next()
            }
            '>' | '<' => {
                while self.rest.next_if(|c| matches!(c, '>' | '<' | '&')).is_some() {}
                Some(Token::Redirection)
            }
            '|' | '&' | ';' | '\n' => {
                let mut operator = String::new();
                while let Some(c) = self.rest.next_if(|c| matches!(c, '|' | '&' | ';')) {
                    operator.push(c);
                }
                let pipe = operator == "|";
                // A line may end behind an operator.
                while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
                Some(Token::Then { pipe })
            }
            _ => Some(Token::Word(self.word())),
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| !matches!(c, ' ' | '\t' | '\n' | '|' | '&' | ';' | '>' | '<')) {
            match c {
                '\'' => self.until('\'', &mut word),
                '"' => self.until('"', &mut word),
                '\\' => word.extend(self.rest.next()),
                '$' if self.rest.next_if_eq(&'(').is_some() => {
                    word.push_str("$(");
                    self.until(')', &mut word);
                    word.push(')');
                }
                _ => word.push(c),
            }
        }
        word
    }

    fn until(&mut self, end: char, word: &mut String) {
        loop {
            match self.rest.next() {
                None => return self.open = true,
                Some(c) if c == end => return,
                Some('\\') if end == '"' => word.extend(self.rest.next()),
                Some(c) => word.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `program arg arg`, and `<` before one that reads.
    fn told(text: &str) -> Vec<String> {
        let line = |found: Invocation| {
            let words: Vec<_> = found.variables.into_iter().chain([found.program]).chain(found.arguments).collect();
            format!("{}{}", if found.reads { "<" } else { "" }, words.join("·"))
        };
        invocations(text).into_iter().map(line).collect()
    }

    #[test]
    fn command_lines_are_taken_apart_as_a_shell_does() {
        for (text, expected) in [
            ("kubewitness rbac    # the cluster", &["kubewitness·rbac"][..]),
            ("helm template c | kubewitness rbac - > f.yaml", &["helm·template·c", "<kubewitness·rbac·-"]),
            ("sudo -E env PATH=\"$PATH\" cargo xtask demo", &["PATH=$PATH·cargo·xtask·demo"]),
            ("sudo target/release/kubewitness run --events /a/b", &["kubewitness·run·--events·/a/b"]),
            ("a && b || c; d", &["a", "b", "c", "d"]),
            ("NODE=worker-1", &["NODE=worker-1·"]),
            ("POD=$(kubectl get pods --output name)", &["kubectl·get·pods·--output·name", "POD=$(kubectl get pods --output name)·"]),
            ("jq 'a | b > c' \"d e\" f\\ g", &["jq·a | b > c·d e·f g"]),
            ("a \\\n    --b |\n  c", &["a·--b", "<c"]),
            ("kubectl exec \"$POD\" -- kubewitness doctor", &["kubectl·exec·$POD", "kubewitness·doctor"]),
            ("kubectl kubewitness rbac -", &["kubewitness·rbac·-"]),
            ("cargo test -- --nocapture", &["cargo·test·--·--nocapture"]),
            ("x 2>/dev/null", &["x·2"]),
            ("", &[]),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn a_block_is_what_is_typed_and_what_comes_of_it() {
        let block = "$ cd deploy\n$ a 'b\n  c' |\n  d \\\n  e\nout\n$ f  # note\n\nmore\n";
        let typed = typed(block, 7);
        let told: Vec<_> =
            typed.iter().map(|typed| (typed.line, typed.text.as_str(), typed.output.join("/"), typed.folder.as_deref())).collect();
        assert_eq!(
            told,
            [
                (7, "cd deploy", String::new(), None),
                (8, "a 'b\n  c' |\n  d \\\n  e", "out".to_owned(), Some("deploy")),
                (13, "f  # note", "/more".to_owned(), Some("deploy")),
            ]
        );
    }
}
