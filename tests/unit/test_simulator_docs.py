from pathlib import Path

import pytest

from cleanplate.simulator.faults import KNOWN
from cleanplate.simulator.options import Options

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set().union(*KNOWN.values())))
def test_every_fault_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", sorted(Options.model_fields))
def test_every_setting_is_documented_and_described(name: str) -> None:
    assert f"`{name}`" in PAGE
    assert Options.model_fields[name].description
