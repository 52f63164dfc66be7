"""Paths as clients and proxies write them, and what is said of one that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import Scope

from sdxl.errors import RelayError

ALIASES = {"/health": "/readyz"}  # what clients of other servers of models wait for
PICTURES = "/pictures/"  # whose names are secrets: whoever knows one may have the picture
_FOLDERS = ("/ui/", "/docs/")  # pages have links relative to themselves


def tidied(scope: Scope) -> Scope:
    """The request as it was meant: `//generate` and `/generate/` are `/generate`, and HEAD is GET.

    A base URL that ends in a slash, or a proxy's, makes such paths. Of an answer to HEAD, uvicorn sends the head.
    """
    path = re.sub("/{2,}", "/", scope["path"])
    if not path.startswith(_FOLDERS):
        path = path.rstrip("/") or "/"
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": ALIASES.get(path, path), "method": method}


def no_such_path(path: str, known: Iterable[str]) -> RelayError:
    """A 404. It names the path that was meant if only what stands before that is wrong, as with a wrong base URL."""
    meant = [each for each in known if each.endswith(path) or path.endswith(each)]
    hint = f"; did you mean {max(meant, key=len)}?" if meant and path != "/" else ""
    return RelayError(404, "unknown_path", f"there is no {path[:200]} here{hint}")
