"""The store behind its thread, as the interface asks it."""

import asyncio
from pathlib import Path

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
