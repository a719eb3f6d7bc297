"""The Hugging Face hub through its own client: what a model consists of, and ranges of its files.

The client brings addresses, the user's token, proxies and the meaning of refusals. Waiting and
trying again is done here, because a stream of bytes must go on where it broke, and because a person
should hear what is waited for. Importing the client takes longer than all of mlxqwen, so it
happens when a ``Hub`` is made.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ..errors import HubError, MlxqwenError, ModelNotFound

T = TypeVar("T")
Waiting = Callable[[str, float], None]

_TRUE = {"1", "on", "yes", "true"}
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_KEPT = "what is here is kept."
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on against a hub that does not answer as it should.

    Attributes:
        attempts: Failures in a row, without a byte arriving between them, before giving up.
        first: Seconds before the second attempt; each further wait doubles.
        longest: Seconds that no such wait exceeds.
        pause: Longest pause, in seconds, that the hub may ask for; a longer one is reported.
        silence: Seconds without a byte after which a connection counts as broken.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    pause: float = 300.0
    silence: float = 20.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. ``sha256`` is "" where only git's own hash, ``oid``, is known."""

    name: str
    size: int
    sha256: str
    oid: str

    @property
    def etag(self) -> str:
        """The name of its content in the hub's cache."""
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True)
class Listing:
    """The files directly in a repository at one commit."""

    name: str
    commit: str
    files: tuple[HubFile, ...]


class Stopped(HubError):
    """A transfer was stopped because the caller asked for it."""


class NotAsAnnounced(HubError):
    """The hub has another file than its listing says."""


