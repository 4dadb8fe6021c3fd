"""Writes the map of modules in docs/architecture.md: the layers of pyproject.toml, the first line of each docstring.

python tools/module_map.py
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, PAGE = ROOT / "src" / "phosphene", ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- the map of modules: python tools/module_map.py -->\n", "<!-- end of the map -->\n"


def about(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].split("\n")[0].strip()


def layers() -> list[list[str]]:
    """Names of packages and modules, from the top down; those of one layer do not import each other."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip().removeprefix("phosphene.") for name in row.split("|")] for row in rows]


def rows(name: str) -> list[str]:
    """A package or module, and what a package holds."""
    folder = SOURCE / name
    if not folder.is_dir():
        return [f"| `{name}` | {about(folder.with_suffix('.py'))} | |"]
    inside = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    inside += [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    held = ", ".join(f"`{item}`" for item in sorted(inside))
    return [f"| `{name}/` | {about(folder / '__init__.py')} | {held} |"]


def drawn() -> str:
    lines = ["| | what it is | modules |", "|---|---|---|"]
    for i, layer in enumerate(layers()):
        lines += ["| | | |"] if i else []
        for name in layer:
            lines += rows(name)
    return "\n".join(lines) + "\n"


def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
