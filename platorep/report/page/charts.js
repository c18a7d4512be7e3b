// Charts: Vega-Lite specifications from Python, data and sizes from here.

const SPECS = JSON.parse(byId("charts").textContent);
const HUES = ["--hue-1", "--hue-2", "--hue-3", "--hue-4", "--hue-5", "--hue-6", "--hue-7"]
  .map(name => `var(${name})`);
const DASHES = [[1, 0], [7, 3], [2, 2], [8, 2, 2, 2], [4, 4], [12, 3], [1, 4]];
const SHAPES = [  // within -1 and 1
  "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z", "M-.9,-.9H.9V.9H-.9Z", "M0,-1.1L1.1,.8H-1.1Z",
  "M0,-1.2L1.2,0L0,1.2L-1.2,0Z", "M0,1.1L1.1,-.8H-1.1Z", "M-.4,-1H.4V-.4H1V.4H.4V1H-.4V.4H-1V-.4H-.4Z",
  "M-1.1,0L.8,-1.1V1.1Z", "M1.1,0L-.8,-1.1V1.1Z",
];
const CROSS = "M-.8,-.8L.8,.8M.8,-.8L-.8,.8";

// Where the title of an upright axis can be read.
const TOP_LEFT = {titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleX: 0, titleY: -10};

// Draws into the element of this id, once it is near the window and whenever it is drawn again.
//   amend: fits a copy of the specification to the data and a width
//   data: rows by data set; onpick: gets the datum that was clicked; tip: its lines of text
function draw(id, {spec, amend, data, label, onpick, tip}) {
  const element = byId(id);
  element.setAttribute("aria-label", label);
  element.chart = async () => {
    const copy = structuredClone(SPECS[spec]);
    amend(copy, element.parentElement.clientWidth);
    copy.datasets = data;
    const place = make("div"), old = element.drawn;
    element.drawn = await vegaEmbed(place, copy, {
      actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: () => {},
    });
    element.replaceChildren(place);
    old?.finalize();
    const {view} = element.drawn;
    view.addEventListener("click", (event, item) => item?.datum?.tipped && onpick(item.datum));
    view.addEventListener("pointermove", (event, item) =>
      showTip(event, item?.datum?.tipped ? tip(item.datum) : null));
    view.addEventListener("pointerout", () => showTip());
    element.dataset.drawn = Number(element.dataset.drawn ?? 0) + 1;
  };
  if (element.seen) redraw(element);
  else whenNear.observe(element);
}

const whenNear = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue;
    whenNear.unobserve(target);
    target.seen = true;
    redraw(target);
  }
}, {rootMargin: "600px"});

// One drawing after the other: the last one asked for stays.
function redraw(element) {
  const latest = element.chart;
  element.queue = (element.queue ?? Promise.resolve())
    .then(() => latest === element.chart ? latest() : null);
}

let lastWidth = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  const width = document.documentElement.clientWidth;
  if (width === lastWidth) return;  // a phone's address bar
  lastWidth = width;
  document.querySelectorAll(".chart").forEach(element => element.seen && redraw(element));
});
// All of it is on paper, seen or not.
window.addEventListener("load", () => setTimeout(() => document.querySelectorAll(".chart")
  .forEach(element => { if (element.chart && !element.seen) { element.seen = true; redraw(element); } }), 1500));

function showTip(event, lines) {
  const box = byId("tip");
  box.hidden = !lines;
  if (!lines) return;
  box.replaceChildren(...lines.map((line, place) => outside(line, place ? "p" : "strong")));
  const {clientX: x, clientY: y} = event;
  const width = document.documentElement.clientWidth;
  box.style.left = `${Math.max(4, Math.min(x + 14, width - box.offsetWidth - 4))}px`;
  box.style.top = `${y + 16 + box.offsetHeight > window.innerHeight ? y - box.offsetHeight - 10 : y + 16}px`;
}

// A title in as many lines as the width needs.
const inLines = (title, width) => title.split(" ").reduce((lines, word) => {
  const last = lines.at(-1);
  if (last && (last.length + word.length + 1) * 6.6 <= width) lines[lines.length - 1] = `${last} ${word}`;
  else lines.push(word);
  return lines;
}, []);

// The same change to a channel of all layers of a chart.
function amendChannel(chart, channel, {scale, ...changes}) {
  for (const {encoding} of chart.layer) {
    const found = encoding[channel];
    if (!found?.field) continue;
    Object.assign(found, changes);
    if (scale) found.scale = {...found.scale, ...scale};
  }
}

// A matrix. cells: {row, column, value, text, weak, selected}, all of them, row by row.
function drawHeat(id, {rows, columns, cells, format, reversed, xTitle, yTitle, ...rest}) {
  const values = cells.map(cell => cell.value).filter(value => value != null);
  const low = Math.min(...values), high = Math.max(...values);
  const shade = value => {
    const share = high > low ? (value - low) / (high - low) : 1;
    return reversed ? 1 - share : share;
  };
  const paint = share => `color-mix(in oklab, var(--heat-high) ${Math.round(100 * share)}%, var(--heat-low))`;
  const longest = rows.reduce((most, name) => Math.max(most, name.length), 0);
  let roomy = true;
  const amend = (spec, width) => {
    const names = 230;  // a matrix that needs more than the width is moved sideways
    const step = Math.max(14, Math.min(54, (width - Math.min(names, 7 * longest) - 60) / columns.length));
    roomy = step >= 34;
    Object.assign(spec, {width: {step}, height: {step: roomy ? Math.min(step, 30) : step}});
    amendChannel(spec, "x", {title: xTitle ?? null, scale: {domain: columns},
      axis: xTitle ? {labelAngle: 0} : {orient: "top", labelAngle: roomy && width > 600 ? -45 : -90, labelLimit: 200}});
    amendChannel(spec, "y", {title: yTitle ?? null, scale: {domain: rows}, axis: {...TOP_LEFT, labelLimit: names}});
    if (!roomy) spec.layer = spec.layer.filter(({mark}) => mark.type !== "text");
  };
  // Black has more contrast than white up to .69 of the way in light, and from .53 on in dark.
  draw(id, {spec: "heat", amend, ...rest, data: {cells: cells.map(cell => {
    const none = cell.value == null, share = none ? 0 : shade(cell.value);
    return {...cell, tipped: !cell.absent, text: cell.absent ? "" : format(cell.value),
      fill: cell.absent ? "transparent" : none ? "var(--none)" : paint(share),
      ink: share > 0.525 && share < 0.695 ? "black" : share > 0.6 ? "var(--heat-over-high)" : "var(--heat-over-low)"};
  })}});
  const ends = reversed ? [high, low] : [low, high];
  return values.length ? [format(ends[0]), make("span", {class: "ramp", "aria-hidden": "true"}), format(ends[1])] : [];
}
