"""No container engine is needed to see whether the deployment still fits the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cleanplate.local import commands
from cleanplate.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "conveyor", "importer", "finalizer", "notifier", "migrate", "simulator")
EXAMPLE = (ROOT / "deploy" / "env.example").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")


@pytest.mark.parametrize(
    ("service", "arguments"),
    [
        ("api", commands.api("0.0.0.0", 8000)),
        ("conveyor", commands.conveyor()),
        ("importer", commands.importer(2)),
        ("finalizer", commands.finalizer(2)),
        ("notifier", commands.notifier()),
    ],
)
def test_containers_run_the_very_commands_that_one_machine_runs(service: str, arguments: list[str]) -> None:
    assert SERVICES[service]["command"] == ["python", *arguments]


@pytest.mark.parametrize("service", OURS)
def test_our_containers_run_as_nobody_on_a_read_only_disk_without_capabilities(service: str) -> None:
    ours = SERVICES[service]
    assert ours["user"] == "10001:10001"
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in ours["security_opt"]


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "migrate"])
def test_every_container_that_stays_has_a_health_check_and_is_restarted(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[service]["restart"] == "unless-stopped"


def test_the_environment_names_only_settings_that_exist() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    given = set(SERVICES["api"]["environment"])
    assert {name for name in given if not name.startswith("AWS_")} <= known


@pytest.mark.parametrize("service", [name for name in OURS if name != "simulator"])
def test_every_setting_reaches_our_containers_from_the_file_that_is_filled_in(service: str) -> None:
    assert SERVICES[service]["env_file"] == [{"path": ".env", "required": False}]


def test_the_example_names_only_settings_that_exist_and_what_the_services_are_made_with() -> None:
    named = set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))
    known = {field.alias for field in Settings.model_fields.values()}
    assert "CLEANPLATE_RETENTION_DAYS" in named
    assert named <= known | set(VARIABLE.findall((ROOT / "docker-compose.yml").read_text()))


def test_what_must_be_set_is_in_the_example() -> None:
    asked = set(VARIABLE.findall((ROOT / "docker-compose.yml").read_text()))
    optional = {"CLEANPLATE_LOG_LEVEL"}
    assert asked - optional <= set(re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE))


@pytest.mark.parametrize("service", ["conveyor", "importer", "finalizer", "notifier"])
def test_workers_get_longer_to_stop_than_a_drain_takes(service: str) -> None:
    assert int(SERVICES[service]["stop_grace_period"].rstrip("s")) > 30


def test_the_broker_forgets_nothing_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_nothing_of_ours_starts_before_the_migration_is_done() -> None:
    for service in ("api", "conveyor", "importer", "finalizer", "notifier"):
        assert SERVICES[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_every_port_is_bound_to_loopback_unless_somebody_says_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith(("127.0.0.1:", "${API_BIND:-127.0.0.1}:")) for port in ports)


def test_the_simulator_starts_only_when_asked_for() -> None:
    assert SERVICES["simulator"]["profiles"] == ["simulator"]
    assert "cleanplate.simulator" in SERVICES["simulator"]["command"]


def test_the_image_holds_every_package_and_installs_by_hash() -> None:
    for package in ("cleanplate", "api", "worker", "migrations"):
        assert f"COPY {package} /src/{package}" in DOCKERFILE
    assert "--require-hashes -r /src/requirements.lock" in DOCKERFILE
    assert "USER 10001:10001" in DOCKERFILE
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"


def test_no_image_is_unpinned_and_no_secret_is_written_down() -> None:
    for name, service in SERVICES.items():
        assert ":" in service["image"], name
    secrets = re.compile(r"(PASSWORD|SECRET_KEY|SECRET_KEYS|API_KEY): (?!\$\{)\S")
    assert not secrets.search((ROOT / "docker-compose.yml").read_text())
