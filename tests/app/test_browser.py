# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: headless Chromium, driven by playwright."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TABS = ("Ask", "Watch it denoise", "Scene", "Compare")
SECONDS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        message = "there is no Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        # As root, which containers are, Chromium does not start with its sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, page, width=1440, height=900):
    """The page in a window of its own; it asks nothing of any other host, and no script fails."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(SECONDS)
    window = context.new_page()
    requested, failed = [], []
    window.on("request", lambda request: requested.append(request.url))
    window.on("pageerror", lambda error: failed.append(str(error)))
    window.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
    window.goto(page.url)
    window.get_by_role("tab", name="Ask").wait_for()
    yield window
    foreign = [url for url in requested if not url.startswith((page.url, "data:", "blob:"))]
    assert foreign == []
    assert failed == []
    context.close()


@pytest.fixture
def window(browser, page):
    with opened(browser, page) as window:
        yield window


def show(window, tab):
    window.get_by_role("tab", name=tab).click()


def upload(window, tab, path):
    window.locator(f"#{tab}-image input[type=file]").set_input_files(str(path))
    window.locator(f"#{tab}-image").get_by_text(path.stem).first.wait_for()


def ask(window, tab, task=None, query=None):
    """Ask, and return the view when it has the answer."""
    if task is not None:
        window.locator(f"#{tab}-task").get_by_role("radio", name=task, exact=True).check()
    if query is not None:
        window.locator(f"#{tab}-query").get_by_role("textbox").fill(query)
    window.locator(f"#{tab}-run").click()
    view = window.locator(f"#{tab}-view")
    view.locator(".gd-answer").wait_for()
    return view


def test_it_loads_without_a_word_to_anyone_else(window):
    for tab in TABS:
        show(window, tab)
    assert window.title() == "GeoDiT"
    assert window.evaluate("document.fonts.size") == 0


def test_a_geotiff_is_uploaded_and_its_boxes_are_shown(window, page, harbor):
    upload(window, "ask", harbor)
    view = window.locator("#ask-view")
    view.get_by_text("96 pixels · EPSG:32631").wait_for()  # before anything is asked
    view = ask(window, "ask", "detect", "ship")
    assert view.locator(".gd-answer").inner_text() == "2 boxes for “ship”"
    expected = page.service.models["geodit-tiny"].pipeline(harbor, "detect", "ship")[0]
    assert view.locator(".gd-label").all_inner_texts() == [f"ship {score:.2f}" for score in expected.scores]
    labels = view.get_by_label("Labels on the picture")
    labels.uncheck()
    assert not view.locator(".gd-label").first.is_visible()
    labels.check()
    assert view.locator(".gd-label").first.is_visible()
    # The table highlights its box, and the box its row.
    view.locator("tbody tr").nth(1).hover()
    assert view.locator("polygon.gd-on").get_attribute("data-index") == "1"
    view.locator("polygon").first.hover()
    assert view.locator("tr.gd-on").get_attribute("data-index") == "0"
    view.get_by_role("button", name="Highlight box 2").click()
    window.locator("h1").hover()
    assert view.locator("polygon.gd-on").get_attribute("data-index") == "1"


def test_downloads_and_the_clipboard(window, harbor):
    upload(window, "ask", harbor)
    view = ask(window, "ask", "detect", "ship")
    found = {}
    for name in ("GeoJSON", "COCO", "JSON"):
        with window.expect_download() as download:
            view.get_by_role("button", name=name, exact=True).click()
        found[name] = (download.value.suggested_filename, json.loads(download.value.path().read_text()))
    assert found["GeoJSON"][0] == "harbor.geojson"
    (longitude, latitude) = found["GeoJSON"][1]["features"][0]["geometry"]["coordinates"][0][0]
    assert (round(longitude), round(latitude)) == (4, 52)
    assert len(found["COCO"][1]["annotations"]) == 2
    view.get_by_role("button", name="Copy JSON").click()
    view.get_by_role("button", name="Copied").wait_for()
    assert json.loads(window.evaluate("navigator.clipboard.readText()")) == found["JSON"][1]


@pytest.mark.parametrize(
    ("task", "query"),
    [("caption", None), ("classify", None), ("ground", "the rightmost tank"), ("vqa", "How many ships are there?")],
)
def test_each_task(window, page, harbor, task, query):
    upload(window, "ask", harbor)
    view = ask(window, "ask", task, query)
    expected = page.service.models["geodit-tiny"].pipeline(harbor, task, query or "", max_denoising_steps=8, seed=0)[0]
    said = "One box for “the rightmost tank”" if task == "ground" else expected.text
    assert view.locator(".gd-answer").inner_text() == said
    assert window.locator("#ask-query").is_visible() == (query is not None)


def test_choices(window, harbor):
    upload(window, "ask", harbor)
    window.locator("#ask-task").get_by_role("radio", name="vqa").check()
    window.locator("#ask-choices").get_by_role("textbox").fill("yes, no")
    view = ask(window, "ask", "vqa", "Are there ships?")
    assert view.locator(".gd-answer").inner_text() in ("yes", "no")
    assert view.locator(".gd-choice").count() == 2


def test_a_picture_from_the_clipboard(window, harbor):
    paste = """async (bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
        document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
    }"""
    window.evaluate(paste, list((harbor.parent / "airport.png").read_bytes()))
    window.locator("#ask-view").get_by_text("pasted.png · 96").wait_for()


def test_the_film_of_denoising(window, page, harbor):
    show(window, "Watch it denoise")
    upload(window, "watch", harbor)
    view = ask(window, "watch", "detect", "ship")
    slider = view.get_by_role("slider")
    steps = int(slider.get_attribute("max"))
    assert steps == 8
    known = view.locator(".gd-cell:not(.gd-mask):not(.gd-after)")
    shown = []
    for step in range(steps + 1):
        slider.fill(str(step))
        assert slider.get_attribute("aria-valuetext") == f"Step {step} of 8"
        shown.append((known.count(), view.locator("polygon").count()))
    assert shown[0] == (0, 0)
    assert shown == sorted(shown)
    assert shown[-1][1] == 2
    assert shown[4][1] == 0  # no box before all its tokens are committed
    # The colors tell the steps, the details the alternatives.
    colors = {cell.evaluate("cell => cell.style.background") for cell in known.all()}
    assert len(colors) > 3
    view.locator(".gd-cell").nth(1).hover()
    details = view.locator(".gd-detail")
    assert "committed in step" in details.inner_text()
    assert details.locator(".gd-choice").count() > 1
    view.get_by_role("button", name="Play").click()
    view.get_by_role("button", name="Pause").click()
    with window.expect_download() as download:
        view.get_by_role("link", name="GIF").click()
    with Image.open(download.value.path()) as film:
        assert film.n_frames == 9


def test_controls_change_the_steps(window, harbor):
    show(window, "Watch it denoise")
    upload(window, "watch", harbor)
    window.locator("#watch-steps input[type=range]").fill("3")
    view = ask(window, "watch", "detect", "ship")
    assert view.get_by_role("slider").get_attribute("max") == "3"
    assert view.get_by_role("status").inner_text().startswith("3 steps in ")


def test_a_scene_on_the_map(window, harbor):
    show(window, "Scene")
    upload(window, "scene", harbor)
    window.locator("#scene-query").get_by_role("textbox").fill("ship, tank")
    window.locator("#scene-run").click()
    view = window.locator("#scene-view")
    view.locator(".gd-table").wait_for()
    assert view.locator(".gd-table tbody tr").count() == 2
    assert view.locator(".leaflet-image-layer").is_visible()
    assert view.get_by_role("progressbar").get_attribute("aria-valuenow") == "1"
    with window.expect_download() as download:
        view.get_by_role("button", name="GeoJSON").click()
    labels = [one["properties"]["label"] for one in json.loads(download.value.path().read_text())["features"]]
    assert labels.count("ship") == 2
    assert download.value.suggested_filename == "harbor.geojson"
    ships = view.locator(".gd-table").get_by_label("ship")
    painted = view.locator("canvas.leaflet-zoom-animated")
    with_ships = painted.evaluate("canvas => canvas.toDataURL()")
    ships.uncheck()
    window.wait_for_timeout(200)
    assert painted.evaluate("canvas => canvas.toDataURL()") != with_ships
    ships.check()
    window.wait_for_timeout(200)
    assert painted.evaluate("canvas => canvas.toDataURL()") == with_ships
    # A second scene takes the place of the first.
    window.locator("#scene-image").get_by_role("button", name="Clear").click()
    upload(window, "scene", harbor.parent / "airport.png")
    window.locator("#scene-run").click()
    view.locator("img[alt='the scene']").wait_for()
    view.locator(".gd-table").wait_for()
    window.set_viewport_size({"width": 1200, "height": 900})
    view.locator(".leaflet-container").wait_for()


def test_two_settings_side_by_side(window, harbor):
    show(window, "Compare")
    upload(window, "compare", harbor)
    window.locator("#compare-query").get_by_role("textbox").fill("ship")
    window.locator("#compare-run").click()
    window.locator("#compare-B-view .gd-answer").wait_for()
    notes = [window.locator(f"#compare-{side}-view .gd-note").first.inner_text() for side in "AB"]
    assert "geodit-tiny" in notes[0]
    assert "the same" in notes[1]


def test_b_says_that_a_failed(window, harbor):
    show(window, "Compare")
    upload(window, "compare", harbor)
    window.locator("#compare-run").click()
    window.locator("#compare-B-view").get_by_text("Not asked, because A failed").wait_for()


def test_who_waits_is_told(window, page, harbor):
    upload(window, "ask", harbor)
    window.locator("#ask-query").get_by_role("textbox").fill("ship")
    said = """() => { window.said = []; new MutationObserver(() => window.said.push(
        document.querySelector('#ask-view [role=status]').textContent)).observe(
        document.querySelector('#ask-view'), {subtree: true, childList: true, characterData: true}); }"""
    window.evaluate(said)
    window.locator("#ask-run").click()
    window.locator("#ask-view .gd-answer").wait_for()
    assert next(filter(None, window.evaluate("window.said"))) == "Waiting for the model"


def test_a_broken_file_is_one_line_and_the_page_lives_on(window, harbor, tmp_path):
    broken = tmp_path / "broken.tif"
    broken.write_bytes(harbor.read_bytes()[:200])
    upload(window, "ask", broken)
    toast = window.get_by_test_id("toast-body").first
    toast.wait_for()
    assert "broken.tif cannot be read as an image" in toast.inner_text()
    assert "Traceback" not in window.content()
    assert "/tmp" not in toast.inner_text()
    window.get_by_role("button", name="Clear").first.click()
    upload(window, "ask", harbor)
    ask(window, "ask", "caption")


def test_what_is_wrong_stays_on_the_page_and_so_does_the_last_answer(window, harbor):
    upload(window, "ask", harbor)
    view = ask(window, "ask", "detect", "ship")
    window.locator("#ask-query").get_by_role("textbox").fill("")
    window.locator("#ask-run").click()
    view.get_by_role("status").get_by_text("Task 'detect' needs a query").wait_for()
    window.get_by_test_id("toast-body").get_by_text("Task 'detect' needs a query").wait_for()
    assert view.locator("polygon").count() == 2


def test_asking_without_an_image(window):
    window.locator("#ask-run").click()
    window.get_by_text("choose an image first").wait_for()


def test_two_people_at_once(browser, page, harbor, tmp_path):
    gray = tmp_path / "gray.png"
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(gray)
    with opened(browser, page) as one, opened(browser, page) as other:
        upload(one, "ask", harbor)
        upload(other, "ask", gray)
        for window in (one, other):
            window.locator("#ask-query").get_by_role("textbox").fill("ship")
        one.locator("#ask-run").click()
        other.locator("#ask-run").click()
        for window in (one, other):
            window.locator("#ask-view .gd-answer").wait_for()
        assert one.locator("#ask-view").get_by_text("harbor.tif").is_visible()
        assert other.locator("#ask-view").get_by_text("gray.png").is_visible()
        assert one.locator("#ask-view .gd-answer").inner_text() == "2 boxes for “ship”"
    # Both are closed: so are their uploads.
    for _ in range(100):
        left = [path for path in page.service.uploads.folder.rglob("*.*") if path.name in ("gray.png",)]
        if not left:
            break
        with opened(browser, page):
            continue
    assert left == []


def test_the_keyboard_alone(window):
    def press(key, until, most=60):
        for _ in range(most):
            window.keyboard.press(key)
            if window.evaluate(f"() => Boolean(document.activeElement && document.activeElement.matches('{until}'))"):
                return
        raise AssertionError(f"{key} does not lead to {until}")

    window.locator("h1").click()
    press("Tab", "[role=tab]")
    press("Tab", "#ask-example-0")
    window.keyboard.press("Enter")
    window.locator("#ask-view .gd-stage").wait_for()
    press("Tab", "#ask-run")
    window.keyboard.press("Enter")
    window.locator("#ask-view .gd-answer").wait_for()
    press("Tab", ".gd-pick")
    window.keyboard.press("Space")
    assert window.locator("#ask-view polygon.gd-on").count() == 1
    press("Shift+Tab", "[role=tab][data-tab-id=watch]", 80)
    window.keyboard.press("Enter")
    press("Tab", "#watch-example-0")
    window.keyboard.press("Enter")
    window.locator("#watch-image").get_by_text("harbor").first.wait_for()
    press("Tab", "#watch-run")
    window.keyboard.press("Enter")
    window.locator("#watch-view .gd-answer").wait_for()
    press("Tab", "#watch-view input[type=range]")
    window.keyboard.press("ArrowLeft")
    assert window.locator("#watch-view .gd-step").inner_text() == "Step 7 of 8"
    press("Tab", ".gd-cell")
    window.keyboard.press("ArrowRight")
    assert "Token 2" in window.locator("#watch-view .gd-detail").inner_text()


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_serious_for_axe_and_nothing_too_wide(browser, page, width):
    with opened(browser, page, width) as window:
        found = []
        for tab, name in zip(TABS, ("ask", "watch", "scene", "compare"), strict=True):
            show(window, tab)
            window.locator(f"#{name}-example-0").click()
            window.locator(f"#{name}-image").get_by_text("harbor").first.wait_for()
            window.locator(f"#{name}-run").click()
            done = {"scene": ".gd-table", "compare": "#compare-B-view .gd-answer"}.get(name, ".gd-answer")
            view = "body" if name == "compare" else f"#{name}-view"
            window.locator(f"{view} {done}").wait_for()
            for violation in axe.Axe().run(window).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    found += [(tab, violation["id"], node["html"][:200]) for node in violation["nodes"]]
            assert window.evaluate("document.documentElement.scrollWidth") <= width
        assert found == []
