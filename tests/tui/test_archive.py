"""The store behind its thread, as the interface asks it."""

import asyncio
from pathlib import Path

import pytest

from mlxqwen.errors import OutputError
from tui.archive import Archive
from tui.store import Store


async def test_a_call_before_the_file_is_open_waits_for_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "chats.sqlite3")
    early = asyncio.create_task(archive.call(Store.conversations))
    await asyncio.sleep(0.05)
    assert not early.done()
    await archive.open()
    assert list(await early) == []
    await archive.close()


async def test_a_call_that_cannot_be_carried_out_any_more_is_cancelled(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "chats.sqlite3")
    await archive.open()
    await archive.close()
    with pytest.raises(asyncio.CancelledError):
        await archive.call(Store.conversations)
    (tmp_path / "bad.sqlite3").write_text("no database " * 100)
    archive = Archive(tmp_path / "bad.sqlite3")
    early = asyncio.create_task(archive.call(Store.conversations))
    with pytest.raises(OutputError):
        await archive.open()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(early, 5)
    await archive.close()
