// What two layers agree on: rows, their neighbors in both, and how many are the same.

const TILES = 24, STRIP = 8;
const listed = {order: "most", group: "", words: "", page: 0};
let agreement = null;  // of the pair and layers that are looked at
const groups = [...new Set(content.rows.map(row => row.group).filter(Boolean))].sort(
  (one, other) => one.localeCompare(other, "en", {numeric: true}));

const caption = row => Object.values(row.texts)[0] ?? row.id;
const pictures = row => Object.values(row.pictures);
const outOf = index => `${agreement.shared.get(index)} of ${agreement.k}`;
const most = rows => rows.toSorted((one, other) => agreement.shared.get(other.index) - agreement.shared.get(one.index));

function showShared() {
  const {pair, layers} = state;
  showPicker("shared-picker");
  if (pair) byId("shared-picker").append(...["x", "y"].map((side, place) => {
    const label = pair[side];
    return choice(`Layer of ${side}`, (models.get(label)?.layers ?? []).map((name, layer) =>
      [layer, hasNeighbors(label, layer) ? layerText(label, layer) : `${layerText(label, layer)}, not on the page`,
        !hasNeighbors(label, layer)]), layers[place], layer => {
      select({layers: layers.with(place, Number(layer))});
      byId("shared-picker").querySelector(`[data-layer=${side}]`).focus();
    }, {"data-layer": side});
  }));
  agreement = agreementOf(pair, layers);
  const missing = byId("shared-missing");
  byId("shared-body").hidden = !agreement || !content.rows.length;
  const shuffled = pair?.kind === "shuffled";
  missing.hidden = shuffled || (agreement && content.rows.length);
  missing.replaceChildren(...missingText());
  byId("shared-answer").replaceChildren(...(agreement ? answerShared()
    : shuffled ? ["Nothing but by chance: the rows of ", outside(pair.y), " are in a random order here, so that there is nothing to show. Choose the pair without “Shuffled rows”."]
      : [pair ? "For these layers the page cannot tell:" : "There is no pair."]));
  if (byId("shared-body").hidden) return;
  if (state.row == null) {
    state.row = most(content.rows)[0].index;
    writeAddress();
  }
  showStrip();
  showRows();
  showRow();
  showAgreement();
}

function missingText() {
  if (!content.neighbors.length) return [content.notes.neighbors ?? "The page has no neighbors."];
  if (!agreement) {
    const {pair} = state;
    return [content.notes.neighbors ?? "The neighbors of these layers are not on the page.", " ",
      ...(pair && agreementOf(pair, [pair.layer_x, pair.layer_y]) ? [button("Show the best layers",
        () => select({layers: [pair.layer_x, pair.layer_y]}))] : [])];
  }
  return [content.notes.rows ?? "The page has no rows."];
}

function answerShared() {
  const {shared, k, mean} = agreement, {pair} = state;
  const none = [...shared.values()].filter(value => value === 0).length;
  return ["Of its ", digits(k), " nearest rows, a row has ", make("strong", {}, mean.toFixed(2)), " in common in ",
    outside(pair.x), " and ", outside(pair.y), ` (${brief(mean / k)} of them); by chance it would have `,
    (k * k / (content.n - 1)).toFixed(2), `. ${digits(none)} of ${count(shared.size, "row")}${shared.size < content.n ? " on the page" : ""} share none.`];
}

// The most and the least agreed on, at a glance.
function showStrip() {
  const rows = most(content.rows);
  const half = Math.min(STRIP, Math.floor(rows.length / 2));
  const side = (title, part) => make("div", {}, make("h3", {}, title), make("p", {class: "quiet"}, tied(part)),
    make("ol", {class: "tiles small"}, part.map(row => make("li", {}, rowButton(row)))));
  byId("strip").replaceChildren(...(half ? [
    side("Most agreed on", rows.slice(0, half)), side("Least agreed on", rows.slice(-half).reverse())] : []));
}

