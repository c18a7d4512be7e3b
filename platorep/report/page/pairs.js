// Which pairs align: all of them as a matrix, one of them in numbers, its layers as a matrix.

const VALUES = [["score", "score"], ["calibrated", "calibrated score"], ["ceiling_share", "share of the noise ceiling"]];

function showPairs() {
  const value = byId("value").value || "score";
  const shuffled = state.pair?.kind === "shuffled";
  const wanted = pairsOf(state.metric).filter(pair =>
    (pair.kind === "shuffled") === shuffled
    && (shuffled || byId("controls").checked || pair.kind === "trained"));
  const rows = ordered(wanted, "x"), columns = ordered(wanted, "y");
  const at = new Map(wanted.map(pair => [`${pair.x}\n${pair.y}`, pair]));
  const cells = rows.flatMap(row => columns.map(column => {
    const pair = at.get(`${row}\n${column}`);
    return {row, column, absent: !pair, value: pair?.[value], weak: pair ? passes(pair) === false : false,
      selected: pair != null && pair === state.pair, place: content.pairs.indexOf(pair),
      description: pair ? described(pair, pair[value]) : `${row} × ${column}: not paired`};
  }));
  const said = VALUES.find(([name]) => name === value)[1];
  byId("pairs-scale").replaceChildren(...drawHeat("pairs-chart", {
    rows, columns, cells, format: score, reversed: value === "score" && !closer(state.metric, 1, 0),
    label: `Heat map of ${count(wanted.length, "pair")}: ${said}. The table below has the same numbers.`,
    onpick: datum => select({pair: content.pairs[datum.place]}),
    tip: datum => pairLines(content.pairs[datum.place]),
  }));
  const trained = pairsOf(state.metric).filter(pair => pair.kind === "trained");
  byId("pairs-answer").replaceChildren(...[...new Set(trained.map(modalities))].map(kind => {
    const pairs = trained.filter(pair => modalities(pair) === kind), best = bestPair(pairs);
    return make("span", {class: "line"}, ...(!best ? [`No pair of ${kind} has a score.`] : [
      `Of the ${count(pairs.length, "pair")} `, outside(kind), ", ", outside(best.x), " × ", outside(best.y),
      ` ${closer(state.metric, 1, 0) ? "align most" : "are closest"}: `, make("strong", {}, brief(best.score)),
      best.chance == null ? "." : `; chance is ${brief(best.chance)}.`]));
  }));
  byId("pairs-caption").textContent = `${shuffled ? "Rows were shuffled: what no agreement looks like. " : ""}`
    + `The ${said} of each pair at its best layers. Struck through: not above its null (p > ${content.alpha}, corrected over pairs where that was done). Choose a cell (or the two models below) to see its pair.`;
  numbersBelow("pairs-numbers", "Pairs of the heat map", ["x", "y", "kind", said, "above the null"],
    () => wanted.map(pair => [pair.x, pair.y, pair.kind, pair[value], passes(pair)]));
}

function ordered(pairs, side) {
  const labels = [...new Set(pairs.map(pair => pair[side]))];
  const sign = closer(state.metric, 1, 0) ? -1 : 1;
  const mean = label => {
    const scores = pairs.filter(pair => pair[side] === label && pair.score != null).map(pair => pair.score);
    return scores.length ? sign * scores.reduce((sum, value) => sum + value, 0) / scores.length : null;
  };
  const lower = measures.find(({name}) => name === state.measure)?.lower_is_better;
  const keys = {
    family: label => content.models.indexOf(models.get(label)),
    name: label => label,
    score: mean,
    performance: label => {
      const value = valueOf(models.get(label));
      return value == null ? null : lower ? value : -value;
    },
  };
  const key = keys[byId("order").value];
  return labels.map(label => [key(label), label])
    .sort(([one], [other]) => compare(one, other, 1)).map(([, label]) => label);
}

// Two models to choose from all that were paired.
function showPicker(id) {
  const {pair} = state;
  if (!pair) return;
  const pairs = pairsOf(state.metric);
  const partners = (side, other) => [...new Set(pairs.filter(each => each[side] === pair[side]).map(each => each[other]))];
  const go = (x, y) => {
    const found = pairs.filter(each => each.x === x && (y == null || each.y === y));
    select({pair: found.find(each => each.kind === pair.kind) ?? found[0]});
    byId(id).querySelector(`[data-side=${y === pair.y ? "x" : "y"}]`)?.focus();
  };
  const all = [...new Set(pairs.map(each => each.x))];
  const twin = pairs.find(each => each.x === pair.x && each.y === pair.y && each !== pair);
  byId(id).replaceChildren(
    choice("Model x", all.map(name => [name, name]), pair.x,
      x => go(x, pairs.some(each => each.x === x && each.y === pair.y) ? pair.y : null), {"data-side": "x"}),
    choice("Model y", partners("x", "y").map(name => [name, name]), pair.y, y => go(pair.x, y), {"data-side": "y"}),
    ...(twin ? [make("label", {class: "check"}, make("input", {type: "checkbox", checked: pair.kind === "shuffled",
      onchange: () => { select({pair: twin}); byId(id).querySelector("input").focus(); }}), " Shuffled rows")] : []));
}

