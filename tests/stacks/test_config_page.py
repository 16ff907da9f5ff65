"""The page and the schema in docs/ are what the definition says today."""

import json
import re

import jsonschema

from stackly.hcl_shape import Shape
from stackly.stacks import config_page
from stackly.stacks.config import parse
from stackly.stacks.config_schema import STACK


def names(shape: Shape) -> list[str]:
    inner = [name for block in shape.blocks for name in names(block)]
    return [shape.name, *(f.name for f in shape.fields), *inner]


def test_the_page_and_the_schema_are_current() -> None:
    """Else: python -m stackly.stacks.config_page"""
    assert (config_page.DOCS / config_page.PAGE_FILE).read_text() == config_page.page()
    assert (config_page.DOCS / config_page.SCHEMA_FILE).read_text() == config_page.schema()


def test_the_page_names_all_that_there_is() -> None:
    text = config_page.page()
    assert [name for name in names(STACK) if f"`{name}`" not in text and f"> {name}`" not in text] == []


def test_the_pages_example_is_valid() -> None:
    assert config_page.example() in config_page.page()
    assert parse(config_page.example(), "stackly.hcl").name == "orders"


def test_the_schema_file_is_a_schema() -> None:
    schema = json.loads((config_page.DOCS / config_page.SCHEMA_FILE).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert re.search(r"2020-12", schema["$schema"])
