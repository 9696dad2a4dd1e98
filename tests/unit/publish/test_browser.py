"""The pages in a real browser: for everybody's eyes and hands, and whatever the API's texts have in them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.serve import serving
from objects import Objects
from tests.conftest import BROWSER_OPTIONS
from tests.unit.publish.conftest import DETAILS, NOW, Launches, Publish, Site

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
HOSTILE = [
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    "\"><style>*{display:none}</style><svg onload=document.title='ran'>",
    "' onmouseover='document.title=\"ran\"' x='",
    "{{ 7 * 7 }}{% raw %}",
    "</title></head><base href=https://evil.example.org/><meta http-equiv=refresh content='0;url=https://evil.example.org'>",
    "--></main><iframe src=https://evil.example.org></iframe>",
    "javascript:document.title='ran'",
    "\u202egpj.exe",
    "x" * 10_000,
    "word " * 2000,
]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_OPTIONS)
        yield browser
        browser.close()


class Reader:
    """A reader with a browser; what goes wrong there is kept."""

    def __init__(self, browser: Browser, url: str, **how: Any) -> None:  # noqa: ANN401  # of Playwright
        self.context = browser.new_context(**{"viewport": DESKTOP, "timezone_id": "UTC"} | how)
        self.page: Page = self.context.new_page()
        self.url = url
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        # The page's own clock, since the launches are in the future.
        self.page.clock.install(time=NOW - MINUTE)

    def open(self, path: str = "index.html", *, still: bool = False) -> Page:
        """Open a page; its clock goes on, or stands still until a test moves it."""
        if still:
            self.page.clock.pause_at(NOW)
        self.page.goto(f"{self.url}/{path}")
        return self.page


@pytest.fixture
def reader(browser: Browser, site: Site) -> Iterator[Any]:
    """Make readers; nothing is asked of anybody else, and no page breaks a rule of its policy."""
    made: list[Reader] = []
    with serving(site.folder) as url:

        def make(**how: Any) -> Reader:  # noqa: ANN401  # of Playwright
            made.append(Reader(browser, url, **how))
            return made[-1]

        yield make
        for one in made:
            one.context.close()
            assert not one.problems
            assert all(address.startswith(url) for address in one.asked), one.asked


@pytest.fixture
def full(launches: Launches, store: Objects, publish: Publish) -> str:
    """A site with something of everything; the id of the launch that comes next."""
    launch_id = launches.add(net=NOW + 90 * MINUTE, first_seen_at=NOW - 20 * DAY)
    for number in range(12):
        launches.change(launch_id, NOW - (12 - number) * DAY, net=NOW + number * number * HOUR)
    launches.change(launch_id, NOW - HOUR, net=NOW + 90 * MINUTE)
    launches.picture(launch_id, store, real_png())
    launches.add("Merlin | Owl", NOW + 3 * DAY, details=DETAILS | {"launch_service_provider": {"name": "Owl & Co"}})
    launches.add("Month", NOW + 20 * DAY, net_precision="month", status="TBD", details={})
    for number in range(5):
        flown = launches.add(f"Flown {number}", NOW - number * DAY - HOUR, status="Success")
        launches.change(flown, NOW - number * DAY - 2 * DAY, net=NOW - number * DAY - HOUR)
    launches.add("Failed", NOW - 2 * DAY, status="Failure", details=DETAILS | {"failreason": "It fell."})
    publish()
    return launch_id


def real_png() -> bytes:
    from standins.site import png  # noqa: PLC0415  # its name is short

    return png(1280, 720, b"\x20\x30\x60")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing(scheme: str, viewport: dict[str, int], full: str, reader: Any) -> None:  # noqa: ANN401
    one = reader(color_scheme=scheme, viewport=viewport)
    for path in ("index.html", f"launch/{full}.html", "statistics.html"):
        page = one.open(path)
        found = Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        # What axe cannot judge by itself has to be looked at: nothing is.
        unsure = [rule["id"] for rule in found.response["incomplete"]]
        assert set(unsure) <= {"color-contrast"}, unsure
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"], f"{path} scrolls sideways"


def test_the_countdown_runs_and_times_are_in_the_readers_zone(full: str, reader: Any) -> None:  # noqa: ANN401
    page = reader(timezone_id="Asia/Tokyo").open(still=True)
    assert page.inner_text(".countdown") == f"T{chr(0x2212)} 01:30:00"
    assert page.inner_text(".hero time") == "1 January 2031 at 10:30 GMT+9"
    assert page.get_attribute(".hero time", "title") == "1 January 2031, 01:30 UTC"
    page.clock.run_for(61_000)
    assert page.inner_text(".countdown") == f"T{chr(0x2212)} 01:28:59"
    page.clock.run_for(2 * 3_600_000)
    assert page.inner_text(".countdown") == "T+ 00:31:01"
    page = reader(timezone_id="America/New_York").open(f"launch/{full}.html", still=True)
    assert page.inner_text(".hero time") == "31 December 2030 at 20:30 GMT-5"
    assert page.inner_text(".countdown") == f"T{chr(0x2212)} 01:30:00"


def test_the_choice_of_the_filter_is_in_the_address(full: str, reader: Any) -> None:  # noqa: ANN401, ARG001
    one = reader()
    page = one.open()
    asked = set(one.asked)
    assert page.inner_text("output") == "3 of 3"
    page.get_by_label("Provider").select_option("Owl & Co")
    assert page.locator(".row:visible a").all_inner_texts() == ["Merlin | Owl"]
    assert page.locator(".month:visible").count() == 1
    assert page.inner_text("output") == "1 of 3"
    address = page.url
    assert address.endswith("index.html?provider=Owl+%26+Co")
    page.get_by_label("Rocket").select_option("Kestrel 2")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("output")).to_have_text("3 of 3")
    assert page.url.endswith("index.html")
    assert {address for address in one.asked if "/icon-" not in address} <= asked

    shared = reader().page
    shared.goto(address)
    assert shared.locator(".row:visible a").all_inner_texts() == ["Merlin | Owl"]
    assert shared.get_by_label("Provider").input_value() == "Owl & Co"
    shared.goto(address.replace("Owl", "Nobody"))
    assert shared.inner_text("output") == "3 of 3"


def test_without_script_all_is_there_but_the_countdown_and_the_filter(full: str, reader: Any) -> None:  # noqa: ANN401
    page = reader(java_script_enabled=False).open()
    assert page.locator(".row:visible").count() == 3
    assert not page.locator("#filter").is_visible()
    assert not page.locator(".countdown").is_visible()
    assert page.inner_text(".hero time") == "1 January 2031, 01:30 UTC"
    page.click(f'.hero a[href="launch/{full}.html"]')
    assert page.locator("svg .slip").count() > 5


def test_the_keyboard_gets_everywhere_in_the_order_of_reading(full: str, reader: Any) -> None:  # noqa: ANN401, ARG001
    page = reader().open()
    seen = []
    for _ in range(15):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen[:5] == ["Skip to the content", "Rocket launches", "Launches", "Statistics", "Kestrel 2 | Sparrow"]
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Kestrel 2 | Sparrow"


def test_each_slip_in_the_plot_has_its_label_and_none_lies_over_another(full: str, reader: Any) -> None:  # noqa: ANN401
    page = reader().open(f"launch/{full}.html")
    boxes = [label.bounding_box() for label in page.locator("svg .slip").all()]
    assert len(boxes) == page.locator("svg circle").count() == 13
    frame = page.locator("svg").last.bounding_box()
    for number, box in enumerate(boxes):
        assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]  # noqa: PT018
        for other in boxes[:number]:
            apart_x = box["x"] + box["width"] <= other["x"] + 1 or other["x"] + other["width"] <= box["x"] + 1
            apart_y = abs(box["y"] - other["y"]) > 13 * frame["width"] / 560  # the letters' size
            assert apart_x or apart_y, (box, other)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_cannot_run_restyle_or_leave_the_page(
    text: str, launches: Launches, publish: Publish, reader: Any  # noqa: ANN401
) -> None:  # fmt: skip
    details = {
        "launch_service_provider": {"name": text},
        "rocket": {"configuration": {"full_name": text}},
        "pad": {"name": text, "map_url": text, "latitude": text, "longitude": text, "location": {"name": text}},
        "mission": {"name": text, "type": text, "description": text, "orbit": {"name": text}},
        "image": {"name": text, "credit": text},
        "vid_urls": [{"url": text, "type": {"name": text}}, {"url": f"https://example.org/{text}"}],
        "updates": [{"created_on": text, "comment": text}],
        "failreason": text,
        "holdreason": text,
        "weather_concerns": text,
    }
    launch_id = launches.add(text, details=details)
    launches.change(launch_id, NOW - DAY, name=f"{text} again")
    flown = launches.add(text, NOW - DAY, status="Failure", net_precision=text, details=details)
    launches.change(flown, NOW - HOUR, status=text, image_url=text)
    launches.add(text, NOW + 2 * DAY, status=text, net_precision=text, details=details)
    publish()
    one = reader()
    for path in ("index.html", f"launch/{launch_id}.html", f"launch/{flown}.html", "statistics.html"):
        page = one.open(path)
        page.wait_for_timeout(300)
        assert page.url == f"{one.url}/{path}"
        assert "ran" not in page.title().split("'")[:1]
        assert page.evaluate("document.title") != "ran"
        assert page.locator("main").is_visible()
        assert page.locator("h1").first.is_visible()
        assert page.locator("iframe, base, main style, main script, [onerror], [onload], [onmouseover]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
        for link in page.locator("a").all():
            assert re.match(r"(https?://|[\w./-]+$|#main$)", link.get_attribute("href") or "")


def test_a_page_is_small(launches: Launches, publish: Publish, site: Site, reader: Any) -> None:  # noqa: ANN401
    """As many launches as a page of the Launch Library has, with real texts' lengths."""
    for number in range(100):
        launches.add(f"Falcon 9 Block 5 | Starlink Group 17-{number}", NOW + number * DAY + HOUR)
    publish()
    one = reader()
    one.open()
    sizes = {address: len((site.folder / address.removeprefix(f"{one.url}/")).read_bytes()) for address in one.asked}
    assert len(sizes) <= 4
    assert sum(sizes.values()) < 100_000, sizes
