"""What the charts of the page look like, as Vega-Lite; `charts.js` gives them their data and sizes.

Colours are variables of `report.css`, so that light, dark and print need no other charts.
"""

from typing import Any

import altair as alt

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"
DESCRIPTION = alt.Description("description:N")
"""What a screen reader says of a mark; all other marks are silent."""
INK, MUTED, RULE, PAPER = "var(--ink)", "var(--muted)", "var(--rule)", "var(--paper)"


def specs() -> dict[str, dict[str, Any]]:
    """The charts by name; each names its data sets (`points`, `cells` ...), which are empty."""
    charts = {"scaling": _scaling(), "heat": _heat(), "agreement": _agreement()}
    return {name: _styled(chart).to_dict() for name, chart in charts.items()}


def _scaling() -> Any:
    """Pairs over a measure, and beside them those whose models do not have it."""
    over_measure = _pair_marks("over", alt.X("x:Q"), lines=True)
    without = _pair_marks(
        "without",
        alt.X(
            "x:N",
            sort=None,
            axis=alt.Axis(labelAngle=-90, labelLimit=110, ticks=False, titlePadding=16),
        ),
        lines=False,
    )
    return alt.hconcat(over_measure, without, spacing=8)


def _pair_marks(data: str, x: alt.X, *, lines: bool) -> Any:
    points = alt.Chart(alt.NamedData(data))
    y = alt.Y("score:Q")
    color: Any = alt.Color("color:N", scale=None)
    levels = alt.Chart(alt.NamedData("levels"))
    layers = [
        levels.mark_rule(color=MUTED, strokeDash=[5, 3], aria=False).encode(y=y),
        points.mark_tick(
            orient="horizontal", color=MUTED, thickness=1.5, size=9, aria=False
        ).encode(x=x, y=alt.Y("threshold:Q")),
        points.mark_rule(opacity=0.55, aria=False).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=color
        ),
        points.mark_point(strokeWidth=1.6, opacity=1).encode(
            x=x,
            y=y,
            color=alt.Stroke("color:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            shape=alt.Shape("shape:N", scale=None),
            size=alt.Size("size:Q", scale=None),
            strokeDash=alt.StrokeDash("outline:N", scale=None),
            description=DESCRIPTION,
        ),
        points.transform_filter("datum.selected")
        .mark_point(size=320, stroke=INK, strokeWidth=2.5, shape="circle", aria=False)
        .encode(x=x, y=y),
        points.mark_point(
            size=260, stroke="transparent", fill="transparent", cursor="pointer", aria=False
        ).encode(x=x, y=y),  # easier to hit than the marks
    ]  # fmt: skip
    if lines:
        line = points.transform_filter("datum.line != ''").mark_line(
            strokeWidth=1.2, opacity=0.7, aria=False
        )
        dash: Any = alt.StrokeDash("dash:N", scale=None)
        layers.insert(1, line.encode(x=x, y=y, detail="line:N", color=color, strokeDash=dash))
        layers.insert(
            1,
            levels.mark_text(align="left", baseline="top", dx=4, dy=3, color=MUTED).encode(
                x=alt.value(0), y=y, text="text:N"
            ),
        )
    return alt.layer(*layers)


def _heat() -> Any:
    """A matrix; what is not above its null is struck through."""
    cells = alt.Chart(alt.NamedData("cells")).encode(
        x=alt.X("column:N", sort=None, title=None),
        y=alt.Y("row:N", sort=None, title=None),
    )
    chosen = cells.transform_filter("datum.selected")
    return alt.layer(
        cells.mark_rect(cursor="pointer").encode(
            fill=alt.Fill("fill:N", scale=None), description=DESCRIPTION
        ),
        cells.mark_text(fontSize=11, aria=False).encode(
            text="text:N", color=alt.Color("ink:N", scale=None)
        ),
        cells.transform_filter("datum.weak").mark_point(
            shape="M-1,1L1,-1", size=130, stroke=INK, strokeWidth=1.3, opacity=0.8, aria=False
        ),
        chosen.mark_rect(fillOpacity=0, stroke=PAPER, strokeWidth=5, aria=False),
        chosen.mark_rect(fillOpacity=0, stroke=INK, strokeWidth=2.5, aria=False),
    )  # fmt: skip


def _agreement() -> Any:
    """How many rows share how many neighbors, and how many would by chance."""
    counts = alt.Chart(alt.NamedData("counts")).encode(
        x=alt.X("shared:O", axis=alt.Axis(labelAngle=0))
    )
    return alt.layer(
        counts.mark_bar(cursor="pointer").encode(
            y=alt.Y("rows:Q", title="rows"),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            description=DESCRIPTION,
        ),
        counts.mark_line(color=INK, strokeDash=[4, 3], strokeWidth=1.2, aria=False).encode(
            y="chance:Q"
        ),
        counts.mark_point(
            color=INK, fill=PAPER, size=35, opacity=1, shape="diamond", aria=False
        ).encode(y="chance:Q"),
    )


def _styled(chart: Any) -> Any:
    return (
        chart.configure(background="transparent", font=FONT, padding=2)
        .configure_view(stroke=None, continuousWidth=1, continuousHeight=1)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            titleFontSize=13,
            labelFontSize=12,
            domainColor=MUTED,
            tickColor=MUTED,
            gridColor=RULE,
            labelLimit=150,
        )
        .configure_axisX(grid=False)
    )
