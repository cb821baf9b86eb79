//! Names and requests that are made to become something else than text.

use super::{Chromium, file, folder, open, sample};

/// Each with a name that is as long and means nothing.
fn names() -> Vec<(String, String)> {
    let hostile = [
        "<script>window.pwned=1</script>",
        "\"><img src=x onerror=\"window.pwned=1\">",
        "' autofocus onfocus='window.pwned=1",
        "javascript:window.pwned=1",
        "</style><style>*{display:none}</style>",
        "</title></head><body onload=window.pwned=1>",
        "]]><svg onload=window.pwned=1>",
        "<!--",
        "-->",
        "--!><script>window.pwned=1</script>",
        "&lt;script&gt;window.pwned=1&lt;/script&gt;",
        "<iframe srcdoc='<script>parent.pwned=1</script>'>",
        "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
        "<base href='http://127.0.0.1:9/'>",
        "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
        "</pre></details></main><template><textarea><noscript>",
        "\u{202e}gnp.exe",
        "a\u{2066}b\u{2069}c",
        "nul\0in\u{1}side",
        "line\nfeed\r\u{2028}",
        "\u{1b}[2J\u{9b}31m",
        "<%=7*7%>${7*7}",
        "#identity-1",
        "constructor",
        "__proto__",
        "system:serviceaccount:<b>ns</b>:<i>name</i>",
        "\u{fffe}\u{feff}Z\u{0300}\u{0301}\u{0302}",
    ];
    let mut names: Vec<(String, String)> =
        hostile.iter().enumerate().map(|(place, name)| ((*name).to_owned(), format!("tame-{place:02}"))).collect();
    names.push(("<b>".repeat(1000), "tame-long".repeat(300)));
    // Reports put identities in the order of their names: both lists must have the same.
    names.sort();
    let mut tame: Vec<String> = names.iter().map(|(_, tame)| tame.clone()).collect();
    tame.sort();
    names.into_iter().map(|(name, _)| name).zip(tame).collect()
}

/// All elements by their names and those of their attributes; in no order, for names are sorted.
const SHAPE: &str = "[...document.querySelectorAll('*')].map((one) => [one.localName, ...one.getAttributeNames()].join(' ')).sort()";

#[test]
#[ignore = "needs Chromium"]
fn what_callers_chose_stays_text() {
    let folder = folder("strangers");
    let (hostile, tame): (Vec<String>, Vec<String>) = names().into_iter().unzip();
    let hostile_page = sample::by(&hostile);
    assert!(!hostile_page.contains(|character: char| character.is_control() && character != '\n'), "controls are written out");
    assert!(!hostile_page.contains(['\u{202e}', '\u{2066}', '\u{feff}']), "and so are marks of direction");
    let mut browser = Chromium::start(&folder);
    open(&mut browser, &file(&folder, "tame.html", &sample::by(&tame)));
    let wanted = browser.value(SHAPE);
    open(&mut browser, &file(&folder, "hostile.html", &hostile_page));
    browser.value("document.getElementById('unfold').click()");
    browser.value("document.getElementById('fold').click()");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.value("window.pwned ?? null"), serde_json::Value::Null);
    open(&mut browser, &folder.join("hostile.html"));
    let found = browser.value(SHAPE);
    assert_eq!(found, wanted, "names change the elements of the page");
    let elsewhere =
        browser.value("[...document.querySelectorAll('a')].filter((link) => !link.getAttribute('href').startsWith('#')).length");
    assert_eq!(elsewhere, 0, "links lead only within the page");
    let told = browser.value("document.body.textContent");
    let told = told.as_str().expect("text");
    for (name, written) in [
        ("user <script>window.pwned=1</script>", true),
        ("user \"><img src=x onerror=\"window.pwned=1\">", true),
        (r"user \u202egnp.exe", true),
        (r"user nul\u0000in\u0001side", true),
        (r"user line\u000afeed\u000d\u2028", true),
        (r"user \u001b[2J\u009b31m", true),
        ("user &lt;script&gt;window.pwned=1&lt;/script&gt;", true),
    ] {
        assert_eq!(told.contains(name), written, "{name}");
    }
}

/// Were something not escaped after all, the page's policy would keep it from being run, and this test would hear of it.
#[test]
#[ignore = "needs Chromium"]
fn the_policy_holds_without_the_escaping() {
    let folder = folder("policy");
    let page = sample::by(&["jane".to_owned()]);
    let mut browser = Chromium::start(&folder);
    for (number, intruder) in [
        "<script>window.pwned=1</script>",
        "<img src='data:,x' onerror='window.pwned=1'>",
        "<style>body{display:none}</style>",
        "<p style='color:red'>",
        "<link rel=stylesheet href='http://127.0.0.1:9/x.css'>",
        "<iframe src='http://127.0.0.1:9/'></iframe>",
        "<script src='http://127.0.0.1:9/x.js'></script>",
    ]
    .into_iter()
    .enumerate()
    {
        let (before, after) = page.split_once("<main").expect("the page has a main part");
        browser.open(&file(&folder, &format!("{number}.html"), &format!("{before}{intruder}<main{after}")));
        let complaints = browser.complaints();
        assert!(complaints.iter().any(|complaint| complaint.contains("Content Security Policy")), "{intruder}: {complaints:?}");
        assert_eq!(browser.value("window.pwned ?? null"), serde_json::Value::Null, "{intruder}");
        assert_ne!(browser.value("getComputedStyle(document.body).display"), "none", "{intruder}");
    }
}
