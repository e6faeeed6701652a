"""What Ray is told, without a cluster: our deployment, and the manifest and the image for Kubernetes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.cluster

from ray.serve.schema import ServeDeploySchema  # noqa: E402

from motion_service import cluster  # noqa: E402
from motion_service.api.lifecycle import Lifecycle  # noqa: E402
from motion_service.cluster import ClusterOptions, Motion, build  # noqa: E402
from motion_service.config import Config  # noqa: E402
from motion_service.errors import EngineLost, MotionError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker/ray"
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
RAY = re.findall(r"^ray==(.+)$", PINS, re.MULTILINE)[0]


def deployment(**args: Any) -> Any:
    return build(args)._bound_deployment


@pytest.fixture
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "rayservice.yaml").read_text(encoding="utf-8"))
    return found


# --- the deployment ---------------------------------------------------------------------------------------------------


def test_a_replica_has_its_share_and_grows_between_bounds() -> None:
    made = deployment(gpus=0.5, cpus=3, min_replicas=2, max_replicas=6, target=9)
    options = made.ray_actor_options
    assert (options["num_gpus"], options["num_cpus"]) == (0.5, 3.0)
    scaling = made._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 6, 9.0)


def test_every_queue_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica gets what it has places for; as many wait at a proxy; one more is told when to come again."""
    monkeypatch.setenv("MOTION_QUEUE_SIZE", "10")
    monkeypatch.setenv("MOTION_STREAM_MAX", "7")
    config = deployment()._deployment_config
    assert (config.max_ongoing_requests, config.max_queued_requests) == (17, 17)
    assert (config.backpressure_config.status_code, config.backpressure_config.retry_after_s) == (429, 1.0)


def test_a_replica_may_end_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_GRACE_SEC", "77")
    config = deployment()._deployment_config
    assert config.graceful_shutdown_timeout_s == 77 and config.graceful_shutdown_wait_loop_s <= 1
    assert 3 * config.health_check_period_s > 10, "a lost model thread is given up after 10 s and replaced by itself"


@pytest.mark.parametrize("wrong", [{"gpus": -1}, {"replicas": 3}, {"max_replicas": 0}, {"target": 0}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build(wrong)


# --- a replica --------------------------------------------------------------------------------------------------------


class Replica(Motion):
    """A replica that Ray did not make."""

    def __init__(self) -> None:
        self.drained = 0
        self._id, self._is_known = "me", False  # type: ignore[assignment]
        self.lifecycle = Lifecycle()
        streams = SimpleNamespace(drain=self._count)
        self.app = SimpleNamespace(state=SimpleNamespace(lifecycle=self.lifecycle, streams=streams))  # type: ignore[assignment]

    def _count(self) -> None:
        self.drained += 1

    def tell(self, *ids: str) -> None:
        self._on_targets(SimpleNamespace(running_replicas=[SimpleNamespace(replica_id=name) for name in ids]))


async def test_health_is_readiness() -> None:
    replica, gate = Replica(), asyncio.Event()
    await replica.lifecycle.start(gate.wait)
    checked = asyncio.create_task(replica.check_health())
    await asyncio.sleep(0.05)
    assert not checked.done(), "a replica that loads its models is not ill"
    gate.set()
    await checked
    replica.lifecycle.condition = lambda: "lost"
    with pytest.raises(EngineLost):
        await replica.check_health()


async def test_a_replica_that_never_gets_ready_is_ill() -> None:
    replica = Replica()

    async def fail() -> None:
        raise RuntimeError("no weights")

    await replica.lifecycle.start(fail)
    with pytest.raises(MotionError):
        await replica.check_health()


def test_streams_are_told_once_when_the_replica_gets_no_more_work() -> None:
    replica = Replica()
    replica.tell("other")  # it is not ready yet
    assert not replica.drained
    replica.tell("other", "me")
    replica.tell("me")
    assert not replica.drained
    replica.tell("other")
    replica.tell("other", "third")
    assert replica.drained == 1


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def test_the_manifest_deploys_our_application(service: dict[str, Any]) -> None:
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert getattr(import_module(module), name) is build
    assert (application.name, application.route_prefix) == (cluster.APP, "/")
    options = ClusterOptions.model_validate(application.args)
    assert options.max_replicas > options.min_replicas
    assert build(application.args)


def test_the_manifest_fits_its_pods(service: dict[str, Any]) -> None:
    """Ports, versions, secrets, storage and size of what it starts."""
    spec = service["spec"]["rayClusterConfig"]
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    options = config["applications"][0]["args"]
    (workers,) = spec["workerGroupSpecs"]
    head, worker = (group["template"]["spec"]["containers"][0] for group in (spec["headGroupSpec"], workers))
    assert spec["rayVersion"] == RAY and spec["authOptions"] == {"mode": "token"}
    assert (
        workers["maxReplicas"] * int(worker["resources"]["limits"]["nvidia.com/gpu"] / options["gpus"])
        >= options["max_replicas"]
    )
    assert int(worker["resources"]["requests"]["cpu"]) > options["cpus"]
    for container in (head, worker):
        assert {"containerPort": config["http_options"]["port"], "name": "serve"} in container["ports"]
        names = {entry["name"]: entry for entry in container["env"]}
        assert all("secretKeyRef" in names[name]["valueFrom"] for name in ("MOTION_API_KEYS", "MOTION_STREAM_SECRET"))
    assert {mount["mountPath"] for mount in worker["volumeMounts"]} == {"/data", "/checkpoint_dir"}
    read = {str(field.validation_alias) for field in Config.model_fields.values()}
    assert {entry["name"] for entry in worker["env"]} <= read


def test_the_image_has_the_pinned_ray() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert f'"ray[serve]=={RAY}"' in text
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert any(RAY.rpartition(".")[0] in line for line in extra["ray"])
    assert "!constraints.txt" in (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_the_linter_finds_nothing_in_the_image() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), "--config", str(ROOT / ".hadolint.yaml"), str(FOLDER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
