from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from moon.evaluation.report.charts import Bar, Curve, Span, SpanRow, bar_chart, interval_chart, line_chart, smoothed


def drawing(markup):
    """The chart as a tree, and its width and height; it must be well-formed."""
    svg = ElementTree.fromstring(markup).find("svg")
    _, _, width, height = map(float, svg.get("viewBox").split())
    return svg, width, height


def inside(markup):
    svg, width, height = drawing(markup)
    for node in svg.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
            if node.get(name) is not None:
                assert -1 <= float(node.get(name)) <= limit + 1, ElementTree.tostring(node)
    return svg


def dots(svg):
    return [(float(node.get("cx")), node.get("class")) for node in svg.iter("circle")]


@pytest.mark.parametrize("scale", [0.001, 0.3, 1.0])
def test_dots_stand_in_the_order_of_their_values_inside_their_intervals(scale):
    spans = [
        Span(value=v * scale, low=v * scale * 0.8, high=min(v * 1.1, 1) * scale, style="trained") for v in (0, 0.4, 1)
    ]
    rows = [SpanRow(label="<&>", spans=[span], mark=0.1 * scale) for span in spans] + [SpanRow(label="none", spans=[])]
    svg = inside(interval_chart("R@1 <b>", rows))
    places = [x for x, _ in dots(svg)]
    assert places == sorted(places) and places[0] < places[1] < places[2]
    whiskers = [node for node in svg.iter("line") if "whisker" in node.get("class")]
    for x, whisker in zip(places, whiskers, strict=True):
        assert float(whisker.get("x1")) - 0.11 <= x <= float(whisker.get("x2")) + 0.11
    assert "no such queries" in "".join(svg.itertext()) and "<&>" in "".join(svg.itertext())


def test_a_mark_beyond_every_interval_keeps_its_place():
    span = Span(value=0.1, low=0.05, high=0.2, style="trained")
    svg = inside(interval_chart("accuracy", [SpanRow(label="a", spans=[span], mark=mark) for mark in (0.3, 0.5)]))
    marks = [float(node.get("x1")) for node in svg.iter("line") if node.get("class") == "mark"]
    zero = min(
        float(node.get("x1")) for node in svg.iter("line") if node.get("class") == "grid" and node.get("y1") == "6"
    )
    assert (marks[1] - zero) / (marks[0] - zero) == pytest.approx(5 / 3, rel=0.01)


@pytest.mark.parametrize("ys", [[], [2.0], [3.0, 3.0], [9.1, 4.0, 2.5, 2.0], [-1.0, 1e-6, 5e4]])
@pytest.mark.parametrize("log", [False, True])
def test_curves_stay_inside_and_have_a_point_for_each_value(ys, log):
    steps = list(range(1, len(ys) + 1))
    curves = [Curve(xs=steps, ys=ys, style="raw"), Curve(xs=steps, ys=smoothed(ys), style="trained")]
    svg = inside(line_chart("loss", curves, "step", log=log))
    lines = list(svg.iter("polyline"))
    assert len(lines) == 2 * bool(ys)
    for curve in lines:
        assert len(curve.get("points").split()) == len(ys)


def test_a_falling_loss_is_drawn_falling():
    svg = inside(line_chart("loss", [Curve(xs=[1, 2, 3], ys=[3.0, 2.0, 1.0], style="trained")], "step"))
    points = [float(pair.split(",")[1]) for pair in next(svg.iter("polyline")).get("points").split()]
    assert points == sorted(points), "y grows downwards"


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis():
    curve = Curve(xs=[1, 10, 100], ys=[0.1, 0.5, 1.0], style="trained")
    svg = inside(line_chart("recall", [curve], "k", top=1.0, log=True))
    first, second, third = (float(p.split(",")[0]) for p in next(svg.iter("polyline")).get("points").split())
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_curves_on_one_axis_keep_their_order():
    curves = [Curve(xs=[1, 2], ys=[level, level], style="trained") for level in (0.2, 0.9)]
    lines = list(inside(line_chart("recall", curves, "k", top=1.0)).iter("polyline"))
    low, high = (float(line.get("points").split()[0].split(",")[1]) for line in lines)
    assert high < low


def test_the_average_is_between_the_extremes_and_follows():
    values = [4.0, 1.0, 3.0, 2.0, 0.5] * 4
    found = smoothed(values)
    assert len(found) == len(values) and found[0] == values[0]
    assert min(values) <= min(found) and max(found) <= max(values)


def test_what_a_chart_shows_is_also_said_in_words():
    span = Span(value=0.4, low=0.3, high=0.5, style="trained")
    svg = inside(interval_chart("R@1", [SpanRow(label="text", spans=[span])]))
    assert svg.get("role") == "img" and "text: trained 0.400 [0.300, 0.500]" in svg.find("title").text


def test_bars_grow_with_their_value_and_stop_at_the_edge():
    bars = [Bar(label=str(v), value=v, text=f"{v}", tone="good") for v in (0.2, 0.5, 0.7, 3.0)]
    svg = inside(bar_chart("AUC", bars, 0.5, 1.0, mark=(0.75, "line")))
    widths = [float(node.get("width")) for node in svg.iter("rect")]
    assert widths == sorted(widths) and widths[0] == widths[1] == 2.0
