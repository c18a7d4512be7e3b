"""The page of a report, in a real browser: what it shows, what it does, what it never does."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from browser import Browser, chromium
from report_content import HOSTILE, K, content, neighbor_rows
from scipy import stats

from platorep.report.content import Content, Pair
from platorep.report.page import _embedded, page_html

ROWS = 30


@pytest.fixture(scope="module")
def made() -> Content:
    return content(ROWS)


@pytest.fixture(scope="module")
def page(made: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_html(made), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """Whatever a test does with a page, the console stays empty and no request leaves."""
    started.size(1400)
    started.medium()
    yield started
    assert started.run("return document.title").startswith(("mine", "bare"))
    assert started.complaints() == []
    assert started.requests() == []


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def digits(value: Any) -> str:
    """As the page shows numbers in tables: four digits."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:#.4g}" if abs(value) < 1e6 else f"{value:.2e}"


def score(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.3f}"


def brief(value: float | None) -> str | None:
    return None if value is None else f"{value:#.3g}"


def address(pair: Pair, **more: Any) -> str:
    asked = {"x": pair.x, "y": pair.y, "metric": pair.metric}
    return "#" + urlencode(asked | ({"kind": "shuffled"} if pair.kind == "shuffled" else {}) | more)


def test_embedded_json_stays_in_its_element() -> None:
    value = [*HOSTILE, "\ud83d", {"</script": None}]

    text = _embedded(value)

    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        _embedded(float("nan"))


def test_hostile_texts_are_texts(opened: Browser, made: Content) -> None:
    """In title, sentences, labels, captions, ids, groups, reasons: shown, and nothing else."""
    for row in made.rows[: len(HOSTILE)]:
        opened.run("location.hash = arguments[0]", f"row={row.index}")
        opened.settle()
        assert row.texts["caption"] in opened.text("#row")
        assert row.id in opened.text("#row")
    whole = opened.text("main")
    for hostile in HOSTILE[:4]:
        assert hostile in whole
    assert opened.run("return document.scripts.length") == 4  # two of data, Vega-Lite, ours
    sources = opened.run("return [...document.images].map(image => image.src)")
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert opened.run("return document.querySelectorAll('iframe, object, embed, link').length") == 1
    assert opened.run("return [...document.links].every(a => a.getAttribute('href')[0] === '#')")
    names = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert not [name for name in opened.run(names) if name.startswith("on")]


REFUSED = """
const refused = [];
document.addEventListener('securitypolicyviolation', e => refused.push(e.effectiveDirective));
await fetch('http://127.0.0.1:9/').catch(() => 0);
const image = new Image(), script = document.createElement('script');
image.src = 'http://127.0.0.1:9/x.png';
script.textContent = "document.title = 'owned'";
document.body.append(image, script);
image.setAttribute('onerror', "document.title = 'owned'");
await new Promise(go => setTimeout(go, 50));
return refused;
"""


def test_nothing_may_be_fetched_and_no_other_script_run(browser: Browser, page: Path) -> None:
    """The policy holds even if a text should become an element."""
    browser.open(page)

    refused = browser.run_async(REFUSED)

    assert set(refused) == {"connect-src", "img-src", "script-src-elem", "script-src-attr"}
    browser.complaints()  # of what was refused
    assert not {url for url in browser.requests() if not url.startswith("http://127.0.0.1:9/")}


