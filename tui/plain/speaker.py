"""Markdown from a model as text that is read aloud, as it streams.

Text comes out by whole sentences and lines, in the order it came in; nothing is said twice or
taken back. What a frame or a column would show is said instead: where code begins and ends, what
heads the cell of a table. Marks of emphasis vanish, lists stay as they are.

It reads line by line, not by the rules of CommonMark: a list whose end is not known yet could
otherwise not be read before it is over.
"""

from __future__ import annotations

import re
from collections import Counter

from ..markdown.inline import inline_spans
from ..markdown.parser import Environment, parse_inline
from ..markdown.text import clean
from ..words import plural, say

_FENCE = re.compile(r"^\s*(?:[-*+]\s+|\d{1,9}[.)]\s+)?(?P<mark>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
_HEADING = re.compile(r"^ {0,3}(?P<marks>#{1,6})(?:[ \t]+(?P<text>.*?))?(?:[ \t]+#+)?[ \t]*$")
_ITEM = re.compile(r"^(?P<space>\s*)(?P<mark>[-*+]|\d{1,9}[.)])[ \t]+(?=\S)")
_QUOTE = re.compile(r"^ {0,3}(?:> ?)+")
_RULE = re.compile(r"^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|=+[ \t]*)$")
_DELIMITER = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_CELLS = re.compile(r"(?<!\\)\|")
_SENTENCE = re.compile(r"[.!?…:;][\"'”’»)\]*_]*\s+|[。！？]")  # noqa: RUF001 (East Asian)
_SPACE = re.compile(r"\s+")
_LONG = 200
"""Characters without the end of a sentence after which one need not be waited for."""
_PAIRED = ("**", "*", "__", "_", "~~", "`")
_OPENING = {"(": ")", "[": "]"}
_SAID_WHOLE = ("#", ">", "|", "`", "~", "=")
"""How lines begin that mean something as a whole."""


class Speaker:
    """Says one text; ``code_blocks`` are those met so far, by whose number they were announced."""

    def __init__(self) -> None:
        self.code_blocks: list[str] = []
        self._line = ""  # what has come of the line that is not complete
        self._said = 0  # characters of it that are said already
        self._scanned = 0  # characters of it whose marks are counted
        self._marks: Counter[str] = Counter()
        self._fence = ""  # what closes the open code block
        self._indent = 0  # spaces before its lines that are not its own
        self._code: list[str] = []
        self._quoting = False
        self._header = ""  # a line that heads a table if the next one says so
        self._columns: list[str] = []  # of the table that is being read
        self._rows = 0
        self._blank = True  # what was said ends in an empty line, or nothing was said

    def feed(self, text: str) -> str:
        """What can be said now that ``text`` has come."""
        *lines, rest = (self._line + clean(text)).split("\n")
        out: list[str] = []
        for line in lines:
            self._line = line
            out.append(self._end_line())
        self._line = rest
        out.append(self._sentences())
        return "".join(out)

    def finish(self) -> str:
        """What is left to say: the last line, and the end of what was open."""
        out = self._end_line() if self._line else ""
        out += self._end_header()
        if self._fence:
            out += self._end_code()
        return out + self._end_table()

    def _sentences(self) -> str:
        """The whole sentences of the line that is still coming, where it is plain prose."""
        line = self._line
        if self._fence or self._columns or self._header or "|" in line:
            return ""
        if not self._said and (line.lstrip().startswith(_SAID_WHOLE) or _RULE.match(line)):
            return ""
        item = _ITEM.match(line)
        start = max(self._said, item.end() if item else 0)
        end = self._last(_SENTENCE, start)
        if not end and len(line) - start > _LONG:
            end = self._last(_SPACE, start + _LONG // 2)
        if not end:
            return ""
        part, first = line[self._said : end], not self._said
        self._said = end
        self._blank = False
        space = part[len(part.rstrip()) :]  # parts it from the next one
        return _prose(part, item if first else None) + space

    def _last(self, stop: re.Pattern[str], start: int) -> int:
        """Where what can be said of the line ends, at a ``stop`` after ``start``; 0 for nowhere."""
        end = 0
        self._scanned = max(self._scanned, start)
        for found in stop.finditer(self._line, self._scanned):
            if found.end() == len(self._line):
                break  # white space that more may follow is said with the rest
            self._count(self._line[self._scanned : found.end()])
            self._scanned = found.end()
            if self._is_closed():
                end = found.end()
        return end

    def _count(self, part: str) -> None:
        for mark in (*_PAIRED, *_OPENING, *_OPENING.values()):
            self._marks[mark] += part.count(mark)

    def _is_closed(self) -> bool:
        """No mark that began in what is counted seems to end beyond it."""
        marks = self._marks
        return all(marks[mark] % 2 == 0 for mark in _PAIRED) and all(
            marks[opening] <= marks[closing] for opening, closing in _OPENING.items()
        )

    def _end_line(self) -> str:
        line, said = self._line, self._said
        self._line, self._said, self._scanned = "", 0, 0
        self._marks.clear()
        if said:
            self._blank = False
            return _prose(line[said:], None) + "\n"
        if self._quoting and self._fence and not _QUOTE.match(line):
            # The quotation is over, and with it the code that was quoted.
            self._quoting = False
            return self._end_code() + self._whole(line)
        if self._quoting:
            line = _QUOTE.sub("", line, count=1)
        if self._fence:
            return self._code_line(line)
        return self._whole(line)

    def _whole(self, line: str) -> str:
        if self._columns:
            if line.strip() and "|" in line:
                return self._row(line)
            return self._end_table() + self._whole(line)
        if self._header:
            header = _cells(self._header)
            if _DELIMITER.match(line) and len(_cells(line)) == len(header):
                self._header = ""
                self._columns = [_prose(cell, None) for cell in header]
                names = ", ".join(self._columns)
                return self._say(plural("plain.table", len(header), names=names))
            return self._end_header() + self._whole(line)
        if not line.strip() or _RULE.match(line):
            return self._gap()
        if fence := _FENCE.match(line):
            return self._begin_code(fence)
        if heading := _HEADING.match(line):
            text = _prose(heading["text"] or "", None)
            return self._say(say("plain.heading", level=len(heading["marks"]), text=text))
        if _QUOTE.match(line) and not self._quoting:
            return self._quote(line)
        if "|" in line:
            self._header = line
            return ""
        return self._say(_prose(line, _ITEM.match(line)))

    def _say(self, line: str) -> str:
        self._blank = False
        return f"{line}\n"

    def _gap(self) -> str:
        was_quoting, self._quoting = self._quoting, False
        out = self._say(say("plain.quote_end")) if was_quoting else ""
        if self._blank:
            return out
        self._blank = True
        return out + "\n"

    def _quote(self, line: str) -> str:
        self._quoting = True
        return self._say(say("plain.quote")) + self._whole(_QUOTE.sub("", line, count=1))

    def _begin_code(self, fence: re.Match[str]) -> str:
        self._fence, self._indent = fence["mark"], fence.start("mark")
        number = len(self.code_blocks) + 1
        language = fence["info"].strip().partition(" ")[0]
        key = "plain.code_in" if language else "plain.code"
        return self._say(say(key, number=number, language=language))

    def _code_line(self, line: str) -> str:
        text = line.strip()
        if len(text) >= len(self._fence) and not text.strip(self._fence[0]):
            return self._end_code()
        own = line[min(self._indent, len(line) - len(line.lstrip())) :]
        self._code.append(own)
        return self._say(own)

    def _end_code(self) -> str:
        self.code_blocks.append("\n".join(self._code))
        self._code.clear()
        self._fence = ""
        return self._say(say("plain.code_end", number=len(self.code_blocks)))

    def _end_header(self) -> str:
        """The line that did not head a table after all."""
        line, self._header = self._header, ""
        return self._say(_prose(line, _ITEM.match(line))) if line else ""

    def _row(self, line: str) -> str:
        self._rows += 1
        cells = [_prose(cell, None) for cell in _cells(line)]
        cells += [""] * (len(self._columns) - len(cells))
        pairs = zip(self._columns, cells, strict=False)
        said = [f"{name}: {cell or say('plain.cell_empty')}" for name, cell in pairs]
        return self._say(say("plain.row", number=self._rows, cells="; ".join(said)))

    def _end_table(self) -> str:
        if not self._columns:
            return ""
        self._columns, self._rows = [], 0
        return self._say(say("plain.table_end"))


def spoken(text: str) -> str:
    """All of a text, with a newline at its end unless it is empty."""
    speaker = Speaker()
    return speaker.feed(text) + speaker.finish()


def code_blocks(text: str) -> list[str]:
    """The code blocks of a text, as they are announced."""
    speaker = Speaker()
    speaker.feed(text)
    speaker.finish()
    return speaker.code_blocks


def _prose(text: str, item: re.Match[str] | None) -> str:
    """``text`` without its marks; ``item`` is what stands before it in a list."""
    head = ""
    if item:
        mark = item["mark"] if item["mark"][0].isdigit() else "-"
        head, text = f"{item['space']}{mark} ", text[item.end() :]
    environment: Environment = {}
    body = text.strip()
    spans = inline_spans(parse_inline(body, environment), "")
    plain = "".join(span.text for span in spans)
    return clean(head + plain)


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line)]
