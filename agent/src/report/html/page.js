"use strict";
// Folds, searches, sorts and copies. Nothing here makes markup of text, and everything can be read without it.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const status = document.getElementById("status");
  const say = (text) => { status.textContent = text; };

  // What is linked to is shown, wherever it is folded.
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView({ block: "start" });
  };

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // Copying. A browser that refuses leaves the text selected.
  const copy = async (source, text) => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(source);
      say("The text is selected: copy it with the keyboard.");
    }
  };
  const offerCopies = (within) => {
    for (const source of all("pre.copy", within)) {
      if (source.parentElement.className === "copied") continue;
      const [box, buttons] = [document.createElement("div"), document.createElement("div")];
      box.className = "copied";
      const added = source.querySelector("ins");
      // What a difference adds is the manifest, with a sign before each line.
      if (added) buttons.append(button("Copy the manifest", () => copy(added, added.textContent.replace(/^\+ /gm, ""))));
      buttons.append(button(added ? "Copy the difference" : "Copy", () => copy(source, source.textContent)));
      source.replaceWith(box);
      box.append(source, buttons);
    }
  };
  // Thousands of buttons that nobody sees cost time: each comes when its fold opens.
  document.addEventListener("toggle", (event) => { if (event.target.open) offerCopies(event.target); }, true);

  // Sorting goes across the folds: rows are taken from all tables of a section and dealt out anew, as many to each as it had.
  const order = new Intl.Collator("en", { numeric: true });
  const sort = (parts, column, descending) => {
    const bodies = all("tbody", parts);
    const sizes = bodies.map((body) => body.rows.length);
    const rows = bodies.flatMap((body) => [...body.rows]).map((row) => {
      const text = row.cells[column] ? row.cells[column].textContent.trim() : "";
      const counts = text.match(/[0-9][0-9,]*/g);
      return { row, text, number: counts ? counts.reduce((sum, count) => sum + Number(count.replaceAll(",", "")), 0) : -1 };
    });
    const isNumber = bodies[0].parentElement.tHead.rows[0].cells[column].classList.contains("n");
    rows.sort(isNumber ? (one, other) => one.number - other.number : (one, other) => order.compare(one.text, other.text));
    if (descending) rows.reverse();
    let next = 0;
    bodies.forEach((body, part) => {
      body.append(...rows.slice(next, next + sizes[part]).map((each) => each.row));
      next += sizes[part];
    });
    for (const head of all("thead tr", parts)) {
      [...head.cells].forEach((cell, index) => {
        if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      });
    }
    fold(parts);
  };
  // The same with items that fold; `key` gives what they are compared by.
  const arrange = (parts, key, descending) => {
    const boxes = all(".items", parts);
    const sizes = boxes.map((box) => box.children.length);
    const items = boxes.flatMap((box) => [...box.children]).map((item) => ({ item, key: key(item) }));
    items.sort((one, other) => order.compare(one.key, other.key));
    if (descending) items.reverse();
    let next = 0;
    boxes.forEach((box, part) => {
      box.append(...items.slice(next, next + sizes[part]).map((each) => each.item));
      next += sizes[part];
    });
    fold(parts);
  };
  const offerArranging = (parts) => {
    const text = (selector) => (item) => item.querySelector(selector).textContent;
    const tools = document.createElement("div");
    tools.className = "tools";
    const label = document.createElement("span");
    label.textContent = "Sort by";
    const ways = [["verdict", (item) => item.id, false], ["name", text(".name"), false], ["requests", (item) => text(".aside")(item).replaceAll(",", ""), true]];
    tools.append(label, ...ways.map(([name, key, descending]) => button(name, () => {
      arrange(parts, key, descending);
      say(`Sorted by ${name}.`);
    })));
    parts.before(tools);
  };
  const offerSorting = (table) => {
    const parts = table.closest(".parts");
    for (const cell of table.tHead.rows[0].cells) {
      if (cell.className === "drawing") continue;
      const made = button("", () => {
        const now = cell.getAttribute("aria-sort");
        sort(parts, cell.cellIndex, now ? now === "ascending" : cell.classList.contains("n"));
        say(`Sorted by ${cell.textContent}.`);
      });
      made.append(...cell.childNodes);
      cell.replaceChildren(made);
    }
  };

  // Searching hides what is called otherwise. Folds with something in them open, and close when the search is over.
  const search = document.getElementById("search");
  const named = "tbody tr, .items > .row";
  let rows;
  const list = () => all(".heat, .ways, .holders, .who, .identities").map((parts) => ({
    parts,
    rows: all(named, parts).map((row) => {
      const name = row.querySelector(".name");
      return { row, name: name ? name.textContent.toLowerCase() : "" };
    }),
  }));
  const fold = (parts) => {
    const searching = search.value.trim() !== "";
    for (const part of all(":scope > .part", parts)) {
      const found = part.querySelector("tbody > tr:not([hidden]), .items > .row:not([hidden])");
      part.hidden = searching && !found;
      if (searching) part.open = Boolean(found);
    }
  };
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    rows ??= list();
    const names = new Set();
    for (const section of rows) {
      for (const { row, name } of section.rows) {
        const fits = name.includes(wanted);
        if (row.hidden === fits) row.hidden = !fits;
        if (fits) names.add(name);
      }
      if (wanted === "") for (const part of all(":scope > .part", section.parts)) part.open = false;
      fold(section.parts);
    }
    for (const finding of all("article.finding")) finding.hidden = !finding.querySelector(".items > .row:not([hidden]), tbody > tr:not([hidden])");
    say(wanted === "" ? "" : `${names.size.toLocaleString("en")} ${names.size === 1 ? "identity" : "identities"} found.`);
  };
  let waiting;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, 120); });

  const foldAll = (open) => { for (const details of all("main details")) if (!details.closest("[hidden]")) details.open = open; };
  document.getElementById("unfold").addEventListener("click", () => foldAll(true));
  document.getElementById("fold").addEventListener("click", () => foldAll(false));
  document.getElementById("tools").hidden = false;
  // Browsers whose style cannot unfold for print.
  let folded = [];
  addEventListener("beforeprint", () => { folded = all("details:not([open])"); for (const details of folded) details.open = true; });
  addEventListener("afterprint", () => { for (const details of folded) details.open = false; });

  for (const parts of all(".parts")) {
    const table = parts.querySelector("table");
    if (table && table.tBodies[0].rows.length > 1) all(":scope > .scroll > table, :scope > .part > .scroll > table", parts).forEach(offerSorting);
  }
  offerCopies(document.getElementById("time"));
  for (const parts of all(".identities")) if (all(".row", parts).length > 1) offerArranging(parts);
  addEventListener("hashchange", reveal);
  reveal();
})();
