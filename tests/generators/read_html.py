"""Pages as a browser reads them: what they hold, and whether every element that opens closes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class ReadPage(HTMLParser):
    """An HTML page: its elements, texts, ids, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.classes: list[str] = []
        self.loads: list[str] = []
        """URLs that a browser would follow by itself, or on a click."""
        self.labels: list[str] = []
        self.text = ""
        self.unbalanced: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open
        styles = " ".join(re.findall(r"<style.*?</style>|style=\"[^\"]*\"", text, re.DOTALL))
        self.loads += re.findall(r"url\(\s*[\"']?([^)\"']*)", styles)
        self.loads += re.findall(r"@import[^;]*", styles)

    def handle_starttag(self, tag, attributes):
        self._note(tag, attributes)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self._note(tag, attributes)

    def handle_endtag(self, tag):
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data):
        self.text += data

    def _note(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name == "class":
                self.classes += value.split()
            elif name in ("aria-label", "alt"):
                self.labels.append(value)
            elif name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.loads.append(value)

    @property
    def foreign(self) -> list[str]:
        """What does not lie in the page itself."""
        return [url for url in self.loads if not url.startswith(("#", "data:image/png;base64,"))]
