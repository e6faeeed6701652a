"""``motion cluster`` without a cluster: what it is asked, says, and leaves with."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from motion_service.cli import app
from motion_service.errors import ClusterFailed

control = pytest.importorskip("motion_service.cluster_control", reason="needs the extra ray")
pytestmark = pytest.mark.cluster
RUNNER = CliRunner()


class FakeRay:
    """In the place of Ray: a host with some GPUs."""

    def __init__(self, gpus: float) -> None:
        self.there = {"CPU": 16.0, **({"GPU": gpus} if gpus else {})}
        self.runs = False
        self.done: list[Any] = []
        self.state = "NOT_STARTED"

    def join(self, address: str = "auto") -> bool:
        return self.runs

    def start_ray(self, host_address: str) -> None:
        self.done.append(("start", host_address))
        self.runs = True

    def add_host(self, address: str) -> None:
        self.done.append(("join", address))

    def put_up(self, options: Any, host: str, port: int) -> None:
        self.done.append(("up", options.model_dump(), host, port))
        self.state = "RUNNING"

    def look(self) -> Any:
        return control.ClusterStatus(self.state, "", {"RUNNING": 2}, 1, self.there.get("GPU", 0.0), 16.0)

    def take_down(self) -> bool:
        self.runs = False
        return True


@pytest.fixture(params=[4.0])
def ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay(request.param)
    for name in ("join", "start_ray", "add_host", "put_up", "look", "take_down"):
        monkeypatch.setattr(control, name, getattr(fake, name))
    monkeypatch.setattr(control.ray, "cluster_resources", lambda: fake.there)
    for name in ("MOTION_HOST", "MOTION_PORT", "RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return fake


def run(*arguments: str) -> Any:
    return RUNNER.invoke(app, ["cluster", *arguments])


def test_up_starts_ray_and_takes_every_gpu(ray: FakeRay) -> None:
    done = run("up", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "url": "http://127.0.0.1:7100", "state": "RUNNING", "message": "", "replicas": {"RUNNING": 2}, "nodes": 1,
        "gpus": 4.0, "cpus": 16.0,
    }  # fmt: skip
    options = {"gpus": 1.0, "cpus": 4.0, "min_replicas": 4, "max_replicas": 4, "target": 16.0}
    assert ray.done == [("start", "127.0.0.1"), ("up", options, "127.0.0.1", 7100)]


def test_up_takes_what_it_is_told(ray: FakeRay) -> None:
    ray.runs = True
    done = run("up", "--gpus", "0.5", "--min-replicas", "2", "--target", "40")
    assert done.exit_code == 0 and "RUNNING" in done.stdout, done.output
    ((_, options, *_),) = ray.done
    assert options == {"gpus": 0.5, "cpus": 2.0, "min_replicas": 2, "max_replicas": 8, "target": 40.0}


@pytest.mark.parametrize("ray", [0.0], indirect=True)
def test_a_host_without_a_gpu_has_one_replica(ray: FakeRay) -> None:
    assert run("up").exit_code == 0
    assert ray.done[-1][1] == {"gpus": 0.0, "cpus": 16.0, "min_replicas": 1, "max_replicas": 1, "target": 4.0}


def test_strangers_need_a_key_on_a_cluster_too(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTION_HOST", "0.0.0.0")
    done = run("up")
    assert done.exit_code == 1 and "MOTION_API_KEYS" in done.output and not ray.done
    monkeypatch.setenv("MOTION_API_KEYS", "k")
    assert run("up").exit_code == 0


def test_no_ray_is_started_in_place_of_one_that_was_named(ray: FakeRay) -> None:
    done = run("up", "--address", "10.0.0.1:6379")
    assert done.exit_code == 1 and "no Ray cluster" in done.output and not ray.done


def test_another_host_joins(ray: FakeRay) -> None:
    assert run("join", "10.0.0.1:6379").exit_code == 0
    assert ray.done == [("join", "10.0.0.1:6379")]


def test_more_at_least_than_at_most_is_refused(ray: FakeRay) -> None:
    done = run("up", "--min-replicas", "9")
    assert done.exit_code == 1 and "Traceback" not in done.output


def test_what_ray_says_is_one_line(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ClusterFailed("Ray did not start: the port is taken")

    monkeypatch.setattr(control, "start_ray", fail)
    done = run("up")
    assert done.exit_code == 1 and "the port is taken" in done.output


def test_status_and_down_say_how_it_is(ray: FakeRay) -> None:
    assert run("status").exit_code == run("down").exit_code == 1, "no Ray runs"
    run("up")
    done = run("status", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["state"] == "RUNNING"
    ray.state = "DEPLOY_FAILED"
    done = run("status")
    assert done.exit_code == 1 and "DEPLOY_FAILED" in done.stdout
    done = run("down", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout) == {"ray_ended": True}


@pytest.mark.parametrize("command", ["up", "join a:1", "status", "down"])
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    real = builtins.__import__

    def refuse(name: str, glob: Any = None, loc: Any = None, names: Any = (), level: int = 0) -> Any:
        if name == "motion_service" and "cluster_control" in (names or ()):
            raise ImportError("no ray", name="ray")
        return real(name, glob, loc, names, level)

    monkeypatch.setattr(builtins, "__import__", refuse)
    done = run(*command.split())
    assert done.exit_code == 1 and "motion-service[ray]" in done.output
