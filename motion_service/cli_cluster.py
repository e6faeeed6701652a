"""``motion cluster``: the service on Ray Serve, on all GPUs of this host, or on the hosts that joined it."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.console import Console

from motion_service.cli_errors import failure, failures_in_one_line, missing_extra
from motion_service.cli_service import AsJson, print_json

GPU_TARGET: Final = 16.0
CPU_TARGET: Final = 4.0
"""Requests and streams of a replica at a time where nothing else is said."""

app = typer.Typer(help="The service on many GPUs and hosts, with Ray Serve.", no_args_is_help=True)

Address = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", envvar="RAY_ADDRESS", help="A running Ray cluster; else the one of this host."),
]


@app.command()
def up(
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs of a replica, also a part of one. Else 1, or 0 where there is none."),
    ] = None,
    cpus: Annotated[float | None, typer.Option(min=0.1, help="Cores of a replica. Else an even share.")] = None,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="Else as many as the GPUs hold.")] = None,
    min_replicas: Annotated[int | None, typer.Option(min=1, help="While there is little to do. Else the most.")] = None,
    target: Annotated[
        float | None, typer.Option(min=0.1, help="Requests and streams of a replica; more make more replicas.")
    ] = None,
    join_at: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="This host's address for others that join. None is to without it."),
    ] = "127.0.0.1",
    address: Address = "auto",
    as_json: AsJson = False,
) -> None:
    """Put the service on the cluster, or put it there anew; start Ray on this host when it does not run.

    It listens at MOTION_HOST and MOTION_PORT of every host that has a replica. Replicas read the environment that their
    host's Ray was started in.
    """
    control = _load_control()
    from motion_service.api.security import check_exposure
    from motion_service.cluster import ClusterOptions
    from motion_service.config import Config
    from motion_service.main import settings_problem
    from motion_service.serving import check_port

    with failures_in_one_line():
        try:
            config = Config()
            check_exposure(config.host, bool(config.keys), config.allow_no_key)
            if address != "auto":
                _join(control, address)
            elif not control.join():
                check_port(config.host, config.port)
                control.start_ray(join_at)
                _join(control, address)
            share, cores, most = control.share(gpus, cpus, max_replicas)
            options = ClusterOptions(
                gpus=share,
                cpus=cores,
                min_replicas=min_replicas or most,
                max_replicas=most,
                target=target or (GPU_TARGET if share else CPU_TARGET),
            )
        except ValidationError as error:
            raise failure(settings_problem(error)) from None
        except ValueError as error:
            raise failure(str(error)) from None
        control.put_up(options, config.host, config.port)
        found = control.look()
    if as_json:
        print_json({"url": f"http://{config.host}:{config.port}", **found.to_json()})
    else:
        Console(highlight=False).print(f"http://{config.host}:{config.port}  {_words(found)}")


@app.command()
def join(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Ray on the first host, such as 10.0.0.1:6379.")],
    as_json: AsJson = False,
) -> None:
    """Add this host to a cluster. `motion cluster up` there then takes its GPUs too; `ray stop` here leaves.

    ~/.ray/auth_token has to be that of the first host, and the environment and the version of the service the same.
    """
    control = _load_control()
    with failures_in_one_line():
        control.add_host(address)
    if as_json:
        print_json({"joined": address})
    else:
        Console(highlight=False).print(f"joined {address}")


@app.command()
def status(address: Address = "auto", as_json: AsJson = False) -> None:
    """What runs. Exit code 1 when the service is not well or not there."""
    control = _load_control()
    with failures_in_one_line():
        _join(control, address)
        found = control.look()
    if as_json:
        print_json(found.to_json())
    else:
        Console(highlight=False).print(_words(found))
    if not found.is_well:
        raise typer.Exit(1)


@app.command()
def down(address: Address = "auto", as_json: AsJson = False) -> None:
    """Take the service away, after what is under way; end Ray on this host where `motion cluster up` started it."""
    control = _load_control()
    with failures_in_one_line():
        _join(control, address)
        is_ended = control.take_down()
    if as_json:
        print_json({"ray_ended": is_ended})
    else:
        Console(highlight=False).print("down" + (", and Ray on this host ended" if is_ended else "; Ray still runs"))


def _load_control() -> ModuleType:
    try:
        from motion_service.config import set_ray_defaults

        set_ray_defaults()
        from motion_service import cluster_control
    except ImportError as error:
        raise missing_extra(error, "ray") from None
    return cluster_control


def _join(control: ModuleType, address: str) -> None:
    if not control.join(address):
        raise failure("no Ray cluster runs here: start one with `motion cluster up`, or name it (--address)")


def _words(found: Any) -> str:
    replicas = ", ".join(f"{count} {state}" for state, count in found.replicas.items()) or "no replicas"
    return f"{found.state}: {replicas}; {found.nodes} hosts, {found.gpus:g} GPUs, {found.cpus:g} cores {found.message}"
