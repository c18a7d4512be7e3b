// Alignment over what models can do: a mark per pair. The model of the modality that has the
// measure gives the x and the shape, its partner the colour.

const off = {kinds: new Set(["shuffled"]), line: new Set(), point: new Set()};

// The pairs of the metric, each with the model it stands for (`point`), its partner (`line`), and x.
function placed() {
  const having = new Set(content.models.filter(model => model.kind === "trained" && valueOf(model) != null)
    .map(model => model.modality));
  return pairsOf(state.metric).filter(pair => pair.score != null).map(pair => {
    const [x, y] = [models.get(pair.x), models.get(pair.y)];
    const [point, line] = having.has(y.modality) && !having.has(x.modality) ? [y, x] : [x, y];
    return {pair, point, line, x: valueOf(point)};
  });
}

// By the kind of a pair: filled, half filled for baselines, else open, dashed for changed views.
const filling = (kind, color) => kind === "trained" ? color
  : kind.includes("baseline") ? `color-mix(in oklab, ${color} 45%, var(--paper))` : "var(--paper)";
const outline = kind => kind.includes("changed") || /random.*baseline|baseline.*random/.test(kind) ? [2, 2] : [1, 0];

const families = (side, all) => [...new Set(all.map(each => each[side].family))];
const hue = place => HUES[place % HUES.length];

function showScaling() {
  const all = placed();
  const lines = families("line", all), points = families("point", all);
  const kinds = [...new Set(all.map(({pair}) => pair.kind))];
  const lineOf = ({line, point}) => `${line.label}\n${point.family}`;
  const joined = all.filter(({pair, x}) => pair.kind === "trained" && x != null).map(lineOf);
  const joins = new Set(joined).size < joined.length;
  byId("lines").parentElement.hidden = !joins;
  legend("line-families", "Partner (colour)", "line", lines, place => joins && byId("lines").checked
    ? sample(hue(place), DASHES[place % DASHES.length]) : mark(SHAPES[1], hue(place), hue(place)));
  legend("point-families", "Model (shape)", "point", points, place => mark(SHAPES[place % SHAPES.length], "var(--ink)", "var(--ink)"));
  legend("kinds", "Kind of pair", "kinds", kinds, place =>
    mark(kinds[place] === "shuffled" ? CROSS : SHAPES[0], "var(--ink)", filling(kinds[place], "var(--ink)"), outline(kinds[place])));
  const shown = all.filter(({pair, point, line}) => !off.kinds.has(pair.kind)
    && !off.line.has(line.family) && !off.point.has(point.family));

  const row = ({pair, point, line, x}) => {
    const color = hue(lines.indexOf(line.family));
    return {
      place: content.pairs.indexOf(pair), tipped: true, x: x ?? point.label, score: pair.score, color,
      fill: filling(pair.kind, color), outline: outline(pair.kind), size: pair.kind === "shuffled" ? 40 : 70,
      shape: pair.kind === "shuffled" ? CROSS : SHAPES[points.indexOf(point.family) % SHAPES.length],
      dash: DASHES[lines.indexOf(line.family) % DASHES.length],
      threshold: byId("nulls").checked ? pair.threshold : null,
      low: byId("intervals").checked ? pair.low : null, high: pair.high,
      line: pair.kind === "trained" && byId("lines").checked ? lineOf({line, point}) : "",
      selected: pair === state.pair, description: described(pair, pair.score),
    };
  };
  const sizes = state.measure.includes("parameters");
  byId("scaling-title").textContent = `Do ${sizes ? "larger" : "better"} models align more?`;
  const over = shown.filter(each => each.x != null).map(row);
  const without = shown.filter(each => each.x == null).map(row);
  const chances = [...new Set(shown.map(({pair}) => pair.chance).filter(chance => chance != null))];
  const level = chances.length ? Math.max(...chances) : null;
  const measure = measures.find(({name}) => name === state.measure);
  const title = metricNamed(state.metric)?.title ?? state.metric;
  draw("scaling-chart", {
    spec: "scaling",
    amend: (spec, width) => amendScaling(spec, width, over, without, measure, title),
    data: {over, without, levels: level == null ? [] : [{score: level, text: "chance"}]},
    label: `Scatter plot of ${count(shown.length, "pair")}: ${title} over ${measure?.title ?? "models"}. The table below has the same numbers.`,
    onpick: datum => select({pair: content.pairs[datum.place]}),
    tip: datum => pairLines(content.pairs[datum.place]),
  });
  captionScaling(shown, measure, without.length);
  showChosen();
  numbersBelow("scaling-numbers", "Pairs of the figure",
    ["x", "y", "kind", measure?.title ?? "measure", "score", "chance", "threshold", "p", "p adjusted"],
    () => shown.map(({pair, x}) => [pair.x, pair.y, pair.kind, x, pair.score, pair.chance, pair.threshold, pair.p, pair.p_adjusted]));
}

