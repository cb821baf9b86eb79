//! Whether everything on the page can be reached, read and used: without a script, by keyboard, by a screen reader, on paper.

use serde_json::{Value, json};

use super::{Chromium, file, folder, open, sample};

/// What a screen reader goes by.
const FAULTS: &str = r"(() => {
    const faults = [];
    const all = (selector) => [...document.querySelectorAll(selector)];
    const ids = all('[id]').map((one) => one.id);
    if (new Set(ids).size !== ids.length) faults.push('an id comes twice');
    for (const link of all('a')) if (!document.getElementById(link.hash.slice(1))) faults.push(`a link leads nowhere: ${link.hash}`);
    for (const table of all('table')) {
        if (!table.caption) faults.push('a table without a caption');
        if (!table.tHead) faults.push('a table without a head');
        for (const head of table.querySelectorAll('th')) if (!head.scope) faults.push(`a th without a scope: ${head.textContent}`);
        for (const row of table.tBodies[0].rows) if (!row.querySelector('th[scope=row]')) faults.push(`a row without a head: ${row.textContent}`);
    }
    for (const svg of all('svg')) if (svg.getAttribute('aria-hidden') !== 'true') faults.push('a drawing that says nothing is not hidden');
    for (const field of all('input')) if (!field.labels.length) faults.push('a field without a label');
    for (const part of all('section')) if (!document.getElementById(part.getAttribute('aria-labelledby'))) faults.push('a section without a name');
    for (const cell of all('.heat .d1, .heat .d2, .heat .d3, .heat .d4, .heat .d5')) if (!/[0-9]/.test(cell.textContent) || !cell.querySelector('small')) faults.push('a cell that has only its colour');
    let level = 0;
    for (const heading of all('h1, h2, h3, h4')) {
        const next = Number(heading.localName[1]);
        if (next > level + 1) faults.push(`a heading skips a level: ${heading.textContent}`);
        level = next;
    }
    for (const one of all('.scroll, pre')) if (one.tabIndex !== 0) faults.push('what scrolls is out of reach of the keyboard');
    return faults;
})()";

/// Texts whose contrast is below that of WCAG 2.2, 1.4.3 (AA): 4.5, or 3 where they are large.
const PALE: &str = r"(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const known = new Map();
    const rgba = (colour) => {
        if (!known.has(colour)) {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
        }
        return known.get(colour);
    };
    const back = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const light = (colour) => {
        const [red, green, blue] = colour.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const pale = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let looked = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE'].includes(element.tagName) || !element.checkVisibility()) continue;
        looked += 1;
        const style = getComputedStyle(element);
        const [one, other] = [light(rgba(element.closest('svg') ? style.fill : style.color)), light(back(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
        if (contrast < (large ? 3 : 4.5)) pale.set(`${element.localName}.${element.className}`, `${contrast.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 40)}`);
    }
    return { looked, pale: [...pale].map((pair) => pair.join(': ')) };
})()";

#[test]
#[ignore = "needs Chromium"]
fn it_can_be_read_by_everybody() {
    let folder = folder("reading");
    let page = file(&folder, "report.html", &sample::week());
    let mut browser = Chromium::start(&folder);
    for scheme in ["light", "dark"] {
        browser.show("screen", scheme, 1280);
        open(&mut browser, &page);
        browser.value("document.getElementById('unfold').click()");
        assert_eq!(browser.value(FAULTS), json!([]), "{scheme}");
        let contrast = browser.value(PALE);
        assert!(contrast["looked"].as_u64() > Some(1_000), "{contrast}");
        assert_eq!(contrast["pale"], json!([]), "{scheme}");
    }
}

#[test]
#[ignore = "needs Chromium"]
fn it_works_without_its_script() {
    let folder = folder("plain");
    let page = file(&folder, "report.html", &sample::week());
    let mut browser = Chromium::start(&folder);
    browser.scripts(false);
    browser.open(&page);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.value("document.getElementById('tools').checkVisibility()"), false, "tools that do nothing are not shown");
    assert_eq!(browser.value("document.querySelectorAll('main button').length"), 0);
    // The browser itself opens what is folded around the aim of a link.
    browser.value("document.querySelector('#instead .row summary').click()");
    assert_eq!(browser.value("document.querySelector('#instead .row p').checkVisibility()"), true);
}

