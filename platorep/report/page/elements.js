// Elements and numbers. Text gets into the page through text nodes only: labels and captions come
// from outside.

const byId = id => document.getElementById(id);

// An element with attributes (those that begin with "on" are listeners) and children.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child != null && child !== "" && child !== false));
  return element;
}

// A name or text from outside, which may run from right to left.
const outside = (text, tag = "bdi", attributes = {}) => make(tag, {dir: "auto", ...attributes}, text);

const button = (text, onclick, attributes = {}) =>
  make("button", {type: "button", onclick, ...attributes}, text);

// A labelled choice of [value, text] or [value, text, disabled].
function choice(text, options, chosen, onchange, attributes = {}) {
  const select = make("select", {onchange: event => onchange(event.target.value), ...attributes});
  fill(select, options, chosen);
  return make("label", {}, text + " ", select);
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text, disabled]) =>
    make("option", {value, disabled, selected: String(value) === String(chosen)}, text)));
}

// Which page of a long list is shown; `go` gets the new one. Says nothing where all fits.
function pager(element, page, pages, go) {
  element.replaceChildren();
  if (pages < 2) return;
  const turn = (text, to) => button(text, () => {
    go(to);
    [...element.children].find(each => each.textContent === text).focus();
  }, {disabled: to === page || to < 0 || to >= pages});
  element.append(turn("First", 0), turn("Previous", page - 1),
    make("span", {class: "quiet"}, `page ${page + 1} of ${pages}`),
    turn("Next", page + 1), turn("Last", pages - 1));
}

// 0.04076 of 0.04076115, 0.05000 of 0.05 (as many digits as beside it), 1,024 of 1024; a dash for none.
function digits(value) {
  if (value == null) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e6 ? value.toPrecision(4) : value.toExponential(2);
}

// Three decimals, for scores that are compared at a glance.
const score = value => value == null ? "–"
  : Math.abs(value) < 10 ? value.toFixed(3) : digits(value);

// Three digits, for one number among others: 0.00978, 0.0500.
const brief = value => value == null ? "–"
  : value.toLocaleString("en", {minimumSignificantDigits: 3, maximumSignificantDigits: 3});

// With a full stop, if it does not end in one.
const ended = words => /[.!?…。]\s*$/.test(words) ? words.trimEnd() : `${words.trimEnd()}.`;

const wordsOf = asked => asked.toLowerCase().split(/\s+/).filter(Boolean);

// Whether a word begins one of the text's, both in lower case; anywhere in scripts without spaces.
const UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;
const beginsWord = (text, word) => UNSPACED.test(word) ? text.includes(word)
  : new RegExp(`(?<![\\p{L}\\p{M}\\p{N}])${word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}`, "u").test(text);

const count = (number, noun) => `${digits(number)} ${noun}${number === 1 ? "" : "s"}`;
