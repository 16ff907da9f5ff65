import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackly.errors import Invalid
from stackly.git import bundles
from stackly.git.trees import Entry

NAME = st.text("abc.-é ", min_size=1, max_size=6).filter(lambda s: s not in (".", ".."))
CONTENT = st.binary(max_size=40).filter(lambda c: not c.startswith(b"version https://git-lfs"))
FILES = st.dictionaries(NAME.map(lambda n: f"s/{n}"), st.tuples(CONTENT, st.booleans()), max_size=6)


@given(FILES, st.booleans())
def test_unpacked_is_what_was_packed(files: dict[str, tuple[bytes, bool]], sha256: bool) -> None:
    blobs = {bundles.blob_id(content, sha256=sha256): content for content, _ in files.values()}
    entries = [
        Entry(path, "100755" if runs else "100644", bundles.blob_id(content, sha256=sha256))
        for path, (content, runs) in sorted(files.items())
    ]
    packed = bundles.pack(entries, blobs)
    assert bundles.unpack(packed, sha256=sha256) == (entries, blobs)
    assert bundles.pack(*bundles.unpack(packed, sha256=sha256)) == packed


def test_ids_are_gits() -> None:
    assert bundles.blob_id(b"x\n") == "587be6b4c3f93f93c489c0111bba5596147a26cb"
    assert bundles.blob_id(b"", sha256=True) == "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"


@pytest.mark.parametrize(
    "packed",
    [b"", b"no archive", gzip.compress(b"no tar" * 200, mtime=0), gzip.compress(b"x" * 10, mtime=0)[:-4]],
    ids=["empty", "text", "no tar", "cut"],
)
def test_what_is_no_bundle_is_refused(packed: bytes) -> None:
    with pytest.raises(Invalid):
        bundles.unpack(packed)
