"""The provider cache: one download for all runs, and nothing that a run's code writes reaches another."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.site import SiteSettings, SiteWork
from agent.terraform import providers
from stackly.engine.contracts.site import ApplyInput
from stackly.errors import Faulty
from tests.agent.sandboxes import SEPARATING, isolated, open_directory
from tests.agent.site_parts import FakeContext, bundle, key, module_input
from tests.conftest import Require

ADDRESS, VERSION = "example.test/acme/thing", "1.0.0"
# Terraform starts it in every plan; it writes wherever it came from, and is no provider.
PROGRAM = """#!/bin/sh
for f in "$0" "$(readlink -f "$0")"; do
  echo evil >> "$f"; rm -rf "$f" "$(dirname "$f")" "$(dirname "$(dirname "$f")")"
done
exit 1
"""
NEEDS = f"""
terraform {{
  required_providers {{
    thing = {{ source = "{ADDRESS}", version = "{VERSION}" }}
  }}
}}
"""


@pytest.fixture(autouse=True)
def _terraform(require: Require) -> None:
    require(shutil.which("terraform"), "terraform is not on PATH")


@dataclass
class World:
    """Shape: `upstream` is where providers come from, in place of a registry."""

    root: Path
    site: SiteWork
    upstream: Path
    lock: str

    @property
    def kept(self) -> Path:
        return providers.shared(self.root / "agent") / ADDRESS / VERSION

    async def run(self, run: str) -> str:
        """Why it failed: at the earliest when the provider was started."""
        context = FakeContext(key(run, ""), tree=bundle(main__tf=NEEDS, __terraform__lock__hcl=self.lock))
        with pytest.raises(Faulty) as failed:
            await self.site.apply(ApplyInput(module_input(context.key)), context)
        return failed.value.detail

    def pack(self, program: str) -> None:
        package = self.upstream / ADDRESS / f"terraform-provider-thing_{VERSION}_linux_amd64.zip"
        package.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(package, "w") as packed:
            packed.writestr(f"terraform-provider-thing_v{VERSION}", program)
        for each in (self.upstream, *self.upstream.rglob("*")):
            each.chmod(0o755)


@pytest.fixture(params=SEPARATING)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with open_directory() as root:
        upstream = root / "upstream"
        whole = root / "whole"
        whole.mkdir()
        (whole / f"terraform-provider-thing_v{VERSION}").write_text(PROGRAM)
        block = f'provider "{ADDRESS}" {{\n  version = "{VERSION}"\n  hashes = [\n    "{{}}",\n  ]\n}}\n'
        lock = block.replace("{}", providers.package_hash(whole))
        site = SiteWork(root / "agent", "a", SiteSettings(isolation=isolated(request.param, root / "agent")))
        mirror = json.dumps(str(upstream))
        lines = ("provider_installation {", "  filesystem_mirror {", f"    path = {mirror}", "  }", "}")
        site._terraform = replace(site._terraform, installation=lines, readable=(upstream,))
        made = World(root, site, upstream, lock)
        made.pack(PROGRAM)
        yield made


async def test_a_package_is_fetched_once_and_a_poisoned_cache_reaches_no_other_run(world: World) -> None:
    assert "Could not load the schema" in await world.run("r1")
    (package,) = [p for p in world.kept.iterdir() if p.is_dir()]
    assert (package / f"terraform-provider-thing_v{VERSION}").read_text() == PROGRAM
    world.pack("what comes from there now has another hash")
    assert "Could not load the schema" in await world.run("r2"), "the home's package is used"
    assert (package / f"terraform-provider-thing_v{VERSION}").read_text() == PROGRAM


async def test_a_lock_file_with_another_hash_is_refused_and_shows_nothing(world: World) -> None:
    world.lock = world.lock.replace("h1:", "h1:AAAA", 1)
    assert "terraform init failed" in await world.run("r1")


def test_only_plain_names_of_a_lock_file_become_paths() -> None:
    name, digest = "registry.terraform.io/hashicorp/null", "h1:" + "A" * 44
    good = f'provider "{name}" {{\n  version = "3.2.1"\n  hashes = [\n    "{digest}",\n  ]\n}}\n'
    assert [one.path for one in providers.locked(good)] == [Path("registry.terraform.io/hashicorp/null/3.2.1")]
    for bad in ("../../etc", "a/../../b", "registry.terraform.io/x", "registry.terraform.io/hashicorp/.."):
        assert providers.locked(good.replace("registry.terraform.io/hashicorp/null", bad)) == []
    assert providers.locked(good.replace("3.2.1", "../3")) == []
