"""Images in a suite: which names it may write, where, and what the commit makes of them."""

import pytest

from stackly.errors import FileInvalid
from stackly.suites import images
from stackly.suites.plan import digest, resolve
from stackly.suites.release import Offer, problems
from stackly.suites.schema import parse

COMMIT = "9f3c1ab" + "0" * 33
SUITE = """version: 1
name: smoke
tests:
  - name: tpcb
    database:
      engine: postgres
      version: "17"
      image: IMAGE
    workload: {driver: pgbench, name: tpcb-like}
"""
MAJORS = ("16", "18")
HEX = "a" * 64


@pytest.mark.parametrize(
    "image",
    [
        "pg:17",
        "pg:${commit}",
        "acme/postgres:${commit}",
        "acme/postgres:pr-7-${commit}",
        "registry.example.com:5000/a/b_c/d.e-f__g:V1.2_x",
        "127.0.0.1:5000/pg:${commit}",
        f"acme/postgres@sha256:{HEX}",
        f"acme/postgres:17@sha256:{HEX}",
        f"acme/postgres:latest@sha256:{HEX}",
    ],
)
def test_names_that_docker_takes(image: str) -> None:
    assert images.problem(image) == ""
    suite = parse(SUITE.replace("IMAGE", f'"{image}"'), "f")
    assert problems(suite, resolve(suite, COMMIT), Offer("docker", MAJORS)) == []


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("postgres", "no tag"),
        ("h:5000/pg", "no tag"),
        ("acme/postgres@sha256:abc", "no image of this name"),
        ("acme/postgres:latest", "another image tomorrow"),
        ("Acme/postgres:17", "no image of this name"),
        ("acme//postgres:17", "no image of this name"),
        ("acme/-pg:17", "no image of this name"),
        ("acme/pg:-17", "no image of this name"),
        ("https://acme/pg:17", "no image of this name"),
        ("acme/pg:" + "x" * 129, "no image of this name"),
        ("acme/pg:" + "x" * 100 + "-${commit}", "no image of this name"),
    ],
)
def test_names_that_it_refuses(image: str, says: str) -> None:
    with pytest.raises(FileInvalid) as caught:
        parse(SUITE.replace("IMAGE", f'"{image}"'), "f")
    (found,) = caught.value.problems
    assert says in found.message
    assert (found.line, found.column) == (8, 14)


def test_the_commit_stands_in_the_tag_and_so_in_the_digest() -> None:
    suite = parse(SUITE.replace("IMAGE", "acme/postgres:${commit}"), "f")
    resolved = resolve(suite, COMMIT)
    assert resolved.tests[0].database.image == f"acme/postgres:{COMMIT}"
    assert digest(resolved) != digest(resolve(suite, "1" * 40))


def test_a_target_without_images_refuses_one_and_says_what_to_write() -> None:
    suite = parse(SUITE.replace("IMAGE", "acme/postgres:17").replace('"17"', '"16"'), "f")
    (found,) = problems(suite, resolve(suite, COMMIT), Offer("local", MAJORS))
    assert found.line == 8
    assert 'write `target = "docker"`' in found.message
    assert "delete `image`" in found.message


@pytest.mark.parametrize("version", ["13", "15.4", "17"])
def test_with_an_image_any_version_can_be_asked_for(version: str) -> None:
    text = SUITE.replace("IMAGE", "acme/postgres:x").replace('"17"', f'"{version}"')
    suite = parse(text, "f")
    assert problems(suite, resolve(suite, COMMIT), Offer("docker", MAJORS)) == []
    found = problems(suite, resolve(suite, COMMIT), Offer("local", MAJORS))
    assert {f.line for f in found} == {7, 8}, "both are said at once"