// The pair that was chosen, and ways to it.
function showChosen() {
  const {pair} = state;
  const to = (text, id) => button(text, () => { byId(id).scrollIntoView(); byId(id).focus({preventScroll: true}); });
  byId("chosen").replaceChildren(...(pair ? ["Chosen: ", outside(pair.x), " × ", outside(pair.y), `, ${brief(pair.score)} `,
    to("Its layers", "one-pair"), " ", to("What it shares", "shared")] : []));
}

function amendScaling(spec, width, over, without, measure, title) {
  const height = Math.max(260, Math.min(460, width * 0.6));
  const strip = without.length ? Math.min(width * 0.28, 24 * new Set(without.map(({x}) => x)).size) : 0;
  const main = over.length ? width - strip - 72 - (strip ? 12 : 0) : 0;
  const heights = [...over, ...without].flatMap(({score, threshold, low, high}) => [score, threshold, low, low == null ? null : high])
    .filter(value => value != null);
  const top = Math.max(...heights);
  const y = {domain: [Math.min(0, ...heights), top + 0.04 * Math.abs(top)], nice: false};
  const [left, right] = spec.hconcat;
  const xs = over.map(({x}) => x), low = Math.min(...xs), high = Math.max(...xs);
  const log = low > 0 && high / low > 8;
  for (const chart of spec.hconcat) {
    chart.height = height;
    amendChannel(chart, "y", {title, scale: y, axis: {...TOP_LEFT, titleX: -30}});
  }
  left.width = main;
  const better = measure?.lower_is_better && "better to the right";  // since less is better
  amendChannel(left, "x", {
    title: inLines([bareTitle(measure), better].filter(Boolean).join(", "), main),
    scale: {domain: [low, high], type: log ? "log" : "linear", nice: false, padding: 14, reverse: measure?.lower_is_better ?? false},
    axis: {format: "~s", labelOverlap: "greedy", tickCount: Math.ceil(main / 90)},
  });
  right.width = Math.max(strip, over.length ? 0 : width - 80);
  amendChannel(right, "x", {title: over.length ? inLines("not known", strip) : null});
  if (over.length) amendChannel(right, "y", {title: null, axis: {labels: false, ticks: false, domain: false}});
  spec.hconcat = [over.length && left, without.length && right].filter(Boolean);
}

function captionScaling(shown, measure, without) {
  const trained = shown.filter(({pair}) => pair.kind === "trained");
  const judged = trained.filter(({pair}) => passes(pair) != null);
  const passed = judged.filter(({pair}) => passes(pair));
  byId("scaling-answer").replaceChildren(...[
    ...saidOfCorrelations(correlations(trained, measure), measure),
    judged.length ? `${digits(passed.length)} of the ${count(judged.length, "pair")} of trained models that are shown stand above their null.`
      : `${count(trained.length, "pair")} of trained models ${trained.length === 1 ? "is" : "are"} shown; no null was computed for them.`,
  ]);
  byId("scaling-caption").replaceChildren(...[
    `A mark per pair of models, n = ${digits(content.n)}. Filled: both are trained; open, half filled or crossed: not so. `,
    content.models.some(model => model.of) && "A copy stands at the x of the model that it is a copy of. ",
    shown.some(({pair}) => pair.threshold != null) && `Short bars: the threshold, which ${percent(content.alpha)} of permuted pairs pass. `,
    shown.some(({pair}) => pair.low != null) && `Upright lines: ${percent(content.level)} intervals. `,
    without > 0 && measure && `Pairs without a value of ${bareTitle(measure)} stand at the right. `,
    "Choose a mark (or the two models below) to see its pair.",
  ].filter(Boolean));
}

// As the axis has it, which says what is better by where it is.
const bareTitle = measure => measure?.title.replace(/ \(less is better\)$/, "");

