"""A page as everybody meets it: axe in both themes, both widths."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.browser import ROOT

PAGES = {file.stem for file in (ROOT / "pages").glob("[a-z]*.py")} | {"demo"}
AT_REST = """() => new Promise((done) => {  // what waits for new values is dimmed, which no one should judge
  let calm = 0;
  const look = () => {
    const app = document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
    calm = app && !document.querySelector("[data-stale=true]") ? calm + 1 : 0;
    calm > 6 ? done() : setTimeout(look, 100);
  };
  look();
})"""
SHIFTS = """window.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach((each) => {
  // Streamlit's own first frames: the column grows from narrow to wide, and aside when the sidebar appears.
  const boot = each.sources.some((source) => source.previousRect.x !== source.currentRect.x);
  window.shifted += boot || each.hadRecentInput ? 0 : each.value;
})).observe({ type: "layout-shift", buffered: true });"""
DIMMED = """() => {  // from here on, remember whether anything was
  window.dimming?.disconnect();
  window.dimmed = document.querySelector("[data-stale=true]") !== null;  // since it was at rest
  window.dimming = new MutationObserver((changes) => {
    window.dimmed ||= changes.some((change) => change.target.dataset.stale === "true");
  });
  window.dimming.observe(document.body, { subtree: true, attributeFilter: ["data-stale"] });
}"""
FILLED = """() => [...document.querySelectorAll(".js-plotly-plot")].every((plot) =>
  Math.abs(plot.querySelector(".main-svg").getBoundingClientRect().width - plot.getBoundingClientRect().width) < 1)"""
SERIOUS = ("serious", "critical")
EVERY_RULE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
COLORS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # all that a theme changes
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 23, 29)"}
WIDTHS = (390, 1280)


def name_of(page: Page) -> str:
    """Which of PAGES is open."""
    url = urlparse(page.url)
    return url.path.strip("/") or ("demo" if parse_qs(url.query).get("demo") == ["1"] else "overview")


def problems(page: Page) -> list[str]:
    """What would keep somebody out: serious violations in either theme, widths at which the page scrolls sideways."""
    found = [*_violations(page, "dark", COLORS), *_violations(page, "light", EVERY_RULE)]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function(f"window.innerWidth === {width}")
        if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
            found.append(f"scrolls sideways at {width} px")
    page.wait_for_function(FILLED)  # Plotly draws anew some time after the last change of the width
    return found


def _violations(page: Page, scheme: str, rules: dict[str, object]) -> list[str]:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # for which Streamlit may run the page again
    expect(page.locator(".stApp")).to_have_css("background-color", BACKGROUND[scheme])
    page.evaluate(AT_REST)
    page.evaluate(DIMMED)
    found = Axe().run(page, options=rules).response["violations"]
    if page.evaluate("window.dimmed"):  # it ran again under axe's eyes
        return _violations(page, scheme, rules)
    return [
        f"{scheme}: {each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
