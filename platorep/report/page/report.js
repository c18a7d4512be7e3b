// Sets the page going: what depends on what, controls, keys.

views.push(
  [["metric", "measure", "pair"], showScaling],
  [["metric", "measure", "pair"], showPairs],
  [["pair"], showPair],
  [["pair", "layers"], showLayers],
  [["pair", "layers"], showShared],
  [["row"], () => { showRow(); if (agreement) showAgreement(); }],
);

function start() {
  fill(byId("metric"), content.metrics.map(({name, title}) => [name, title]), state.metric);
  byId("metric-label").hidden = content.metrics.length < 2;
  fill(byId("measure"), measures.map(({name, title}) => [name, title]), state.measure);
  byId("measure").parentElement.hidden = measures.length < 2;
  byId("intervals-label").hidden = content.pairs.every(pair => pair.low == null);
  byId("nulls").parentElement.hidden = content.pairs.every(pair => pair.threshold == null);
  const values = VALUES.filter(([name]) => content.pairs.some(pair => pair[name] != null));
  fill(byId("value"), values, "score");
  byId("value").parentElement.hidden = values.length < 2;
  byId("controls-label").hidden = content.pairs.every(pair => ["trained", "shuffled"].includes(pair.kind));
  fill(byId("row-order"), [...byId("row-order").options].map(({value, text}) => [value, text])
    .filter(([value]) => value !== "group" || groups.length > 1), "most");
  const tables = make("div");
  for (const {name, title, columns, rows} of content.tables) {
    const part = make("details", {open: content.tables[0].title === title}, make("summary", {}, title));
    table(part, title, columns, rows, name === "best" ? MAIN : []);
    tables.append(part);
  }
  byId("all-tables").append(tables);

  const on = (id, event, act) => byId(id).addEventListener(event, act);
  on("metric", "change", event => select({metric: event.target.value}));
  on("measure", "change", event => select({measure: event.target.value}));
  for (const id of ["lines", "nulls", "intervals"]) on(id, "change", showScaling);
  for (const id of ["order", "value", "controls"]) on(id, "change", showPairs);
  const list = (part, value) => { Object.assign(listed, {[part]: value, page: 0}); showRows(); showRow(); };
  on("row-order", "change", event => list("order", event.target.value));
  on("group", "change", event => list("group", event.target.value));
  on("find", "input", event => list("words", event.target.value));

  const {section, ...asked} = readAddress();
  select({pair: firstPair(pairsOf(state.metric)), metric: state.metric, measure: state.measure, ...asked});
  byId("metric").value = state.metric;
  byId("measure").value = state.measure;
  if (section) goTo(section);
}

// Where an address leads, and there once more when the charts above have got their heights.
async function goTo(id) {
  const section = byId(id), charts = [...document.querySelectorAll(".chart")].filter(each => each.chart);
  if (!section) return;
  history.scrollRestoration = "manual";
  section.scrollIntoView();
  for (const element of charts.filter(({seen}) => !seen)) {
    element.seen = true;
    redraw(element);
  }
  await Promise.all(charts.map(({queue}) => queue));
  section.scrollIntoView();
}

// Links within the page leave the address to what is looked at.
document.querySelectorAll("nav a, a.skip").forEach(link => link.addEventListener("click", event => {
  event.preventDefault();
  const section = byId(link.getAttribute("href").slice(1));
  section.scrollIntoView();
  section.focus({preventScroll: true});
}));
window.addEventListener("hashchange", () => {
  const {section, ...asked} = readAddress();
  select(asked);
  if (section) goTo(section);
});

// Left and right go through the rows, but where the keys have a meaning of their own.
document.addEventListener("keydown", event => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, select, textarea, .scroll")) return;
  const {top, bottom} = byId("shared").getBoundingClientRect();
  if (bottom < 0 || top > window.innerHeight) return;  // nothing would be seen to change
  const again = event.target.dataset.step;
  byId("row").querySelector(`[data-step="${step}"]`)?.click();
  if (again) byId("row").querySelector(`[data-step="${again}"]`)?.focus();
  event.preventDefault();
});

const theme = byId("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const paint = dark => {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  theme.setAttribute("aria-pressed", dark);
};
theme.addEventListener("click", () => paint(theme.getAttribute("aria-pressed") !== "true"));
system.addEventListener("change", event => paint(event.matches));
paint(system.matches);
start();
