"""A cloud of one list: what code in a sandbox reports over loopback, kept as lines of a file that tests may share."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ledger:
    """Shape: `path` has one word a line."""

    path: Path
    port: int

    def words(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def report(self, word: str) -> str:
        """A command of bash; it ends when the word is written down."""
        return f"exec 3<>/dev/tcp/127.0.0.1/{self.port} && echo {word} >&3 && read -r _ <&3 && exec 3>&-"

    def provisioner(self, *commands: str, when: str = "") -> str:
        """Shape: HCL; a command that names no report is bash's own."""
        told = f"    when = {when}\n" if when else ""
        text = "; ".join(commands)
        return (
            f'  provisioner "local-exec" {{\n{told}    interpreter = ["bash", "-c"]\n    command     = "{text}"\n  }}\n'
        )


@contextmanager
def ledger(path: Path) -> Iterator[Ledger]:
    writing = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            word = self.rfile.readline().decode().strip()
            if word:
                with writing, path.open("a") as out:
                    out.write(f"{word}\n")
                self.wfile.write(b"ok\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Ledger(path, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