class Hub:
    """One model repository.

    Args:
        name: ``ORG/NAME``.
        token: In place of the one that ``hf auth login`` keeps.
        waiting: Called with a reason and the seconds before every wait.
        stop: Once set, everything here ends with ``Stopped``.
    """

    def __init__(
        self,
        name: str,
        *,
        token: str | None = None,
        patience: Patience | None = None,
        waiting: Waiting | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        import huggingface_hub
        from huggingface_hub import errors, utils

        self.name = name
        self.patience = patience or Patience()
        self.stop = stop or threading.Event()
        self._client: Any = huggingface_hub  # its functions have no complete types
        self._utilities: Any = utils
        self._errors: Any = errors
        self._token = token
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
        self._waiting = waiting
        self._met = False  # whether the hub ever answered
        # The client's HTTP library differs between its versions; every error of it has this base.
        transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]
        self._failures = (errors.HfHubHTTPError, transport, ConnectionError)

    def listing(self, revision: str | None = None) -> Listing:
        """The files at ``revision``, a branch, tag or commit; by default the main branch.

        Raises:
            HubError: The hub is unreachable, refuses, or answers something else.
            ModelNotFound: No repository can have such a name.
        """
        api = self._client.HfApi(endpoint=self._endpoint, token=self._token)

        def ask() -> Any:
            return api.model_info(
                self.name, revision=revision, files_metadata=True, timeout=self.patience.silence
            )

        try:
            info = self.patiently(ask)
            return _listing(self.name, info)
        except self._errors.HFValidationError as error:
            raise ModelNotFound(
                f"{self.name!r} is no name on the hub.", "Names are ORG/NAME."
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise HubError(
                f"What answered for {self.name} is not the hub: {_first_line(error)}.",
                "A network that wants a login first, or a proxy, may stand between.",
            ) from error

    def read(self, commit: str, file: HubFile, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of a file.

        Raises:
            HubError: As ``listing``; or the hub sent fewer bytes.
        """

        def attempt() -> bytes:
            got = bytearray()

            def take(data: bytes) -> None:
                got.extend(data)

            self.stream(commit, file, start, take, stop=stop)
            return bytes(got)

        data = self.patiently(attempt)
        if len(data) != stop - start:
            raise HubError(
                f"The hub sent {len(data):,} bytes of {self.name}/{file.name} in place of "
                f"{stop - start:,}.",
                "Try again later.",
            )
        return data

    def stream(
        self,
        commit: str,
        file: HubFile,
        start: int,
        take: Callable[[bytes], None],
        *,
        stop: int | None = None,
        restart: Callable[[], None] | None = None,
    ) -> None:
        """One attempt at the bytes from ``start``; raises what the client raises.

        Args:
            take: Called with one piece after the other.
            stop: Where to end; by default the end of the file.
            restart: Called when the hub sends the file from its beginning all the same.
        """
        end = file.size if stop is None else stop
        url = self._client.hf_hub_url(
            self.name, file.name, revision=commit, endpoint=self._endpoint
        )
        headers = self._utilities.build_hf_headers(token=self._token)
        headers["Accept-Encoding"] = "identity"  # bytes are counted as they are stored
        if start or end < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        session = self._client.get_session()
        with session.stream("GET", url, headers=headers, timeout=self.patience.silence) as response:
            self._utilities.hf_raise_for_status(response)
            self._met = True
            if start and response.status_code != 206:
                if restart is None:
                    raise HubError(
                        f"The hub gives no part of {self.name}/{file.name}, only all of it.",
                        "Fetch the model with `mlxqwen pull`.",
                    )
                restart()
                start = 0
            left = end - start
            # In the pieces in which they arrive: what a buffer holds is lost when it breaks.
            for data in response.iter_bytes():
                self.check()
                take(data[:left])
                left -= len(data)
                if left <= 0:
                    return

    def patiently(self, attempt: Callable[[], T], done: Callable[[], int] = lambda: 0) -> T:
        """What ``attempt`` returns, tried again after failures that pass.

        Args:
            done: Counts what arrived: as long as it grows, no failure is one too many.

        Raises:
            HubError: A failure that does not pass, or too many in a row.
        """
        self._refuse_offline()
        failures, before = 0, done()
        while True:
            self.check()
            try:
                result = attempt()
            except self._failures as error:
                count = done()
                failures = 1 if count != before else failures + 1
                before = count
                self._wait(error, failures)
            else:
                self._met = True
                return result

    def check(self) -> None:
        """Raises ``Stopped`` once the caller has asked to stop."""
        if self.stop.is_set():
            raise stopped(self.name)

    def _refuse_offline(self) -> None:
        for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            if os.environ.get(variable, "").lower() in _TRUE:
                raise HubError(
                    f"{self.name} cannot be fetched: {variable} is set, so nothing may be asked "
                    "of the hub.",
                    f"Unset it to fetch; {_KEPT}",
                )

    def _wait(self, error: Exception, failures: int) -> None:
        """Waits before another attempt; raises where there should be none."""
        status = self._status(error)
        # Without a connection or an address there is nothing to wait for, unless there was before.
        passing = status in _PASSING if status else self._met
        if not passing or failures >= self.patience.attempts:
            raise self._explained(error) from error
        if status:
            self._met = True
        pause = 0.0 if not status else _asked_pause(error.response.headers)  # type: ignore[attr-defined]  # a status comes with a response
        if pause > self.patience.pause:
            raise HubError(
                f"The hub asks for a pause of {pause:,.0f} seconds (status {status}).",
                f"Run the command again after that: {_KEPT}",
            ) from error
        backoff = min(self.patience.first * 2 ** (failures - 1), self.patience.longest)
        seconds = max(pause, backoff)
        if self._waiting is not None:
            self._waiting(self._reason(error, status), seconds)
        self.stop.wait(seconds)

    def _status(self, error: Exception) -> int:
        """The status with which the hub refused; 0 where it did not answer at all."""
        if isinstance(error, self._errors.HfHubHTTPError):
            return error.response.status_code  # type: ignore[attr-defined]  # the client is untyped
        return 0

    def _reason(self, error: Exception, status: int) -> str:
        if status == 429:
            return "The hub asks for a pause"
        if status:
            return f"The hub answers with status {status}"
        return f"The connection broke ({_first_line(error)})"

    def _explained(self, error: Exception) -> MlxqwenError:
        """A sentence for a failure of the client, and the next step."""
        known, name = self._errors, self.name
        status = self._status(error)
        if isinstance(error, known.OfflineModeIsEnabled):
            return HubError(f"{name} cannot be fetched in offline mode.", "Unset HF_HUB_OFFLINE.")
        if isinstance(error, known.GatedRepoError):
            return HubError(
                f"{name} is gated: the hub wants its terms accepted first (status {status}).",
                f"Accept its terms on the page of {name}, `hf auth login`, then try again.",
            )
        if isinstance(error, known.RevisionNotFoundError):
            return HubError(f"{name} has no such revision.", "Check it on the model's page.")
        if status in {401, 403, 404}:
            return HubError(
                f"The hub has no {name}, or not for everybody (status {status}).",
                "Check the name; for a gated model accept its terms on the hub, "
                "then `hf auth login`.",
            )
        if status == 416:
            return NotAsAnnounced(
                f"A file of {name} is shorter than the hub announced.", "Try again later."
            )
        if status == 429:
            return HubError(
                "The hub goes on asking for a pause (status 429).",
                f"Try again in a few minutes: {_KEPT}",
            )
        if status:
            return HubError(
                f"The hub answered with status {status} when asked for {name}.",
                f"Try again later: {_KEPT}",
            )
        return HubError(
            f"{name} could not be fetched: {_first_line(error)}.",
            f"Check the connection and try again: {_KEPT}",
        )


def stopped(name: str) -> Stopped:
    """The error of a transfer that the caller stopped."""
    return Stopped(f"Fetching {name} was stopped.", f"Run the command again to go on: {_KEPT}")


def _listing(name: str, info: Any) -> Listing:
    files: list[HubFile] = []
    for entry in info.siblings or ():
        # Weights and what configures them lie at the top; no name may lead anywhere else.
        if any(character in entry.rfilename for character in "/\\\0"):
            continue
        size, oid = entry.size, entry.blob_id or ""
        sha256 = "" if entry.lfs is None else entry.lfs.sha256
        if type(size) is not int or size < 0 or _HASH.fullmatch(sha256 or oid) is None:
            raise ValueError(f"{entry.rfilename} has no size and hash")
        files.append(HubFile(entry.rfilename, size, sha256, oid))
    if _HASH.fullmatch(info.sha or "") is None:
        raise ValueError("there is no commit")
    return Listing(name, info.sha, tuple(sorted(files, key=lambda file: file.name)))


def _asked_pause(headers: Any) -> float:
    """Seconds that ``Retry-After`` or the hub's ``RateLimit`` header asks for; 0 without."""
    after = headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    if after:
        try:
            until = parsedate_to_datetime(after)
        except ValueError:
            return 0.0
        # "-0000" stands for UTC of an unknown place, and comes without a zone.
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    spent = re.search(r";\s*r=0\s*;\s*t=(\d+)", headers.get("RateLimit", ""))
    return float(spent[1]) if spent else 0.0


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