#[test]
#[ignore = "needs Chromium"]
fn its_script_folds_finds_sorts_and_copies() {
    let folder = folder("script");
    let page = file(&folder, "report.html", &sample::week());
    let mut browser = Chromium::start(&folder);
    browser.show("screen", "light", 1280);
    open(&mut browser, &page);
    let names =
        "[...document.querySelectorAll('.heat tbody tr')].filter((row) => row.checkVisibility()).map((row) => row.cells[0].textContent)";
    let typed = |text: &str| {
        format!(
            "(async () => {{ const field = document.getElementById('search'); field.value = '{text}'; field.dispatchEvent(new Event('input')); \
            await new Promise((done) => setTimeout(done, 300)); return document.getElementById('status').textContent; }})()"
        )
    };

    assert_eq!(browser.value(&typed("Logging/")), "2 identities found.");
    assert_eq!(browser.value(names), json!(["sa logging/log-shipper", "sa logging/vector"]));
    assert_eq!(browser.value(&typed("")), "");
    let all = browser.value(names);
    assert_eq!(all.as_array().map(Vec::len), Some(30));

    browser.value("document.querySelector('.heat th button').click()");
    let sorted = browser.value(names);
    let mut wanted: Vec<&str> = all.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(sorted, json!(wanted));
    assert_eq!(browser.value("document.querySelector('.heat th').getAttribute('aria-sort')"), "ascending");
    browser.value("document.querySelectorAll('.heat th button')[1].click()");
    let most = browser
        .value("[...document.querySelectorAll('.heat tbody tr')].map((row) => Number(row.cells[1].textContent.replaceAll(',', '')))");
    let most: Vec<u64> = most.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    assert!(most.len() == 30 && most.is_sorted_by(|one, other| one >= other), "{most:?}");

    let copied = "(async () => { location.hash = document.querySelector('.heat tbody a').hash; await new Promise((done) => setTimeout(done, 300)); \
        const row = document.querySelector(location.hash); const box = row.querySelector('.copied'); box.querySelectorAll('button')[1].click(); \
        await new Promise((done) => setTimeout(done, 300)); return [row.open, document.getElementById('status').textContent, \
        await navigator.clipboard.readText() === box.querySelector('pre').textContent]; })()";
    assert_eq!(browser.value(copied), json!([true, "Copied.", true]));
    let copied = "(async () => { document.querySelector(location.hash).querySelector('.copied button').click(); \
        await new Promise((done) => setTimeout(done, 300)); return await navigator.clipboard.readText(); })()";
    let manifest = browser.value(copied);
    let documents = serde_saphyr::from_multiple::<Value>(manifest.as_str().expect("text")).expect("it is YAML");
    let kinds: Vec<&Value> = documents.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding"], "{manifest}");

    browser.value("document.getElementById('unfold').click()");
    assert_eq!(browser.value("document.querySelectorAll('main details:not([open])').length"), 0);
    browser.value("document.getElementById('fold').click()");
    assert_eq!(browser.value("document.querySelectorAll('main details[open]').length"), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// What is wider than the page.
const WIDE: &str = "[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => \
    `${one.localName}.${one.className}: ${one.textContent.slice(0, 40)}`)";

#[test]
#[ignore = "needs Chromium"]
fn paper_has_all_of_it() {
    let folder = folder("paper");
    let page = file(&folder, "report.html", &sample::week());
    let mut browser = Chromium::start(&folder);
    browser.show("print", "light", 800);
    open(&mut browser, &page);
    assert_eq!(
        browser.value("[...document.querySelectorAll('main pre')].filter((pre) => pre.offsetHeight === 0).length"),
        0,
        "folds are open"
    );
    assert_eq!(
        browser.value("[...document.querySelectorAll('main thead th')].filter((head) => head.innerText.trim() === '').length"),
        0,
        "columns have their names"
    );
    assert_eq!(
        browser.value("[...document.querySelectorAll('nav, .tools, .copied button')].filter((one) => one.checkVisibility()).length"),
        0
    );
    let wide = browser.value(WIDE);
    assert_eq!(wide, json!([]), "beyond the edge of the paper");
    assert!(browser.print().starts_with(b"%PDF-"));
}
