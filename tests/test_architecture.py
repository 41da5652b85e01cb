"""Who may import what: cores do no I/O, and imports go one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trioice"
FORBIDDEN = {"trio", "socket", "time", "random", "os", "logging", "asyncio", "threading", "secrets", "select", "anyio"}

# Each line may import from those above it, and from its own.
LAYERS = [
    ["errors", "sansio", "sequence", "agenda", "wire", "timeline", "metrics", "relay.token", "relay.encapsulation"],
    ["stun", "dtls", "srtp", "rtp", "audio"],
    ["ice", "sdp", "sped"],
    ["carriage"],
    ["session"],
    ["endpoint", "relay.core"],
    ["timer", "sockaddr", "mmsg", "onebyone", "ports", "memory", "driver", "tracing", "metered"],
    ["relay", "transceiver", "signaling", "workers"],
    ["programs"],
    ["supervised"],
    ["options"],
    ["cli"],
    ["__main__", ""],
]
LAST_CORE = 5  # the layers up to here do no I/O


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer_of(module: str) -> int:
    """The layer of the longest name in `LAYERS` that `module` is, or is within."""
    names = [(name, number) for number, layer in enumerate(LAYERS) for name in layer]
    fitting = [
        (len(name), number) for name, number in names if module == name or (name and module.startswith(name + "."))
    ]
    assert fitting, f"{module} stands in no layer"
    return max(fitting)[1]


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports anywhere, but for typing."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = PACKAGE.parent / node.module.replace(".", "/") / f"{alias.name}.py"
                package = PACKAGE.parent / node.module.replace(".", "/") / alias.name / "__init__.py"
                names.add(f"{node.module}.{alias.name}" if inner.exists() or package.exists() else node.module)
    return names


MODULES = sorted(PACKAGE.rglob("*.py"))
CORES = [path for path in MODULES if layer_of(module_of(path)) <= LAST_CORE]


def test_there_are_cores() -> None:
    assert {"stun.message", "dtls.server", "srtp.plain", "rtp.session", "endpoint"} <= {
        module_of(path) for path in CORES
    }


@pytest.mark.parametrize("path", CORES, ids=module_of)
def test_a_core_does_no_io(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & FORBIDDEN


@pytest.mark.parametrize("path", [path for path in MODULES if module_of(path)], ids=module_of)
def test_imports_go_one_way(path: Path) -> None:
    own = layer_of(module_of(path))
    for name in imports(path):
        if name.startswith("trioice."):
            assert layer_of(name.removeprefix("trioice.")) <= own, f"{module_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_every_core_can_be_imported_without_trio() -> None:
    modules = ["trioice", *(f"trioice.{module_of(path)}" for path in CORES)]
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('trio', 'hypercorn', 'starlette'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
    ) + "".join(f"import {module.rstrip('.')}\n" for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_there() -> None:
    import trioice

    for name in trioice.__all__:
        assert getattr(trioice, name) is not None
    with pytest.raises(AttributeError):
        trioice.nothing  # noqa: B018
