"""The service that commands talk to: one at an address, one on the default port, or else one inside the command."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from motion_service.cli_errors import failure, missing_extra
from motion_service.client import DEFAULT_URL, AsyncMotionClient, MotionClient
from motion_service.schemas import GenerateRequest, MotionMetadata

PATIENCE_S: Final = 600.0
"""How long a command waits: a person at a terminal wants the motion, not a placeholder."""

Server = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="MOTION_URL", help=f"A running service; else {DEFAULT_URL}."),
]
ApiKey = Annotated[str | None, typer.Option(envvar="MOTION_API_KEY", help="Key of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other option of a request, its value as JSON; repeat it."),
]


def read_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """``["root=bounded", "repetitions=2"]`` as fields of a request; what is no JSON is text."""
    fields: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise failure(f"--set {setting}: write NAME=VALUE")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def maker(made: MotionMetadata) -> str:
    """Who made a motion, in words: the engine, and its weights where they have a name of their own."""
    other = made.checkpoint if made.checkpoint != made.generator else None
    return made.generator if other is None else f"{made.generator} ({other})"


def find_service(server: str | None, api_key: str | None) -> str | None:
    """The address of a service: the one that is named, or the default one when it answers."""
    if server is not None:
        return server
    with MotionClient(DEFAULT_URL, api_key, retries=0) as client:
        return DEFAULT_URL if client.is_alive() else None


def running_service(server: str | None, api_key: str | None) -> str:
    """The same for commands that cannot do without."""
    found = find_service(server, api_key)
    if found is None:
        raise failure(
            f"no motion service answers at {DEFAULT_URL}: start one with `motion serve`, or name it (--server or "
            "MOTION_URL)"
        )
    return found


@asynccontextmanager
async def open_client(url: str | None, api_key: str | None) -> AsyncIterator[AsyncMotionClient]:
    """A client of the service at ``url``; without one, of a service in this process that leaves no files behind."""
    if url is not None:
        async with AsyncMotionClient(url, api_key, PATIENCE_S) as client:
            yield client
        return
    try:
        import httpx

        from motion_service.api.http import create_app
        from motion_service.config import Config
        from motion_service.main import load_service
    except ImportError as error:
        raise missing_extra(error) from None
    with tempfile.TemporaryDirectory() as name:
        config, folder = Config(), Path(name)
        places = {"data_root": folder, "output_dir": folder / "animations"}
        avatars = config.avatar_dir or config.data_root / "avatars"
        service = load_service(config.model_copy(update={**places, "avatar_dir": avatars, "answer_processes": 0}))
        await service.start(warm_up=False)
        try:
            transport = httpx.ASGITransport(create_app(service.jobs), raise_app_exceptions=False)
            async with AsyncMotionClient("http://here", timeout_s=PATIENCE_S, transport=transport) as client:
                yield client
        finally:
            service.jobs.close()
            await service.stop()


def check_request(fields: Mapping[str, Any]) -> None:
    """End the command when the request cannot be valid, before models are loaded for it."""
    try:
        GenerateRequest.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise failure(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


def print_json(value: object) -> None:
    """One JSON value, on one line of standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False))
