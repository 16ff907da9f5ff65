import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.git.modules import calls, calls_of_json


def sources(text: str) -> list[str]:
    return [c.source for c in calls(text)]


def test_local_calls_are_found_with_their_place() -> None:
    found = calls('module "net" {\n  source = "../modules/net"\n}\nmodule "x" { source = "./x" }\n')
    assert [(c.source, c.line, c.column) for c in found] == [("../modules/net", 2, 12), ("./x", 4, 23)]


@pytest.mark.parametrize(
    "text",
    [
        '# module "a" { source = "./a" }\n',
        '// module "a" { source = "./a" }\n',
        '/* module "a" {\n source = "./a" } */\n',
        'locals {\n a = <<EOT\nmodule "a" {\n  source = "./a"\n}\nEOT\n}\n',
        'locals { a = "module \\"a\\" { source = \\"./a\\" }" }\n',
        'resource "x" "y" {\n module "a" { source = "./a" }\n}\n',
        'module "a" {\n  inner = { source = "./a" }\n}\n',
        'module "a" {\n  source = "hashicorp/consul/aws"\n}\n',
        'module "a" {\n  source = "git::https://example.invalid/x"\n}\n',
        'module "a" {\n  other_source = "./a"\n}\n',
    ],
)
def test_what_is_no_local_call_is_none(text: str) -> None:
    assert sources(text) == []


@pytest.mark.parametrize(
    "before",
    [
        'x = "${foo("}")}"\n',
        'x = "a ${ { b = "c${d}" }["b"] } e"\n',
        'x = "$${not}" \n',
        'x = "unfinished\n',
        'x = <<-EOT\n  } { "\n  EOT\n',
        'variable "a" {}\n',
        "}\n",
    ],
)
def test_what_stands_before_does_not_hide_a_call(before: str) -> None:
    assert sources(before + 'module "a" {\n  source = "./a"\n}\n') == ["./a"]


def test_json_modules_are_found() -> None:
    assert [c.source for c in calls_of_json('{"module": {"a": {"source": "./a"}, "b": [{"source": "../b"}]}}')] == [
        "./a",
        "../b",
    ]
    assert calls_of_json("{") == ()
    assert calls_of_json('{"module": 5}') == ()


@given(st.text(alphabet='module"{}=./a$%\\\n<EOT#*', max_size=200))
def test_no_text_makes_it_raise_or_hang(text: str) -> None:
    calls("module" + text)
    calls_of_json(text)


def test_a_long_hostile_text_is_read_in_linear_time() -> None:
    for piece in ("<<A\n", '"${', "/*", '"', "module", "{"):
        calls("module " + piece * (200_000 // len(piece)))
