"""The house: rooms do not import one another, imports run one way, and the public names are there."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("encoder", "projector", "gym_qa", "sefar_mllm")

#: Every package and what it may import of its own room: only what stands above it here.
LAYERS = {
    "encoder": "errors files device processes video loading model recipes training visual features",
    "projector": "errors base standardize mlp pool queries build",
    "gym_qa": "errors files statistics dice datasets questions minigym cutting audit exports benchmark",
    "sefar_mllm": "errors files statistics console settings model inference finetuning report evaluation "
    "doctor experiments cli",
}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
}


def imported(module: str) -> Iterator[str]:
    """The modules of the house that a module imports, those within its functions too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name and name != module:
                yield name


GRAPH = {module: set(imported(module)) for module in MODULES if module not in ROOMS}


def test_rooms_do_not_import_one_another():
    for module, others in GRAPH.items():
        room = module.split(".")[0]
        foreign = {other for other in others if other.split(".")[0] != room}
        assert room == "sefar_mllm" or not foreign, f"{module} imports {foreign}"


def test_no_import_cycle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a cycle: {' → '.join((*path, module))}"
        if module not in done and module in GRAPH:
            for other in sorted(GRAPH[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_downwards(room):
    layers = LAYERS[room].split()
    packages = {module.split(".")[1] for module in GRAPH if module.startswith(f"{room}.")}
    assert packages == set(layers)
    for module, others in GRAPH.items():
        if not module.startswith(f"{room}."):
            continue
        own = module.split(".")[1]
        for other in others:
            name = other.split(".")[1] if other.startswith(f"{room}.") else own
            assert layers.index(name) <= layers.index(own), f"{module} imports {other}, which stands above it"


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_there(room):
    package = importlib.import_module(room)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_importing_a_room_imports_nothing_heavy():
    code = f"import sys, {', '.join(ROOMS)}; print({{'torch', 'transformers', 'av'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
