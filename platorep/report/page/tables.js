// Tables that are sorted, filtered and copied.

const PAGE = 25;

// columns: names; rows: lists of values. Into `element`, under the title.
function table(element, title, columns, rows) {
  const shown = {sort: null, down: false, filter: "", page: 0};
  const head = make("tr"), body = make("tbody");
  const found = make("span", {class: "quiet", "aria-live": "polite"});
  const turning = make("div", {class: "controls pager"});
  const filter = make("input", {type: "search", autocomplete: "off", oninput: event => {
    Object.assign(shown, {filter: event.target.value.toLowerCase(), page: 0});
    show();
  }});
  const numeric = columns.map((_, place) => rows.some(row => typeof row[place] === "number"));

  function chosen() {
    const kept = rows.filter(row => !shown.filter
      || row.some(value => String(value ?? "").toLowerCase().includes(shown.filter)));
    if (shown.sort == null) return kept;
    const sign = shown.down ? -1 : 1;
    return kept.sort((one, other) => compare(one[shown.sort], other[shown.sort], sign));
  }

  function show() {
    const kept = chosen(), pages = Math.max(1, Math.ceil(kept.length / PAGE));
    head.replaceChildren(...columns.map((name, place) => make("th", {
      scope: "col", class: numeric[place] ? "number" : null,
      "aria-sort": shown.sort !== place ? null : shown.down ? "descending" : "ascending",
    }, button(outside(name), () => {
      const down = shown.sort === place ? !shown.down : numeric[place];
      Object.assign(shown, {sort: place, down, page: 0});
      show();
      head.children[place].firstChild.focus();
    }))));
    const part = kept.slice(shown.page * PAGE, (shown.page + 1) * PAGE);
    body.replaceChildren(...part.map(row => make("tr", {}, row.map((value, place) => {
      const text = typeof value === "number" ? digits(value) : String(value ?? "");
      return outside(text, place ? "td" : "th",
        {scope: place ? null : "row", class: numeric[place] ? "number" : null});
    }))));
    found.textContent = `${digits(kept.length)} of ${count(rows.length, "row")}`;
    pager(turning, shown.page, pages, page => { shown.page = page; show(); });
  }

  const said = make("span", {class: "quiet", role: "status"});
  const copies = Object.entries(FORMATS).map(([name, write]) =>
    button(`Copy ${name}`, () => copy(write(columns, chosen()), name, said)));
  element.append(
    make("div", {class: "controls"}, make("label", {}, "Filter ", filter), found),
    make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": title},
      make("table", {}, make("caption", {}, title), make("thead", {}, head), body)),
    turning,
    make("div", {class: "controls copies"}, copies, said));
  show();
}

// None last, whichever way.
function compare(one, other, sign) {
  if (one == null || other == null) return (one == null) - (other == null);
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  return sign * String(one).localeCompare(String(other), "en", {numeric: true});
}

// What a figure shows, as a table that is made when it is opened. `rows` is a function.
function numbersBelow(id, title, columns, rows) {
  const details = byId(id);
  const make_ = () => {
    details.querySelectorAll(":scope > :not(summary)").forEach(old => old.remove());
    if (details.open) table(details, title, columns, rows());
  };
  details.ontoggle = make_;
  make_();
}

const text = value => value == null ? "" : String(value);

const FORMATS = {
  CSV: (columns, rows) => [columns, ...rows]
    .map(row => row.map(value => /[",\r\n]/.test(text(value))
      ? `"${text(value).replaceAll('"', '""')}"` : text(value)).join(",")).join("\r\n") + "\r\n",
  Markdown: (columns, rows) => {
    const cell = value => typeof value === "number" ? text(value)
      : text(value).replace(/[\\`*_{}[\]<>&|#~$!]/g, "\\$&").replace(/[\r\n]+/g, " ");
    const line = row => `| ${row.map(cell).join(" | ")} |`;
    const rule = columns.map((_, place) =>
      rows.some(row => typeof row[place] === "number") ? "---:" : "---");
    return [line(columns), `| ${rule.join(" | ")} |`, ...rows.map(line)].join("\n") + "\n";
  },
  LaTeX: (columns, rows) => {
    const special = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
      "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\textquotedbl{}"};
    const cell = value => text(value).replace(/[\\~^<>|"&%$#_{}]/g, sign => special[sign] ?? `\\${sign}`)
      .replace(/[\r\n]+/g, " ");
    const line = row => `${row.map(cell).join(" & ")} \\\\`;
    const places = columns.map((_, place) =>
      rows.some(row => typeof row[place] === "number") ? "r" : "l").join("");
    return [`\\begin{tabular}{${places}}`, "\\toprule", line(columns), "\\midrule",
      ...rows.map(line), "\\bottomrule", "\\end{tabular}"].join("\n") + "\n";
  },
};

// To the clipboard, or where the browser does not let us, into a field to copy from.
async function copy(content, what, said) {
  said.parentElement.querySelector("textarea")?.remove();
  try {
    await navigator.clipboard.writeText(content);
    said.textContent = `${what} copied.`;
  } catch {
    const field = make("textarea", {readonly: true, rows: 6, "aria-label": what});
    field.value = content;
    said.after(field);
    field.select();
    said.textContent = "This browser does not copy here: copy it from the field.";
  }
}
