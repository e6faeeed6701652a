"""A cluster as seen from one of its hosts: Ray is started, the service put there, asked how it is, and taken away."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import ray
from ray import serve
from ray.exceptions import AuthenticationError
from ray.serve.schema import ApplicationStatus

from motion_service.cluster import APP, ClusterOptions, new_application
from motion_service.errors import ClusterFailed

RAY_PORT: Final = 6379
LOOPBACK: Final = "127.0.0.1"
_OURS: Final = "motion_head"
"""A resource of a head that we started, by which it is known that we may end it."""
_STORE_BYTES: Final = 2**29
"""Ray's memory for objects under way: answers of a megabyte, for a moment."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What there is."""

    state: str
    """Of the application, as Ray says it: RUNNING, DEPLOYING, UNHEALTHY, DEPLOY_FAILED, DELETING; NOT_STARTED."""
    message: str
    """What is wrong, if anything is."""
    replicas: dict[str, int]
    """{state: count}."""
    nodes: int
    gpus: float
    cpus: float

    @property
    def is_well(self) -> bool:
        return self.state == ApplicationStatus.RUNNING.value

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def join(address: str = "auto") -> bool:
    """Talk to the Ray of this host, or to the one at ``address``; whether there is one.

    Raises :class:`ClusterFailed`.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        return False
    except (AuthenticationError, RuntimeError, ValueError) as error:
        raise ClusterFailed(_first_line(error)) from error
    return True


def start_ray(host_address: str = LOOPBACK) -> None:
    """Start Ray on this host, with a token that only this user can read. Other hosts can join at ``host_address``.

    Raises :class:`ClusterFailed`.
    """
    if not _ray("get-auth-token").returncode == 0:
        _ray("get-auth-token", "--generate", umask=0o077)
    options = {
        "node-ip-address": host_address,
        "port": RAY_PORT,
        "dashboard-host": LOOPBACK,
        "object-store-memory": _STORE_BYTES,
        "resources": f'{{"{_OURS}": 1}}',
    }
    _start("--head", "--disable-usage-stats", *(f"--{name}={value}" for name, value in options.items()))


def add_host(address: str) -> None:
    """Start Ray on this host as a part of the cluster at ``address``, whose token this user must have.

    Raises :class:`ClusterFailed`.
    """
    _start(f"--address={address}", f"--object-store-memory={_STORE_BYTES}")


def share(gpus: float | None, cpus: float | None, most: int | None) -> tuple[float, float, int]:
    """GPUs and cores of one replica, and how many replicas the cluster has room for; None = our own choice."""
    there = ray.cluster_resources()
    if gpus is None:
        gpus = 1.0 if there.get("GPU") else 0.0
    most = most or (max(1, int(there["GPU"] / gpus)) if gpus else 1)
    return gpus, cpus or max(1.0, there["CPU"] // most), most


def put_up(options: ClusterOptions, host: str, port: int) -> None:
    """The service on the cluster that was joined; returns when it answers. Raises :class:`ClusterFailed`."""
    try:
        serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
        serve.run(new_application(options), name=APP)
    except RuntimeError as error:
        raise ClusterFailed(look().message or _first_line(error)) from error


def look() -> ClusterStatus:
    """What became of it on the cluster that was joined."""
    found = serve.status().applications.get(APP)
    there = ray.cluster_resources()
    replicas: Counter[str] = Counter()
    said = [found.message] if found else []
    for deployment in found.deployments.values() if found else ():
        replicas.update({str(state): count for state, count in deployment.replica_states.items()})
        said.append(deployment.message)
    return ClusterStatus(
        state=found.status.value if found else ApplicationStatus.NOT_STARTED.value,
        message=next((text.strip().splitlines()[-1] for text in reversed(said) if text.strip()), ""),
        replicas=dict(replicas),
        nodes=sum(node["Alive"] for node in ray.nodes()),
        gpus=there.get("GPU", 0.0),
        cpus=there.get("CPU", 0.0),
    )


def take_down() -> bool:
    """The service leaves the cluster that was joined, after what is under way; whether Ray ended too: where we started
    it."""
    is_ours = _OURS in ray.cluster_resources()
    serve.shutdown()
    ray.shutdown()
    if is_ours:
        _ray("stop")
    return is_ours


def _start(*arguments: str) -> None:
    done = _ray("start", *arguments)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()
        raise ClusterFailed(f"Ray did not start: {said[-1]}")


def _ray(*arguments: str, umask: int = -1) -> subprocess.CompletedProcess[str]:
    """Ray's own command, in this environment."""
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
    return subprocess.run(command, capture_output=True, text=True, umask=umask)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
