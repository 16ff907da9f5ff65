"""One kind, one status, one page; and a document that is current."""

from pathlib import Path
from typing import get_args

import pytest

from stackly.api import openapi, pages, problems
from stackly.errors import KINDS, StacklyError

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_knows_exactly_the_eight_kinds() -> None:
    assert set(get_args(problems.KindName)) == {kind.__name__ for kind in KINDS}
    statuses = {kind.__name__: problems.status_of(kind()) for kind in KINDS}
    assert list(statuses.values()) == [422, 401, 403, 404, 409, 429, 503, 502]


@pytest.mark.parametrize("error", openapi.all_errors(), ids=lambda e: e.__name__)
def test_every_error_has_a_sentence_and_a_current_page(error: type[StacklyError]) -> None:
    assert error.title.endswith(".")
    page = DOCS / "problems" / f"{error.slug()}.md"
    assert page.is_file(), "run: make openapi"
    assert error.title in page.read_text(), "run: make openapi"


def test_slugs_are_unique() -> None:
    slugs = [error.slug() for error in openapi.all_errors()]
    assert sorted(set(slugs)) == sorted(slugs)


def test_the_openapi_document_is_current() -> None:
    assert (DOCS / "openapi.json").read_text() == openapi.openapi_text(), "run: make openapi"


def test_fields_of_an_error_never_replace_the_problems_own() -> None:
    body = problems.body_of(KINDS[0]("said", status=200, type="x", digest="d"))
    assert (body["status"], body["type"], body["digest"]) == (422, "/problems/invalid", "d")


def test_a_cursor_comes_back_as_it_went() -> None:
    assert pages.decode(pages.encode(["2026-01-01", "é/ü"])) == ["2026-01-01", "é/ü"]
