"""What a process is told from outside. Built in entry points only, passed down as values."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stackly.errors import Invalid, NotFound


class S3(BaseModel):
    """Where artifacts, states and plans are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str | None = None
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")
    region: str = "us-east-1"
    bucket: str = "stackly"


class Settings(BaseSettings):
    """Every setting of the control plane: `config.json` of the home, overridden by STACKLY_… variables.

    `github_url` is github.com, an Enterprise server or SUBDOMAIN.ghe.com, `github_app` an App's client id or number,
    `github_app_key` the file of its private key; `hub_url` wins over all of it, `hub_person` and
    `hub_person_token` are what operators push to it with. A lost webhook costs `sweep_every_s`.

    Shape: addresses are host:port, URLs carry no trailing slash. `gateway_address` takes mTLS, `enrol_address` server
    TLS only, `gateway_health_address` plain HTTP from probes.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix="STACKLY_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    home: Path
    database_url: str = Field(repr=False)
    database_pool: int = 10
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    s3: S3 = S3()
    hub_url: str | None = None
    hub_person: str = ""
    hub_person_token: SecretStr = SecretStr("")
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_url: str = "http://127.0.0.1:8000"
    gateway_address: str = "127.0.0.1:8443"
    enrol_address: str = "127.0.0.1:8444"
    gateway_health_address: str = "127.0.0.1:8445"
    account: str = "default"
    keyring: Path
    ca: Path
    mirrors: Path
    max_starting: int = 8
    branch_grace_s: float = Field(default=900.0, ge=0)  # a branch that is away no longer was never gone
    postgres_majors: tuple[str, ...] = ("16", "18")
    policies: Path | None = None
    github_url: str = "https://github.com"
    github_token: SecretStr = SecretStr("")
    github_app: str = ""
    github_app_key: Path | None = None
    sweep_every_s: float = Field(default=300.0, gt=0)
    github_client_id: str = ""
    github_client_secret: SecretStr = SecretStr("")
    vault_address: str | None = None
    log_level: str = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables win over the home's file, which arrives as arguments; no .env is read."""
        return env_settings, init_settings

    @property
    def policy_folders(self) -> tuple[Path, ...]:
        """The home's own policies win over the shipped ones of the same name."""
        package = Path(__file__).parent
        beside = package.parent / "policies"
        shipped = beside if beside.is_dir() else package / "shipped" / "policies"
        return (self.home / "policies", self.policies or shipped)

    @classmethod
    def load(cls, home: Path) -> "Settings":
        """The settings of one home. Raises: NotFound before its first `up`; Invalid when a value is wrong."""
        home = home.resolve()
        given = {"home": home, **_paths(home), **_config(home)}
        try:
            # The home itself is what was asked for, whatever STACKLY_HOME says.
            return cls(**given).model_copy(update={"home": home})
        except ValidationError as e:
            wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
            raise Invalid(f"The settings of {home} are not usable: {wrong}") from e


def _paths(home: Path) -> dict[str, Path]:
    return {"keyring": home / "keyring.json", "ca": home / "ca", "mirrors": home / "mirrors"}


def _config(home: Path) -> dict[str, Any]:
    """The part of `config.json` that components read; ports and passwords of the services are the supervisor's."""
    file = home / "config.json"
    try:
        told = json.loads(file.read_text())
    except FileNotFoundError:
        raise NotFound(f"{home} is not set up; run: stackly up") from None
    except ValueError as e:
        raise Invalid(f"{file} is not JSON: {e}") from e
    settings = told.get("settings")
    if not isinstance(settings, dict):
        raise Invalid(f"{file} holds no object `settings`; run: stackly up")
    return settings
