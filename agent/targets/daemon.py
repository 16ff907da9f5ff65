"""The Docker daemon as `images` asks it: names, digests, pulls, with whatever goes wrong as one kind of answer."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from agent.targets.images import Here, Refused, kind_of_answer
from stackly.errors import Unavailable

# A pull may be silent while a large layer is checked; one that is silent for longer is given up, and begun again.
_SILENT_S = 300.0


class DockerDaemon:
    """Shape: `connect` opens a client of the daemon. Raises: Refused."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect

    def digest_of(self, name: str) -> str:
        with self._client() as client:
            return str(client.api.inspect_distribution(name)["Descriptor"]["digest"])

    def here(self, name: str) -> Here | None:
        import docker.errors  # late: only where this target is used

        with self._client() as client:
            try:
                found = client.api.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
            return Here(str(found["Id"]), tuple(found.get("RepoDigests") or ()))

    def pull(self, name: str) -> Generator[Mapping[str, Any], None, None]:
        """Events until the daemon has no more. The library's own pull would wait for a silent daemon for ever."""
        import docker.auth  # late: only where this target is used

        repository, _, digest = name.rpartition("@")
        with self._client() as client:
            api = client.api
            secret = docker.auth.get_config_header(api, docker.auth.resolve_repository_name(repository)[0])
            response = api.post(
                f"{api.base_url}/v{api.api_version}/images/create",
                params={"fromImage": repository, "tag": digest},
                headers={"X-Registry-Auth": secret} if secret else {},
                stream=True,
                timeout=_SILENT_S,
            )
            if response.status_code >= 400:
                said = _said(response)
                raise Refused(kind_of_answer(response.status_code, said), said)
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Raises: Refused."""
        import docker.errors  # late: only where this target is used

        try:
            client = self._connect()
        except Unavailable as e:
            raise Refused("away", e.detail) from e
        try:
            yield client
        except docker.errors.APIError as e:
            said = str(e.explanation or e)
            raise Refused(kind_of_answer(e.status_code, said), said) from e
        except (docker.errors.DockerException, OSError) as e:  # what the library's HTTP raises is an OSError
            raise Refused("away", f"the Docker daemon: {e}") from e
        finally:
            client.close()


def _said(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.text)
