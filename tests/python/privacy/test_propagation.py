"""Data classes follow values, never influences; where the walk ends is what its users differ in."""

from __future__ import annotations

from sluice.lineage import ROWS, Edge, EdgeType, Graph, Node, Ref, Unknown
from sluice.lineage.graph import NodeColumn
from sluice.privacy.propagation import Personal, nearest_class, personal_columns, unresolved_origin

MAIL, LOWER, PLAIN, LAST, OTHER = (Ref(node, "mail") for node in ("raw", "stg", "int", "mart", "other"))
DECLARED = {MAIL: "email", PLAIN: "none"}


def graph(*edges: tuple[Ref, Ref, EdgeType]) -> Graph:
    return Graph({}, [Edge(source, target, type_, "identity") for source, target, type_ in edges])


CHAIN = graph((MAIL, LOWER, EdgeType.VALUE), (LOWER, PLAIN, EdgeType.VALUE), (PLAIN, LAST, EdgeType.UNKNOWN))


def test_nothing_ends_the_walk_for_what_anybody_may_see() -> None:
    origins = frozenset({MAIL})
    assert personal_columns(CHAIN, DECLARED) == {
        MAIL: Personal(frozenset({"email"}), origins, declared=True),
        LOWER: Personal(frozenset({"email"}), origins, declared=False),
        PLAIN: Personal(frozenset({"email"}), origins, declared=False),
        LAST: Personal(frozenset({"email"}), origins, declared=False, maybe=True),
    }


def test_a_class_of_its_own_ends_the_walk_for_audiences() -> None:
    assert set(personal_columns(CHAIN, DECLARED, ends=DECLARED)) == {MAIL, LOWER}
    both = {**DECLARED, LOWER: "name"}
    assert {ref: set(why.classes) for ref, why in personal_columns(CHAIN, both, ends=both).items()} == {
        MAIL: {"email"},
        LOWER: {"name"},
    }


def test_classes_of_several_columns_add_up_and_one_certain_path_is_enough() -> None:
    joined = graph((MAIL, LAST, EdgeType.UNKNOWN), (OTHER, LAST, EdgeType.VALUE))
    found = personal_columns(joined, {MAIL: "email", OTHER: "name"})
    assert found[LAST] == Personal(frozenset({"email", "name"}), frozenset({MAIL, OTHER}), declared=False)


def test_influences_and_rows_carry_no_values() -> None:
    filtered = graph((MAIL, LAST, EdgeType.INFLUENCE), (MAIL, Ref("mart", ROWS), EdgeType.UNKNOWN))
    assert set(personal_columns(filtered, DECLARED)) == {MAIL}
    assert nearest_class(filtered, DECLARED, LAST) is None


def test_the_nearest_class_upstream_is_found_unless_none_ends_the_path() -> None:
    assert nearest_class(CHAIN, DECLARED, LAST) is None
    assert nearest_class(CHAIN, {MAIL: "email"}, LAST) == (MAIL, "email", False)
    assert nearest_class(CHAIN, {MAIL: "email"}, LOWER) == (MAIL, "email", True)
    assert nearest_class(CHAIN, {MAIL: "email", LOWER: "name"}, LAST) == (LOWER, "name", False)


def test_a_column_of_unknown_sql_may_come_from_what_its_parents_rows_come_from() -> None:
    rows = Ref("stg", ROWS)
    unknown = graph((MAIL, rows, EdgeType.UNKNOWN), (rows, LAST, EdgeType.UNKNOWN))
    assert nearest_class(unknown, DECLARED, LAST) == (MAIL, "email", False)


def test_what_lineage_loses_is_personal_wherever_it_goes() -> None:
    """Also on the catalog's page and in rows that are shown, where `none` does not end the walk."""
    spy = Unknown("its pre_hook may write into it", "create view spy")
    nodes = {name: Node(name, "model", name) for name in ("stg", "int", "mart")}
    for name in ("stg", "int"):
        nodes[name].columns["mail"] = NodeColumn("mail")
    nodes["stg"].column_unknowns = {"mail": (spy,)}
    graph = Graph(nodes, [Edge(LOWER, PLAIN, EdgeType.VALUE, "identity")])
    unknown = Personal(frozenset({"unknown"}), frozenset({LOWER}), declared=False, maybe=True)
    assert personal_columns(graph, {PLAIN: "none"}) == {LOWER: unknown, PLAIN: unknown}
    assert set(personal_columns(graph, {PLAIN: "none"}, ends={PLAIN})) == {LOWER}
    assert unresolved_origin(graph, {}, PLAIN) == (LOWER, spy)
    assert unresolved_origin(graph, {LOWER: "none"}, PLAIN) is None
    lost = unresolved_origin(graph, {}, LAST)
    assert lost is not None, "a column that its node does not have"
    assert lost[0] == LAST
