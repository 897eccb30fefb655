import socket
from pathlib import Path

import pytest

from cleanplate.local import ports
from cleanplate.local.errors import PortInUseError


def test_a_port_in_use_is_named_with_a_free_one_to_take_instead() -> None:
    with socket.create_server((ports.HOST, 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} is in use; stop .* pass --port (\d+)") as refused:
            ports.require(port)
    other = int(str(refused.value).rpartition(" ")[2])
    assert other > port
    assert ports.is_free(other)


def test_a_port_that_is_in_use_on_every_address_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", 0)) as busy:
        assert not ports.is_free(busy.getsockname()[1])


def test_a_free_port_may_be_had() -> None:
    with socket.create_server((ports.HOST, 0)) as passing:
        port = passing.getsockname()[1]
    ports.require(port)


def test_a_chosen_port_is_free_and_never_that_of_an_outgoing_connection() -> None:
    port = ports.choose()
    assert ports.is_free(port)
    assert port in ports.BELOW_EPHEMERAL


def test_a_kept_port_stays_the_same_until_somebody_else_has_it(tmp_path: Path) -> None:
    first = ports.keep(tmp_path / "port")
    assert ports.keep(tmp_path / "port") == first
    with socket.create_server((ports.HOST, first)):
        second = ports.keep(tmp_path / "port")
    assert second != first
    assert ports.keep(tmp_path / "port") == second
