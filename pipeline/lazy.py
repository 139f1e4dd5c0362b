"""Packages whose public names load on first use, each with its own module only: importing the package stays light."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy(package: str, home: dict[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Return `__getattr__` and `__all__` of a package.

    Args:
        package: its name.
        home: the module inside it that has each public name. No module may have the name of a function: importing it
            would put the module in the place of the function.
    """

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return load, sorted(home)
