"""The documentation as a site: `make docs`. Sphinx reads the whole clone, from its root."""

import importlib.metadata
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "context_agg"
API = Path(__file__).parent / "api"  # pages that every build makes anew

project = "context_agg"
release = version = importlib.metadata.version("context_agg")
project_copyright = "context_agg's authors"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/tour.ipynb", "models/*/README.md"]
exclude_patterns = ["docs/_build", "docs/results", "docs/figures"]
default_role = "code"  # `name` in a docstring, as in Markdown

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "cache"  # the tour runs once, and again when it has changed
nb_execution_timeout = -1  # none: the machine may be busy
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # those of torch and Lightning refer to their own sites
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # the fields of a NamedTuple have entries already

html_theme = "furo"
html_title = f"context_agg {release}"


def write_api(app: Sphinx) -> None:
    """Writes a page for each room of the package, and one for the commands."""
    API.mkdir(exist_ok=True)
    rooms = [folder for folder in sorted(PACKAGE.iterdir()) if (folder / "__init__.py").is_file()]
    for room in rooms:
        write_page(room.name, sorted(room.rglob("*.py")))
    write_page("commands", [file for file in PACKAGE.glob("*.py") if file.name[0] != "_"])


def write_page(name: str, files: list[Path]) -> None:
    """Writes a page of the reference: what the docstrings of these files say."""
    lines = [f"# context_agg.{name}" if name != "commands" else "# The commands", ""]
    for file in files:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        title = [] if module.count(".") == 1 and name != "commands" else [f"## {module}", ""]
        own = ["   :ignore-module-all:"] if file.stem == "__init__" else []  # not what it imports
        lines += [*title, "```{eval-rst}", f".. automodule:: {module}", *own, "```", ""]
    text = "\n".join(lines)
    page = API / f"{name}.md"
    if not page.is_file() or page.read_text() != text:  # so that only what changed is read again
        page.write_text(text)


def escape(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Makes reStructuredText of a docstring, which is plain text with `code`.

    That of a command is what --help prints, and stays as it is.
    """
    if what == "module" and name.count(".") == 1 and not hasattr(obj, "__path__"):
        lines[:] = ["::", "", *(f"    {line}" for line in lines)]
        return
    for number, line in enumerate(lines):
        parts = line.split("`")  # code is at the odd places
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[number] = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "`".join(parts))


def setup(app: Sphinx) -> None:
    """Sphinx calls this first."""
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon's
