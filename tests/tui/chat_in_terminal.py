"""The real application over a stand-in for the engine, for a test that reads its terminal.

Arguments: the folder of its files, and the model's name as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tui.app import MlxqwenApp
from tui.bridge import Bridge

folder = Path(sys.argv[1])
fake = str(Path(__file__).with_name("fake_worker.py"))
app = MlxqwenApp(
    json.loads(sys.argv[2]),
    conversations=folder / "conversations.sqlite3",
    settings=folder / "settings.toml",
    bridge=Bridge((sys.executable, fake)),
)
app.run()
sys.exit(bool(app.failure) or app.return_code)
