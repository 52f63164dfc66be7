"""Pictures that clients fetch by a URL: kept in memory for a while, under names that nobody can guess."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.requests import Request

from entry.answer import PictureFile
from entry.http.paths import PICTURES
from sdxl.config.settings import Settings

NAME_BYTES = 32  # of chance


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A picture's file, and until when it is kept, on this process's monotonic clock in seconds."""

    data: bytes
    media_type: str
    until_s: float


class Links:
    """The pictures of this process: another replica of the entry does not know them."""

    def __init__(self, settings: Settings) -> None:
        self._keep_s, self._max_bytes = settings.url_keep_s, settings.url_keep_mb * 1_000_000
        self._public_url = settings.public_url
        self._kept: OrderedDict[str, Kept] = OrderedDict()  # the oldest first
        self._bytes = 0

    @property
    def are_given(self) -> bool:
        """Whether there is memory for pictures at all."""
        return self._max_bytes > 0

    def link(self, picture: PictureFile, request: Request) -> str:
        """Keeps a picture, and gives its URL as the client of this request can ask for it."""
        base = self._public_url or f"{request.url.scheme}://{request.url.netloc}"
        return f"{base}{PICTURES}{self.keep(picture.data, picture.media_type)}"

    def keep(self, data: bytes, media_type: str) -> str:
        """The name of a file. The oldest go until there is room, but the newest always stays."""
        self._let_go()
        name = f"{secrets.token_urlsafe(NAME_BYTES)}.{media_type.removeprefix('image/')}"
        self._kept[name] = Kept(data=data, media_type=media_type, until_s=time.monotonic() + self._keep_s)
        self._bytes += len(data)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._drop_oldest()
        return name

    def get(self, name: str) -> Kept | None:
        """The picture, if it is still there."""
        self._let_go()
        return self._kept.get(name)

    def _let_go(self) -> None:
        while self._kept and next(iter(self._kept.values())).until_s <= time.monotonic():
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._kept.popitem(last=False)
        self._bytes -= len(oldest.data)
