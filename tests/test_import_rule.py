"""The import rule: a file imports from its own folder, or from one further left."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "context_agg"
ROOMS = (
    {"ops"},
    {"networks", "data", "cli"},
    {"training"},
    {"gradients", "analysis"},
    {"callbacks"},
    {"runs"},
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
COMMANDS = {
    *("train", "check", "evaluate", "predict", "export", "report", "exercise", "convert", "tune"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    """The package's modules that a file imports, at any place, without the package's name.

    A name that is imported from a folder counts as the module of that name, if it exists.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import hides the room it comes from"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if is_module(name)}
            found |= modules or {node.module}
    ours = {name.removeprefix("context_agg.") for name in found if name.startswith("context_agg.")}
    return ours | ({""} if "context_agg" in found else set())


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(file: Path) -> str:
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def test_the_rooms_are_these_and_the_commands_are_all_that_lies_outside() -> None:
    assert {room(file) for file in FILES} == {*RANK, ""}
    outside = {file.stem for file in FILES if room(file) == ""}
    assert outside == {*COMMANDS, "__init__", "__main__"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_arrow_runs_back(file: Path) -> None:
    if room(file) == "":
        needed = {"train"} if file.stem == "tune" else set()  # a search trains
        assert imports(file) & COMMANDS == needed  # no other command needs another
        return
    for module in imports(file):
        other = module.partition(".")[0]
        assert other in RANK, f"{file} imports {module or 'the package'}: that is no room"
        assert RANK[other] <= RANK[room(file)], f"{file} imports {module}: that lies further right"


def test_rooms_side_by_side_have_no_circles() -> None:
    """There is none between folders either, which is more than Python requires."""
    arrows = {
        (room(file), module.partition(".")[0])
        for file in FILES
        if room(file)
        for module in imports(file)
    }
    for rooms in ROOMS:
        inside = {(a, b) for a, b in arrows if a != b and {a, b} <= rooms}
        while inside:  # remove what nothing points at; a circle remains
            ends = {b for _, b in inside}
            kept = {(a, b) for a, b in inside if a in ends}
            assert kept != inside, f"a circle: {sorted(inside)}"
            inside = kept


def test_the_package_s_face_is_the_context_module() -> None:
    assert imports(PACKAGE / "__init__.py") == {"networks.context", "ops"}


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda f: f.stem)
def test_no_test_imports_from_a_test(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
            assert "test_" not in (node.module or "")
