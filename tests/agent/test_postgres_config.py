from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.postgres.config import Place, Reported, in_effect, not_in_effect, pg_hba, postgresql_conf, socket_dir
from agent.postgres.scram import verifier
from stackly.errors import Invalid

PLACE = Place("127.64.0.2", 5432, ("127.0.0.1", "10.0.0.0/28"), Path("/run/m"))


def test_it_listens_where_it_is_told_and_nowhere_else() -> None:
    text = postgresql_conf(PLACE, {"work_mem": "4MB", "search_path": "a'b"})
    assert "listen_addresses = '127.64.0.2'\n" in text
    assert "work_mem = '4MB'\n" in text
    assert "search_path = 'a''b'\n" in text


def test_hba_admits_the_listed_and_rejects_the_rest() -> None:
    rows = pg_hba(PLACE).splitlines()
    assert "host all all 10.0.0.0/28 scram-sha-256" in rows
    assert "host all all 127.64.0.2/32 scram-sha-256" in rows
    assert rows[-1] == "host all all all reject"
    assert not [r for r in rows if "trust" in r or "md5" in r]


@pytest.mark.parametrize("name", ["port", "Listen_Addresses", "x y", "a;b"])
def test_ours_and_unwritable_settings_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match=name):
        postgresql_conf(PLACE, {name: "1"})


def test_a_path_too_long_for_a_socket_has_none() -> None:
    assert socket_dir(Path("/" + "x" * 120)) is None


def row(setting: str, unit: str | None = None, vartype: str = "integer", pending: bool = False) -> Reported:
    return Reported("s", setting, unit, vartype, pending)


@pytest.mark.parametrize(
    ("wanted", "got", "is_so"),
    [
        ("128MB", row("16384", "8kB"), True),
        ("128MB", row("8192", "8kB"), False),
        ("15min", row("900", "s"), True),
        ("on", row("on", vartype="bool"), True),
        ("off", row("on", vartype="bool"), False),
        ("1.1", row("1.1", vartype="real"), True),
        ("4", row("1.1", vartype="real"), False),
        ("Minimal", row("minimal", vartype="enum"), True),
        (" %m", row(" %m", vartype="string"), True),
        ("bench ", row("bench ", vartype="string"), True),
        (" iso, mdy", row("ISO, MDY", vartype="string"), True),
        ("bench", row("bench ", vartype="string"), False),
        ("2GB", row("2097152", "kB", pending=True), False),
        ("-1", row("512", "8kB"), True),
        ("100", row("200"), False),
    ],
)
def test_in_effect(wanted: str, got: Reported, is_so: bool) -> None:
    assert in_effect(wanted, got) is is_so


def test_a_setting_the_server_does_not_know_is_named() -> None:
    assert not_in_effect({"work_memory": "1"}, []) == ["work_memory: the server knows no such setting"]


@given(st.integers(1, 10**6), st.sampled_from([("kB", 1), ("MB", 1024), ("GB", 1024**2)]))
def test_units_never_change_what_is_in_effect(number: int, unit: tuple[str, int]) -> None:
    name, kb = unit
    assert in_effect(f"{number}{name}", row(str(number * kb), "kB"))
    assert not in_effect(f"{number}{name}", row(str(number * kb + 1), "kB"))


def test_the_verifier_depends_on_password_and_salt_alone() -> None:
    """That a server takes it is shown by every login of test_postgres."""
    assert verifier("pencil", b"a" * 16).startswith("SCRAM-SHA-256$4096:")
    assert verifier("pencil", b"a" * 16) == verifier("pencil", b"a" * 16)
    assert verifier("pencil", b"a" * 16) != verifier("pen", b"a" * 16)
