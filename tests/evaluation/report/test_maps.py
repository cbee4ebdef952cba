from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from moon.evaluation.report.drawing import WIDTH
from moon.evaluation.report.maps import COLOURS, Point, heat_chart, key, scatter_chart


def tree(markup):
    return ElementTree.fromstring(markup).find("svg")


def point(x, y, group=0, faint=False):
    return Point(x=x, y=y, group=group, faint=faint, title="<a&b>")


def places(svg):
    height = float(svg.get("viewBox").split()[3])
    found = [tuple(map(float, re.findall(r"-?[\d.]+", node.get("transform")))) for node in svg.iter("path")]
    assert all(0 <= x <= WIDTH and 0 <= y <= height for x, y in found)
    return found


def test_a_greater_share_is_darker_and_every_cell_is_there():
    svg = tree(heat_chart("load", {"image": [0.0, 0.25, 0.75], "<b>": [1.0, 0.0, 0.0]}, ["0", "1", "2"], "expert"))
    opacity = [float(node.get("fill-opacity")) for node in svg.iter("rect")]
    assert opacity[:3] == sorted(opacity[:3]) and opacity[2] < opacity[3] == 1.0
    words = "".join(svg.itertext())
    assert "image, expert 2: 75.0%" in words and "<b>" in words


@pytest.mark.parametrize("columns", [1, 9, 64])
def test_a_heat_map_of_many_experts_stays_inside(columns):
    svg = tree(heat_chart("load", {"title": [1 / columns] * columns}, [str(n) for n in range(columns)], "expert"))
    ends = [float(node.get("x")) + float(node.get("width")) for node in svg.iter("rect")]
    assert len(ends) == columns and max(ends) <= WIDTH


@pytest.mark.parametrize("spread", [1e-9, 1.0, 1e6])
def test_points_keep_their_directions_at_any_scale(spread):
    [left, right, top] = places(
        tree(scatter_chart("map", [point(-spread, 0), point(spread, 0), point(0, spread)], "three"))
    )
    assert left[0] < top[0] < right[0] and left[1] == right[1] > top[1]
    assert right[0] - left[0] == pytest.approx(2 * (right[1] - top[1]), abs=0.3), "both axes have one scale"


def test_one_point_and_no_point_are_drawn_too():
    assert places(tree(scatter_chart("map", [point(5.0, 5.0)], "one"))) == [(WIDTH / 2, 150)]
    assert places(tree(scatter_chart("map", [], "none"))) == []


def test_faint_points_lie_under_the_others():
    svg = tree(scatter_chart("map", [point(0, 0), point(1, 1, faint=True)], "two"))
    assert ["faint" in node.get("class") for node in svg.iter("path")] == [True, False]


def test_neighbouring_groups_differ_in_shape_and_colour():
    marks = list(ElementTree.fromstring(key([f"group {n}" for n in range(COLOURS)], "rest")).iter("path"))
    assert len({(node.get("d"), node.get("class")) for node in marks}) == COLOURS + 1
    shapes = [node.get("d") for node in marks]
    assert all(a != b for a, b in zip(shapes, shapes[1:], strict=False))
