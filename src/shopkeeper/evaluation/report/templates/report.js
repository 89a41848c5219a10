"use strict";
// Tables as CSV, details opened for paper, and the shop window. Everything else on the page is plain HTML and SVG, and
// text goes in as text, never as markup.
(function () {
  const name = document.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);

  // A cell's text; of a figure with an interval beneath it three cells: the figure, from, to.
  function cells(cell) {
    const small = cell.matches("td.num") ? cell.querySelector(":scope > small") : null;
    const ends = small ? small.textContent.split("–") : [];
    if (ends.length === 2) return [text(cell.firstElementChild), ...ends.map(plain)];
    return [text(cell)];
  }

  function text(cell) {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("svg").forEach((picture) => picture.remove());
    return plain(copy.textContent);
  }

  function plain(words) {
    return words.replace(/\s+/g, " ").replace(/\u2212/g, "-").trim();
  }

  // Quoted; what a spreadsheet would run gets an apostrophe before it.
  function quoted(words) {
    const safe = /^[=+\-@\t\r]/.test(words) && !/^[+-]?[\d.,]+ ?%?$/.test(words) ? "'" + words : words;
    return '"' + safe.replace(/"/g, '""') + '"';
  }

  function lines(table) {
    const rows = Array.from(table.rows).filter((row) => !row.classList.contains("axis-row"));
    const found = rows.map((row) => Array.from(row.cells, cells));
    const wide = [];
    found.forEach((row) => row.forEach((parts, i) => { wide[i] = Math.max(wide[i] || 1, parts.length); }));
    return found.map((row, r) => row.flatMap((parts, i) => {
      const more = Array.from({ length: wide[i] - parts.length }, (_, j) => (r === 0 ? parts[0] + (j ? " to" : " from") : ""));
      return [...parts, ...more];
    }));
  }

  function save(tables, label) {
    const rows = tables.flatMap((table) => {
      const caption = table.caption ? [text(table.caption)] : [];
      return lines(table).map((row) => [...caption, ...row].map(quoted).join(","));
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + rows.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = name + "-" + label.replace(/[^\p{L}\p{N}]+/gu, "-").toLowerCase() + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function offer(tables, after, label) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    button.setAttribute("aria-label", label + " as CSV");
    button.addEventListener("click", () => save(tables, label));
    after.after(button);
  }

  document.querySelectorAll(".panels").forEach((panels, i) => {
    const heading = panels.closest("section").querySelector("h2").textContent;
    offer(Array.from(panels.querySelectorAll("table")), panels, heading + (i ? " " + (i + 1) : ""));
  });
  document.querySelectorAll("main table:not(.panel)").forEach((table) => {
    const around = table.closest(".scroll");
    const near = around && around.getAttribute("aria-label");
    const own = table.closest("details");
    const label = near || (own ? own.querySelector("summary").textContent : table.closest("section").querySelector("h2").textContent);
    offer([table], around || table, label);
  });

  // On paper everything is open; what was closed closes again.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
})();

(function () {
  const root = document.getElementById("window");
  const data = JSON.parse(document.getElementById("window-data").textContent);
  if (!root || !data) return;

  const KINDS = {
    chosen: "Chosen",
    found: "Only the best model was right",
    missed: "The best model was wrong, another right",
    nobody: "Nobody was right",
    random: "Drawn at random",
    new: "Without a history",
  };
  const SHOWN = 5;
  let all = window.matchMedia("(min-width: 60rem)").matches; // ten suggestions instead of five

  function node(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  function mark(colour) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("class", "mark c" + colour);
    svg.setAttribute("viewBox", "-7 -7 14 14");
    svg.setAttribute("width", "14");
    svg.setAttribute("height", "14");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(space, "use");
    use.setAttribute("href", "#m" + colour);
    svg.append(use);
    return svg;
  }

  function line(left, item, right, taken, what) {
    const [title, facts] = data.items[item];
    const under = [what, facts].filter(Boolean).join(" · ");
    const text = node("span", "", title, under ? node("em", "", under) : null);
    return node("li", taken ? "then" : "", node("span", "", left), text, right ? node("b", "", right, node("span", "visually-hidden", " taken")) : node("span"));
  }

  function place(rank) {
    if (rank === null) return "not ranked";
    return rank <= 10 ? "at place " + rank : "place " + rank.toLocaleString("en");
  }

  function show(index) {
    const found = data.cases[index];
    const bought = new Set(found.taken);
    const when = found.when ? " on " + found.when : "";
    const events = found.events === 0 ? "with nothing on record" :
      "after " + found.events.toLocaleString("en") + (found.events === 1 ? " event" : " events");
    who.replaceChildren(node("strong", "", found.user), when + ", " + events + ".");

    const did = node("ol", data.dated ? "dated" : "");
    for (const [date, item, types] of grouped(found.history)) {
      did.append(line(date, item, "", false, types));
    }
    const past = node("div", "",
      heading("What they did", found.events > found.history.length ? "the last " + found.history.length : ""),
      found.history.length ? did : node("p", "empty", "Nothing yet: every model falls back on what sells."));
    const then = node("ol", "then-list");
    for (const item of found.targets) then.append(line("✓", item, "", true));
    const after = node("div", "", heading("What they then took", ""), then,
      found.more ? node("p", "empty", "and " + found.more + " more") : null);

    const lists = node("div", "lists");
    data.models.forEach((model, m) => {
      const list = node("ol", "");
      found.lists[m].slice(0, all ? 10 : SHOWN).forEach((item, i) => {
        list.append(line(String(i + 1), item, bought.has(item) ? "✓" : "", bought.has(item)));
      });
      const name = node("span", "key", mark(model.colour), node("span", "", model.label));
      const title = node("h3", "", name, node("small", "", place(found.ranks[m])));
      lists.append(node("div", "", title, list));
    });
    view.replaceChildren(past, node("div", "shown", lists, after));
    select.value = String(index);
    position.textContent = (index + 1) + " of " + data.cases.length;
  }

  // One line per day and item, newest first: "view ×2, add to cart".
  function grouped(history) {
    const lines = new Map();
    for (const [item, type, date] of history) {
      const key = date + "/" + item;
      if (!lines.has(key)) lines.set(key, [date, item, new Map()]);
      const types = lines.get(key)[2];
      types.set(type, (types.get(type) || 0) + 1);
    }
    let day = "";
    return Array.from(lines.values(), ([date, item, types]) => {
      const said = Array.from(types, ([type, n]) => data.types[type] + (n > 1 ? " ×" + n : "")).reverse().join(", ");
      const first = date === day ? "" : date;
      day = date;
      return [first, item, said];
    });
  }

  function heading(text, note) {
    return node("h3", "", text, note ? node("small", "", note) : null);
  }

  function step(by) {
    show((Number(select.value) + by + data.cases.length) % data.cases.length);
  }

  const select = node("select", "");
  select.id = "customer";
  let group = null, last = "";
  data.cases.forEach((found, index) => {
    if (found.kind !== last) {
      group = node("optgroup", "");
      group.label = KINDS[found.kind];
      select.append(group);
      last = found.kind;
    }
    const option = node("option", "", found.user + (found.events ? " · " + found.events + " events" : " · new"));
    option.value = String(index);
    group.append(option);
  });
  select.addEventListener("change", () => show(Number(select.value)));

  const label = node("label", "", "Customer");
  label.htmlFor = "customer";
  const back = node("button", "", "← Previous"), next = node("button", "", "Next →");
  const ten = node("button", "", all ? "Show five" : "Show ten");
  const position = node("span", "empty");
  for (const button of [back, next, ten]) button.type = "button";
  back.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  ten.addEventListener("click", () => {
    all = !all;
    ten.textContent = all ? "Show five" : "Show ten";
    show(Number(select.value));
  });
  root.addEventListener("keydown", (event) => {
    if (event.target === select || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    }
  });

  const who = node("p", "shop-who");
  who.setAttribute("aria-live", "polite");
  const view = node("div", "shop");

  // Leaves in the list whoever holds what is typed: in the name, or among the items of the history and of what came.
  const search = node("input", "");
  search.type = "search";
  search.id = "customer-search";
  const asked = node("label", "", "Search a customer or item");
  asked.htmlFor = "customer-search";
  const told = data.cases.map((found) => {
    const items = [...found.history.map((row) => row[0]), ...found.targets];
    return [found.user, ...items.map((item) => data.items[item][0])].join("\n").toLowerCase();
  });
  const none = node("span", "empty");
  none.setAttribute("role", "status");
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let first = -1;
    for (const option of select.options) {
      const fits = told[Number(option.value)].includes(wanted);
      option.hidden = option.disabled = !fits;
      if (fits && first < 0) first = Number(option.value);
    }
    none.textContent = first < 0 ? "Nobody here fits." : "";
    if (first >= 0 && !told[Number(select.value)].includes(wanted)) show(first);
  });
  root.append(node("div", "shop-bar", node("div", "", asked, search, none), node("div", "", label, select), back, next, ten, position), who, view);
  show(0);
})();
