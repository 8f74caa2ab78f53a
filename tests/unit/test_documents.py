"""Documents cannot drift from the code: generated pages, links, files, tables, clauses."""

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "specs/**/*.md")
    for path in REPOSITORY.glob(pattern)
)


def generator(name="generate"):
    path = REPOSITORY / f"docs/reference/{name}.py"
    spec = importlib.util.spec_from_file_location(f"reference_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["run_config.md", "commands.md", "sites.md"])
def test_reference_pages_are_those_of_the_code(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    stored = (REPOSITORY / "docs/reference" / name).read_text("utf-8")
    assert stored == generator().PAGES[name](), "run `make reference`"


@pytest.mark.parametrize(
    "page",
    ["specs/execution_config.md", "docs/how-to/why-did-it-fail.md", "docs/workflows/pytorch.md"],
)
def test_generated_tables_are_those_of_the_code(page, monkeypatch):
    """EC-031: a default, a flag or a field that changes in the code alone is found here."""
    monkeypatch.setenv("COLUMNS", "90")
    path = REPOSITORY / page
    assert path.read_text("utf-8") == generator().with_inserts(path), "run `make reference`"


def test_a_default_changed_in_the_parser_alone_is_found(monkeypatch):
    """EC-031: the drift test itself, seen to fail."""
    written = generator()
    changed = written.train_parser()
    changed.set_defaults(accelerator="cpu")
    monkeypatch.setattr(written, "train_parser", lambda: changed)
    path = REPOSITORY / "docs/workflows/pytorch.md"
    assert path.read_text("utf-8") != written.with_inserts(path)


def test_the_list_of_messages_holds_what_a_user_sees():
    source = '''
"""A module of two words."""
PATTERN = re.compile("two words|three words")
LINE = f"{run.name} has ended after {len(x):>9} steps"
def fail(path):
    """Fail now."""
    raise UserError(f"{path}: broken")
table.add_column("state", justify="right")
parser.add_argument("--keep", help="kept")
'''
    assert list(generator("messages").messages_of(source)) == [
        (4, "{run.name} has ended after {...} steps"),
        (7, "{path}: broken"),
        (8, "state"),
        (9, "kept"),
    ]


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(path):
    text = without_code(path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", without_code(path.read_text("utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{target} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_tables_are_even(path):
    width = None
    for number, line in enumerate(without_code(path.read_text("utf-8")).splitlines(), 1):
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells), f"line {number}: {cells - 1} cells, {width - 1} above"
        width = cells


NAMED_FILE = re.compile(
    r"(?<![\w/~.-])((?:launcher|ptycho_dist|tests|slurm|docs|specs|benchmarks)/[\w./-]*\w)"
)
ELSEWHERE = {"tests/data/siemens-star-small.npz.bz2"}
"""Paths in other repositories."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_named_files_exist(path):
    named = set(NAMED_FILE.findall(path.read_text("utf-8"))) - ELSEWHERE
    assert sorted(name for name in named if not (REPOSITORY / name).exists()) == []


def test_findings_are_sorted_and_complete():
    text = (REPOSITORY / "docs/findings.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")][1:]
    rows = [row for row in rows if not row[0].strip().startswith("---")]
    ids = [row[0].strip() for row in rows]
    assert ids == sorted(ids)
    assert len(ids) == len(set(ids))
    assert all(cell.strip() for row in rows for cell in row)


def test_every_clause_is_cited_by_a_test():
    clauses = set()
    for path in (REPOSITORY / "specs").glob("*.md"):
        clauses |= set(re.findall(r"\*\*([A-Z]+-\d{3})\*\*", path.read_text("utf-8")))
    cited = set()
    for path in (REPOSITORY / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        cited |= set(re.findall(r"\b(?:RC|LP|RD|RS|REC|DATA|LI|EC|SC)-\d{3}\b", text))
        for kind, first, last in re.findall(
            r"\b(RC|LP|RD|RS|REC|DATA|LI|EC|SC)-(\d{3}) to (?:\1-)?(\d{3})", text
        ):
            cited |= {f"{kind}-{number:03d}" for number in range(int(first), int(last) + 1)}
    assert clauses - cited == set()


def test_every_field_of_a_config_is_read_by_the_code():
    """RC-015: a field that nobody reads would be a promise that nobody keeps."""
    import dataclasses
    import typing

    from ptycho_dist.config.run import RunConfig

    code = "".join(
        path.read_text("utf-8")
        for folder in ("launcher", "ptycho_dist")
        for path in (REPOSITORY / folder).rglob("*.py")
        if "config" not in path.relative_to(REPOSITORY).parts[:-1] or path.name == "world.py"
    )
    for section in typing.get_type_hints(RunConfig).values():
        if dataclasses.is_dataclass(section):
            annotations = typing.get_type_hints(section, include_extras=True)
            for field in dataclasses.fields(section):
                rules = typing.get_args(annotations[field.name])[1:]
                if any(
                    "only.<locals>" in getattr(r, "func", r).__qualname__
                    for r in rules
                    if hasattr(getattr(r, "func", r), "__qualname__")
                ):
                    continue  # one value allowed: it states what is, and everything else is refused
                assert re.search(rf"\.{field.name}\b", code), f"nobody reads {field.name}"


def test_clauses_that_tests_and_code_cite_exist():
    clauses = set()
    for path in (REPOSITORY / "specs").glob("*.md"):
        clauses |= set(re.findall(r"\*\*([A-Z]+-\d{3})\*\*", path.read_text("utf-8")))
    assert len(clauses) > 50
    for folder in ("tests", "launcher", "ptycho_dist"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            for cited in re.findall(r"\b((?:RC|LP|RD|RS|REC|DATA|LI|EC|SC)-\d{3})\b", text):
                assert cited in clauses, f"{path.name} cites {cited}, which no spec has"