CONTROLS = """
const name = e => [e.closest('[id]')?.id, e.tagName, e.type, e.getAttribute('data-step') ?? '',
  e.getAttribute('href') ?? '',
  e.dataset.row ? 'tile' : [e.closest('label')?.firstChild?.textContent,
    e.type === 'checkbox' ? e.value : e.tagName === 'SELECT' ? '' : e.textContent]].join('|');
const usable = e => !e.disabled && e.checkVisibility();
const all = () => [...document.querySelectorAll('a, button, input, select, summary')];
const chosen = () => all().map(e => e.type === 'checkbox' ? e.checked : e.value).join();
const state = () => document.querySelector('main').innerHTML + chosen() + location.hash + scrollY
  + document.activeElement.id + document.documentElement.dataset.theme;
const rest = () => new Promise(go => setTimeout(go, 4));
const set = (e, value) => { e.value = value; e.dispatchEvent(new Event('change')); };
const touched = new Set(), dead = [], known = new Set();
for (let turn = 0; turn < 1000; turn++) {
  all().forEach(e => known.add(name(e)));
  const e = all().find(e => !touched.has(name(e)) && usable(e));
  if (!e) break;
  touched.add(name(e));
  if (e.tagName === 'A') { scrollTo(0, 700); document.activeElement.blur(); }
  const label = name(e), before = state();
  if (e.tagName === 'SELECT') {
    const first = e.value, other = [...e.options].find(o => !o.disabled && o.value !== first);
    if (other) { set(e, other.value); await rest(); }
    if (state() === before) dead.push(label);
    const again = all().find(each => name(each) === label);  // it may have been made anew
    if (again) set(again, first);
    continue;
  } else if (e.type === 'search') { e.value = 'lm-a'; e.dispatchEvent(new Event('input')); }
  else e.click();
  await rest();
  if (state() === before) dead.push(label);
  if (e.type === 'search') { e.value = ''; e.dispatchEvent(new Event('input')); }
  if (e.tagName === 'SUMMARY') e.parentElement.open = true;
  if (e.type === 'checkbox' && e.isConnected) { e.click(); await rest(); }
}
return {touched: [...touched], dead, untouched: [...known].filter(each => !touched.has(each))};
"""


def test_every_control_can_be_used_and_does_something(opened: Browser) -> None:
    found = opened.run_async(CONTROLS)
    opened.settle()

    assert len(found["touched"]) > 80
    assert found["dead"] == []
    assert found["untouched"] == []


PAIRS = """
const found = [];
for (const address of arguments[0]) {
  location.hash = address;
  await new Promise(go => window.addEventListener('hashchange', go, {once: true}));
  const facts = [...document.querySelectorAll('#pair dl > div')];
  found.push([Object.fromEntries(facts.map(e => [...e.children].map(c => c.textContent))),
    document.querySelector('#pair').textContent]);
}
return found;
"""


def test_numbers_of_a_pair_are_those_of_the_table(opened: Browser, made: Content) -> None:
    pairs = made.pairs[::-3]  # both metrics, all kinds, one that failed
    found = opened.run_async(PAIRS, [address(pair) for pair in pairs])

    for pair, (shown, text) in zip(pairs, found, strict=True):
        assert shown["Score"] == (brief(pair.score) or "\u2013")
        assert shown["Threshold"] == brief(pair.threshold)
        assert shown.get("Chance") == brief(pair.chance)
        assert float(shown["p"]) == pair.p
        assert ("p adjusted" in shown) == (pair.p_adjusted is not None)
        assert pair.reason in text


