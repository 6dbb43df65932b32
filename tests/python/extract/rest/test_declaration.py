"""Mistakes in a declaration, found without network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.extract import rest
from tests.python.extract.rest.api import (
    FAMILY,
    Api,
    declaration,
    failure,
    shop,
)
from tests.python.extract.rig import declare, run

ENDPOINT = ["tables", 0, "config", "meta", "load", "endpoint"]
CLIENT = ["config", "meta", "load", "client"]


@pytest.mark.parametrize(
    ("table", "client", "path", "message"),
    [
        ({"pth": "x"}, {}, [*ENDPOINT, "pth"], "is not a key here; allowed are auth, data"),
        (
            {"path": "x", "paginator": "pages"},
            {},
            [*ENDPOINT, "paginator"],
            "is 'pages'; allowed are auto, cursor",
        ),
        (
            {"path": "x", "paginator": {"type": "page_number", "page_parm": "p"}},
            {},
            [*ENDPOINT, "paginator", "page_parm"],
            "Did you mean page_param",
        ),
        (
            {"path": "x", "paginator": {"type": "offset"}},
            {},
            [*ENDPOINT, "paginator"],
            "write {type: offset, limit: 100}",
        ),
        (
            {"path": "x", "paginator": {"type": "page_number", "base_page": "1"}},
            {},
            [*ENDPOINT, "paginator", "base_page"],
            "is '1'; it has to be a whole number",
        ),
        ({"path": 5}, {}, [*ENDPOINT, "path"], "is 5; it has to be a text"),
        ({"path": "x", "method": "FETCH"}, {}, [*ENDPOINT, "method"], "one of GET, POST"),
        ({"path": "x", "data_selector": "a[["}, {}, [*ENDPOINT, "data_selector"], "is not a JSON path"),
        (
            {"path": "x", "params": {"since": {"type": "increment"}}},
            {},
            [*ENDPOINT, "params", "since"],
            "allowed are resolve",
        ),
        (
            {"path": "x", "incremental": {"cursor": "u"}},
            {},
            [*ENDPOINT, "incremental", "cursor"],
            "Did you mean cursor_path?",
        ),
        (
            {"path": "x", "incremental": {"cursor_path": "u", "lag": 60}},
            {},
            ENDPOINT[:-1],
            "needs a primary_key",
        ),
        ({"path": "x/{id}"}, {}, ENDPOINT, "the path 'x/{id}' needs id"),
        ({"path": "x/{resources.nobody.id}"}, {}, ENDPOINT, "nobody"),
        ({"path": "x"}, {"base_url": None}, [*CLIENT, "base_url"], "it has to be a text"),
        (
            {"path": "x"},
            {"auth": {"type": "basic"}},
            [*CLIENT, "auth", "type"],
            "allowed are api_key, bearer, http_basic",
        ),
        ({"path": "x"}, {"auth": {"type": "bearer"}}, [*CLIENT, "auth"], "auth bearer needs token"),
        (
            {"path": "x"},
            {"auth": {"type": "login", "path": "l"}},
            [*CLIENT, "auth"],
            "auth login needs token_path",
        ),
        (
            {"path": "x"},
            {"auth": {"type": "login", "token_path": "t"}},
            [*CLIENT, "auth"],
            "needs either path",
        ),
        (
            {"path": "x"},
            {"session": "s"},
            [*CLIENT, "session"],
            "is not a key here; allowed are auth, base_url",
        ),
    ],
)
def test_the_check_says_which_key_is_wrong(
    tmp_path: Path, table: dict[str, Any], client: dict[str, Any], path: list[Any], message: str
) -> None:
    found = rest.check(declare(declaration("http://127.0.0.1", {"things": table}, client), tmp_path))
    assert found[0][0] == path, found
    assert message in found[0][1]


def test_children_of_an_incremental_parent_need_a_key(api: Api, tmp_path: Path) -> None:
    api.answer = shop
    tables = {**FAMILY, "lines": {k: v for k, v in FAMILY["lines"].items() if k != "primary_key"}}
    source = declare(declaration(api.url, tables), tmp_path)
    (problem,) = rest.problems(source)
    why = "reads only what is new in orders, so it needs a primary_key by which new records replace old ones"
    assert (problem.where, problem.message) == ("api.lines", why)
    assert source.file.read_text().splitlines()[problem.line - 1].strip() == "load:"
    assert why in failure(run(rest.extract, declaration(api.url, tables), tmp_path), "lines")
