"""A conversation as JSON: the whole tree, every figure, nothing made prettier.

    {"format": "mlxqwen-conversation", "version": 1,
     "title": "…", "model": "…", "system": "…", "params": {…}, "pinned": false,
     "leaf_id": 7, "updated_at": 1700000000.0,
     "messages": [
       {"id": 1, "parent_id": null, "role": "user", "text": "…", "reasoning": "",
        "state": "done", "note": "", "model_id": "", "params": {}, "seed": null,
        "n_prompt": null, "n_gen": null, "ttft_ms": null, "tok_s": null, "thinking_ms": null,
        "created_at": 1700000000.0,
        "attachments": [{"name": "…", "mime": "text/plain", "sha256": "…", "text": "…"}]},
       …]}

Messages come after their parents; ``leaf_id`` is the last message of the branch that was open.
Times are seconds since 1970. One message per line, so that large files can be read line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from .source import Source

VERSION = 1


def pieces(source: Source) -> Iterator[str]:
    """The file's text, piece by piece."""
    head = {
        "format": "mlxqwen-conversation",
        "version": VERSION,
        "title": source.title,
        "model": source.model,
        "system": source.system,
        "params": dict(source.params),
        "pinned": source.pinned,
        "leaf_id": source.leaf_id,
        "updated_at": source.updated_at,
    }
    yield _json(head)[:-1] + ',\n"messages": ['
    first = True
    for message in source.tree():
        yield ("\n" if first else ",\n") + _json(dict(message))
        first = False
    yield "\n]}\n"


# What `json` leaves as it is though a terminal or an editor might act on it: DEL and C1, and the
# invisible characters that turn the direction of text or end a line.
_ACTIVE = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