// How many rows are as the first of these, of which no more than these are seen.
function tied(part) {
  const value = agreement.shared.get(part[0].index);
  const rows = [...agreement.shared.values()].filter(each => each === value).length;
  const left = rows > part.length ? `; ${part.length} of them are here` : "";
  return `${count(rows, "row")} ${rows === 1 ? "shares" : "share"} ${value ? `${value} of ${agreement.k}` : "none"}${left}.`;
}

function rowButton(row) {
  return button("", () => { select({row: row.index}); byId("row").scrollIntoView({block: "nearest"}); }, {
    class: "tile", "data-row": row.index, "aria-current": row.index === state.row ? "true" : null,
  }).appendChild(tileContent(row, outOf(row.index))).parentElement;
}

function tileContent(row, said) {
  return make("span", {class: "inside"},
    pictures(row)[0] && make("img", {src: pictures(row)[0], alt: "", decoding: "async"}),
    outside(caption(row), "span", {class: "caption"}), said && make("span", {class: "count"}, said));
}

// The rows that are listed, in order.
function chosenRows() {
  const asked = listed.words.trim().toLowerCase(), words = wordsOf(asked);
  const kept = content.rows.filter(row => {
    if (listed.group && row.group !== listed.group) return false;
    const said = [row.id, ...Object.values(row.texts)].join("\n").toLowerCase();
    return row.id.toLowerCase().includes(asked) || words.every(word => beginsWord(said, word));
  });
  const {shared} = agreement;
  return {
    most: () => most(kept),
    least: () => kept.toSorted((one, other) => shared.get(one.index) - shared.get(other.index)),
    data: () => kept,
    group: () => most(kept).sort((one, other) => groups.indexOf(one.group) - groups.indexOf(other.group)),
  }[listed.order]();
}

function showRows() {
  const rows = chosenRows(), pages = Math.max(1, Math.ceil(rows.length / TILES));
  const part = rows.slice(listed.page * TILES, (listed.page + 1) * TILES);
  byId("row-count").textContent = `${count(rows.length, "row")}${content.rows.length < content.n
    ? `; the page has ${digits(content.rows.length)} of the ${digits(content.n)} that were scored. ${content.notes.rows ?? ""}` : ""}`;
  byId("rows").replaceChildren(...part.map(row => make("li", {}, rowButton(row))));
  pager(byId("rows-pager"), listed.page, pages, page => { listed.page = page; showRows(); });
  byId("group-label").hidden = groups.length < 2;
  fill(byId("group"), [["", "all"], ...groups.map(name => {
    const members = content.rows.filter(row => row.group === name);
    const mean = members.reduce((sum, row) => sum + agreement.shared.get(row.index), 0) / members.length;
    return [name, `${name} (${count(members.length, "row")}, ${mean.toFixed(1)} shared)`];
  })], listed.group);
}

// The row that is looked at, with its neighbors in both.
function showRow() {
  if (!agreement || state.row == null) return;
  const row = rowsAt.get(state.row), {pair, layers} = state;
  const places = chosenRows(), place = places.indexOf(row);
  const step = by => select({row: places[(place + by + places.length) % places.length].index});
  const lists = [agreement.x, agreement.y].map(near => [...near.of(row.index).subarray(0, agreement.k)]);
  const [inX, inY] = lists;
  byId("row").replaceChildren(
    make("div", {class: "chosen"},
      pictures(row).map(src => make("img", {src, alt: caption(row)})),
      make("div", {},
        make("h3", {id: "row-title"}, "Row ", outside(row.id)),
        row.group && make("p", {class: "quiet"}, "Group: ", outside(row.group)),
        Object.entries(row.texts).map(([view, words]) =>
          make("p", {}, Object.keys(row.texts).length > 1 && outside(`${view}: `, "span", {class: "quiet"}), outside(words))),
        make("p", {class: "verdict"}, make("strong", {}, outOf(row.index)), " neighbors are shared."),
        make("div", {class: "controls"},
          button("← Previous", () => step(-1), {disabled: places.length < 2, "aria-keyshortcuts": "ArrowLeft", "data-step": -1}),
          button("Next →", () => step(1), {disabled: places.length < 2, "aria-keyshortcuts": "ArrowRight", "data-step": 1}),
          button("Link to this", event => copy(linkHere(), "Link", event.target.nextElementSibling)),
          make("span", {class: "quiet", role: "status"})))),
    nearTiles(pair.x, layers[0], inX, inY, pair.y), nearTiles(pair.y, layers[1], inY, inX, pair.x));
  document.querySelectorAll("[data-row]").forEach(tile => {
    if (Number(tile.dataset.row) === row.index && tile.closest("#strip, #rows")) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
  });
  byId("row-live").textContent = `Row ${row.id}: ${ended(caption(row))} ${outOf(row.index)} neighbors are shared.`;
}

