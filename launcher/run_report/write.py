"""Writes the report of a run; the file is replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.pages.html import render_page
from launcher.run_report.facts import RunFacts
from launcher.run_report.page import page_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import write_bytes_atomic


def write_run_report(facts: RunFacts, place: Path) -> None:
    """Write the page of a run as one HTML file.

    Args:
        facts: the facts that it shows.
        place: path of the file; an existing file is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    if place.is_dir():
        raise UserError(f"--output {place}: is a directory; name a file")
    content = render_page(page_of(facts)).encode("utf-8", "replace")
    try:
        write_bytes_atomic(place, content)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{place}: cannot be written: {reason}; give another --output") from None
