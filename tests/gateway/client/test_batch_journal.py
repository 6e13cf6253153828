"""What a run has written down is what the next one knows."""

import time
from pathlib import Path

import pytest

from gateway.client import batch_journal
from gateway.client.batch_journal import NAME, Item, Journal, JournalUnusable, Outcome, Submitted

ITEMS = [Item("a", "a.png", "a"), Item("b", "b.png", "b", "not_a_picture: no")]


def test_the_next_run_knows_what_this_one_has_done(tmp_path: Path) -> None:
    picture, out = tmp_path / "a.png", tmp_path / "deep/out"
    picture.write_bytes(b"a")
    with Journal(out) as journal:
        journal.tell_digest(picture, picture.stat(), "d1")
        journal.tell_image("d1", "upl_1")
        journal.tell_submitted(Submitted("batch_1", "plan", ITEMS))
        journal.tell_outcome("a", Outcome("failed", error="x: y", cost=0.5, model="m"))
    with Journal(out) as journal:
        assert journal.digest_of(picture, picture.stat()) == "d1"
        assert journal.image_id_of("d1") == "upl_1"
        assert journal.submitted == Submitted("batch_1", "plan", ITEMS)
        assert journal.outcomes == {"a": Outcome("failed", error="x: y", cost=0.5, model="m")}
        picture.write_bytes(b"other")
        assert journal.digest_of(picture, picture.stat()) is None


def test_a_fact_that_was_cut_off_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.tell_image("d1", "upl_1")
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + whole[:-1])
    with Journal(tmp_path) as journal:
        journal.tell_image("d2", "upl_2")
    with Journal(tmp_path) as journal:
        assert (journal.image_id_of("d1"), journal.image_id_of("d2")) == ("upl_1", "upl_2")
    assert (tmp_path / NAME).read_bytes().startswith(whole + b'{"fact"')


def test_an_upload_is_not_relied_on_when_the_service_may_have_forgotten_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path) as journal:
        journal.tell_image("d1", "upl_1")
    later = time.time() + 21 * 3_600
    monkeypatch.setattr(batch_journal.time, "time", lambda: later)
    with Journal(tmp_path) as journal:
        assert journal.image_id_of("d1") is None


def test_a_result_that_is_no_longer_there_is_to_be_saved_again(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with Journal(tmp_path) as journal:
        journal.tell_outcome("a", Outcome("succeeded", "a.png"))
        journal.tell_outcome("b", Outcome("succeeded", "b.png"))
        assert set(journal.outcomes) == {"a"}
    (tmp_path / "a.png").unlink()
    with Journal(tmp_path) as journal:
        assert journal.outcomes == {}


def test_one_run_has_a_folder_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(JournalUnusable, match="another run is filling"):
        Journal(tmp_path)
    Journal(tmp_path).__exit__()


def test_a_journal_that_is_damaged_is_not_guessed_at(tmp_path: Path) -> None:
    for content in (b"oops\n", b'{"fact": "image"}\n', b"[]\n"):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(JournalUnusable, match="is damaged"):
            Journal(tmp_path)
        assert (tmp_path / NAME).read_bytes() == content
