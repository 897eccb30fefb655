"""With callbacks: a poll or two a job, and calls that are forged, sent twice, early or all that is left of a submit."""

from pathlib import Path

from tests.journeys.harness import Stack, finish, pairs, stack, stored, wait_until

PHOTOS = 16
SOME = 4
CALLED = "SELECT count(*) FROM attempts WHERE called_at IS NOT NULL"
ADOPTED = "SELECT count(*) FROM job_events WHERE reason = 'the upstream called back: adopted'"


def test_calls_save_polls_and_money_and_a_forged_one_changes_nothing(tmp_path: Path) -> None:
    with stack(tmp_path / "data", fast=True, called_back=True, CLEANPLATE_UNCONFIRMED_HOLD_SECONDS=30) as running:
        erased(running, tmp_path / "first", PHOTOS)
        wait_until(lambda: running.stats()["callbacks"] == {"taken": PHOTOS})
        stats = running.stats()
        assert stats["polls"] <= 2 * PHOTOS
        assert stats["polls_by_status"]["Ready"] == PHOTOS
        assert running.rows(CALLED) == [(PHOTOS,)]

        running.faults({"where": "callback", "what": "forged"})
        erased(running, tmp_path / "forged", SOME)
        wait_until(lambda: running.stats()["callbacks"].get("failed", 0) >= SOME)
        assert running.stats()["callbacks"]["taken"] == PHOTOS
        assert running.rows(CALLED) == [(PHOTOS,)], "those were found by polls"

        running.faults({"where": "callback", "what": "replayed"})
        erased(running, tmp_path / "replayed", SOME)
        wait_until(lambda: running.stats()["callbacks"]["taken"] == PHOTOS + 2 * SOME)
        assert running.rows(CALLED) == [(PHOTOS + SOME,)]

        running.faults({"where": "callback", "what": "early"})
        erased(running, tmp_path / "early", SOME)
        assert running.rows(ADOPTED) == [(0,)], "the submit was answered, too"

        running.faults({"where": "callback", "what": "early"}, {"where": "submit", "what": "drop_after"})
        erased(running, tmp_path / "lost", SOME)
        assert running.rows(ADOPTED) == [(SOME,)]
        assert running.paid() == PHOTOS + 4 * SOME
        assert running.stats()["key_seen_at_delivery"] == 0


def erased(running: Stack, folder: Path, count: int) -> None:
    finish(running.erase(pairs(folder, count), folder / "out"))
    assert len(stored(folder / "out")) == count
