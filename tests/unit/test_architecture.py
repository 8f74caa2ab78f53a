"""docs/explanation/architecture.md names every room, in the order of the import contracts."""

import re
from pathlib import Path

import pytest
from importlinter import api

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/explanation/architecture.md"
PACKAGES = ("launcher", "ptycho_dist")
NAMED_PATH = re.compile(r"`((?:launcher|ptycho_dist|slurm|docs|specs|tests)(?:/[\w./*-]+)?)`")


def sections():
    """Text of each second- or third-level section of the page, by its heading."""
    parts = re.split(r"^###? (.+)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rooms(package):
    """The packages and modules directly inside a package, as paths from the repository."""
    return {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / package).iterdir()
        if (path / "__init__.py").is_file() or (path.suffix == ".py" and path.stem != "__init__")
    }


def room_of(path):
    """`launcher/planning/plan.py` → `launcher/planning`."""
    return "/".join(path.split("/")[:2])


def contract_floors(package):
    """The layers of a package's contract, top first, each as a set of names."""
    contracts = api.read_configuration(str(REPOSITORY / "pyproject.toml"))["contracts_options"]
    (layers,) = (
        contract["layers"]
        for contract in contracts
        if contract["type"] == "layers" and contract["containers"] == [package]
    )
    return [{name.strip() for name in re.split(r"[|:]", layer)} for layer in layers]


def table_rows(package):
    """(floor, path of the room) of each row of a package's table, in order."""
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| \S.* \|$", sections()[package], re.MULTILINE)
    return [(int(floor), path) for floor, path in rows]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_table(package):
    listed = [path for _, path in table_rows(package)]
    assert sorted(listed) == sorted(rooms(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_map(package):
    named = {room_of(path) for path in NAMED_PATH.findall(sections()["To change X, look in Y"])}
    assert rooms(package) - named == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_floors_are_those_of_the_import_contract(package):
    rows = table_rows(package)
    assert [floor for floor, _ in rows] == sorted(floor for floor, _ in rows)
    floors = {}
    for floor, path in rows:
        floors.setdefault(floor, set()).add(Path(path).stem)
    assert list(floors) == list(range(1, len(floors) + 1))
    assert list(floors.values()) == contract_floors(package)


def test_every_named_path_exists():
    paths = NAMED_PATH.findall(PAGE.read_text("utf-8"))
    assert len(paths) > 100
    missing = sorted(path for path in set(paths) if not (REPOSITORY / path).exists())
    assert missing == []


def test_the_map_has_a_place_for_everything_that_people_change():
    rows = re.findall(r"^\| (?!\*\*|to change|---)", sections()["To change X, look in Y"], re.M)
    assert len(rows) >= 30
