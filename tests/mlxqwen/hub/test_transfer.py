"""Single files from a hub that misbehaves, with the real client."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.errors import HubError, OutputError
from mlxqwen.hub.client import Hub, HubFile, Listing, Patience, Stopped
from mlxqwen.hub.transfer import CachePlace, FolderPlace, bytes_here, fetch, is_here

NAME = "org/small"
BIG = "model.safetensors"
DATA = bytes(range(256)) * 4000  # 1,024,000 bytes
QUICK = Patience(attempts=3, first=0.001, longest=0.002, silence=2.0)


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "files")


@pytest.fixture
def listing(hub_double: Any) -> Listing:
    hub_double.publish(NAME, {BIG: DATA, "config.json": b'{"a": 1}'})
    return Hub(NAME).listing()


def file_of(listing: Listing, name: str = BIG) -> HubFile:
    return next(file for file in listing.files if file.name == name)


def test_a_listing_has_sizes_hashes_and_the_commit(hub_double: Any, listing: Listing) -> None:
    assert listing.commit == hub_double.refs[NAME, "main"]
    sizes = {file.name: file.size for file in listing.files}
    assert sizes == {BIG: len(DATA), "config.json": 8}
    assert len(file_of(listing).sha256) == 64
    assert file_of(listing, "config.json").sha256 == ""


def test_files_arrive_whole_and_the_token_stays_with_the_hub(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    for file in listing.files:
        fetch(Hub(NAME), listing.commit, file, place)
    assert place.path(file_of(listing)).read_bytes() == DATA
    assert sorted(path.name for path in place.folder.iterdir()) == ["config.json", BIG]
    tokens = {asked.line.split("/")[1]: asked.token for asked in hub_double.asked}
    assert tokens == {"api": "Bearer secret", "org": "Bearer secret", "content": ""}


@pytest.mark.parametrize("cut", [0, 1, 300_000, 450_001])
def test_a_broken_connection_goes_on_where_it_broke(
    hub_double: Any, listing: Listing, place: FolderPlace, cut: int
) -> None:
    hub_double.fail("GET /content/", times=2, cut=cut)
    said: list[str] = []
    hub = Hub(NAME, patience=QUICK, waiting=lambda why, seconds: said.append(why))
    fetch(hub, listing.commit, file_of(listing), place)
    assert place.path(file_of(listing)).read_bytes() == DATA
    starts = [
        int(asked.range.removeprefix("bytes=").split("-")[0] or 0)
        for asked in hub_double.asked
        if asked.line.startswith("GET /content/") and asked.range
    ]
    assert len(hub_double.lines("GET /content/")) == 3
    assert starts == ([cut, 2 * cut] if cut else [])
    assert len(said) == 2
    assert all("The connection broke" in why for why in said)


def test_as_long_as_bytes_arrive_no_failure_is_one_too_many(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /content/", times=None, cut=300_000)
    fetch(Hub(NAME, patience=QUICK), listing.commit, file_of(listing), place)
    assert place.path(file_of(listing)).read_bytes() == DATA


def test_a_connection_that_always_breaks_keeps_what_came(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    file = file_of(listing)
    hub_double.fail("GET /content/", times=1, cut=600_000)
    hub_double.fail("GET /content/", times=None, cut=0)
    with pytest.raises(HubError, match="could not be fetched") as told:
        fetch(Hub(NAME, patience=QUICK), listing.commit, file, place)
    assert "what is here is kept" in told.value.hint
    kept = bytes_here(place, file)
    assert kept == 600_000
    assert not is_here(place, file)
    hub_double.faults.clear()
    hub_double.asked.clear()
    fetch(Hub(NAME), listing.commit, file, place)
    assert place.path(file).read_bytes() == DATA
    assert [asked.range for asked in hub_double.asked][-1] == f"bytes={kept}-{len(DATA) - 1}"


def test_a_hub_that_knows_no_ranges_starts_again(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /content/", cut=600_000)
    hub_double.fail("GET /content/", whole=True)
    fetch(Hub(NAME, patience=QUICK), listing.commit, file_of(listing), place)
    assert place.path(file_of(listing)).read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refusal_that_passes_is_waited_out(
    hub_double: Any, listing: Listing, place: FolderPlace, status: int
) -> None:
    hub_double.fail("GET /org/small/resolve", times=2, status=status)
    waits: list[float] = []
    hub = Hub(NAME, patience=QUICK, waiting=lambda why, seconds: waits.append(seconds))
    fetch(hub, listing.commit, file_of(listing), place)
    assert waits == [0.001, 0.002]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refusal_that_does_not_pass_is_told(
    hub_double: Any, listing: Listing, place: FolderPlace, status: int
) -> None:
    hub_double.fail("GET /org/small/resolve", times=None, status=status)
    with pytest.raises(HubError, match=f"status {status}") as told:
        fetch(Hub(NAME, patience=QUICK), listing.commit, file_of(listing), place)
    assert "kept" in told.value.hint
    assert len(hub_double.lines("GET /org/small/resolve")) == QUICK.attempts


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {"RateLimit": '"resolvers";r=0;t=1'}], ids=["after", "limit"]
)
def test_a_pause_that_the_hub_asks_for_is_kept(
    hub_double: Any, listing: Listing, place: FolderPlace, headers: dict[str, str]
) -> None:
    hub_double.fail("GET /org/small/resolve", status=429, headers=headers)
    said: list[tuple[str, float]] = []
    hub = Hub(NAME, patience=QUICK, waiting=lambda *what: said.append(what))
    fetch(hub, listing.commit, file_of(listing), place)
    assert said == [("The hub asks for a pause", 1.0)]


def test_a_pause_beyond_reason_is_told_and_not_waited_for(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /org/small", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(HubError, match=r"pause of 3,600 seconds"):
        fetch(Hub(NAME), listing.commit, file_of(listing), place)


@pytest.mark.parametrize("after", ["Wed, 21 Oct 2015 07:28:00 -0000", "\u00b2", "soon"])
def test_a_pause_that_is_over_or_unreadable_is_none(
    hub_double: Any, listing: Listing, place: FolderPlace, after: str
) -> None:
    hub_double.fail("GET /org/small/resolve", status=429, headers={"Retry-After": after})
    fetch(Hub(NAME, patience=QUICK), listing.commit, file_of(listing), place)


@pytest.mark.parametrize("name", [BIG, "config.json"])
@pytest.mark.parametrize("longer", [0, 5, -5])
def test_other_content_than_announced_is_removed_and_named(
    hub_double: Any, listing: Listing, place: FolderPlace, name: str, longer: int
) -> None:
    file = file_of(listing, name)
    hub_double.fail(f"GET .*{name}", swap=b"x" * (file.size + longer), times=None)
    with pytest.raises(HubError, match=f"{name} is not what the hub announced"):
        fetch(Hub(NAME, patience=QUICK), listing.commit, file, place)
    assert list(place.folder.iterdir()) == []
    hub_double.faults.clear()
    fetch(Hub(NAME), listing.commit, file, place)
    assert is_here(place, file)


def test_a_damaged_beginning_is_found_out(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    """As a crash of the machine may leave it: the right length, other bytes."""
    file = file_of(listing)
    place.folder.mkdir()
    place.partial(file).write_bytes(b"\0" * 500_000)
    with pytest.raises(HubError, match="its hash differs"):
        fetch(Hub(NAME), listing.commit, file, place)
    fetch(Hub(NAME), listing.commit, file, place)
    assert place.path(file).read_bytes() == DATA


def test_a_silent_connection_counts_as_broken(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /content/", slow=0.6)
    said: list[str] = []
    hub = Hub(
        NAME, patience=Patience(first=0.001, silence=0.2), waiting=lambda why, _: said.append(why)
    )
    fetch(hub, listing.commit, file_of(listing), place)
    assert place.path(file_of(listing)).read_bytes() == DATA
    assert len(said) == 1


def test_a_slow_connection_is_only_slow(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /content/", slow=0.02)
    seen: list[int] = []
    fetch(Hub(NAME, patience=QUICK), listing.commit, file_of(listing), place, seen.append)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert len(seen) > 3
    assert len(hub_double.lines("GET /content/")) == 1


def test_stopping_keeps_what_is_here(hub_double: Any, listing: Listing, place: FolderPlace) -> None:
    hub_double.fail("GET /content/", slow=0.01, times=None)
    stop = threading.Event()

    def advanced(done: int) -> None:
        if done > 200_000:
            stop.set()

    file = file_of(listing)
    with pytest.raises(Stopped, match="was stopped"):
        fetch(Hub(NAME, stop=stop), listing.commit, file, place, advanced)
    assert 200_000 < bytes_here(place, file) < len(DATA)


def test_a_wait_ends_at_once_when_stopped(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    hub_double.fail("GET /org", status=429, headers={"Retry-After": "200"}, times=None)
    stop = threading.Event()
    hub = Hub(NAME, stop=stop, waiting=lambda why, seconds: stop.set())
    with pytest.raises(Stopped):
        fetch(hub, listing.commit, file_of(listing), place)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told(hub_double: Any, listing: Listing, place: FolderPlace) -> None:
    file = file_of(listing)
    place.folder.mkdir()
    real = os.pwrite
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.MonkeyPatch.context() as patch:
            # The kernel's own refusal, as late as a disk gives it.
            patch.setattr(
                os, "pwrite", lambda fd, data, at: real(full if at > 500_000 else fd, data, at)
            )
            with pytest.raises(OutputError, match="the disk is full") as told:
                fetch(Hub(NAME), listing.commit, file, place)
    finally:
        os.close(full)
    assert isinstance(told.value.__cause__, OSError)
    assert told.value.__cause__.errno == errno.ENOSPC
    assert "kept" in told.value.hint
    assert bytes_here(place, file) > 500_000
    fetch(Hub(NAME), listing.commit, file, place)
    assert place.path(file).read_bytes() == DATA


def test_a_folder_without_permission_is_told(
    hub_double: Any, listing: Listing, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        fetch(Hub(NAME), listing.commit, file_of(listing), FolderPlace(tmp_path / "file" / "in"))


def test_two_processes_do_not_write_one_file(
    hub_double: Any, listing: Listing, place: FolderPlace
) -> None:
    import fcntl

    file = file_of(listing)
    place.folder.mkdir()
    with place.partial(file).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="by another process"):
            fetch(Hub(NAME, patience=Patience(silence=0.3)), listing.commit, file, place)
    fetch(Hub(NAME), listing.commit, file, place)
    assert is_here(place, file)


def test_the_cache_is_laid_out_as_the_client_expects(hub_double: Any, listing: Listing) -> None:
    import huggingface_hub

    place = CachePlace(NAME, listing.commit)
    for file in listing.files:
        fetch(Hub(NAME), listing.commit, file, place)
    hub_double.close = lambda: None
    cache = os.environ["HF_HUB_CACHE"]
    for file in listing.files:
        found = huggingface_hub.try_to_load_from_cache(
            NAME, file.name, cache_dir=cache, revision=listing.commit
        )
        assert found == str(place.path(file))
    assert Path(place.path(file_of(listing))).is_symlink()
    repositories = huggingface_hub.scan_cache_dir(cache).repos
    assert [(repo.repo_id, repo.nb_files) for repo in repositories] == [(NAME, 2)]


def test_a_file_system_without_links_holds_the_files_themselves(
    hub_double: Any, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refused)
    place, file = CachePlace(NAME, listing.commit), file_of(listing)
    fetch(Hub(NAME), listing.commit, file, place)
    assert place.path(file).read_bytes() == DATA
    assert not place.content(file).exists()
    assert is_here(place, file)


@pytest.mark.parametrize(
    ("status", "headers", "says", "hint"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, "not for everybody", "hf auth login"),
        (401, {}, "not for everybody", "hf auth login"),
        (403, {"X-Error-Code": "GatedRepo"}, "is gated", "Accept its terms"),
        (403, {}, "status 403", "accept its terms"),
        (404, {"X-Error-Code": "RepoNotFound"}, "The hub has no", "Check the name"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision", "Check it"),
        (501, {}, "status 501", "Try again later"),
    ],
)
def test_a_refusal_is_told_at_once(
    hub_double: Any, status: int, headers: dict[str, str], says: str, hint: str
) -> None:
    hub_double.fail("GET /api", status=status, headers=headers, times=None)
    with pytest.raises(HubError, match=says) as told:
        Hub(NAME, patience=QUICK).listing()
    assert hint in told.value.hint
    assert len(hub_double.asked) == 1


def test_another_answer_than_the_hub_gives_is_told(hub_double: Any) -> None:
    hub_double.fail("GET /api", status=200, body=b"<html>Please log in</html>")
    with pytest.raises(HubError, match="is not the hub") as told:
        Hub(NAME).listing()
    assert "login" in told.value.hint


def test_a_hub_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(HubError, match="could not be fetched") as told:
        Hub(NAME).listing()
    assert "connection" in told.value.hint


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_asks_nothing(
    hub_double: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(HubError, match=f"{variable} is set"):
        Hub(NAME).listing()
    assert hub_double.asked == []


def test_names_that_lead_elsewhere_are_not_taken(hub_double: Any) -> None:
    hub_double.publish(NAME, {"config.json": b"{}", "../up.json": b"{}", "in/it.json": b"{}"})
    assert [file.name for file in Hub(NAME).listing().files] == ["config.json"]
