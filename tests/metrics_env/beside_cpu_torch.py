"""torchvision of PyPI is built for a CUDA torch; beside a CPU torch its compiled operators do not load, and with them
its Python parts stop. Its networks use none of these operators: two schemas are declared so that the import goes on."""

import sys
from importlib.util import find_spec
from typing import Any

import torch

_kept: list[Any] = []


def prepare() -> None:
    """Make torchvision importable where it is installed; does nothing where it loads by itself, or is absent."""
    if _kept or not find_spec("torchvision"):
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}() -> Tensor")
        _kept.append(operators)
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
