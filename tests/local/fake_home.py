"""A supervisor whose components are small TCP servers: `fake_home.py HOME`, described by HOME/fake.json."""

import json
import sys
from pathlib import Path

from stackly.errors import StacklyError
from stackly.local import supervisor
from stackly.local.component import Component, tcp
from stackly.local.home import Home

_SERVER = """
import signal, socket, sys, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("serving", flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("asked to end", flush=True), sys.exit(0)))
while True:
    time.sleep(3600)
"""


def components(home: Home) -> list[Component]:
    told = json.loads((home.path / "fake.json").read_text())
    made: list[Component] = []
    for name, given in told.items():
        argv = given.get("argv") or [sys.executable, "-S", "-u", "-c", _SERVER, str(given["port"])]
        made.append(
            Component(
                name=name,
                argv=argv,
                cwd=home.run(name),
                address=f"127.0.0.1:{given['port']}",
                ready=tcp(given["port"]),
                ports=(given["port"],),
                needs=(made[-1].name,) if made else (),
                before=tuple(given.get("before", ())),
                code=given.get("code", ""),
                decides=given.get("decides", False),
                grace_s=2,
                ready_s=given.get("ready_s", 60.0),
            )
        )
    return made


if __name__ == "__main__":
    here = Home(Path(sys.argv[1]))
    try:
        supervisor.run(here, components(here))
    except StacklyError as e:
        sys.exit(e.detail)
