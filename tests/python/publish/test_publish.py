"""Publishing: what each audience gets, what it costs, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from sluice.errors import ConnectionError, DamagedError, DeclarationError, Exit, PublishError, SluiceError
from sluice.publish import publish, rollback, rotate_key
from sluice.publish.versions import Versions
from sluice.runs.store import RunStore

from .conftest import AUDIENCES, ORDERS, PARQUET, PRODUCTS, Company

KEY = "CONNECTIONS__PUBLISH_SUPPORT__KEY"


def _inode(company: Company, audience: str) -> int:
    return company.path(audience).stat().st_ino


def test_each_audience_gets_what_it_is_granted_and_cleared_for(company: Company) -> None:
    company.publish()
    assert company.read("support", "show tables") == [("dim_customers",), ("fct_orders",)]
    assert company.read("analysts", "show tables") == [("dim_customers",), ("dim_products",), ("fct_orders",)]
    row = company.read(
        "support", "select name, email, phone, born_on from dim_customers where customer_key = 'c7'"
    )
    assert row == [("CANARY-name-7", "CANARY-7@example.com", "CANARY+49-30-7", None)]
    (row,) = company.read(
        "analysts", "select name, email, phone, born_on::text from dim_customers where customer_key = 'c400'"
    )
    assert row[0] is None
    assert len(row[1]) == 32
    assert row[2:] == ("***400", "1971-01-01")


def test_hashed_columns_join(company: Company) -> None:
    company.publish()
    joined = "select count(*) from dim_customers c join fct_orders o on c.email = o.contact_email"
    assert company.read("analysts", joined) == [(3000,)]


def test_hashed_columns_join_across_audiences(company: Company) -> None:
    company.policy(AUDIENCES.replace("email: partial, name: hash", "email: hash, name: hash"))
    company.publish()
    with duckdb.connect() as con:
        for name in ("analysts", "dach"):
            con.execute(f"attach '{company.path(name)}' as {name} (read_only)")
        joined = (
            "select count(*) from dach.dim_customers join analysts.fct_orders o on email = o.contact_email"
        )
        assert con.execute(joined).fetchall() == [(3 * 334,)]


def test_hash_depends_on_the_key(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.policy(AUDIENCES.replace("  keep: 3", "  keep: 3\n  masking_key: ${masking.key}"))
    seen = set()
    for key in ("one", "other"):
        monkeypatch.setenv("CONNECTIONS__MASKING__KEY", key)
        company.publish()
        seen.add(company.read("analysts", "select email from dim_customers where customer_key = 'c1'")[0][0])
    assert len(seen) == 2


def test_row_filter(company: Company) -> None:
    company.publish()
    assert company.read(
        "dach", "select distinct region from dim_customers union select region from fct_orders"
    ) == [("DACH",)]
    assert company.read("dach", "select count(*) from dim_products") == [(40,)]


def test_a_table_the_row_filter_does_not_fit_is_not_shown_whole(company: Company) -> None:
    company.policy(AUDIENCES.replace(", unfiltered: [dim_products]", ""))
    with pytest.raises(DeclarationError, match=r"row filter of dach.*does not fit dim_products"):
        company.publish()
    assert not (company.published / "current").exists()


def test_what_did_not_change_is_not_written_again(company: Company) -> None:
    company.publish()
    before = {name: _inode(company, name) for name in ("analysts", "support", "dach")}
    assert company.publish().written == {"analysts": [], "support": [], "dach": []}
    assert {name: _inode(company, name) for name in before} == before
    company.sql("update marts.dim_products set title = 'new' where sku = 'p1'")
    assert company.publish().written["support"] == []
    assert _inode(company, "support") == before["support"]
    assert company.read("analysts", "select title from dim_products where sku = 'p1'") == [("new",)]


def test_without_a_manifest_nothing_is_wrongly_declared(company: Company) -> None:
    with pytest.raises(SluiceError, match="Run `sluice build` first") as caught:
        publish(company.settings)  # nothing was built
    assert caught.value.exit is Exit.FAILED


def flipped(file: Path) -> None:
    """One bit of a row: length, header and footer stay."""
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 5] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("form", ["duckdb", "parquet"])
def test_a_damaged_file_is_written_again(form: str, company: Company) -> None:
    """And no version with it becomes current, neither by a publication nor by a rollback."""
    if form == "parquet":
        company.policy(PARQUET.replace("WHERE", ""))
    company.publish()
    first = company.published / "current"
    older = first.readlink().name
    for damage in (flipped, cut, Path.unlink):
        files = [f for f in first.resolve().rglob(f"*.{form}") if "analysts" in f.as_posix()]
        for file in files:
            file.chmod(0o600)
            damage(file)
        with pytest.raises(
            DamagedError, match=r"(not what was published|missing)\. Restore it from a backup"
        ):
            rollback(company.settings, older)
        assert company.publish().written["analysts"] != []
        assert company.publish().written["analysts"] == []
        older = first.readlink().name


def test_a_damaged_file_does_not_pass_on_what_is_held_back(company: Company) -> None:
    company.policy(AUDIENCES.replace("keep: 3", "keep: 3\n  on_failure: hold_model"))
    company.publish()
    flipped(company.path("analysts").resolve())
    company.built(dim_products=("error", "a message", 0))
    with pytest.raises(
        DamagedError, match=r"analysts\.duckdb is damaged: its content is not what was published"
    ):
        publish(company.settings)


def test_a_version_whose_manifest_is_damaged_is_named(company: Company) -> None:
    company.publish()
    manifest = (company.published / "current" / "manifest.json").resolve()
    manifest.chmod(0o600)
    manifest.write_text(manifest.read_text()[:100])
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged: .*Restore .* from a backup"):
        company.publish()
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged"):
        Versions(company.published).read_current()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
def test_a_damaged_key_hashes_nothing(company: Company, content: bytes) -> None:
    company.publish()
    key = company.settings.home / "keys" / "masking"
    key.write_bytes(content)
    with pytest.raises(DamagedError, match=r"masking is damaged: it holds no key\. Restore it from a backup"):
        company.publish()
    assert key.read_bytes() == content


def test_a_change_an_audience_may_not_see_does_not_touch_its_file(company: Company) -> None:
    company.publish()
    company.sql(
        "update marts.dim_customers set name = 'somebody else' where customer_key = 'c1'"
    )  # not in DACH
    assert company.publish().written == {
        "analysts": [],
        "support": ["dim_customers", "fct_orders"],
        "dach": [],
    }


def test_manifest_says_what_a_version_is(company: Company) -> None:
    ledger = RunStore(company.settings.ledger)
    run = ledger.begin("run")
    company.publish()
    version = Versions(company.published).read_current()
    assert version is not None
    assert version.run_id == run
    assert version.tests == {"test.t.relationships_fct_orders_customer_key": "pass"}
    table = version.audiences["analysts"].tables["fct_orders"]
    (found,) = company.read(
        "analysts",
        "select count(*), sum(hash(order_id, customer_key, contact_email, amount, region)::hugeint)::text from fct_orders",
    )
    assert (table.rows, table.fingerprint) == found


def test_fingerprint_does_not_depend_on_order(company: Company) -> None:
    company.publish()
    company.sql("create or replace table marts.fct_orders as from marts.fct_orders order by order_id desc")
    assert company.publish().written["analysts"] == []


def test_encrypted_with_the_key_of_the_audience(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "a key of support's")
    company.publish()
    with pytest.raises(duckdb.Error):
        company.read("support", "from dim_customers")
    assert company.read("support", "select count(*) from dim_customers", "a key of support''s") == [(1000,)]
    assert b"CANARY" not in company.path("support").read_bytes()


def test_a_lost_or_wrong_key_stops_instead_of_publishing_in_the_open(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "right one")
    company.publish()
    for wrong, why in (("wrong one", "does not open it"), ("", "has no value here: set")):
        monkeypatch.setenv(KEY, wrong)
        with pytest.raises(ConnectionError, match=why):
            company.publish()
    monkeypatch.setenv(KEY, "right one")
    company.publish()


def test_keys_are_in_no_message_and_no_file(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "verysecretkey")
    company.publish()
    company.settings.warehouse.write_bytes(b"broken")
    with pytest.raises(DamagedError, match=r"warehouse\.duckdb is damaged") as refused:
        publish(company.settings)
    masking = (company.settings.home / "keys" / "masking").read_text()
    assert (company.settings.home / "keys" / "masking").stat().st_mode & 0o77 == 0
    for file in [f for f in company.settings.home.rglob("*") if f.is_file() and f.parent.name != "keys"]:
        assert b"verysecretkey" not in file.read_bytes(), file
        assert masking.encode() not in file.read_bytes(), file
    assert "verysecretkey" not in str(refused.value)


def test_a_lost_key_of_the_hashes_is_not_made_anew(company: Company) -> None:
    company.publish()
    hashes = company.read("analysts", "select email from dim_customers order by all")
    key = company.settings.home / "keys" / "masking"
    kept = key.read_text()
    key.unlink()
    with pytest.raises(PublishError, match=r"the hash mask's key was in .*keys/masking and is gone"):
        company.publish()
    assert not key.exists()
    key.write_text(kept)
    company.publish()
    assert company.read("analysts", "select email from dim_customers order by all") == hashes


def test_rotated_keys_open_every_version(company: Company) -> None:
    company.publish()
    company.sql("delete from marts.dim_customers where customer_key = 'c5'")
    company.sql("delete from marts.fct_orders where customer_key = 'c5'")
    company.publish()
    reader = duckdb.connect(str(company.path("support")), read_only=True)
    rotated = rotate_key(company.settings, "support")
    assert len(rotated.versions) == 2
    assert f"It is kept only in {company.settings.home / 'keys' / 'support'}:" in rotated.left_to_do
    assert reader.execute("select count(*) from dim_customers").fetchall() == [(999,)], "open readers go on"
    key = (company.settings.home / "keys" / "support").read_text()
    assert company.read("support", "select count(*) from dim_customers", key) == [(999,)]
    rollback(company.settings)
    assert company.read("support", "select count(*) from dim_customers", key) == [(1000,)]
    assert company.read("analysts", "select count(*) from dim_customers") == [(1000,)]
    rotate_key(company.settings, "support")
    new = (company.settings.home / "keys" / "support").read_text()
    assert new != key
    with pytest.raises(duckdb.Error):
        company.read("support", "from dim_customers", key)
    assert company.read("support", "select count(*) from dim_customers", new) == [(1000,)]
    assert company.publish().written["support"], "a rollback is followed by the warehouse again"


def test_a_key_that_is_handed_in_is_rotated_to_the_next_one(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "old")
    company.publish()
    with pytest.raises(
        ConnectionError,
        match=rf"the next one is given as well: set {KEY}_NEXT in the environment or .env, or key_next",
    ):
        rotate_key(company.settings, "support")
    monkeypatch.setenv(f"{KEY}_NEXT", "old")
    with pytest.raises(
        ConnectionError, match=rf"\({KEY}_NEXT in the environment\) equals the current one: set another one"
    ):
        rotate_key(company.settings, "support")
    monkeypatch.setenv(f"{KEY}_NEXT", "new")
    exchange = (
        f"set {KEY} in the environment to the value of {KEY}_NEXT in the environment, and remove the latter"
    )
    assert exchange in rotate_key(company.settings, "support").left_to_do
    with pytest.raises(ConnectionError, match=exchange):
        company.publish()
    monkeypatch.setenv(KEY, "new")
    assert company.publish().written["support"] == []


@pytest.mark.parametrize("key", ["schlüssel-9f3a", "back\\slash-9f3a"])
def test_a_key_that_cannot_encrypt_files_is_refused(
    company: Company, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    refused = "key of support .* cannot encrypt files: use letters, digits and signs of ASCII"
    monkeypatch.setenv(KEY, key)
    with pytest.raises(ConnectionError, match=refused) as error:
        company.publish()
    assert "9f3a" not in str(error.value)
    monkeypatch.setenv(KEY, "old")
    company.publish()
    monkeypatch.setenv(f"{KEY}_NEXT", key)
    with pytest.raises(ConnectionError, match=refused):
        rotate_key(company.settings, "support")


def test_a_key_in_a_file_is_exchanged_there(company: Company) -> None:
    secrets = company.settings.root / ".dlt" / "secrets.toml"
    secrets.parent.mkdir()
    secrets.write_text("[connections.publish_support]\nkey = 'old'\nkey_next = 'new'\n")
    company.publish()
    place = "under [connections.publish_support] in"
    left = rotate_key(company.settings, "support").left_to_do
    assert f"set key {place} {secrets} to the value of key_next {place} {secrets}" in left


def test_a_key_that_is_lost_for_good(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is missing, and its way out leads out."""
    company.publish()
    rotate_key(company.settings, "support")
    (company.settings.home / "keys" / "support").unlink()
    with pytest.raises(ConnectionError, match=rf"has no value here: set {KEY} in the environment") as lost:
        company.publish()
    assert f"remove {company.published}, and publish" in str(lost.value)
    shutil.rmtree(company.published)
    monkeypatch.setenv(KEY, "another")
    company.publish()
    assert company.read("support", "select count(*) from dim_customers", "another") == [(1000,)]


