"""The catalog as people use it: in a browser, on a desktop, on a phone, with the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sluice.catalog import build_document, render
from sluice.catalog.facts import CatalogFacts
from tests.python.catalog.small import CANARIES

SCREENS = {"desktop": (1440, 900), "phone": (390, 844), "narrow": (360, 740)}
PAGES = {
    "overview": "",
    "search": "#/search?q=revenue",
    "table": "#/table/dim_customers?tests",
    "column": "#/table/fct_orders/amount_eur",
    "source": "#/table/shop.orders",
    "report": "#/table/Sales report",
    "lineage": "#/lineage/rpt_sales_monthly/net_sales_eur",
    "tables": "#/lineage/fct_orders",
    "layers": "#/layers",
    "entities": "#/entities",
    "personal": "#/personal",
    "changes": "#/changes",
    "checks": "#/checks",
}


class Reader:
    """Somebody with a browser; what the page asks the network for, and what goes wrong in it, is kept."""

    def __init__(self, browser: Browser, file: Path, screen: str, scheme: str = "light") -> None:
        width, height = SCREENS[screen]
        self.file = file
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            has_touch=screen != "desktop",
            offline=True,
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None,
        )

    def open(self, address: str = "") -> Page:
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.file}{address}")
        self.page.wait_for_selector("h1", state="attached")
        return self.page

    def close(self) -> None:
        self.context.close()
        assert not self.errors, f"the page reports errors: {self.errors}"
        abroad = [url for url in self.requests if not url.startswith(("file://", "data:", "blob:", "about:"))]
        assert not abroad, f"the page talks to the network: {abroad}"


@pytest.fixture(params=["desktop", pytest.param("phone", marks=pytest.mark.full)])
def reader(request: pytest.FixtureRequest, browser: Browser, page_file: Path) -> Iterator[Reader]:
    made = Reader(browser, page_file, request.param)
    yield made
    made.close()


@pytest.fixture
def desktop(browser: Browser, page_file: Path) -> Iterator[Reader]:
    made = Reader(browser, page_file, "desktop")
    yield made
    made.close()


def test_the_first_page_claims_what_was_looked_at(
    browser: Browser, gathered: CatalogFacts, tmp_path: Path
) -> None:
    document = build_document(gathered)
    for table in document["tables"]:
        table |= {"tests": {}, "limits": {}}
    orders = next(table for table in document["tables"] if table["name"] == "fct_orders")
    said = []
    for tests, built in (({}, "success"), ({"unknown": 1}, "success"), ({"pass": 1, "unknown": 1}, "success"),
                         ({"pass": 2}, "success"), ({"pass": 2}, "error")):  # fmt: skip
        orders |= {"tests": tests, "builtAs": built}
        file = tmp_path / "catalog.html"
        file.write_text(render(document), encoding="utf-8")
        reader = Reader(browser, file, "desktop")
        said.append(" ".join(reader.open().locator(".calm, .attention").inner_text().split()))
        reader.close()
    assert said == [
        "? There are no tests; all sources are fresh.",
        "? No test ran yet; all sources are fresh.",
        "? No test fails, but not all of them ran; all sources are fresh.",
        "✓ All tests pass and all sources are fresh.",
        "Needs attention fct_orders ✕ last build failed",
    ]


def test_a_business_word_finds_its_column(reader: Reader) -> None:
    page = reader.open()
    page.get_by_label("Search tables").fill("revenue")
    first = page.locator(".hits > li").first
    expect(first.locator("a.name")).to_have_text("fct_orders.amount_eur")
    expect(first).to_contain_text("The glossary points here for “revenue”")
    expect(page.locator(".term")).to_contain_text("What was sold, in EUR.")
    first.locator("a.name").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("fct_orders")
    expect(page.locator("#c-amount_eur .figures")).to_contain_text("Distinct")


@pytest.mark.parametrize(
    ("typed", "found", "why"),
    [
        ("umsatz", "fct_orders.amount_eur", "The glossary points here"),
        ("custmers", "dim_customers", "“custmers” read as “customers”"),
        ("custom", "dim_customers", "“custom” begins “customers”"),
        ("monthly sales", "rpt_sales_monthly", "“monthly” in the name"),
        ("class:email", "dim_customers.email", "varchar"),
        ("owner:controlling", "Sales report", ""),
        ("order", "fct_orders", "“orders” in the name"),
    ],
)
def test_search_forgives_and_explains(desktop: Reader, typed: str, found: str, why: str) -> None:
    page = desktop.open()
    page.get_by_label("Search tables").fill(typed)
    hit = page.locator(".hits > li").filter(has=page.get_by_role("link", name=found, exact=True))
    expect(hit).to_contain_text(why)
    names = page.locator(".hits a.name").all_text_contents()[:4]
    assert found in names, f"{found} is not among the first hits for {typed!r}: {names}"


def test_the_glossary_says_what_comes_first(desktop: Reader) -> None:
    """In its order, not in that of the columns of a table, nor by how much of a name is alike."""
    page = desktop.open("#/search?q=turnover")
    names = page.locator(".hits a.name").all_text_contents()
    places = [
        "fct_orders.amount_eur",
        "rpt_sales_monthly.net_sales_eur",
        "rpt_sales_monthly.gross_sales_eur",
    ]
    assert names[:3] == places


@pytest.mark.parametrize("question", ["How much did we sell?", "what is our turnover", "show me the umsatz"])
def test_questions_are_understood(desktop: Reader, question: str) -> None:
    page = desktop.open()
    page.get_by_label("Search tables").fill(question)
    expect(page.locator(".hits a.name").first).to_have_text("fct_orders.amount_eur")
    expect(page.locator(".term")).to_contain_text("What was sold, in EUR.")


def test_nothing_found_names_the_nearest_words(desktop: Reader) -> None:
    page = desktop.open()
    page.get_by_label("Search tables").fill("tornuvr")
    near = page.locator(".empty .chip")
    expect(near.first).to_have_text("turnover")
    near.first.click()
    expect(page.locator(".hits a.name").first).to_have_text("fct_orders.amount_eur")
    page.get_by_label("Search tables").fill("zyxwvut")
    expect(page.locator(".empty")).to_contain_text("Words people use: ")
    expect(page.locator(".empty .chip").first).to_have_text("revenue")


def test_nothing_found_says_what_to_do(desktop: Reader) -> None:
    page = desktop.open()
    page.get_by_label("Search tables").fill("zyxwvut")
    expect(page.get_by_role("main")).to_contain_text("docs/glossary.yml")


def test_a_column_is_followed_to_the_field_of_the_source(reader: Reader) -> None:
    page = reader.open("#/table/rpt_sales_monthly")
    page.locator("#c-net_sales_eur summary").click()
    page.get_by_role("link", name="Follow net_sales_eur from source to report").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("net_sales_eur")
    up = page.locator(".list.into")
    expect(up).to_contain_text("fct_orders.amount_eur aggregated")
    source = up.get_by_role("link", name="shop.orders.amount", exact=True)
    expect(source).to_be_visible()
    expect(up).to_contain_text("database shop: orders")
    expect(page.locator(".list.outOf")).to_contain_text("Sales report")
    source.click()
    expect(page.locator(".list.outOf")).to_contain_text("Sales report")


def test_values_and_influences_differ_by_more_than_colour(desktop: Reader) -> None:
    page = desktop.open("#/lineage/rpt_sales_monthly/net_sales_eur")
    page.get_by_role("button", name="With influences").click()
    looks = page.evaluate(
        """() => Object.fromEntries(["value", "influence"].map((type) => {
             const wire = document.querySelector(`path.wire.${type}`);
             return [type, [getComputedStyle(wire).strokeDasharray, wire.getAttribute("marker-end")]];
           }))"""
    )
    assert looks["value"][0] == "none"
    assert looks["influence"][0] != "none"
    assert looks["value"][1] != looks["influence"][1]
    before = page.locator("path.wire").count()
    page.get_by_role("button", name="Values only").click()
    assert page.locator("path.wire.influence").count() == 0
    assert 0 < page.locator("path.wire").count() < before
    page.get_by_role("button", name="All influences").click()
    assert page.locator("path.wire").count() >= before


def test_values_come_first_and_influences_apart(desktop: Reader) -> None:
    """A column that decides something nearby and passes its value on from further away is a value."""
    page = desktop.open("#/lineage/rpt_sales_monthly/month_date")
    assert page.locator("path.wire.influence").count() == 0, "they are shown when they are asked for"
    values = page.locator(".list.into > ol a.name").all_text_contents()
    assert values == [
        "fct_orders.business_date",
        "stg_shop__orders.ordered_on",
        "shop.orders.ordered_on",
    ], "it groups by business_date as well"
    apart = page.locator(".list.into details.influenced")
    expect(apart.locator("summary")).to_contain_text(re.compile(r"Influenced by \d+ columns?: .*filter"))
    apart.locator("summary").click()
    expect(apart.locator("ol").first).to_be_visible()
    assert "fct_orders.business_date" not in apart.locator("a.name").all_text_contents()


@pytest.mark.parametrize("address", ["#/lineage/rpt_sales_monthly/net_sales_eur", "#/lineage/fct_orders"])
def test_lineage_opens_whole(reader: Reader, address: str) -> None:
    page = reader.open(address)
    cut = """() => { const view = document.querySelector(".graph");
                     return [view.scrollWidth - view.clientWidth, view.scrollHeight - view.clientHeight]; }"""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert max(page.evaluate(cut)) <= 1
    page.get_by_role("button", name="Larger").click(click_count=5)
    page.get_by_role("button", name="Fit to view").click()
    assert max(page.evaluate(cut)) <= 1


def test_a_new_page_has_no_frame(desktop: Reader) -> None:
    page = desktop.open()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(outline) != "none", "whoever uses the keyboard sees where they are"
    page.get_by_role("link", name="Layers", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Layers")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate(outline) == "none"


@pytest.mark.full
def test_no_page_is_wider_than_a_small_phone(browser: Browser, page_file: Path) -> None:
    reader = Reader(browser, page_file, "narrow")
    wider = {}
    for name, address in PAGES.items():
        page = reader.open(address)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        page.wait_for_timeout(50)
        wider[name] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    reader.close()
    assert {name: pixels for name, pixels in wider.items() if pixels > 0} == {}


def test_the_graph_is_followed_by_mouse(desktop: Reader) -> None:
    page = desktop.open("#/lineage/rpt_sales_monthly/net_sales_eur")
    page.locator(".card", has_text="stg_shop__orders").get_by_role(
        "button", name="amount", exact=True
    ).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Lineage of amount")
    page.locator(".card .title", has_text="shop.orders").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("shop.orders")


def test_the_keyboard_alone_gets_from_a_word_to_the_source(desktop: Reader) -> None:
    page = desktop.open()
    page.keyboard.press("/")
    page.keyboard.type("revnue", delay=20)
    expect(page.locator(".hits a.name").first).to_have_text("fct_orders.amount_eur")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("fct_orders")
    for _ in range(12):
        page.keyboard.press("Tab")
        if "Follow amount_eur" in page.evaluate("document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lineage of amount_eur")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('graph')"):
            break
    page.keyboard.press("ArrowRight")  # into the picture, to the column in question
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    here = page.evaluate(
        "[document.activeElement.closest('.card').getAttribute('aria-label'), document.activeElement.textContent]"
    )
    assert here == ["shop.orders", "amount"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lineage of amount")


def test_why_a_test_failed(reader: Reader) -> None:
    page = reader.open()
    page.locator(".attention").get_by_role("link", name="fct_orders").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("fct_orders")
    test = page.locator(".tests > li", has_text="status is one of open, paid.")
    expect(test).to_contain_text("1 row breaks it")
    expect(test.locator(".failing")).to_contain_text("lost")
    expect(test.locator("pre")).to_contain_text("where status not in")
    assert test.locator(".dots i").count() == 3
    assert test.locator(".dots i.fail").count() == 1


def test_failing_rows_hide_personal_data(desktop: Reader) -> None:
    page = desktop.open("#/table/dim_customers?tests")
    test = page.locator(".tests > li", has_text="email = upper(email)")
    expect(test.locator(".failing")).to_contain_text("hidden: email")
    expect(test.locator(".failing")).to_contain_text("hidden: name")
    expect(test.locator(".failing")).to_contain_text("standard")
    assert not any(canary in page.content() for canary in CANARIES)


def test_changes_since_the_published_version(desktop: Reader) -> None:
    page = desktop.open("#/changes")
    expect(page.locator(".changes")).to_contain_text("480 → 500 rows")
    expect(page.locator(".changes")).to_contain_text("gone: gone")
    expect(page.locator(".changes")).to_contain_text("not published yet")


def test_rows_and_measures_as_an_audience_reads_them(reader: Reader) -> None:
    page = reader.open("#/table/fct_orders?content")
    content = page.locator("#content")
    expect(content.locator(".trend")).to_contain_text("amount_eur")
    expect(content.locator(".trend svg")).to_have_attribute(
        "aria-label", re.compile("amount_eur by day: from")
    )
    assert content.locator("tbody tr").count() == 5
    page = reader.open("#/table/dim_customers?content")
    row = page.locator("#content tbody tr").first
    expect(row.locator("td").nth(1)).to_have_text("hashed")
    expect(row.locator("td").nth(2)).to_have_text("hidden")
    expect(row.locator("td").nth(3)).to_have_text(re.compile("standard|null"))
    assert not any(canary in page.content() for canary in CANARIES)
    page = reader.open("#/table/rpt_sales_monthly")
    assert page.locator("#content").count() == 0, "nobody reads it yet"


def test_how_each_audience_sees_a_personal_column(desktop: Reader) -> None:
    page = desktop.open("#/table/dim_customers/email")
    expect(page.locator("#c-email")).to_contain_text("analysts hashed; support not at all.")
    expect(page.locator("#access table")).to_contain_text("hashed")
    page = desktop.open("#/personal")
    row = page.locator("table tr", has_text="dim_customers.email")
    assert row.locator("td").all_text_contents()[1:] == ["email", "hashed", "not at all"]


def test_queries_are_those_of_the_published_file(desktop: Reader) -> None:
    page = desktop.open("#/table/fct_orders?use")
    page.get_by_text("Open it first, as analysts").click()
    expect(page.locator("#use")).to_contain_text("published/current/analysts.duckdb' as analysts (read_only)")
    expect(page.locator("#use pre").nth(1)).to_have_text(re.compile(r"from fct_orders\n"))


def test_personal_columns_and_where_they_go(desktop: Reader) -> None:
    page = desktop.open("#/personal")
    path = page.locator(".paths > li", has_text="shop.customers.full_name")
    expect(path).to_contain_text("stg_shop__customers.full_name")
    expect(path).to_contain_text("dim_customers.shouted_name")
    expect(page.locator("table")).to_contain_text("derived from name")


def test_dark_and_light_are_switched_by_hand(desktop: Reader) -> None:
    page = desktop.open()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [
        ("desktop", "light"),
        *(
            pytest.param(*shown, marks=pytest.mark.full)
            for shown in (("desktop", "dark"), ("phone", "light"))
        ),
    ],
)
def test_every_page_is_accessible_and_fits(
    browser: Browser, page_file: Path, screenshots: Path, screen: str, scheme: str
) -> None:
    reader = Reader(browser, page_file, screen, scheme)
    found = []
    for name, address in PAGES.items():
        page = reader.open(address)
        page.screenshot(path=screenshots / f"{name}-{screen}-{scheme}.png")
        for details in page.locator("details").all()[:6]:
            details.evaluate("(element) => (element.open = true)")
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            found.append(f"{name}: {violation['id']}: {violation['help']}: {nodes}")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wider > 0:
            found.append(f"{name}: is {wider} px wider than the screen")
    reader.close()
    assert not found, "\n".join(found)
