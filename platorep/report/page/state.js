// What the page is about (`content`, as platorep/report/content.py has it), and what of it is
// looked at (`state`), which stands in the page's address too, so that a finding can be linked.

const content = JSON.parse(byId("content").textContent);
const models = new Map(content.models.map(model => [model.label, model]));
const measures = content.measures.filter(
  ({name}) => content.models.some(model => model.measures[name] != null));
const rowsAt = new Map(content.rows.map(row => [row.index, row]));
const metricNamed = name => content.metrics.find(metric => metric.name === name);

const state = {
  metric: content.metrics[0]?.name ?? "",
  measure: measures[0]?.name ?? "",
  pair: null,      // one of content.pairs
  layers: [-1, -1],
  row: null,       // its index
};

// A copy stands where the model stands whose copy it is.
const valueOf = model => (models.get(model.of) ?? model).measures[state.measure] ?? null;

// As its metric has it: is one score closer than the other?
const closer = (metric, one, other) =>
  metricNamed(metric)?.larger_is_closer ?? true ? one > other : one < other;

// Whether a pair is above its null: by the p that is adjusted for all pairs, else its own p, else
// the threshold.
function passes({metric, score, threshold, p, p_adjusted}) {
  if (score == null) return null;
  if (p_adjusted != null || p != null) return (p_adjusted ?? p) <= content.alpha;
  return threshold == null ? null : closer(metric, score, threshold);
}

const percent = share => `${Number((100 * share).toPrecision(3))} %`;

const pairsOf = metric => content.pairs.filter(pair => pair.metric === metric);
const samePair = (one, x, y, kind) => one.x === x && one.y === y && one.kind === kind;

const bestPair = pairs => pairs.filter(pair => pair.score != null).reduce(
  (best, pair) => !best || closer(pair.metric, pair.score, best.score) ? pair : best, null);

// What a pair is of: `language × vision`.
const modalities = pair => [pair.x, pair.y].map(label => models.get(label).modality).join(" × ");

// The best of the trained pairs whose modalities come first.
function firstPair(pairs) {
  const trained = pairs.filter(pair => pair.kind === "trained" && pair.score != null);
  return bestPair(trained.filter(pair => modalities(pair) === modalities(trained[0])))
    ?? bestPair(pairs) ?? pairs[0] ?? null;
}

const layerName = (label, layer) => models.get(label)?.layers[layer] ?? `layer ${layer}`;
const layerText = (label, layer) => layer < 0 ? "none" : `${layer} (${layerName(label, layer)})`;

// Changes what is looked at, and draws again what depends on it.
function select(changes) {
  if (changes.metric && changes.metric !== state.metric) {
    const {x, y, kind} = state.pair ?? {};
    const pairs = pairsOf(changes.metric);
    changes.pair ??= pairs.find(pair => samePair(pair, x, y, kind)) ?? firstPair(pairs);
  }
  if (changes.pair) {
    changes.metric = changes.pair.metric;
    changes.layers ??= [changes.pair.layer_x, changes.pair.layer_y];
  }
  Object.assign(state, changes);
  writeAddress();
  const changed = new Set(Object.keys(changes));
  for (const [parts, show] of views) if (parts.some(part => changed.has(part))) show();
}

// [parts of the state, what shows them]
const views = [];

function writeAddress() {
  const {pair, layers, row, measure, metric} = state;
  const address = new URLSearchParams();
  if (pair) {
    address.set("x", pair.x);
    address.set("y", pair.y);
    if (pair.kind === "shuffled") address.set("kind", pair.kind);
    address.set("layers", layers.join("-"));
  }
  if (row != null) address.set("row", row);
  if (content.metrics.length > 1) address.set("metric", metric);
  if (measures.length > 1) address.set("over", measure);
  history.replaceState(null, "", `#${address}`);
}

// What an address asks for, as far as there is such a thing.
function readAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  const found = {};
  const metric = metricNamed(address.get("metric"))?.name ?? state.metric;
  const pairs = pairsOf(metric).filter(
    pair => pair.x === address.get("x") && pair.y === address.get("y"));
  const kind = address.get("kind");
  const pair = pairs.find(pair => (pair.kind === "shuffled") === (kind === "shuffled")) ?? pairs[0];
  if (pair) {
    found.pair = pair;
    const layers = (address.get("layers") ?? "").split("-").map(Number);
    const within = (layer, label) => Number.isInteger(layer) && layer >= 0
      && layer < (models.get(label)?.layers.length ?? 0);
    if (layers.length === 2 && within(layers[0], pair.x) && within(layers[1], pair.y))
      found.layers = layers;
  }
  if (metric !== state.metric) found.metric = metric;
  const row = address.get("row");
  if (row && rowsAt.has(Number(row))) found.row = Number(row);
  const measure = address.get("over");
  if (measures.some(({name}) => name === measure)) found.measure = measure;
  return {...found, section: address.get("at")};
}