def test_rollback(company: Company) -> None:
    first = company.publish().version
    company.sql("delete from marts.dim_products where sku = 'p3'")
    second = company.publish().version
    assert rollback(company.settings) == first
    assert company.read("analysts", "select count(*) from dim_products") == [(40,)]
    rollback(company.settings, second)
    assert company.read("analysts", "select count(*) from dim_products") == [(39,)]
    with pytest.raises(PublishError, match="there is no version 19"):
        rollback(company.settings, "19")
    actions = [
        (r["action"], r["status"], r["version"]) for r in RunStore(company.settings.ledger).publications(9)
    ]
    assert actions == [
        ("rollback", "refused", "19"),
        ("rollback", "done", second),
        ("rollback", "done", first),
        ("publish", "done", second),
        ("publish", "done", first),
    ]


@pytest.mark.full
@pytest.mark.alone
def test_rollback_takes_as_long_as_starting_the_command(company: Company) -> None:
    """Process start included; compared with `--help` of the same moment, the best of five."""
    (company.settings.root / "dbt_project.yml").write_text("name: t\n")
    newest = ""
    for step in range(3):
        company.sql(f"update marts.dim_products set title = '{step}'")
        newest = company.publish().version

    def seconds(*arguments: str) -> float:
        sluice = [str(Path(sys.executable).with_name("sluice")), *arguments]
        environment = {**os.environ, "SLUICE_HOME": str(company.settings.home)}
        started = time.monotonic()
        subprocess.run(sluice, cwd=company.settings.root, env=environment, check=True, capture_output=True)
        return time.monotonic() - started

    back, start = [], []
    for _ in range(5):
        start.append(seconds("--help"))
        back.append(seconds("publish", "--rollback"))
        Versions(company.published).switch(newest)
    print(f"rollback {statistics.median(back):.2f} s, --help {statistics.median(start):.2f} s")  # noqa: T201
    assert min(back) < min(start) + 0.5


