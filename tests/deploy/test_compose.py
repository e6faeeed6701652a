"""docker-compose.yml against the Compose specification, the plan, and what the assistant's own compose file expects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from motion_service.config import Config, unknown_variables

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "docker/observability/grafana/motion.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "docker/observability/alerts.yml").read_text(encoding="utf-8"))


def interpolated(text: str = TEXT, **environment: str) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), text)


def parse(text: str) -> PyCompose:
    """Anchors resolved, then read as the specification says; raises ValueError for what it does not allow."""
    return PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text)))


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(interpolated())["services"]
    return services


def test_it_is_a_compose_file() -> None:
    assert sorted(parse(interpolated()).service_names()) == [
        "grafana",
        "motion",
        "motion-cpu",
        "motion-dev",
        "prometheus",
    ]
    assert not re.search(r"\$\{\w+\}", TEXT), "every variable has a default"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "read_only: 3"),
        ("retries: 5", "retries: many"),
        ("init: true", "inti: true"),
        ("count: 1", "count: -1"),
    ],
)
def test_the_check_sees_mistakes(right: str, wrong: str) -> None:
    with pytest.raises(ValueError):
        parse(interpolated(TEXT.replace(right, wrong)))


def test_profiles(services: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in services.items()}
    assert profiles == {
        "motion": ["prod"],
        "motion-cpu": ["cpu"],
        "motion-dev": ["dev"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }


@pytest.mark.parametrize("name", ["motion", "motion-cpu", "motion-dev"])
def test_volumes_and_variables_are_those_of_the_plan(name: str, services: dict[str, Any]) -> None:
    service = services[name]
    assert {"./models/motion:/checkpoint_dir", "./data/motion:/data/motion", "./data:/data"} <= set(service["volumes"])
    wanted = {
        "MOTION_MODEL_DIR": "/checkpoint_dir",
        "MOTION_DATA_DIR": "/data/motion",
        "OUTPUT_DIR": "/data/animations",
    }
    assert wanted.items() <= service["environment"].items()
    assert service["ports"] == ["127.0.0.1:7100:7100"], "this machine only"
    assert service["healthcheck"]["interval"] == "30s" and service["healthcheck"]["retries"] == 5
    assert service["user"] == "1000:1000" and service["read_only"] and service["cap_drop"] == ["ALL"]


def test_gpu_is_reserved_where_there_is_one(services: dict[str, Any]) -> None:
    for name in ("motion", "motion-dev"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert not services["motion-cpu"]["deploy"] and services["motion-cpu"]["build"]["target"] == "cpu"


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service["volumes"]:
            host = volume.partition(":")[0]
            if host.startswith("./") and host != "./data":
                assert (ROOT / host).exists(), host
    assert (ROOT / "data/motion/.gitignore").is_file() and (ROOT / "models/motion/.gitignore").is_file()


def test_a_copied_env_default_does_not_lead_the_container_astray(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """.env has paths of the host; what compose sets wins over it."""
    host = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.default").read_text(encoding="utf-8"), re.MULTILINE))
    for name, value in {**host, **services["motion"]["environment"]}.items():
        monkeypatch.setenv(name, value)
    config = Config()
    assert (config.host, config.port, config.allow_no_key) == ("0.0.0.0", 7100, True)
    paths = (config.data_root, config.output_dir, config.checkpoint_dir, config.data_dir)
    assert [*map(str, paths)] == ["/data", "/data/animations", "/checkpoint_dir", "/data/motion"]
    assert not unknown_variables()


def test_time_to_end_is_longer_than_requests_have() -> None:
    seconds = int(re.search(r"stop_grace_period: (\d+)s", TEXT)[1])  # type: ignore[index]
    assert seconds > getattr(Config(), "grace_sec", 30.0)


# --- what is watched --------------------------------------------------------------------------------------------------


def _queries() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*shown, *(rule["expr"] for group in ALERTS["groups"] for rule in group["rules"])]


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    from motion_service.metrics import REGISTRY

    known = {
        f"{family.name}{ending}"
        for family in REGISTRY.collect()
        for ending in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
    }
    asked = {name for query in _queries() for name in re.findall(r"\bmotion_\w+", query)}
    assert len(asked) > 12 and asked <= known


def test_dashboard_is_whole() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"]) >= 12
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    sources = yaml.safe_load((ROOT / "docker/observability/grafana/datasource.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {sources[0]["uid"]}


def test_brackets_of_queries_close() -> None:
    for query in _queries():
        for opening, closing in ("()", "[]", "{}"):
            assert query.count(opening) == query.count(closing), query


def test_prometheus_asks_the_service(services: dict[str, Any]) -> None:
    settings = yaml.safe_load((ROOT / "docker/observability/prometheus.yml").read_text())
    (job,) = settings["scrape_configs"]
    assert job["job_name"] == "motion" and job["static_configs"] == [{"targets": ["motion:7100"]}]
    assert "motion" in services["motion"]["networks"]["default"]["aliases"]
    mounted = {volume.split(":")[1] for volume in services["prometheus"]["volumes"]}
    assert set(settings["rule_files"]) <= mounted


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    names = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
    assert [name for name in names if f"`{name}`" not in page] == []