function showPair() {
  showPicker("pairs-picker");
  const {pair} = state;
  if (!pair) {
    byId("pair").replaceChildren(make("p", {}, "There is no pair."));
    return;
  }
  const passed = passes(pair);
  const sentence = pair.score == null ? ["No score: ", outside(pair.reason || "no reason is known"), "."] : [
    outside(pair.x), " × ", outside(pair.y), ` reach ${brief(pair.score)}`,
    pair.chance == null ? "" : `; chance is ${brief(pair.chance)}`,
    passed == null ? "." : passed ? ". This is above the null." : ". This is not above the null.",
  ];
  const interval = pair.low == null ? null : `${brief(pair.low)} to ${brief(pair.high)}`;
  const facts = [
    ["Score", brief(pair.score)], [`${percent(content.level)} interval`, interval], ["Chance", pair.chance, brief],
    ["Mean of the null", pair.null_mean, brief], ["Threshold", pair.threshold, brief],
    ["p", pair.p, brief], ["p adjusted", pair.p_adjusted, brief],
    ["Calibrated", pair.calibrated, brief], ["Share of the ceiling", pair.ceiling_share, brief],
    ["Layer of x", pair.layer_x < 0 ? null : layerText(pair.x, pair.layer_x)],
    ["Layer of y", pair.layer_y < 0 ? null : layerText(pair.y, pair.layer_y)],
    ["n", pair.n, digits], ["k", pair.k, digits], ["Kind", pair.kind],
  ];
  byId("pair").replaceChildren(make("p", {}, sentence),
    make("dl", {class: "facts numbers"}, facts.filter(([, value]) => value != null).map(
      ([term, value, format]) => make("div", {}, make("dt", {}, term), outside(format ? format(value) : value, "dd")))));
}

function showLayers() {
  const {pair, layers} = state;
  const map = pair?.map;
  byId("layers-chart").closest("figure").hidden = !map;
  if (!map) {
    byId("layers-answer").textContent = content.notes.map ?? "The page has no map of this pair's layers.";
    return;
  }
  const [rows, columns] = [map.map((_, layer) => String(layer)), map[0].map((_, layer) => String(layer))];
  const cells = map.flatMap((line, x) => line.map((value, y) => ({
    row: String(x), column: String(y), value, weak: false, selected: x === layers[0] && y === layers[1],
    description: `layer ${layerText(pair.x, x)} × layer ${layerText(pair.y, y)}: ${brief(value)}`,
  })));
  const format = score;
  byId("layers-scale").replaceChildren(...drawHeat("layers-chart", {
    rows: rows.toReversed(), columns, cells, format, reversed: !closer(pair.metric, 1, 0),
    xTitle: `layer of ${pair.y}`, yTitle: `layer of ${pair.x}`,
    label: `Heat map of the scores of ${rows.length} × ${columns.length} layers. The table below has the same numbers.`,
    onpick: datum => select({layers: [Number(datum.row), Number(datum.column)]}),
    tip: datum => [`score ${brief(datum.value)}`, `x: layer ${layerText(pair.x, datum.row)}`, `y: layer ${layerText(pair.y, datum.column)}`],
  }));
  const chosen = map[layers[0]]?.[layers[1]];
  const isBest = layers[0] === pair.layer_x && layers[1] === pair.layer_y;
  byId("layers-answer").replaceChildren("Layer ", outside(layerText(pair.x, layers[0])), " of ", outside(pair.x),
    " with layer ", outside(layerText(pair.y, layers[1])), " of ", outside(pair.y), `: ${brief(chosen)}`,
    isBest ? ", the best of all." : `; the best layers reach ${brief(pair.score)}. `,
    isBest ? "" : button("Back to the best layers", () => select({layers: [pair.layer_x, pair.layer_y]})));
  byId("layers-caption").textContent = "The score of each layer of the one with each of the other; deep layers are up and right. Choose a cell (or the two layers below) to see what these layers share.";
  numbersBelow("layers-numbers", "Scores of layers", ["layer of x", "name", "layer of y", "name", "score"],
    () => map.flatMap((line, x) => line.map((value, y) => [x, layerName(pair.x, x), y, layerName(pair.y, y), value])));
}
