from __future__ import annotations

import base64
import contextlib
import io
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import moon.serving
from tests.serving.browsing import CONTRASTS, DESKTOP, FOUND, PHONE, TRANSFER, Open, Visit, jpeg
from tests.serving.running import LIMITS, Server, b64

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright (extra dev)")

FOLDER = Path(moon.serving.__file__).parent / "page"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, server: Server) -> Open:
    @contextlib.contextmanager
    def open_page(address: str = "/", complaints: bool = False, **options: Any) -> Iterator[Visit]:
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **options})
        page = context.new_page()
        page.set_default_timeout(20_000)
        one = Visit(page)
        page.on("request", lambda request: one.hosts.add(re.sub(r"(\w+://[^/]*).*", r"\1", request.url)))
        page.on("console", lambda said: one.complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        page.goto(server.endpoint.url + address)
        page.wait_for_selector("#filter-fields input", state="attached")
        try:
            yield one
            assert one.hosts <= {server.endpoint.url}
            assert complaints or not one.complaints
        finally:
            context.close()

    return open_page


def found(server: Server, **body: Any) -> dict[str, Any]:
    answer = server.http.post("/search", json={"k": 12, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# ---- routes ----


def test_a_browser_gets_the_page_and_others_what_kserve_says(server: Server) -> None:
    page = server.http.get("/", headers=HTML)
    assert page.headers["content-type"].startswith("text/html") and "<form" in page.text
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "data:", "*"} & set(" ".join(policy.values()).split())
    for accept in ("*/*", "application/json"):
        assert server.http.get("/", headers={"accept": accept}).json() == {"status": "alive"}


def test_files_are_known_by_their_etag_and_none_lies_outside(server: Server) -> None:
    for path in FOLDER.iterdir():
        answer = server.http.get(f"/page/{path.name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = server.http.get(f"/page/{path.name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    for name in ("", "..%2fserver.py", "%2e%2e/server.py", "%00", "%2fetc/passwd", "nothing.js"):
        assert server.http.get(f"/page/{name}").status_code in (400, 404)


def test_the_page_names_no_other_host() -> None:
    for path in FOLDER.iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org"}, path


def test_a_photo_of_the_size_that_the_page_sends_fits_into_a_body(server: Server) -> None:
    settings = server.http.get("/page/settings.json").json()
    assert settings["max_image_bytes"] <= LIMITS.max_image_bytes
    body = {"text": "x" * LIMITS.max_text_chars, "image": b64(bytes(settings["max_image_bytes"]))}
    refused = server.http.post("/search", json=body)
    assert refused.status_code == 400, "read, and refused for what it holds"


def test_a_wheel_takes_all_files_along() -> None:
    settings = tomllib.loads((Path(moon.serving.__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["moon"]
    assert {path.suffix for path in FOLDER.iterdir()} <= {Path(pattern).suffix for pattern in patterns}


# ---- searching ----


def test_a_text_finds_what_the_api_finds(visit: Open, server: Server) -> None:
    with visit() as one:
        one.search("red mug")
        expected = found(server, text="red mug")["products"]
        cards = one.page.locator(FOUND)
        assert cards.count() == len(expected) == 12
        for row, product in enumerate(expected):
            card = cards.nth(row)
            assert card.locator("h3").text_content() == product["title"]
            assert card.locator(".path").text_content() == " › ".join(product["category_path"])
            assert float(card.locator(".value").text_content()) == pytest.approx(product["score"], abs=6e-4)
        cards.last.scroll_into_view_if_needed()
        one.until(f"[...document.querySelectorAll('{FOUND} img')].filter((one) => one.naturalWidth > 0).length === 12")
        assert re.fullmatch(r"12 products for “red mug” in [\d.]+ ms", one.status())
        assert re.search(r"embedding [\d.]+ ms, index [\d.]+ ms", one.page.text_content("#timing"))


def test_the_region_is_drawn_where_the_server_found_it(visit: Open, server: Server) -> None:
    photo = server.photo()
    expected = found(server, image=b64(photo))
    with visit() as one:
        one.give(photo)
        assert one.titles() == [product["title"] for product in expected["products"]]
        region = expected["region"]
        canvas = one.page.locator("#frame canvas").bounding_box()
        drawn = one.page.locator("#region").bounding_box()
        box, across, down = region["box"], canvas["width"] / region["width"], canvas["height"] / region["height"]
        assert drawn["x"] - canvas["x"] == pytest.approx(box["x0"] * across, abs=1)
        assert drawn["y"] - canvas["y"] == pytest.approx(box["y0"] * down, abs=1)
        assert drawn["width"] == pytest.approx((box["x1"] - box["x0"]) * across, abs=1)
        assert drawn["height"] == pytest.approx((box["y1"] - box["y0"]) * down, abs=1)
        assert "Core region" in one.page.text_content("#photo-region")


def test_both_together_and_each_alone_again(visit: Open, server: Server) -> None:
    photo = server.photo()
    with visit() as one:
        one.give(photo)
        one.search("blue")
        both = found(server, text="blue", image=b64(photo))["products"]
        assert one.titles() == [product["title"] for product in both]
        assert "“blue” and your photo" in one.status()
        one.page.click("#remove")
        one.settled()
        assert one.titles() == [product["title"] for product in found(server, text="blue")["products"]]
        assert one.page.is_hidden("#photo")


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photo_is_sent_small_upright_and_without_its_metadata(visit: Open, orientation: int) -> None:
    with visit() as one:
        with one.page.expect_request("**/search") as sent:
            one.give(jpeg(2400, 1800, orientation))
        body = sent.value.post_data_json
        data = base64.b64decode(body["image"].partition(",")[2])
        image = Image.open(io.BytesIO(data))
        assert len(data) <= LIMITS.max_image_bytes
        assert image.width * image.height <= LIMITS.max_image_pixels and max(image.size) <= 1280
        assert not image.getexif()
        assert (image.width > image.height) == (orientation == 1)
        gray = np.asarray(image.convert("L"), float)
        down, across = gray.shape[0] // 5, gray.shape[1] // 5
        mark = gray[:down, :across] if orientation == 1 else gray[:down, -across:]
        assert mark.mean() < 30 < gray.mean()
        assert one.page.locator(FOUND).count() == 12
        assert "shrunk from" in one.page.text_content("#photo-note")


def test_a_photo_of_few_bytes_and_many_pixels_is_shrunk_too(visit: Open) -> None:
    out = io.BytesIO()
    Image.new("RGB", (2400, 1800), "teal").save(out, "JPEG")
    assert len(out.getvalue()) < LIMITS.max_image_bytes
    with visit() as one:
        with one.page.expect_request("**/search") as sent:
            one.give(out.getvalue())
        image = Image.open(io.BytesIO(base64.b64decode(sent.value.post_data_json["image"].partition(",")[2])))
        assert image.width * image.height <= LIMITS.max_image_pixels
        assert image.width / image.height == pytest.approx(4 / 3, rel=0.01)
        assert len(one.titles()) == 12


def test_a_photo_is_dropped(visit: Open, server: Server) -> None:
    with visit() as one:
        carried = one.page.evaluate_handle(TRANSFER, [b64(server.photo()), "dropped.jpg", "image/jpeg"])
        one.page.dispatch_event("main", "dragenter", {"dataTransfer": carried})
        assert one.page.is_visible("#veil")
        one.page.dispatch_event("main", "dragover", {"dataTransfer": carried})
        one.page.dispatch_event("main", "drop", {"dataTransfer": carried})
        one.page.wait_for_selector(FOUND)
        one.settled()
        assert one.page.is_hidden("#veil")
        expected = found(server, image=b64(server.photo()))["products"]
        assert one.titles() == [product["title"] for product in expected]


def test_a_photo_is_pasted(visit: Open, server: Server) -> None:
    with visit() as one:
        carried = one.page.evaluate_handle(TRANSFER, [b64(server.photo()), "pasted.jpg", "image/jpeg"])
        one.page.evaluate(
            "(clipboardData) => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}))",
            carried,
        )
        one.page.wait_for_selector(FOUND)
        one.settled()
        assert len(one.titles()) == 12


def test_what_is_no_picture_is_refused_and_nothing_is_lost(visit: Open) -> None:
    with visit() as one:
        one.search("red mug")
        before = one.titles()
        one.give(b"no picture", "broken.jpg")
        assert "broken.jpg cannot be read" in one.page.text_content("#problem")
        carried = one.page.evaluate_handle(TRANSFER, [b64(b"words"), "words.txt", "text/plain"])
        one.page.dispatch_event("main", "drop", {"dataTransfer": carried})
        assert "not a picture" in one.page.text_content("#problem")
        assert one.titles() == before and one.page.is_hidden("#photo")
        one.search("red mug")
        assert one.page.is_hidden("#problem")


def test_more_like_this_searches_with_the_picture(visit: Open) -> None:
    with visit() as one:
        one.search("red mug")
        title = one.titles()[2]
        one.page.locator(f"{FOUND} .like").nth(2).click()
        one.page.wait_for_selector("#photo:not([hidden])")
        one.settled()
        assert one.page.text_content("#photo-name") == title
        assert one.page.input_value("#text") == ""
        assert one.page.evaluate("document.activeElement.id") == "found"


# ---- filters, count, address ----


def test_filters_are_those_of_the_api(visit: Open, server: Server) -> None:
    facets = server.http.get("/facets").json()
    path = max(facets["categories"], key=lambda one: (len(one["path"]), one["products"]))["path"]
    with visit() as one:
        one.search("anything")
        for level, name in enumerate(path):
            one.page.locator(".level select").nth(level).select_option(name)
            one.settled()
        expected = found(server, text="anything", filters={"category": path})["products"]
        assert one.titles() == [product["title"] for product in expected] != []
        assert one.page.text_content("#active") == "1 set"
        one.page.click("#clear")
        one.settled()
        key, value = facets["attributes"][0]["key"], facets["attributes"][0]["values"][0]["value"]
        one.page.locator(f"input[type=checkbox][name='{key}'][value='{value}']").check()
        one.settled()
        expected = found(server, text="anything", filters={"attributes": {key: [value]}})["products"]
        assert one.titles() == [product["title"] for product in expected] != []


def test_a_search_is_in_the_address_and_back_goes_back(visit: Open, server: Server) -> None:
    key = server.http.get("/facets").json()["attributes"][0]["key"]
    with visit() as one:
        one.search("red mug")
        first = one.titles()
        one.page.locator(f"input[type=checkbox][name='{key}']").first.check()
        one.settled()
        second = one.titles()
        assert first != second
        one.page.reload()
        one.page.wait_for_selector(FOUND)
        one.settled()
        assert one.titles() == second and one.page.text_content("#active") == "1 set"
        one.page.go_back()
        one.until("document.querySelector('#active').hidden")
        one.settled()
        assert one.titles() == first


def test_nothing_found_is_said_and_undone(visit: Open) -> None:
    with visit("/#q=mug&in=no+such+category") as one:
        one.page.wait_for_selector("#nothing", state="visible")
        one.settled()
        assert one.status().startswith("0 products")
        one.page.click("#clear")
        one.settled()
        assert len(one.titles()) == 12


def test_what_is_typed_stays_text(visit: Open) -> None:
    with visit() as one:
        one.search("<img src=x onerror=alert(1)>")
        assert "<img src=x onerror=alert(1)>" in one.status()
        assert one.page.locator("#status img").count() == 0


# ---- failures ----


def test_a_lost_connection_is_said_and_tried_again(visit: Open) -> None:
    with visit(complaints=True) as one:
        one.page.context.set_offline(True)
        one.search("red mug")
        assert "cannot be reached" in one.page.text_content("[role=alert]")
        one.page.context.set_offline(False)
        one.page.click("#again")
        one.settled()
        assert len(one.titles()) == 12 and one.page.is_hidden("#problem")


def test_a_busy_server_says_when_to_come_back(visit: Open) -> None:
    with visit(complaints=True) as one:
        busy = {"status": 429, "headers": {"retry-after": "1"}, "json": {"error": "the queue is full"}}
        one.page.route("**/search", lambda route: route.fulfill(**busy), times=1)
        one.search("red mug")
        assert one.page.text_content("#problem-text") == "The server is busy (the queue is full). Try again in 1 s."
        one.page.click("#again")
        one.settled()
        assert len(one.titles()) == 12


def test_an_answer_that_comes_late_replaces_no_newer_one(visit: Open, server: Server) -> None:
    with visit() as one:
        held: list[Any] = []
        one.page.route("**/search", lambda route: held.append(route), times=1)
        one.page.fill("#text", "red mug")
        one.page.press("#text", "Enter")
        one.search("green lamp")
        expected = [product["title"] for product in found(server, text="green lamp")["products"]]
        assert one.titles() == expected != [product["title"] for product in found(server, text="red mug")["products"]]
        with contextlib.suppress(sync_api.Error):  # the page has given it up
            held[0].continue_()
        one.page.wait_for_timeout(500)
        assert one.titles() == expected


def test_a_picture_that_is_gone_leaves_an_icon(visit: Open) -> None:
    with visit(complaints=True) as one:
        one.page.route("**/picture", lambda route: route.fulfill(status=404), times=1)
        one.search("red mug")
        one.until(f"document.querySelectorAll('{FOUND} .picture svg').length === 1")


def test_a_server_without_an_index_says_so(visit: Open, server: Server) -> None:
    settings = {**server.http.get("/page/settings.json").json(), "search": False}
    with visit() as one:
        one.page.route("**/settings.json", lambda route: route.fulfill(json=settings))
        one.page.reload()
        one.page.wait_for_selector("#problem", state="visible")
        assert "without a search index" in one.page.text_content("#problem-text")
        assert one.page.is_disabled("#go") and one.page.is_hidden("#drop")


# ---- people ----


def test_all_of_it_works_by_keyboard(visit: Open, server: Server) -> None:
    with visit() as one:
        focused = "document.activeElement"
        one.page.keyboard.press("Tab")
        assert one.page.evaluate(f"{focused}.className") == "skip"
        one.page.keyboard.press("Tab")
        one.page.keyboard.type("red mug")
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector(FOUND)
        one.settled()
        reached = []
        while (name := one.page.evaluate(f"{focused}.id || {focused}.name || {focused}.className")) != "like button":
            reached.append(name)
            one.page.keyboard.press("Tab")
            assert len(reached) < 100, "Tab never came to the products"
        assert {"text", "go", "choose", "k"} <= set(reached)
        outline = one.page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline == "solid"
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector("#photo:not([hidden])")
        one.settled()
        assert len(one.titles()) == 12
        one.page.focus("#remove")
        one.page.keyboard.press("Space")
        one.page.wait_for_selector("#start:not([hidden])")
        assert one.page.evaluate(f"{focused}.id") == "choose"
        one.page.locator("input[type=checkbox]").first.focus()
        one.page.keyboard.press("Space")
        assert one.page.text_content("#active") == "1 set"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_every_control_has_a_name(visit: Open, server: Server, options: dict[str, Any]) -> None:
    with visit(**options) as one:
        one.give(server.photo())
        one.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        tree = one.page.context.new_cdp_session(one.page).send("Accessibility.getFullAXTree")["nodes"]
        nodes = [node for node in tree if not node["ignored"]]
        focusable = [
            node
            for node in nodes
            if any(found["name"] == "focusable" and found["value"]["value"] for found in node.get("properties", []))
        ]
        roles = {node["role"]["value"] for node in focusable}
        assert {"searchbox", "button", "combobox", "checkbox"} <= roles
        assert not [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value", "").strip()]
        regions = {node["role"]["value"] for node in nodes}
        assert {"main", "search", "banner", "heading", "list", "status"} <= regions


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(visit: Open, server: Server, scheme: str) -> None:
    with visit(color_scheme=scheme) as one:
        one.search("red mug")
        one.give(server.photo())
        one.give(b"", "broken.jpg")
        contrasts = one.page.evaluate(CONTRASTS)
        assert len(contrasts) > 40
        assert not [(what, ratio) for what, ratio in contrasts if ratio < 4.5]
        ground = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) > 128) == (scheme == "light")


def test_a_phone_needs_no_sideways_scroll_and_photographs(visit: Open, server: Server) -> None:
    with visit(**PHONE) as one:
        wide = "document.documentElement.scrollWidth > 360"  # innerWidth would grow with what sticks out
        assert not one.page.evaluate(wide)
        assert one.page.get_attribute("#take", "capture") == "environment"
        assert one.page.locator(".camera").is_visible()
        photo = {"name": "camera.jpg", "mimeType": "image/jpeg", "buffer": server.photo()}
        one.page.set_input_files("#take", photo)
        one.page.wait_for_selector(FOUND)
        one.settled()
        assert not one.page.evaluate(wide)
        one.page.tap("#filters > summary")
        one.page.locator("input[type=checkbox]").first.tap()
        one.settled()
        assert not one.page.evaluate(wide)
        heights = [one.page.locator(name).first.bounding_box()["height"] for name in ("#go", ".like", "#remove", "#k")]
        assert min(heights) >= 40


def test_a_desktop_is_not_offered_a_camera(visit: Open) -> None:
    with visit() as one:
        assert one.page.locator(".camera").is_hidden()
