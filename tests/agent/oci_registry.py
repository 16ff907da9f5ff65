"""A registry of images over loopback: what `docker save` gave, under tags that come and move; maybe with a login."""

import base64
import gzip
import hashlib
import json
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CHUNK = 1 << 20


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Registry:
    """Shape: `manifests` and `blobs` by digest, `tags` name:tag -> digest; `login` user:password, '' needs none."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    login: str = ""
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, saved: Path, label: str) -> str:
        """An image of a `docker save`, with a label that makes it another one. Returns its manifest's digest."""
        with tarfile.open(saved) as tar:
            entry = json.load(_member(tar, "manifest.json"))[0]
            config = json.load(_member(tar, entry["Config"]))
            layers = [gzip.compress(_member(tar, name).read(), compresslevel=1, mtime=0) for name in entry["Layers"]]
        config["config"]["Labels"] = {**(config["config"].get("Labels") or {}), "stackly.test": label}
        packed = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(packed, _CONFIG),
            "layers": [self._blob(layer, _LAYER) for layer in layers],
        }
        content = json.dumps(manifest).encode()
        self.manifests[digest_of(content)] = content
        return digest_of(content)

    def _blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = digest_of(content)
        self.blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def manifest(self, name: str, reference: str) -> tuple[str, bytes] | None:
        digest = self.tags.get(f"{name}:{reference}", reference)
        return (digest, self.manifests[digest]) if digest in self.manifests else None


def _member(tar: tarfile.TarFile, name: str) -> Any:
    found = tar.extractfile(name)
    assert found is not None
    return found


class _Answers(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.registry.asked.append(f"{self.command} {self.path}")
        if self.registry.login and not self._is_known():
            self._refuse(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
            return
        _, _, name, what, reference = [*self.path.split("/", 4), "", "", ""][:5]
        if self.path == "/v2/":
            self._send(b"{}", "application/json", "")
        elif what == "manifests" and (found := self.registry.manifest(name, reference)):
            self._send(found[1], _MANIFEST, found[0])
        elif what == "blobs" and (blob := self.registry.blobs.get(reference)):
            self._send(blob, "application/octet-stream", reference)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")

    def _is_known(self) -> bool:
        wanted = base64.b64encode(self.registry.login.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _send(self, content: bytes, kind: str, digest: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.end_headers()
        if self.command != "HEAD":
            for at in range(0, len(content), _CHUNK):
                self.wfile.write(content[at : at + _CHUNK])

    def _refuse(self, status: HTTPStatus, code: str, said: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": said, "detail": {}}]}).encode()
        self._send(body, "application/json", "", status)

    def log_message(self, *_: Any) -> None:
        """A test's output is its own."""


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    handler = type("Answers", (_Answers,), {"registry": registry})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        registry.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def saved(client: Any, image: str) -> Iterator[Path]:
    """`docker save` of an image that is here."""
    with tempfile.TemporaryDirectory(prefix="stackly-saved-") as scratch:
        path = Path(scratch) / "image.tar"
        with path.open("wb") as out:
            for chunk in client.images.get(image).save(named=True):
                out.write(chunk)
        yield path
