import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from stackly.git.signatures import sign, verify

# The vector GitHub publishes for this header.
SECRET = b"It's a Secret to Everybody"
BODY = b"Hello, World!"
HEADER = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_the_published_vector_verifies() -> None:
    assert verify([SECRET], BODY, HEADER)
    assert sign(SECRET, BODY) == HEADER


def test_the_previous_secret_still_verifies_and_an_older_one_does_not() -> None:
    assert verify([b"current", SECRET], BODY, HEADER)
    assert not verify([b"current", b"previous"], BODY, HEADER)
    assert not verify([], BODY, HEADER)


def test_the_legacy_header_is_no_substitute() -> None:
    legacy = "sha1=" + hmac.new(SECRET, BODY, hashlib.sha1).hexdigest()
    assert not verify([SECRET], BODY, legacy)


def test_an_empty_secret_signs_nothing() -> None:
    assert not verify([b""], BODY, sign(b"", BODY))


def test_every_changed_byte_breaks_it() -> None:
    assert not verify([SECRET], BODY + b" ", HEADER)
    assert not verify([SECRET], BODY, HEADER[:-1] + "8")
    assert not verify([SECRET], BODY, HEADER.upper())
    assert not verify([SECRET], BODY, None)


@given(st.text(), st.binary())
def test_no_header_makes_it_raise(header: str, body: bytes) -> None:
    assert not verify([SECRET], body, header)
    assert not verify([SECRET], body, "sha256=" + "é" * 64)
    assert not verify([SECRET], body, "sha256=\udcff" + "0" * 63)


@given(st.binary(min_size=1), st.binary())
def test_what_is_signed_verifies(secret: bytes, body: bytes) -> None:
    assert verify([b"other", secret], body, sign(secret, body))
