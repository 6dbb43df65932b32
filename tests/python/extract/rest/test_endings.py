"""An API that pages otherwise than is declared, or without end, is refused: its first page is not taken for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.extract import rest
from sluice.extract.rest.endpoint import PAGES_WITHOUT_NEWS
from tests.python.extract.rest.api import ALL, PAGES, SECRET, SECRETS, Answer, Api, Request, declaration
from tests.python.extract.rig import run


def next_page(request: Request) -> tuple[list[Any], str | None]:
    """Records of the page that is asked for, and the URL of the next one."""
    page = int(request.query.get("p", 0))
    return PAGES[page], f"http://{request.headers['host']}/things?p={page + 1}" if page < 2 else None


def in_header(name: str, form: str = "{}") -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        rows, url = next_page(request)
        return Answer({"items": rows}, headers={name: form.format(url)} if url else {})

    return answer


def in_field(*path: str) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        rows, found = next_page(request)
        body: Any = found
        for key in reversed(path):
            body = {key: body}
        return Answer({"items": rows, **body})

    return answer


def in_list(name: str, rel: str, href: str) -> Callable[[Request], Answer]:
    """As FHIR, STAC and OGC write their links."""

    def answer(request: Request) -> Answer:
        rows, url = next_page(request)
        links = [{rel: "self", href: "/things"}, *([{rel: "next", href: url}] if url else [])]
        return Answer({"items": rows, name: links})

    return answer


def things(api: Api, paginator: dict[str, Any]) -> dict[str, Any]:
    return declaration(
        api.url, {"things": {"path": "things", "data_selector": "items", "paginator": paginator}}
    )


WAYS = [
    (in_header("Next-Page"), "the header Next-Page: paginator: {type: header_link, header: Next-Page}"),
    (in_header("Link", '<{}>; rel="NEXT"'), "{type: header_link, links_next_key: next}"),
    (in_header("X-Links", '<{}>; rel="next"'), "{type: header_link, links_next_key: next, header: X-Links}"),
    (in_field("next"), '{type: json_link, next_url_path: "next"}'),
    (in_field("paging", "next"), '"paging.next"'),
    (in_field("_links", "next", "href"), '"_links.next.href"'),
    (in_field("meta", "next_url"), '"meta.next_url"'),
    (in_field("@odata.nextLink"), "\"'@odata.nextLink'\""),
    (in_field("nextPage"), '"nextPage"'),
    (in_field("a", "b", "c", "d", "next"), '"a.b.c.d.next"'),
    (in_header("Link", '<{}&q=1;2, 3>; title="a; rel=b"; rel="prefetch next"'), "links_next_key: next"),
    (in_list("links", "rel", "href"), "\"links[?(@.rel=='next')].href\""),
    (in_list("link", "relation", "url"), "\"link[?(@.relation=='next')].url\""),
]


@pytest.mark.parametrize(("answer", "said"), WAYS)
def test_a_link_that_is_not_followed_is_refused(api: Api, tmp_path: Path, answer: Any, said: str) -> None:
    """Kinto, for one, has its next page in a header of its own: 40 of 230 records looked like all of them."""
    api.answer = answer
    declared = {"type": "cursor", "cursor_path": "after", "cursor_param": "after"}
    error = str(run(rest.extract, things(api, declared), tmp_path).errors["things"])
    assert "the answer leads to another page" in error
    assert said in error
    assert len(api.requests) == 1
    # what the message says is a declaration that reads all
    text = said.partition("paginator: ")[2] or error.partition("paginator: ")[2].partition(". Nothing")[0]
    whole = run(rest.extract, things(api, yaml.safe_load(text)), tmp_path)
    assert len(whole.rows["things"]) == len(ALL)


def test_who_wants_one_page_gets_it(api: Api, tmp_path: Path) -> None:
    api.answer = in_header("Next-Page")
    result = run(rest.extract, things(api, {"type": "single_page"}), tmp_path)
    assert len(result.rows["things"]) == len(PAGES[0])


def same_empty_page(_: Request) -> Answer:
    return Answer({"items": [], "next": "c1"})


def ever_new_cursors(request: Request) -> Answer:
    return Answer({"items": [], "next": request.query.get("after", "") + "x"})


def last_page_again(request: Request) -> Answer:
    after = int(request.query.get("after", 0))
    return Answer({"items": PAGES[min(after, 2)], "next": after + 1})


def in_another_order(request: Request) -> Answer:
    after = int(request.query.get("after", 0))
    return Answer({"items": ALL[after % 5 :] + ALL[: after % 5], "next": after + 1})


def with_the_time(request: Request) -> Answer:
    after = int(request.query.get("after", 0))
    return Answer({"items": [{"id": 1, "fetched": after}], "next": after + 1})


@pytest.mark.parametrize(
    "answer", [same_empty_page, ever_new_cursors, last_page_again, in_another_order, with_the_time]
)
@pytest.mark.sample(2)
def test_paging_is_bounded_by_progress(api: Api, tmp_path: Path, answer: Any) -> None:
    api.answer = answer
    declared = things(api, {"type": "cursor", "cursor_path": "next", "cursor_param": "after"})
    declared["sources"][0]["tables"][0]["config"]["meta"]["load"]["primary_key"] = "id"
    error = str(run(rest.extract, declared, tmp_path).errors["things"])
    assert f"{PAGES_WITHOUT_NEWS} pages in a row had no record that was not on an earlier page" in error
    assert len(api.requests) <= PAGES_WITHOUT_NEWS + len(PAGES)


@pytest.mark.parametrize(
    ("more", "headers", "said"),
    [
        ({"has_more": True}, {}, "has_more is true"),
        ({"page": {"hasNextPage": True}}, {}, "page.hasNextPage is true"),
        ({"last": False}, {}, "last is false"),
        ({"nextPageToken": "abc"}, {}, "nextPageToken has a value"),
        ({"meta": {"next_page": 2}}, {}, "meta.next_page has a value"),
        ({"total": 230}, {}, "total is 230"),
        ({"count": 230, "limit": 3, "type": "x"}, {}, "count is 230"),
        ({"hits": {"total": {"value": 230}}}, {}, "hits.total.value is 230"),
        ({"@odata.count": 230}, {}, "@odata.count is 230"),
        ({"totalPages": 7}, {}, "totalPages is 7, read was 1"),
        ({"startAt": 0, "maxResults": 3, "total": 230}, {}, "total is 230"),
        ({"paging": {"next": {"after": "3"}}}, {}, "paging.next.after has a value"),
        ({"LastEvaluatedKey": {"id": {"N": "3"}}}, {}, "LastEvaluatedKey.id.N has a value"),
        ({"continue": {"from": "3"}}, {}, "continue.from has a value"),
        ({"hasMore": "Y"}, {}, "hasMore is y"),
        ({"done": False}, {}, "done is false"),
        ({"data": {"repo": {"issues": {"pageInfo": {"hasNextPage": True}}}}}, {}, "hasNextPage is true"),
        ({}, {"x-ms-continuation": "3"}, "x-ms-continuation has a value"),
        ({"meta": {"total": 230}}, {}, "meta.total is 230"),
        ({}, {"X-Total-Count": "230"}, "X-Total-Count is 230"),
        ({}, {"X-WP-TotalPages": "2"}, "X-WP-TotalPages is 2"),
        ({}, {"Content-Range": "items 0-2/230"}, "Content-Range total is 230"),
    ],
)
@pytest.mark.parametrize("path", ["things", "groups/{id}"])
@pytest.mark.sample(15)
def test_an_answer_that_says_there_is_more_is_refused(
    api: Api, tmp_path: Path, path: str, more: dict[str, Any], headers: dict[str, str], said: str
) -> None:
    """Also where dlt takes the path, which ends with a placeholder, for that of one record."""
    api.answer = lambda request: Answer(
        {"items": ALL[:3], **more} if request.path != "/groups" else [{"id": 1}], headers=headers
    )
    tables: dict[str, Any] = {"things": {"path": path, "data_selector": "items"}}
    if "{" in path:
        tables["groups"] = {"path": "groups", "data_selector": "$", "paginator": "single_page"}
        tables["things"]["params"] = {"id": {"type": "resolve", "resource": "groups", "field": "id"}}
    error = str(run(rest.extract, declaration(api.url, tables), tmp_path).errors["things"])
    if "the same page again and again" not in error:  # dlt's guess is a cursor, or numbered pages
        assert "read 3 record(s), but the answer says that there are more: " in error
        assert said in error
    tables["things"]["paginator"] = "single_page"
    result = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert (len(result.rows["things"]), result.warnings) == (3, [])


def test_an_envelope_is_not_taken_for_a_record(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer(
        {"items": ALL, "has_more": True} if request.path != "/groups" else [{"id": 1}]
    )
    params = {"id": {"type": "resolve", "resource": "groups", "field": "id"}}
    tables: dict[str, Any] = {
        "groups": {"path": "groups", "data_selector": "$", "paginator": "single_page"},
        "things": {"path": "groups/{id}", "params": params},
    }
    error = str(run(rest.extract, declaration(api.url, tables), tmp_path).errors["things"])
    assert "has_more is true" in error
    api.answer = lambda request: Answer(
        {"id": 1, "lines": ALL, "total": 99, "next": f"{api.url}/groups/2"}
        if request.path != "/groups"
        else [{"id": 1}]
    )
    result = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert (len(result.rows["things"]), result.warnings) == (1, [])


MANY = [{"id": n} for n in range(100)]


def in_tens(request: Request, first: int = 0) -> Answer:
    """Ten records a page, whatever is asked for, by number of the page or by offset."""
    offset = int(request.query.get("offset", 10 * (int(request.query.get("page", first)) - first)))
    return Answer({"items": MANY[:35][max(offset, 0) : offset + 10], "total_count": 35})


@pytest.mark.parametrize(
    ("paginator", "said"),
    [
        ({"type": "offset", "limit": 50, "total_path": "total_count"}, "fewer records per page than the limit of 50"),
        ({"type": "offset", "limit": 50, "total_path": None}, "fewer records per page than the limit of 50"),
        ({"type": "page_number", "base_page": 1, "total_path": None}, "If the API's first page is 0, declare base_page: 0"),
        ({"type": "offset", "limit": 10, "total_path": "total_count"}, None),
        ({"type": "page_number", "base_page": 0, "total_path": None}, None),
    ],
)  # fmt: skip
def test_numbers_that_skip_records_are_refused(
    api: Api, tmp_path: Path, paginator: dict[str, Any], said: str | None
) -> None:
    api.answer = in_tens
    result = run(rest.extract, things(api, paginator), tmp_path)
    if said:
        assert said in str(result.errors["things"])
    else:
        assert (len(result.rows["things"]), result.warnings) == (35, [])


@pytest.mark.parametrize(
    ("params", "answer", "said"),
    [
        ({"limit": 5}, {"items": ALL}, "the only page has 5 records, as many as were asked for"),
        ({"$top": 5}, {"items": ALL}, "as many as were asked for"),
        ({}, {"items": ALL, "page_size": 5}, "as many as the answer says a page has"),
        ({}, {"items": MANY}, "the only page has 100 records, a round number"),
        ({}, {"items": ALL, "id": 7, "total": 99}, "read 5 record(s), but in the answer total is 99"),
        (
            {},
            {"items": ALL, "summary": {"total": 99}},
            "read 5 record(s), but in the answer summary.total is 99",
        ),
        ({"limit": 100}, {"items": ALL}, None),
        ({}, {"items": ALL}, None),
        ({}, {"items": MANY, "next": None}, None),
        ({}, {"items": MANY, "has_more": False}, None),
        ({}, {"items": MANY, "total": 100}, None),
        ({}, {"items": MANY, "limit": 500}, None),
    ],
)
def test_a_page_that_may_be_the_first_of_more_is_warned_of(
    api: Api, tmp_path: Path, params: dict[str, Any], answer: Any, said: str | None
) -> None:
    api.answer = lambda _: Answer(answer)
    declared = {"things": {"path": "things", "data_selector": "items", "params": params}}
    result = run(rest.extract, declaration(api.url, declared), tmp_path)
    assert result.errors == {}
    assert len(result.warnings) == (0 if said is None else 1)
    if said:
        assert said in result.warnings[0]
        assert "Looked for was the URL, cursor or number of a next page" in result.warnings[0]
        assert not result.extracted["things"].is_whole


def test_children_are_warned_of_once(api: Api, tmp_path: Path) -> None:
    groups = [{"id": n} for n in range(3)]

    def answer(request: Request) -> Answer:
        if request.path == "/groups":
            return Answer(groups)
        return Answer({"items": MANY[:10] if request.path != f"/groups/{few}/things" else ALL})

    api.answer = answer
    params = {"id": {"type": "resolve", "resource": "groups", "field": "id"}}
    tables: dict[str, Any] = {
        "groups": {"path": "groups", "data_selector": "$", "paginator": "single_page"},
        "things": {"path": "groups/{id}/things", "params": params, "data_selector": "items"},
    }
    few = 0
    (warning,) = run(rest.extract, declaration(api.url, tables), tmp_path).warnings
    assert warning.startswith("api.things: the only page has 10 records, a round number")
    groups[:] = groups[:2]
    assert run(rest.extract, declaration(api.url, tables), tmp_path).warnings == []


def test_an_odata_path_needs_no_quotes(api: Api, tmp_path: Path) -> None:
    api.answer = in_field("@odata.nextLink")
    declared = {"type": "json_link", "next_url_path": "@odata.nextLink"}
    assert len(run(rest.extract, things(api, declared), tmp_path).rows["things"]) == len(ALL)
    api.answer = in_field("d", "odata.nextLink")
    declared = {"type": "json_link", "next_url_path": "d.odata.nextLink"}
    assert len(run(rest.extract, things(api, declared), tmp_path).rows["things"]) == len(ALL)


def test_a_link_to_another_host_gets_no_credentials(api: Api, tmp_path: Path) -> None:
    other = Api()
    other.answer = lambda _: Answer({"items": ALL[3:]})
    api.answer = lambda _: Answer({"items": ALL[:3], "next": f"{other.url}/things?after=3"})
    link = {"type": "json_link", "next_url_path": "next"}
    tables = {"things": {"path": "things", "data_selector": "items", "paginator": link}}
    secrets = {"auth": {"type": "bearer", "token": "${api.token}"}, "headers": {"X-Key": "${api.api_key}"}}
    try:
        for client in ({"auth": secrets["auth"]}, {"headers": secrets["headers"]}):
            declared = declaration(api.url, tables, client)
            error = str(run(rest.extract, declared, tmp_path, values=SECRETS).errors["things"])
            assert "leads to another host" in error
            assert SECRET not in error
            assert other.requests == []
        cursor = {
            "things": {
                **tables["things"],
                "paginator": {"type": "cursor", "cursor_path": "x", "cursor_param": "x"},
            }
        }
        error = str(run(rest.extract, declaration(api.url, cursor), tmp_path).errors["things"])
        assert "the answer says that there are more: next has a value" in error
        # without any credentials there is nothing to lose
        result = run(rest.extract, declaration(api.url, tables), tmp_path)
        assert len(result.rows["things"]) == len(ALL)
    finally:
        other.server.shutdown()
        other.server.server_close()
