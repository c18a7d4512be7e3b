// Tables that are sorted, filtered and copied.

const PAGE = 25;

// Of a table of pairs those columns that are looked at first, in this order.
const MAIN = ["x", "y", "kind", "metric", "layer_x", "layer_y", "score", "chance", "threshold", "p", "p_adjusted"];

// columns: names; rows: lists of values; main: names of columns that come first, and alone until
// all are asked for. Into `element`, under the title.
function table(element, title, columns, rows, main = []) {
  const shown = {sort: null, down: false, words: [], page: 0, all: false, copied: "all"};
  const places = columns.map((_, place) => place);
  const first = main.map(name => columns.indexOf(name)).filter(place => place >= 0);
  const order = [...first, ...places.filter(place => !first.includes(place))];
  const seen = () => shown.all || !first.length ? order : first;
  const head = make("tr"), body = make("tbody");
  const found = make("span", {class: "quiet", "aria-live": "polite"});
  const paper = make("span");
  const turning = make("div", {class: "controls pager"});
  const filter = make("input", {type: "search", autocomplete: "off", oninput: event => {
    Object.assign(shown, {words: wordsOf(event.target.value), page: 0});
    show();
  }});
  const numeric = columns.map((_, place) => rows.some(row => typeof row[place] === "number"));

  function chosen() {
    const kept = rows.filter(row => {
      const said = row.map(text).join("\n").toLowerCase();
      return shown.words.every(word => said.includes(word));
    });
    if (shown.sort == null) return kept;
    const sign = shown.down ? -1 : 1;
    return kept.sort((one, other) => compare(one[shown.sort], other[shown.sort], sign));
  }

  const onPage = kept => kept.slice(shown.page * PAGE, (shown.page + 1) * PAGE);

  // What is copied, as rows of the columns that are seen.
  function asked() {
    const kept = chosen(), {copied} = shown;
    const part = copied === "all" ? kept : copied === "page" ? onPage(kept) : kept.slice(0, Number(copied));
    return part.map(row => seen().map(place => row[place]));
  }

  function show() {
    const kept = chosen(), pages = Math.max(1, Math.ceil(kept.length / PAGE));
    const side = place => `${numeric[place] ? "number" : ""}${first.length && !first.includes(place) ? " more" : ""}`.trim() || null;
    head.replaceChildren(...seen().map((place, at) => make("th", {
      scope: "col", class: side(place),
      "aria-sort": shown.sort !== place ? null : shown.down ? "descending" : "ascending",
    }, button(outside(columns[place]), () => {
      const down = shown.sort === place ? !shown.down : numeric[place];
      Object.assign(shown, {sort: place, down, page: 0});
      show();
      head.children[at].firstChild.focus();
    }))));
    const part = onPage(kept);
    body.replaceChildren(...part.map(row => make("tr", {}, seen().map((place, at) => {
      const value = row[place];
      return outside(typeof value === "number" ? digits(value) : text(value), at ? "td" : "th",
        {scope: at ? null : "row", class: side(place)});
    }))));
    paper.textContent = part.length < rows.length || first.length
      ? `${digits(part.length)} of ${count(rows.length, "row")}, ${digits(first.length || columns.length)} of ${count(columns.length, "column")}: the page that this was printed from has all.` : "";
    found.textContent = `${digits(kept.length)} of ${count(rows.length, "row")}`;
    pager(turning, shown.page, pages, page => { shown.page = page; show(); });
  }

  const said = make("span", {class: "quiet", role: "status"});
  const copies = Object.entries(FORMATS).map(([name, write]) =>
    button(`Copy ${name}`, () => copy(write(seen().map(place => columns[place]), asked()), name, said)));
  const lengths = [["all", "all that are found"], ["page", "those that are seen"], [5, "the first 5"], [10, "the first 10"]];
  element.append(
    make("div", {class: "controls"}, make("label", {}, "Filter ", filter),
      first.length > 0 && first.length < columns.length && make("label", {class: "check"},
        make("input", {type: "checkbox", onchange: event => { shown.all = event.target.checked; show(); }}), " All columns"),
      found),
    make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": title},
      make("table", {}, make("caption", {}, title), make("thead", {}, head), body)),
    make("p", {class: "quiet paper"}, paper),
    turning,
    make("div", {class: "controls copies"}, rows.length > 5 && choice("Rows", lengths, "all", to => { shown.copied = to; }), copies, said));
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
      .replace(/[\r\n]+/g, " ").replace(/^\s*\[/, "{[}");  // else an option of the \\ before it
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