const linkHere = () => `${location.href}&at=row`;

// The neighbors in one model; those that the other has too are framed and say their place there.
function nearTiles(label, layer, near, elsewhere, other) {
  return make("div", {class: "near"},
    make("h4", {}, "Nearest in ", outside(label), make("span", {class: "quiet"}, ", layer ", outside(layerText(label, layer)))),
    make("ol", {class: "tiles"}, near.map(index => {
      const row = rowsAt.get(index), place = elsewhere.indexOf(index), both = place >= 0;
      const inside = row ? tileContent(row, "") : make("span", {class: "inside"}, make("span", {class: "caption"}, `row ${index}, not on the page`));
      if (both) inside.append(make("span", {class: "count"}, `✓ shared, no. ${place + 1} in `, outside(other)));
      const attributes = {class: `tile${both ? " both" : ""}`, "data-row": index};
      return make("li", {}, row ? make("button", {type: "button", ...attributes, onclick: () => select({row: index})}, inside)
        : make("div", attributes, inside));
    })));
}

function showAgreement() {
  const {shared, k} = agreement, values = [...shared.values()];
  const chance = expected(content.n, k).map(share => share * shared.size);
  const counts = chance.map((rows, value) => ({
    shared: value, rows: values.filter(each => each === value).length, chance: rows, tipped: true,
    description: `${value} of ${k} shared: ${count(values.filter(each => each === value).length, "row")}, by chance ${digits(rows)}`,
    fill: "var(--bar)", stroke: value === shared.get(state.row) ? "var(--ink)" : "transparent",
  }));
  draw("agreement-chart", {
    spec: "agreement",
    amend: (spec, width) => {
      Object.assign(spec, {width: Math.max(180, Math.min(640, width - 70)), height: 200});
      amendChannel(spec, "x", {title: `neighbors of ${k} that are shared`});
    },
    data: {counts},
    label: `Histogram: how many rows share 0 to ${k} neighbors. The table below has the same numbers.`,
    onpick: ({shared: value}) => {
      const found = content.rows.find(row => shared.get(row.index) === value);
      if (found) select({row: found.index});
    },
    tip: datum => [`${count(datum.rows, "row")} share ${datum.shared} of ${k}`, `by chance ${digits(datum.chance)}`],
  });
  const best = Math.max(...values);
  byId("agreement-answer").textContent = `No row shares more than ${best} of its ${k} neighbors. `
    + `${digits(values.filter(value => value >= 2).length)} rows share two or more; by chance ${digits(Math.round(chance.slice(2).reduce((sum, rows) => sum + rows, 0)))} would.`;
  byId("agreement-caption").textContent = "Bars: rows by the number of neighbors that both models give them. Dashed, with diamonds: how many rows would by chance. Outlined: the bar of the row above.";
  numbersBelow("agreement-numbers", "Rows by shared neighbors", ["shared", "rows", "by chance"],
    () => counts.map(each => [each.shared, each.rows, each.chance]));
}
