"""The same application on Ray Serve: replicas on many GPUs and hosts, for when one process is not enough.

A replica is the whole service but its port: one tier, with its own models, batches and streams, on a share of a GPU.
Ray's proxies take the requests, WebSockets included; Ray places replicas, makes more of them while there is more to do,
replaces those that fail, and lets those that it takes away finish. Replicas read the environment of their host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import ray
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve
from ray.serve import Application
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.long_poll import LongPollClient, LongPollNamespace
from ray.serve.config import BackpressureConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_service.config import Config
from motion_service.finishing import default_processes
from motion_service.loading import choose_device
from motion_service.main import CPU_QUEUE, GPU_QUEUE, load_app, read_settings

APP: Final = "motion"
"""Name of the application on a cluster."""
HEALTH_S: Final = 5.0
"""How often a replica is asked how it is, and how long it may take to say so. The third time that it is not well it is
replaced; by then it should have replaced a lost model thread by itself, which is quicker."""
UPSCALE_S: Final = 5.0
DOWNSCALE_S: Final = 120.0
"""For how long there must be too much, or too little, to do for the replicas that there are."""


class ClusterOptions(BaseModel):
    """How much of a cluster the service takes: flags of ``motion cluster up``, ``args`` of a Serve config file."""

    model_config = ConfigDict(extra="forbid")

    gpus: float = Field(1.0, ge=0, le=16)
    """GPUs of one replica: 1, a fraction where several share one (each then needs its part of the memory:
    ``MOTION_GPU_MEMORY_MB``), 0 = none."""

    cpus: float = Field(1.0, gt=0, le=256)
    """CPU cores of one replica. Half of them, and at most 8, make answers beside a GPU."""

    min_replicas: int = Field(1, ge=1, le=1000)
    max_replicas: int = Field(1, ge=1, le=1000)

    target: float = Field(16.0, gt=0, le=100_000)
    """Requests and open streams of one replica at a time: while there are more, there will be another replica."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"{self.min_replicas} replicas at least are more than {self.max_replicas} at most")
        return self


class Motion:
    """One replica: tells Ray how it is, and its streams when it is taken away."""

    app: FastAPI

    def __init__(self) -> None:
        context = serve.get_replica_context()
        self._id = context.replica_id
        self._is_known = False
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        listeners: dict[Any, Any] = {(LongPollNamespace.DEPLOYMENT_TARGETS, self._id.deployment_id): self._on_targets}
        LongPollClient(controller, listeners, asyncio.get_running_loop(), f"motion {self._id.unique_id}")

    async def check_health(self) -> None:
        """As ``/readyz``; waits while models are prepared. Raises what is wrong."""
        problem = await self.app.state.lifecycle.settled()
        if problem is not None:
            raise problem

    def _on_targets(self, targets: Any) -> None:
        """Other replicas get work now. One that no longer gets any is being taken away: Ray lets it end what is under
        way, and streams have no end but this.
        """
        is_target = any(replica.replica_id == self._id for replica in targets.running_replicas)
        if self._is_known and not is_target:
            self.app.state.streams.drain()
        self._is_known = is_target


class OneRequestId:
    """Leaves the id of a request out of the answer: Ray's proxy took the same one and puts it there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name.lower() != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_on)


def load_replica() -> FastAPI:
    """The application of one replica, with the cores that Ray counts for it."""
    config = read_settings()
    cores = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))
    if config.answer_processes is None:
        processes = default_processes(cores, choose_device(config))
        config = config.model_copy(update={"answer_processes": processes})
    return load_app(config)


def build(args: dict[str, Any]) -> Application:
    """What ``serve run`` and Serve config files name, ``motion_service.cluster:build``: see :class:`ClusterOptions`."""
    return new_application(ClusterOptions.model_validate(args))


def new_application(options: ClusterOptions, load: Callable[[], FastAPI] = load_replica) -> Application:
    """The application of a cluster. ``load`` makes what a replica serves."""

    def load_behind_proxy() -> FastAPI:
        app = load()
        app.add_middleware(OneRequestId)
        return app

    config = Config()
    places = (config.queue_size or (GPU_QUEUE if options.gpus else CPU_QUEUE)) + config.stream_max
    deploy = serve.deployment(
        name="Motion",
        ray_actor_options={"num_gpus": options.gpus, "num_cpus": options.cpus},
        max_ongoing_requests=places,
        max_queued_requests=places,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1.0),
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target,
            "upscale_delay_s": UPSCALE_S,
            "downscale_delay_s": DOWNSCALE_S,
        },
        health_check_period_s=HEALTH_S,
        health_check_timeout_s=HEALTH_S,
        graceful_shutdown_timeout_s=config.grace_sec,
        graceful_shutdown_wait_loop_s=0.5,
        logging_config={"enable_access_log": False},  # the service logs requests itself
    )
    application: Application = deploy(serve.ingress(load_behind_proxy)(Motion)).bind()
    return application
