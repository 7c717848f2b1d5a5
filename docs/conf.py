"""The documentation as a site: `make docs`. Sphinx reads the whole clone, from its root."""

import importlib.metadata
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "context_agg"
API = Path(__file__).parent / "api"  # pages that every build makes anew

project = "context_agg"
release = version = importlib.metadata.version("context_agg")
project_copyright = "context_agg's authors"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/tour.ipynb", "models/*/README.md"]
exclude_patterns = ["docs/_build", "docs/results", "docs/figures"]
default_role = "code"  # `name` in a docstring, as in Markdown
highlight_language = "text"  # a block that names no language: commands, and what they print

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "cache"  # the tour runs once, and again when it has changed
nb_execution_timeout = -1  # none: the machine may be busy
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # those of torch and Lightning refer to their own sites
autodoc_member_order = "bysource"
add_module_names = False  # the headings have them
python_maximum_signature_line_length = 88  # a longer one has a line for each argument
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # the fields of a NamedTuple have entries already

html_theme = "furo"
html_title = f"context_agg {release}"
html_math_renderer = "mathml"  # MathJax would come from the network
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def write_api(app: Sphinx) -> None:
    """Writes a page for each room of the package, and one for the commands."""
    API.mkdir(exist_ok=True)
    rooms = [folder for folder in sorted(PACKAGE.iterdir()) if (folder / "__init__.py").is_file()]
    for room in rooms:
        write_page(room.name, sorted(room.rglob("*.py")))
    write_page("commands", [file for file in PACKAGE.glob("*.py") if file.name[0] != "_"])


def write_page(name: str, files: list[Path]) -> None:
    """Writes a page of the reference: what the docstrings of these files say."""
    commands = name == "commands"
    lines = ["# The commands, from Python" if commands else f"# context_agg.{name}", ""]
    for file in files:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        own_page = module == f"context_agg.{name}"
        title = [] if own_page else [f"## {module.removeprefix('context_agg.')}", ""]
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
    if lines and lines[0].startswith("Alias for field number"):  # Python's, of a NamedTuple
        lines.clear()
    for number, line in enumerate(lines):
        parts = line.split("`")  # code is at the odd places
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[number] = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "`".join(parts))


def visit_math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers draw without a script."""
    block = isinstance(node, nodes.math_block)
    self.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Sphinx calls this first."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon's