function saidOfCorrelations(found, measure) {
  if (!found.length) return [];
  const of = ({line, modality, n}) => [outside(line), " (", digits(n), " ", outside(modality), ` model${n === 1 ? "" : "s"})`];
  const listed = groups => groups.flatMap((group, place) => [place ? ", " : "",
    ...(group.rho == null ? [] : [`${group.rho.toFixed(2)} for `]), ...of(group)]);
  const known = found.filter(({rho}) => rho != null), few = found.filter(({n}) => n < FEWEST);
  const name = `Spearman's ρ between alignment and ${bareTitle(measure)}${measure.lower_is_better ? ", turned so that better is more" : ""}`;
  return [
    ...(known.length ? [`${name}: `, ...listed(known), ". Models of one family or training are not independent; where there is an interval, the answer above has it. "] : []),
    ...(few.length ? [known.length ? "Too few to say: " : `${name}: too few to say for `, ...listed(few), ". "] : []),
  ];
}

const FEWEST = 4;  // models that a correlation is told of

// Of each partner, over the trained models of one modality that it is paired with, towards better
// and closer. `rho` is null for too few, or where all are equal.
function correlations(trained, measure) {
  const known = trained.filter(({x}) => x != null);
  const sign = (measure?.lower_is_better ? -1 : 1) * (closer(state.metric, 1, 0) ? 1 : -1);
  return Object.values(Object.groupBy(known, ({line, point}) => `${line.label}\n${point.modality}`)).map(own => {
    const rho = sign * pearson(ranks(own.map(({x}) => x)), ranks(own.map(({pair}) => pair.score)));
    return {line: own[0].line.label, modality: own[0].point.modality, n: own.length,
      rho: own.length >= FEWEST && Number.isFinite(rho) ? rho : null};
  });
}

// Equal values share the mean of their ranks.
const ranks = values => values.map(value => values.filter(other => other < value).length
  + (values.filter(other => other === value).length - 1) / 2);

function pearson(one, other) {
  const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [a, b] = [one, other].map(values => values.map(value => value - mean(values)));
  const product = (left, right) => left.reduce((sum, value, place) => sum + value * right[place], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

// A fieldset of what is on and off, each with its sign; nothing where there is nothing to choose.
function legend(id, title, kind, names, sign) {
  const set = byId(id);
  const focused = set.contains(document.activeElement) ? document.activeElement.value : null;
  set.hidden = names.length < 2;
  set.replaceChildren(make("legend", {}, title), ...names.map((name, place) =>
    make("label", {class: "check"},
      make("input", {type: "checkbox", value: name, checked: !off[kind].has(name), onchange: event => {
        event.target.checked ? off[kind].delete(name) : off[kind].add(name);
        showScaling();
      }}), sign(place), outside(name))));
  [...set.querySelectorAll("input")].find(input => input.value === focused)?.focus();
}

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const mark = (shape, color, filling, dash = [1, 0]) => drawn("svg", {viewBox: "-1.5 -1.5 3 3", class: "sign", "aria-hidden": "true"},
  drawn("path", {d: shape, fill: filling, stroke: color, "stroke-width": 0.25, "stroke-dasharray": dash.map(length => length * 0.3).join(" ")}));

const sample = (color, dash) => drawn("svg", {viewBox: "0 0 28 12", class: "sign long", "aria-hidden": "true"},
  drawn("path", {d: "M0,6H28", stroke: color, "stroke-width": 3, "stroke-dasharray": dash.join(" ")}));

// A mark or a cell in words.
const described = (pair, value) => `${pair.x} × ${pair.y}${pair.kind === "trained" ? "" : ` (${pair.kind})`}: ${brief(value)}`
  + ({true: ", above the null", false: ", not above the null"}[passes(pair)] ?? "");

// What a pair's mark says when it is pointed at.
function pairLines(pair) {
  return [
    `${pair.x} × ${pair.y}`,
    `score ${brief(pair.score)}${pair.low == null ? "" : ` [${brief(pair.low)}, ${brief(pair.high)}]`}`,
    pair.layer_x < 0 ? "" : `layers ${layerText(pair.x, pair.layer_x)} × ${layerText(pair.y, pair.layer_y)}`,
    `chance ${brief(pair.chance)}, threshold ${brief(pair.threshold)}`,
    pair.p == null ? "" : `p = ${brief(pair.p)}${pair.p_adjusted == null ? "" : `, adjusted ${brief(pair.p_adjusted)}`}`,
    pair.kind === "trained" ? "" : pair.kind,
    pair.reason,
  ].filter(Boolean);
}
