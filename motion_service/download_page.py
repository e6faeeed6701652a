"""A web page that came instead of a file: Google Drive's question before large files, its quota, or something else."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode, urljoin

from motion_service.errors import DownloadFailed

_DRIVE_HOSTS: Final = ("https://drive.usercontent.google.com/", "https://drive.google.com/")


class NotAFile(Exception):
    """The server sent a page."""

    def __init__(self, name: str, page: str) -> None:
        super().__init__(name)
        self.name = name
        self.page = page

    @property
    def explanation(self) -> str:
        """One line for the user."""
        if "quota" in self.page.lower():
            return (
                f"{self.name}: too many people have fetched it lately, and its source has closed it for up to a day"
                " (quota exceeded): try again tomorrow, or fetch it with a browser where you are logged in"
            )
        return f"{self.name}: its source sends a web page instead of the file: it may have moved, or ask for a login"


def page_to_address(page: NotAFile, url: str) -> str:
    """Where Google Drive's question "too large to be scanned for viruses" leads when it is answered with yes.

    Raises DownloadFailed for every other page.
    """
    form = _DownloadForm()
    form.feed(page.page)
    if form.action is None or not form.fields:
        raise DownloadFailed(page.explanation)
    address = urljoin(url, form.action)
    is_same_place = address.startswith(_DRIVE_HOSTS) or address.partition("?")[0] == url.partition("?")[0]
    if not is_same_place:  # a page shall not send us anywhere
        raise DownloadFailed(page.explanation)
    return f"{address}?{urlencode(form.fields)}"


class _DownloadForm(HTMLParser):
    """The hidden fields of the form ``download-form``."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == "download-form":
            self.action, self._is_inside = values.get("action", ""), True
        elif tag == "input" and self._is_inside and values.get("type") == "hidden" and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
