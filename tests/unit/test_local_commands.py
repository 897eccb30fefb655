from collections.abc import Callable

import pytest

from cleanplate.local import commands


def test_every_worker_takes_one_queue_only_and_nothing_ahead_of_need() -> None:
    for arguments, queue in (
        (commands.conveyor(), "conveyor"),
        (commands.importer(2), "import"),
        (commands.finalizer(2), "finalize"),
        (commands.notifier(), "notify"),
    ):
        assert arguments[:5] == ["-m", "celery", "-A", "worker.app:app", "worker"]
        assert arguments[arguments.index("-Q") + 1] == queue
        assert {"--disable-prefetch", "--without-gossip", "--without-mingle", "--without-heartbeat"} <= set(arguments)


def test_each_worker_has_the_pool_of_its_kind_of_work() -> None:
    def pool(arguments: list[str]) -> str:
        return arguments[arguments.index("-P") + 1]

    assert [
        pool(arguments)
        for arguments in (commands.conveyor(), commands.importer(2), commands.finalizer(2), commands.notifier())
    ] == [
        "solo",
        "prefork",
        "prefork",
        "solo",
    ]


@pytest.mark.parametrize("worker", [commands.importer, commands.finalizer])
def test_a_worker_that_decodes_has_the_processes_that_were_asked_for(worker: Callable[[int], list[str]]) -> None:
    arguments = worker(7)
    assert arguments[arguments.index("-c") + 1] == "7"


def test_no_two_workers_share_a_name() -> None:
    names = [
        arguments[arguments.index("-n") + 1]
        for arguments in (commands.conveyor(), commands.importer(1), commands.finalizer(1), commands.notifier())
    ]
    assert len(set(names)) == 4
    assert all(name.endswith("@%h") for name in names)


def test_the_intake_listens_where_it_is_told_and_logs_no_requests() -> None:
    arguments = commands.api("0.0.0.0", 8123)
    assert arguments[arguments.index("--host") + 1] == "0.0.0.0"
    assert arguments[arguments.index("--port") + 1] == "8123"
    assert "--no-access-log" in arguments
