"""Which modules inside `pipeline/` a module can load, and a hash of the code of each.

The closure is read from syntax trees, without importing anything: statements inside functions count (lazy imports),
`if TYPE_CHECKING:` does not, and a name taken from a package whose `__init__` resolves names lazily counts as the
module that its table names, or as the whole package where that cannot be read. Comments, docstrings and empty lines are
no part of a hash.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import parts
from pipeline.errors import InputError

PACKAGE = "pipeline"
PARTS = "pipeline.parts"
# They name files, read options, start processes or say what went wrong, and decide no number of any result: what they
# read is in a digest's settings, and what `parts` selects in its list of modules.
UNDIGESTED = {
    f"{PACKAGE}.{name}"
    for name in (
        *("bounds", "cli", "closure", "code_digest", "config", "defaults", "errors", "launch", "lazy", "machine"),
        *("options", "parts", "paths", "preset", "settings", "training.tracking"),
    )
}


class Closure:
    """Import closures inside the package below `root`; every file is parsed once."""

    def __init__(self, root: Path):
        self.root = root
        self.trees: dict[str, ast.Module] = {}
        self.found: dict[str, set[str]] = {}
        self.hashes: dict[str, str] = {}
        self.hashed: dict[str, tuple[str, str]] = {}  # path and line
        self.files: dict[str, Path | None] = {}
        self.closures: dict[frozenset[str], set[str]] = {}

    def of(self, module: str, selected: Iterable[str] | None = None) -> set[str]:
        """Return the names of all modules that importing and running `module` can load, itself included.

        Args:
            module: its name.
            selected: what it loads by name from `pipeline.parts`; None: everything that any specification selects.
        """
        if selected is None:
            found = self.walk([module])
            selected = parts.everything() if any(PARTS in self.found[name] for name in found) else ()
        start = frozenset([module, *selected])
        if start not in self.closures:
            self.closures[start] = self.walk(list(start))
        return self.closures[start]

    def walk(self, waiting: list[str]) -> set[str]:
        """Return the names of all modules that can be reached by imports, those that decide no number left out."""
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name in UNDIGESTED or self.file(name) is None:
                continue
            seen.add(name)
            if name not in self.found:
                self.found[name] = self.imports(name)
            waiting += self.found[name]
            waiting += [name.rsplit(".", 1)[0]] if "." in name else []  # importing a.b.c runs a and a.b
        return seen

    def lines(self, modules: Iterable[str]) -> list[str]:
        """Return a line `sha256  path` for each module, sorted by path."""
        for module in modules:
            if module not in self.hashed:
                path = self.file(module).relative_to(self.root).as_posix()
                self.hashed[module] = (path, f"{self.sha256(module)}  {path}")
        return [line for _, line in sorted(self.hashed[module] for module in modules)]

    def digest(self, *modules: str) -> str:
        """Return the hash of all code that some modules can load."""
        found = sorted({name for module in modules for name in self.of(module)})
        return hashlib.sha256("".join(f"{self.sha256(name)} {name}\n" for name in found).encode()).hexdigest()

    def file(self, module: str) -> Path | None:
        """Return the file of a module or package of ours, None for any other name."""
        if module not in self.files:
            self.files[module] = self.find(module)
        return self.files[module]

    def find(self, module: str) -> Path | None:
        if module.split(".", 1)[0] != PACKAGE:
            return None
        base = self.root.joinpath(*module.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None

    def is_package(self, module: str) -> bool:
        path = self.file(module)
        return path is not None and path.name == "__init__.py"

    def sha256(self, module: str) -> str:
        """Return the hash of a module's text without what cannot change a result."""
        if module not in self.hashes:
            text = code_only(self.file(module).read_text(encoding="utf-8"), self.tree(module))
            self.hashes[module] = hashlib.sha256(text.encode()).hexdigest()
        return self.hashes[module]

    def tree(self, module: str) -> ast.Module:
        if module not in self.trees:
            path = self.file(module)
            try:
                self.trees[module] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            except SyntaxError as error:
                where = f"{path.relative_to(self.root)}, line {error.lineno}"
                raise InputError(f"{where} is not valid Python: {error.msg}; correct it.") from error
        return self.trees[module]

    def imports(self, module: str) -> set[str]:
        """Return the modules of ours that one module names in imports."""
        result: set[str] = set()
        for node in statements(self.tree(module)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    result |= self.whole(alias.name)
            elif isinstance(node, ast.ImportFrom):
                source = self.absolute(module, node)
                for alias in node.names:
                    result |= self.taken(source, alias.name)
            elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
                result |= self.dynamic(node.args[0])
        return result

    def absolute(self, module: str, node: ast.ImportFrom) -> str:
        """Return the absolute name of the module in `from ... import`."""
        if not node.level:
            return node.module or ""
        package = module if self.is_package(module) else module.rsplit(".", 1)[0]
        parts = package.split(".")[: len(package.split(".")) - node.level + 1]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def whole(self, module: str) -> set[str]:
        """Return what `import module` can load: a lazy package gives any of its modules on attribute access."""
        if self.file(module) is None:
            return set()
        return {module} | (self.members(module) if self.is_lazy(module) else set())

    def taken(self, source: str, name: str) -> set[str]:
        """Return what `from source import name` can load."""
        if name != "*" and self.file(f"{source}.{name}") is not None:
            return {source} | self.whole(f"{source}.{name}")
        if self.file(source) is None:
            return set()
        if not self.is_lazy(source) or name in bound(self.tree(source)):
            return {source}
        target = None if name == "*" else self.lazy_target(source, name)
        return {source} | ({target} if target else self.members(source))

    def dynamic(self, argument: ast.expr) -> set[str]:
        """Return what `import_module(argument)` can load, as far as its text says."""
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return self.whole(argument.value)
        if isinstance(argument, ast.JoinedStr) and argument.values and isinstance(argument.values[0], ast.Constant):
            start = str(argument.values[0].value)
            if start.startswith(f"{PACKAGE}.") and "." in start:
                return self.members(start.rsplit(".", 1)[0])
        return set()

    def is_lazy(self, module: str) -> bool:
        """Whether a package's `__init__` resolves names when they are asked for."""
        return self.is_package(module) and "__getattr__" in bound(self.tree(module))

    def lazy_target(self, package: str, name: str) -> str | None:
        """Return the module inside a lazy package that its table, {name: module}, has for `name`; None without one."""
        tables = (node for node in ast.walk(self.tree(package)) if isinstance(node, ast.Dict))
        targets = (f"{package}.{ast.literal_eval(table).get(name)}" for table in tables)
        return next((target for target in targets if self.file(target) is not None), None)

    def members(self, package: str) -> set[str]:
        """Return all modules of a package, those of its packages included."""
        path = self.file(package)
        if path is None or path.name != "__init__.py":
            return {package} if path else set()
        inside = (p.relative_to(self.root).with_suffix("").parts for p in path.parent.rglob("*.py"))
        return {".".join(parts).removesuffix(".__init__") for parts in inside}


def code_only(text: str, tree: ast.Module) -> str:
    """Return source text without comments, docstrings and empty lines; other strings stay as they are.

    Text is cut, not unparsed from the tree, so that every version of Python gives the same.
    """
    lines = [line.encode() for line in text.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1].decode()[:column].encode()
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = list(ast.walk(tree))
    docs = [n.body[0] for n in nodes if isinstance(n, holders) and ast.get_docstring(n, clean=False) is not None]
    for doc in docs:
        cut(lines, doc)
    left = [n for n in nodes if isinstance(n, (ast.Constant, ast.JoinedStr)) and n not in [doc.value for doc in docs]]
    # Spaces and empty lines are a part of a string.
    kept = {row for node in left for row in range(node.lineno - 1, node.end_lineno - 1)}
    code = [(line if row in kept else line.rstrip(), row in kept) for row, line in enumerate(lines)]
    return b"\n".join(line for line, inside in code if line or inside).decode()


def cut(lines: list[bytes], node: ast.stmt) -> None:
    """Take a statement out of lines, in place; its columns count bytes."""
    first, last = node.lineno - 1, node.end_lineno - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    lines[first : last + 1] = [before + after] + [b""] * (last - first)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree without `if TYPE_CHECKING:` blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def called(node: ast.Call) -> str:
    """Return the last word of what a call calls."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def bound(tree: ast.Module) -> set[str]:
    """Return the names that a module binds when it is loaded (imports, functions, classes, assignments)."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names
