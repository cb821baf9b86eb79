//! One page: what it links to, and what others can link to in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::{
    console::{self, Typed},
    root,
};

/// A Markdown file of the project.
#[derive(Clone, Debug)]
pub struct Page {
    /// From the project's root, as in `docs/events.md`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A link or an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads to, as it is written.
    pub target: String,
    /// Where in the page the target is written.
    pub place: Range<usize>,
    /// The line, from 1.
    pub line: usize,
}

/// What can stand behind a `#`: each of the two that show pages makes it of the headings by rules of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    /// On GitHub.
    pub github: BTreeSet<String>,
    /// In the book.
    pub book: BTreeSet<String>,
}

impl Page {
    /// The page in this file, which lies below the root.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let path = file.strip_prefix(root()).unwrap_or(file).to_str().expect("paths of the project are text");
        Self { path: path.to_owned(), text }
    }

    /// Its links and images, those in HTML too, in their order.
    pub fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (event, place) in self.events() {
            let source = &self.text[place.clone()];
            let targets: Vec<(usize, String)> = match event {
                // The target stands behind the text that it is the target of.
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    source.rfind(&*dest_url).map(|at| (at, dest_url.to_string())).into_iter().collect()
                }
                Event::Html(_) | Event::InlineHtml(_) => attributes(source),
                _ => Vec::new(),
            };
            links.extend(targets.into_iter().map(|(at, target)| {
                let place = place.start + at..place.start + at + target.len();
                Link { line: self.line(place.start), target, place }
            }));
        }
        links
    }

    /// What can be linked to in it.
    pub fn anchors(&self) -> Anchors {
        let mut anchors = Anchors::default();
        let mut times = BTreeMap::new();
        let mut heading: Option<String> = None;
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => anchors.add(&heading.take().unwrap_or_default(), &mut times),
                _ => {}
            }
        }
        anchors
    }

    /// What is typed in its blocks of `console`, with the output that the block shows.
    pub fn typed(&self) -> Vec<Typed> {
        self.blocks("console").iter().flat_map(|(line, block)| console::typed(block, *line)).collect()
    }

    /// What its examples of CI run: the values of `run` and `entry` in blocks of YAML.
    pub fn run_by_ci(&self) -> Vec<Typed> {
        let run = |line: &str| {
            let (key, value) = line.split_once(": ")?;
            ["run", "entry"].contains(&key.trim_start_matches(['-', ' '])).then(|| value.to_owned())
        };
        let blocks = self.blocks("yaml");
        let lines = blocks.iter().flat_map(|(first, block)| block.lines().enumerate().map(move |(number, line)| (first + number, line)));
        lines.filter_map(|(line, text)| Some(Typed { line, text: run(text)?, output: Vec::new(), folder: None })).collect()
    }

    /// Its spans of code, with their lines.
    pub fn spans(&self) -> Vec<(usize, String)> {
        let span = |(event, place): (Event<'_>, Range<usize>)| match event {
            Event::Code(text) => Some((self.line(place.start), text.to_string())),
            _ => None,
        };
        self.events().filter_map(span).collect()
    }

    /// The contents of its blocks of this language, with the line of the first one.
    fn blocks(&self, language: &str) -> Vec<(usize, String)> {
        let mut blocks: Vec<(usize, String)> = Vec::new();
        let mut inside = false;
        for (event, place) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(name))) if &*name == language => {
                    inside = true;
                    blocks.push((self.line(place.start) + 1, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => inside = false,
                Event::Text(text) if inside => blocks.last_mut().expect("a block was begun").1.push_str(&text),
                _ => {}
            }
        }
        blocks
    }

    fn events(&self) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
        // Both GitHub and mdBook read these.
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES;
        Parser::new_ext(&self.text, options).into_offset_iter()
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

impl Anchors {
    /// Adds a heading; `times` holds how often its word came before.
    fn add(&mut self, heading: &str, times: &mut BTreeMap<String, usize>) {
        // GitHub counts each word for itself (`html-pipeline`, `TableOfContentsFilter`).
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ');
        let word = heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let before = times.entry(word.clone()).or_insert(0);
        self.github.insert(if *before == 0 { word } else { format!("{word}-{before}") });
        *before += 1;
        // mdBook takes the first number that is free (`mdbook-html`, `id_from_content` and `unique_id`).
        let kept = |c: char| match c {
            _ if c.is_alphanumeric() || matches!(c, '_' | '-') => Some(c),
            _ if c.is_whitespace() => Some('-'),
            _ => None,
        };
        let word: String = heading.trim().to_lowercase().chars().filter_map(kept).collect();
        let mut candidates = std::iter::once(word.clone()).chain((1..).map(|number| format!("{word}-{number}")));
        let free = candidates.find(|candidate| !self.book.contains(candidate)).expect("numbers do not end");
        self.book.insert(free);
    }
}

/// Targets in a piece of HTML, with their places in it.
fn attributes(html: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for name in ["href=\"", "src=\"", "srcset=\""] {
        for (at, _) in html.match_indices(name) {
            let start = at + name.len();
            if let Some(length) = html[start..].find('"') {
                found.push((start, html[start..start + length].to_owned()));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: "docs/a.md".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn links_are_found_in_text_tables_and_html_and_not_in_code() {
        let page = page(
            "a [b.md](b.md#c) ![d](d.svg)\n\n| x |\n|---|\n| [`e`](e.md) |\n\n`[f](f.md)`\n\n<picture><source srcset=\"g.svg\">\
             <img src=\"h.svg\" alt=\"\"></picture>\n\n```\n[i](i.md)\n```\n\n<https://j.example>\n",
        );
        let links = page.links();
        let targets: Vec<_> = links.iter().map(|link| (link.line, link.target.as_str())).collect();
        assert_eq!(targets, [(1, "b.md#c"), (1, "d.svg"), (5, "e.md"), (9, "g.svg"), (9, "h.svg"), (15, "https://j.example")]);
        for link in &links {
            assert_eq!(page.text[link.place.clone()], link.target);
        }
        // Of a text that is like its target the latter is told.
        assert_eq!(links[0].place.start, "a [b.md](".len());
    }

    #[test]
    fn anchors_are_made_as_each_of_the_two_makes_them() {
        let anchors = page("# `doctor`, and more\n## Über — uns\n## A\n## A\n## A-1\n## JSON: `-o json`\n").anchors();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(anchors.github, words(&["doctor-and-more", "über--uns", "a", "a-1", "json--o-json"]));
        assert_eq!(anchors.book, words(&["doctor-and-more", "über--uns", "a", "a-1", "a-1-1", "json--o-json"]));
    }

    #[test]
    fn blocks_in_lists_are_read_like_others() {
        let page = page("1. a:\n   ```console\n   $ kubewitness rbac\n   none\n   ```\n\n```yaml\n- run: a | b\n  entry: c\n```\n");
        let typed = page.typed();
        assert_eq!((typed[0].line, typed[0].text.as_str(), &typed[0].output[..]), (3, "kubewitness rbac", &["none".to_owned()][..]));
        let run: Vec<_> = page.run_by_ci().into_iter().map(|typed| (typed.line, typed.text)).collect();
        assert_eq!(run, [(8, "a | b".to_owned()), (9, "c".to_owned())]);
    }
}