def test_rollback_does_without_the_engine(company: Company) -> None:
    company.publish()
    company.sql("update marts.dim_products set title = 'new'")
    company.publish()
    program = (
        "import sys; from pathlib import Path; from sluice.config.settings import Settings;"
        "from sluice.publish import rollback; rollback(Settings(Path(sys.argv[1]), Path(sys.argv[2])));"
        "print({'duckdb', 'sqlglot', 'dlt', 'fsspec', 'keyring', 'pyarrow'} & sys.modules.keys() or 'nothing heavy')"
    )
    places = [str(company.settings.root), str(company.settings.home)]
    done = subprocess.run(
        [sys.executable, "-c", program, *places], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "nothing heavy"


def test_rollback_never_shows_what_is_forbidden_by_now(company: Company) -> None:
    company.publish()
    company.policy(AUDIENCES.replace("clear: [email, phone, name]", "clear: [email, phone]"))
    company.publish()
    with pytest.raises(PublishError, match=r"support would see dim_customers.name as clear, not null"):
        rollback(company.settings)
    classed = {**ORDERS, "customer_key": ("varchar", "name")}
    company.model("fct_orders", classed, ["analysts", "support"], depends_on=["dim_customers"])
    company.publish()
    with pytest.raises(
        PublishError, match=r"analysts would see fct_orders\.customer_key as clear, not null"
    ) as refused:
        rollback(company.settings)
    assert "dach is not granted fct_orders any more" in str(refused.value)
    assert RunStore(company.settings.ledger).publications(1)[0]["status"] == "refused"
    company.policy("nonsense")
    with pytest.raises(DeclarationError):
        rollback(company.settings)


def test_rollback_forward_knows_the_grants_and_classes_of_the_newest_version(company: Company) -> None:
    """After a rollback the current version has neither the newer tables nor the newer classes."""

    def orders(columns: dict[str, tuple[str, str | None]]) -> None:
        company.model("fct_orders", columns, ["analysts", "support", "dach"], depends_on=["dim_customers"])
        company.models["model.t.fct_orders"]["config"]["contract"]["enforced"] = False

    orders({name: kind for name, kind in ORDERS.items() if name != "contact_email"})
    first = company.publish().version
    orders({**ORDERS, "contact_email": ("varchar", "none")})
    unmasked = company.publish().version
    orders(ORDERS)
    company.model("rpt_products", PRODUCTS, ["analysts"])
    company.sql("create table marts.rpt_products as from marts.dim_products")
    newest = company.publish().version
    rollback(company.settings, first)
    with pytest.raises(
        PublishError, match=r"analysts would see fct_orders\.contact_email as clear, not hash"
    ):
        rollback(company.settings, unmasked)
    assert rollback(company.settings, newest) == newest, (
        "a table that the current version lacks is no new right"
    )


def test_a_version_before_a_column_was_renamed_stays(company: Company) -> None:
    first = company.publish().version
    company.sql("alter table marts.dim_products rename title to label")
    company.model(
        "dim_products", {"sku": ("varchar", None), "label": ("varchar", None)}, ["analysts", "dach"]
    )
    company.publish()
    assert rollback(company.settings) == first
    assert company.read("analysts", "select count(title) from dim_products") == [(40,)]


def test_old_versions_go_and_unchanged_ones_do_not_push_others_out(company: Company) -> None:
    for step in range(5):
        company.sql(f"update marts.dim_products set title = '{step}'")
        company.publish()
        newest = company.publish().version
    versions = Versions(company.published)
    assert len(versions.names) == 3
    assert versions.current == newest
    rollback(company.settings)
    assert company.read("analysts", "select distinct title from dim_products") == [("3",)]


@pytest.mark.full
def test_open_readers_keep_their_version(company: Company) -> None:
    company.publish()
    reader = duckdb.connect(str(company.path("analysts")), read_only=True)
    for step in range(5):
        company.sql(f"update marts.dim_products set title = '{step}'")
        company.publish()
    assert reader.execute("select title from dim_products where sku = 'p1'").fetchall() == [("Title 1",)]
    assert reader.execute("select count(*) from fct_orders").fetchall() == [(3000,)]


def test_published_files_cannot_be_written(company: Company) -> None:
    company.publish()
    assert (
        company.path("analysts").stat().st_mode & 0o222 == 0
    )  # root, who may be running this, writes any file


def test_grants_and_classes_must_be_known(company: Company) -> None:
    company.model("dim_products", {"sku": ("varchar", None)}, ["analyst"])
    company.policy(AUDIENCES.replace("clear: [email, phone, name]", "clear: [emial]"))
    with pytest.raises(DeclarationError) as wrong:
        company.publish()
    assert "dim_products is granted to 'analyst', which audiences.yml does not declare" in str(wrong.value)
    assert "support names the data class 'emial', which no column has" in str(wrong.value)
    company.model("dim_products", {"sku": ("varchar", None)}, ["analysts"])
    company.models["model.t.dim_products"]["columns"]["sku"]["config"]["meta"]["data_class"] = [
        "email",
        "name",
    ]
    with pytest.raises(
        DeclarationError, match=r"dim_products\.sku: .*data_class is \['email', 'name'\]: it is one"
    ):
        company.publish()


def test_a_personal_column_cannot_lose_its_class_on_the_way(company: Company) -> None:
    def orders(contact_class: str | None) -> None:
        columns = {**ORDERS, "contact_email": ("varchar", contact_class)}
        sql = """select 1 as order_id, 'c' as customer_key, 1.0 as amount, '' as region,
        lower(trim(email)) as contact_email from warehouse.marts.stg_customers where email <> ''"""
        company.model("fct_orders", columns, ["analysts"], ["stg_customers"], sql=sql)

    orders(None)
    with pytest.raises(DeclarationError) as wrong:
        company.publish()
    expected = "fct_orders.contact_email has no data class, but comes from stg_customers.email, whose class is 'email'"
    assert str(wrong.value).startswith(f"nothing was published:\n  {expected}")
    assert len(str(wrong.value).splitlines()) == 2, "the others are only filtered by it"
    orders("none")
    company.publish()
    assert company.read("analysts", "select contact_email from fct_orders limit 1")[0][0].startswith("CANARY")


def test_a_column_whose_lineage_is_unknown_is_not_taken_for_harmless(company: Company) -> None:
    sql = "no SQL, but say Python"
    company.model("dim_products", PRODUCTS, ["analysts"], ["stg_customers"], sql=sql)
    with pytest.raises(
        DeclarationError, match=r"dim_products\.title has no data class, but may come from stg_customers"
    ):
        company.publish()


def test_compiled_code_is_remembered_over_partial_builds(company: Company) -> None:
    columns = {"sku": ("varchar", None), "email": ("varchar", "email")}
    sql = "select 'x' as sku, email from warehouse.marts.stg_customers"
    company.model("snap_products", columns, [], ["stg_customers"], sql=sql)
    snapshot = company.models.pop("model.t.snap_products") | {"resource_type": "snapshot"}
    company.models["snapshot.t.snap_products"] = snapshot | {"unique_id": "snapshot.t.snap_products"}
    sql = "select sku, lower(sku) as title from warehouse.marts.snap_products"
    company.model("dim_products", PRODUCTS, ["analysts", "dach"], sql=sql)
    company.models["model.t.dim_products"]["depends_on"]["nodes"] = ["snapshot.t.snap_products"]
    code = {i: m["compiled_code"] for i, m in company.models.items()}
    for model in company.models.values():
        model["compiled_code"] = None
    with pytest.raises(DeclarationError, match="holds no compiled code of dim_customers, dim_products, fct_"):
        company.publish()
    for i, model in company.models.items():
        model["compiled_code"] = code[i]
    company.publish()
    manifest = json.loads((company.settings.target / "manifest.json").read_text())
    for node in manifest["nodes"].values():
        node["compiled_code"] = None
    (company.settings.target / "manifest.json").write_text(json.dumps(manifest))
    publish(company.settings)


def test_mistakes_in_the_policy_have_a_line(company: Company) -> None:
    company.policy(
        "audiences:\n  - name: a\n    description: b\n    key: secret\n    masks: {email: rot13}\n    colour: red\n"
    )
    with pytest.raises(DeclarationError) as wrong:
        company.publish()
    lines = [line.rsplit("audiences.yml", 1)[1] for line in str(wrong.value).splitlines()[1:]]
    assert lines[0].startswith(":4: audiences.a.key: a key is never written here")
    assert any(line.startswith(":5: audiences.a.masks.email: is 'rot13'") for line in lines)
    assert any(line.startswith(":6: audiences.a.colour: is not a key here") for line in lines)
    assert "secret" not in lines[0]
    elsewhere = "{description: b, format: parquet, to: 's3://bucket/lake"
    company.policy(f"audiences:\n  - {elsewhere}', name: a}}\n  - {elsewhere}/', name: c}}\n")
    with pytest.raises(
        DeclarationError, match=r":3: c\.to: is s3://bucket/lake, where a is published already"
    ):
        company.publish()


def test_nothing_a_kill_left_is_published(company: Company) -> None:
    company.publish()
    (company.published / "building").mkdir()
    Path(company.published / "building" / "analysts.duckdb").write_bytes(b"half")
    company.publish()
    assert not (company.published / "building").exists()


@pytest.mark.parametrize(
    "largest", [50_000, *(pytest.param(n, marks=pytest.mark.full) for n in (0, 300_000))]
)
def test_files_that_cannot_be_written_are_named(company: Company, largest: int) -> None:
    """As on a full disk: files end at that size, the ledger's first, then those of an audience."""
    (company.settings.root / "dbt_project.yml").write_text("name: t\n")
    before = company.publish().version
    company.sql("update marts.dim_customers set name = md5(name)")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sluice")), "publish"],
        cwd=company.settings.root,
        env={**os.environ, "SLUICE_HOME": str(company.settings.home)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    file = company.published / "building" / "support.duckdb" if largest else company.settings.ledger
    assert str(file) in done.stderr
    assert Versions(company.published).current == before
    assert not (company.published / "building").exists()
    company.publish()
