"""x"""

from .plain import PlainText


class Document(PlainText):
    code_blocks: list[str] = []

    def __init__(self, text: str = "", *, finished: bool = False) -> None:
        super().__init__(text)

    def finish(self) -> None: ...
