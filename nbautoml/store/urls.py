"""Where a record lies, as a URL; passwords never leave it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["SQLITE_PREFIX", "masked", "sqlite_path", "sqlite_url", "without_password"]

SQLITE_PREFIX = "sqlite:///"
_USER_INFO = re.compile(r"^(?P<scheme>[\w+.-]+://)(?P<user>[^:@/]*)(?::(?P<password>.*))?@")
_QUERY_SECRET = re.compile(r"(?i)([?&](?:password|passfile|sslpassword)=)[^&]*")


def sqlite_url(path: Path) -> str:
    """The URL of a local record."""
    return f"{SQLITE_PREFIX}{path.absolute()}"


def sqlite_path(url: str) -> Path:
    """The file of a local record's URL."""
    return Path(url.removeprefix(SQLITE_PREFIX))


def masked(url: str) -> str:
    """The URL for people's eyes.

    >>> masked("postgresql://ann:se:cr@t@db/team?password=x")
    'postgresql://ann:***@db/team?password=***'
    """
    url = _QUERY_SECRET.sub(r"\1***", url)
    found = _USER_INFO.match(url)
    if found is None or found["password"] is None:
        return url
    return f"{found['scheme']}{found['user']}:***@{url[found.end() :]}"


def without_password(url: str) -> str:
    """The URL as it may be kept in a file: it says which store, and not how to get in.

    >>> without_password("postgresql://ann:secret@db/team?password=x&sslmode=require")
    'postgresql://ann@db/team?sslmode=require'
    """
    url = _QUERY_SECRET.sub(lambda found: found[1][0], url)
    url = url.replace("?&", "?").replace("&&", "&").rstrip("?&")
    found = _USER_INFO.match(url)
    if found is None or found["password"] is None:
        return url
    return f"{found['scheme']}{found['user']}@{url[found.end() :]}"