def test_figures_say_the_same_as_their_tables(opened: Browser, made: Content) -> None:
    """Cells of the heat maps, and the table below each figure."""
    own = [pair for pair in made.pairs if pair.metric == made.metrics[0].name]
    wanted = [pair for pair in own if pair.kind != "shuffled"]
    labels = opened.texts("#pairs-chart .mark-text.role-mark text")
    assert sorted(labels) == sorted(score(pair.score) for pair in wanted)
    weak = opened.run("return document.querySelectorAll('#pairs-chart .mark-symbol path').length")
    assert weak == sum(pair.p_adjusted > 0.05 for pair in wanted)

    for chart in ("scaling", "pairs"):
        opened.run("document.getElementById(arguments[0]).open = true", f"{chart}-numbers")
    opened.run_async("await new Promise(go => setTimeout(go, 20))")
    rows = (
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    over = opened.run(rows, "#scaling-numbers")
    assert [(row[0], row[1], row[4]) for row in over] == [
        (pair.x, pair.y, digits(pair.score)) for pair in wanted
    ]
    assert [row[3] for row in over][:4] == ["1.200", "1.200", "0.9000", "0.9000"]
    assert [row[3] for row in over][4:] == [
        "1.200",
        "1.200",
        "",
        "",
    ]  # a copy is where its model is
    cells = opened.run(rows, "#pairs-numbers")
    assert [row[3] for row in cells] == [digits(pair.score) for pair in wanted]

    best = opened.run("return location.hash")
    assert best.startswith(address(wanted[0]).split("&metric")[0])  # which has the highest score
    layers = opened.texts("#layers-chart .mark-text.role-mark text")
    assert wanted[0].map is not None
    assert sorted(layers) == sorted(score(value) for line in wanted[0].map for value in line)


def test_a_mark_and_a_cell_select(opened: Browser, made: Content) -> None:
    """With the pointer: a mark of the scatter plot, a cell of each heat map."""
    press = (
        "const found = [...document.querySelectorAll(arguments[0])]"
        ".find(e => e.__data__?.datum?.[arguments[1]] === arguments[2]);"
        "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )

    def point(selector: str, key: str, value: Any) -> None:
        x, y = opened.run(press, selector, key, value)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            opened.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )
        opened.settle()

    pair = made.pairs[2]
    point("#scaling-chart .mark-symbol path", "place", 2)
    assert address(pair).split("&metric")[0] in opened.run("return location.hash")
    tip = opened.text("#tip")
    assert f"{pair.x} \u00d7 {pair.y}" in tip
    assert f"score {brief(pair.score)} " in tip
    assert f"threshold {brief(pair.threshold)}p = {brief(pair.p)}" in tip

    point("#pairs-chart .mark-rect path", "place", 4)
    assert made.pairs[4].x in opened.text("#pair")
    point("#layers-chart .mark-rect path", "row", "0")
    assert re.search("layers=0-", opened.run("return location.hash"))
    assert opened.run("return document.querySelector('#shared-body').hidden")
    assert "not on the page" in opened.text("#shared-missing")
    opened.click("#shared-missing button")
    assert not opened.run("return document.querySelector('#shared-body').hidden")
    opened.click("#shared-picker input")
    assert "in a random order" in opened.text("#shared-answer")
    assert opened.run("return document.querySelector('#shared-missing').hidden")


def test_families_and_kinds_are_turned_off(opened: Browser) -> None:
    marks = (
        "return new Set([...document.querySelectorAll('#scaling-chart .mark-symbol path')]"
        ".map(e => e.__data__.datum.place)).size"
    )
    assert opened.run(marks) == 8
    opened.click("#kinds input[value=shuffled]")
    assert opened.run(marks) == 16
    opened.click("#kinds input[value=trained]")
    assert opened.run(marks) == 12
    opened.click("#line-families input[value=Net]")
    assert opened.run(marks) == 6
    opened.choose("#metric", "procrustes")
    assert opened.run(marks) == 4  # the baseline failed there


def test_rho_is_spearmans(browser: Browser, made: Content, tmp_path: Path) -> None:
    """Towards better models and closer pairs, ties shared; of each modality of its own; of few
    models none."""
    bits, scores = [1.5, 1.2, 1.2, 1.0, 0.7], [0.1, 0.3, 0.2, 0.2, 0.4]
    model, pair = made.models[0], made.pairs[0]
    models = [replace(model, label=f"m{i}", measures={"bits": b}) for i, b in enumerate(bits)]
    pairs = [replace(pair, x=f"m{i}", score=s) for i, s in enumerate(scores)]
    models += [
        replace(each, label=f"seen {i}", modality="vision") for i, each in enumerate(models[:3])
    ]
    pairs += [replace(pair, x=f"seen {i}") for i in range(3)]
    path = tmp_path / "rho.html"
    path.write_text(
        page_html(replace(made, models=[*models, made.models[4]], pairs=pairs, neighbors=[])),
        encoding="utf-8",
    )

    browser.open(path)

    rho = -stats.spearmanr(bits, scores).statistic
    said = browser.text("#scaling-answer")
    assert f"bits per byte, turned so that better is more: {rho:.2f} for net-a (5 language" in said
    assert "not independent" in said
    assert "Too few to say: net-a (3 vision models)." in said


NEAR = """
return [...document.querySelectorAll('#row .near')].map(side =>
  [...side.querySelectorAll('[data-row]')].map(tile =>
    [Number(tile.dataset.row), tile.matches('.both'), tile.textContent.includes('✓')]));
"""


def test_what_is_shared(opened: Browser, made: Content) -> None:
    """Agreement, order, frames and the histogram, against sets."""
    x, y = neighbor_rows("lm-a", ROWS), neighbor_rows("net-a", ROWS)
    shared = [len(set(a) & set(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert set(shared) == {0, K}

    assert f"{np.mean(shared):.2f}" in opened.text("#shared-answer")
    assert f"{K * K / (ROWS - 1):.2f}" in opened.text("#shared-answer")
    listed = (
        "return [...document.querySelectorAll('#rows [data-row]')].map(e => Number(e.dataset.row))"
    )
    most = sorted(range(ROWS), key=lambda row: -shared[row])
    assert opened.run(listed) == most[:24]
    opened.choose("#row-order", "least")
    assert opened.run(listed) == sorted(range(ROWS), key=lambda row: shared[row])[:24]
    opened.choose("#row-order", "data")
    opened.choose("#group", "even")
    assert opened.run(listed) == list(range(0, ROWS, 2))
    opened.choose("#find", "8 CAPTION")  # in any order
    assert opened.run(listed) == [8]
    opened.choose("#find", "other")  # "another" has it, but it does not begin so
    assert opened.run(listed) == []
    opened.choose("#find", "hoto-8")  # part of an id
    assert opened.run(listed) == [8]
    opened.choose("#find", "")
    for place, value in enumerate((K, 0)):
        rows = f"{shared.count(value)} rows share {f'{value} of {K}' if value else 'none'}; 8 of"
        assert rows in opened.texts("#strip p")[place]

    for row in (4, 7):
        opened.run("location.hash = arguments[0]", f"row={row}")
        opened.settle()
        tiles = opened.run(NEAR)
        both = set(x[row]) & set(y[row])
        for side, rows in zip(tiles, (x[row], y[row]), strict=True):
            assert side == [[int(other), other in both, other in both] for other in rows]
        assert f"{shared[row]} of {K}" in opened.text("#row")

    opened.run("document.getElementById('agreement-numbers').open = true")
    opened.run_async("await new Promise(go => setTimeout(go, 20))")
    cells = opened.texts("#agreement-numbers tbody tr > *")
    expected = stats.hypergeom(ROWS - 1, K, K).pmf(range(K + 1)) * ROWS
    for value in range(K + 1):
        assert int(cells[3 * value + 1]) == shared.count(value)
        assert float(cells[3 * value + 2]) == pytest.approx(expected[value], rel=1e-3)


def test_tables_are_sorted_filtered_and_copied(opened: Browser, made: Content) -> None:
    best = made.tables[0]
    first = "#all-tables details:first-of-type"
    main = [0, 1, 3, 2, 7, 4, 5]  # all but n
    heads = [best.columns[place] for place in main]
    assert heads == ["x", "y", "kind", "metric", "layer_x", "score", "p"]
    shown = opened.texts(f"{first} tbody tr > *")
    assert shown == [digits(row[place]) for row in best.rows[:25] for place in main]
    assert opened.texts(f"{first} thead th") == heads
    opened.click(f"{first} .check input")
    assert opened.texts(f"{first} thead th") == [*heads, "n"]
    opened.click(f"{first} .check input")

    opened.click(f"{first} th:nth-child(6) button")  # scores, largest first
    top = opened.texts(f"{first} tbody tr > :nth-child(6)")
    known = sorted((float(row[4]) for row in best.rows if row[4] is not None), reverse=True)
    assert top == [digits(value) for value in known[:25]]
    opened.choose(f"{first} input", "shuffled Procrustes net-a")  # in any order
    kept = [
        row for row in best.rows if row[1] == "net-a" and row[2:4] == ["procrustes", "shuffled"]
    ]
    assert len(opened.texts(f"{first} tbody tr")) == len(kept) > 0
    opened.choose(f"{first} input", "")

    opened.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    copied = {}
    for place, name in enumerate(("CSV", "Markdown", "LaTeX"), start=1):
        opened.click(f"{first} .copies button:nth-of-type({place})")
        opened.run_async("await new Promise(go => setTimeout(go, 5))")
        copied[name] = opened.run("return window.copied")
        assert f"{name} copied" in opened.text(f"{first} .copies")

    parsed = list(csv.reader(io.StringIO(copied["CSV"], newline="")))
    by_score = sorted(best.rows, key=lambda row: (row[4] is None, -(row[4] or 0.0)))
    assert parsed[0] == heads
    texts = [[row[0], row[1], row[3], row[2]] for row in parsed[1:]]
    assert texts == [list(row[:4]) for row in by_score]
    assert [float(row[5]) for row in parsed[1:] if row[5]] == known  # all digits
    for line in copied["Markdown"].splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == len(heads) + 1
        assert not re.search(r"(?<!\\)[<>`]", line)
    for line in copied["LaTeX"].splitlines()[2:-2]:
        bare = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}\\]|\{\[\}", "", line)
        assert not set('<>|"%$#_{}^~') & set(bare)
        assert not line.startswith("[")  # an option of what ends the line before
        assert bare.count("&") in (0, len(heads) - 1)

    for asked, rows in (("5", 5), ("page", 25)):
        opened.choose(f"{first} .copies select", asked)
        opened.click(f"{first} .copies button:nth-of-type(1)")
        opened.run_async("await new Promise(go => setTimeout(go, 5))")
        copied["part"] = opened.run("return window.copied")
        assert list(csv.reader(io.StringIO(copied["part"], newline=""))) == parsed[: 1 + rows]
    opened.choose(f"{first} .copies select", "all")

    opened.run("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }")
    opened.click(f"{first} .copies button:nth-of-type(1)")
    opened.run_async("await new Promise(go => setTimeout(go, 5))")
    field = "return document.querySelector(arguments[0]).value"
    assert opened.run(field, f"{first} textarea").replace("\n", "\r\n") == copied["CSV"]


def test_a_finding_is_linked(browser: Browser, page: Path, made: Content) -> None:
    """What is looked at stands in the address, and the address brings it back."""
    pair = made.pairs[6]
    browser.open(page, address(pair, layers="0-1", row=5, over="size"))
    assert pair.x in browser.text("#pair")
    assert "layers=0-1" in browser.run("return location.hash")
    assert browser.run("return document.querySelector('#measure').value") == "size"
    browser.open(page, address(pair, row=5))
    browser.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    browser.click("#row .verdict + .controls button:nth-child(3)")
    link = browser.run("return window.copied")
    browser.open(page, "#" + link.partition("#")[2])
    assert "row=5" in browser.run("return location.hash")
    assert (
        0 <= browser.run("return document.querySelector('#row').getBoundingClientRect().top") < 99
    )
    browser.open(page, "#x=<script>&y=&layers=99-x&row=1e9&metric=no&over=%00&at=no")
    assert browser.run("return location.hash").startswith(address(made.pairs[0]).split("&met")[0])


def test_keys(opened: Browser) -> None:
    """The skip link comes first; left and right go through the rows."""

    def press(key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            opened.command(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    press("Tab", 9)
    assert opened.run("return document.activeElement.className") == "skip"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert opened.run(outline) == "solid"
    row = "return new URLSearchParams(location.hash.slice(1)).get('row')"
    before = opened.run(row)
    press("ArrowRight", 39)
    assert opened.run(row) == before  # what is not seen does not change
    opened.run("document.querySelector('#row').scrollIntoView()")
    press("ArrowRight", 39)
    after = opened.run(row)
    assert after != before
    assert f"photo-{after} " in opened.text("#row-live")
    press("ArrowLeft", 37)
    assert opened.run(row) == before
    opened.run("location.hash = 'row=20'")
    opened.settle()
    assert "particular . " in opened.text("#row-live")  # the caption's full stop, and no other


def test_a_screen_reader_finds_names(opened: Browser, made: Content) -> None:
    """Of all controls, figures and marks; headings in order; tables with caption and scopes."""
    opened.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    opened.run_async("await new Promise(go => setTimeout(go, 20))")
    opened.command("Accessibility.enable")
    nodes = opened.command("Accessibility.getFullAXTree")["nodes"]
    opened.command("Accessibility.disable")
    roles = {"button", "link", "checkbox", "combobox", "searchbox", "image", "region", "table"}
    seen = [n for n in nodes if not n["ignored"] and n["role"]["value"] in roles]
    assert {n["role"]["value"] for n in seen} == roles
    assert [n for n in seen if not n["name"]["value"].strip()] == []
    marks = (
        "return [...document.querySelectorAll(arguments[0] + ' [aria-roledescription]')]"
        ".filter(e => e.matches('path')).map(e => e.getAttribute('aria-label'))"
    )
    trained = [pair for pair in made.pairs if pair.metric == made.metrics[0].name]
    trained = [pair for pair in trained if pair.kind == "trained"]
    for chart in ("#scaling-chart", "#pairs-chart"):
        labels = opened.run(marks, chart)
        assert len(labels) == 8
        for pair in trained:
            side = "above" if pair.p_adjusted == 0.01 else "not above"
            assert f"{pair.x} \u00d7 {pair.y}: {brief(pair.score)}, {side} the null" in labels
    assert trained[0].map is not None
    cell = f"layer 0 (block 0) \u00d7 layer 1 (block 1): {brief(trained[0].map[0][1])}"
    assert cell in opened.run(marks, "#layers-chart")
    assert f"0 of {K} shared: 15 rows, by chance" in opened.run(marks, "#agreement-chart")[0]
    levels = opened.run(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].filter(e => e.checkVisibility())"
        ".map(e => Number(e.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert opened.run("return [...document.querySelectorAll('th')].every(e => e.scope)")
    assert opened.run("return [...document.querySelectorAll('table')].every(e => e.caption)")
    assert opened.run("return document.querySelectorAll('main, nav').length") == 2


CELLS = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const seen = color => {
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return '#' + [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
    .map(part => part.toString(16).padStart(2, '0')).join('');
};
return [...document.querySelectorAll('#pairs-chart, #layers-chart')].flatMap(chart => {
  const [cells, numbers] = ['rect path', 'text.role-mark text'].map(
    marks => [...chart.querySelectorAll('.mark-' + marks)]);
  return numbers.map((number, place) => [cells[place].getAttribute('aria-label'),
    seen(getComputedStyle(cells[place]).fill), seen(getComputedStyle(number).fill)]);
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_have_contrast(opened: Browser, scheme: str) -> None:
    """WCAG's 4.5 for text, 3 for marks; and the button turns them over."""

    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(c * w for c, w in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    def contrast(one: str, other: str) -> float:
        low, high = sorted(luminance(value(name)) for name in (one, other))
        return (high + 0.05) / (low + 0.05)

    def value(name: str) -> str:
        script = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])"
        color: str = opened.run(script, f"--{name}").strip()
        return color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])

    opened.medium(scheme)
    theme = "return document.documentElement.dataset.theme"
    assert opened.run(theme) == scheme
    for paper in ("paper", "raised"):
        for ink in ("ink", "muted", "accent", "warn"):
            assert contrast(ink, paper) >= 4.5, (ink, paper)
    for hue in range(1, 8):
        assert contrast(f"hue-{hue}", "paper") >= 2.5, hue
    for share, fill, ink in opened.run_async(CELLS):
        low, high = sorted((luminance(fill), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, share
    opened.click("#theme")
    assert opened.run(theme) != scheme


OUTSIDE = """
return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility()
  && !e.closest('.scroll, svg, .unseen') && e.getBoundingClientRect().right > arguments[0] + 1)
  .map(e => e.outerHTML.slice(0, 99)).concat(
    document.documentElement.scrollWidth > arguments[0] ? ['the page'] : []);
"""


BROKEN = """
return [...document.querySelectorAll('.controls label')].filter(e => {
  if (!e.checkVisibility()) return false;
  const word = document.createRange();
  word.selectNodeContents(e.firstChild.nodeType === 3 ? e.firstChild : e.lastChild);
  return !/\\s/.test(word.toString().trim()) && word.getClientRects().length > 1;
}).map(e => e.textContent);
"""
"""Labels of one word that stand in two lines."""


def test_nothing_overflows_sideways(opened: Browser) -> None:
    opened.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    opened.run_async("await new Promise(go => setTimeout(go, 20))")
    for width in (1400, 400, 360):
        opened.size(width)
        assert opened.run(OUTSIDE, width) == [], width
        assert opened.run(BROKEN) == [], width


def test_paper(opened: Browser) -> None:
    """Print has all figures and no controls; dark paper is white."""
    opened.medium("dark", "print")
    assert not opened.run("return document.querySelector('nav').checkVisibility()")
    charts = "return [...document.querySelectorAll('.chart svg')].map(e => e.checkVisibility())"
    assert opened.run(charts) == [True] * 4
    svg = "return [...document.querySelectorAll('.chart svg')]"
    widths = opened.run(f"{svg}.map(e => getComputedStyle(e).maxWidth)")
    assert widths == ["100%"] * 4  # paper may be narrower than the window was
    paper = "return getComputedStyle(document.body).backgroundColor"
    assert opened.run(paper) == "rgb(255, 255, 255)"
    opened.run("document.querySelector('#all-tables input[type=checkbox]').click()")
    cells = (
        "return [...document.querySelectorAll('#all-tables th')].filter(e => e.innerText === 'n')"
    )
    assert opened.run(f"{cells}.map(e => e.checkVisibility())") == [False]  # no main column
    assert "32 rows, 7 of 8 columns" in opened.text("#all-tables .paper")
    opened.size(700)  # about what paper has
    seen = "return [...document.querySelectorAll('table')].filter(e => e.checkVisibility())"
    rights = opened.run(f"{seen}.map(e => e.getBoundingClientRect().right)")
    assert 0 < max(rights) <= 700
    inputs = "return [...document.querySelectorAll('input, select')]"
    assert not opened.run(f"{inputs}.some(e => e.checkVisibility())")
    printed = base64.b64decode(opened.command("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")


def test_works_with_nothing_but_scores(browser: Browser, made: Content, tmp_path: Path) -> None:
    """No measure, null, map, row, neighbor, table or text."""
    none: dict[str, Any] = dict.fromkeys(
        ["chance", "null_mean", "threshold", "p", "p_adjusted", "calibrated", "low", "high", "map"]
    )
    pairs = [replace(pair, **none) for pair in made.pairs[:8]]
    models = [replace(model, measures={}, parameters=None) for model in made.models]
    lists = ("asked", "answer", "warnings", "failures", "measures", "rows", "neighbors", "tables")
    bare = replace(made, title="bare", models=models, pairs=pairs, **dict.fromkeys(lists, ()))
    bare = replace(bare, metrics=made.metrics[:1], method=(), notes={"rows": "No rows were kept."})
    path = tmp_path / "bare.html"
    path.write_text(page_html(bare), encoding="utf-8")

    browser.open(path)

    assert "no null was computed" in browser.text("#scaling-answer")
    assert browser.run("return document.querySelectorAll('#scaling-chart svg path').length") > 0
    assert browser.run("return document.querySelector('#shared-body').hidden")
    assert browser.text("#shared-missing") != ""


def test_alpha_level_and_scores_below_0_are_the_experiments(
    browser: Browser, made: Content, tmp_path: Path
) -> None:
    """At an alpha of .5 % nothing whose p is .01 is above the null."""
    first = made.metrics[0].name
    pairs = [
        replace(pair, score=pair.score - 2, low=pair.low - 2, high=pair.high - 2,
                threshold=pair.threshold - 2)
        for pair in made.pairs if pair.metric == first
    ]  # fmt: skip
    changed = replace(made, alpha=0.005, level=0.8, pairs=pairs, metrics=made.metrics[:1])
    path = tmp_path / "changed.html"
    path.write_text(page_html(changed), encoding="utf-8")

    browser.open(path)

    assert "0 of the" in browser.text("#scaling-answer")
    assert "which 0.5 % of permuted pairs pass" in browser.text("#scaling-caption")
    assert "Upright lines: 80 % intervals" in browser.text("#scaling-caption")
    assert "p > 0.005" in browser.text("#pairs-caption")
    assert "not above the null" in browser.text("#pair")
    assert "80 % interval" in browser.text("#pair")
    domain = "return document.querySelector('#scaling-chart').drawn.view.scale('{}').domain()"
    names = browser.run(
        "return Object.keys(document.querySelector('#scaling-chart').drawn.view._runtime.scales)"
    )
    tops = [max(browser.run(domain.format(name))) for name in names if name.endswith("y")]
    assert min(tops) >= max(pair.high for pair in pairs if pair.kind == "trained")


def test_works_without_pictures_or_texts(browser: Browser, made: Content, tmp_path: Path) -> None:
    rows = [replace(row, pictures={}, texts={}, group="") for row in made.rows[:10]]
    data = [
        replace(each, data=base64.b64encode(base64.b64decode(each.data)[: 10 * K * 2]).decode())
        for each in made.neighbors
    ]
    path = tmp_path / "ids.html"
    some = replace(made, rows=rows, neighbors=data, notes={"rows": "The first ten."})
    path.write_text(page_html(some), encoding="utf-8")

    browser.open(path)

    assert len(browser.texts("#rows li")) == 10
    assert "10 of the 30" in browser.text("#row-count")
    assert "The first ten." in browser.text("#row-count")
    browser.run("location.hash = 'row=9'")
    browser.settle()
    assert "row 10, not on the page" in browser.text("#row")
