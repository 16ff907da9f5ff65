"""The image of a machine's network container: one program of 10 bytes that waits for ever.

It holds the network namespace and nothing else, so the image needs no registry and no package.
"""

import hashlib
import io
import platform
import struct
import tarfile
from typing import Any

from stackly.errors import Unavailable

REPOSITORY = "stackly-pause"
_BASE = 0x400000
_HEADERS = 64 + 56

# (ELF machine, code): call pause(), again when a signal ends it.
_CODE = {
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf790")),  # mov eax, 34; syscall; jmp back; nop
    # No pause() there: ppoll(NULL, 0, NULL, NULL): mov x0..x3, 0; mov x8, 73; svc 0; b back
    "aarch64": (
        183,
        struct.pack("<7I", 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA),
    ),
}


def program(machine: str) -> bytes:
    """A static 64-bit ELF executable. Raises: Unavailable for a processor we have no code for."""
    if machine not in _CODE:
        raise Unavailable(f"The docker target knows x86_64 and aarch64, and this is {machine}.")
    number, code = _CODE[machine]
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def archive(content: bytes) -> bytes:
    """A root file system with /pause in it, the same bytes each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("pause")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def ensure_pause(client: Any) -> str:
    """The image's tag, which names its content. Imported on first use."""
    import docker.errors  # 0.2 s: an agent without this target never needs it

    content = archive(program(platform.machine()))
    tag = hashlib.sha256(content).hexdigest()[:12]
    name = f"{REPOSITORY}:{tag}"
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        client.api.import_image_from_data(content, repository=REPOSITORY, tag=tag, changes=['ENTRYPOINT ["/pause"]'])
    return name
