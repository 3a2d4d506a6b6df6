"""The house: a package imports itself and what stands left of it, and light things stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["mtrb", "eval", "qta", "service"]
HEAVY = {"torch", "transformers", "sentence_transformers", "faiss", "onnxruntime", "flask", "bm25s", "matplotlib"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_left(package: str) -> None:
    to_the_right = ORDER[ORDER.index(package) + 1 :]
    for path in (ROOT / package).rglob("*.py"):
        wrong = {name for name in imported(path) if name.split(".")[0] in to_the_right}
        assert not wrong, f"{path} imports {wrong}"


def test_nobody_shadows_eval() -> None:
    folders = [*ORDER, "tests", "benchmarks"]
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        wrong = [line for line in path.read_text("utf-8").splitlines() if line.strip().startswith("import eval")]
        assert not wrong, f"{path}: write `from eval import y`; `import eval` hides the builtin"


@pytest.mark.parametrize(
    "command",
    [
        ["qta"],
        ["qta", "index"],
        ["qta", "retrieve"],
        ["qta", "eval"],
        ["qta", "train", "examples"],
        ["qta", "tools", "add"],
        ["qta", "sync"],
        ["eval"],
    ],
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    module, *rest = command
    code = (
        f"import runpy, sys; sys.argv = [{module!r}, *{rest!r}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        f"except SystemExit: pass\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Usage" in done.stdout
    assert "HEAVY []" in done.stdout


def test_serving_needs_no_torch(sample_folder: Path) -> None:
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'sentence_transformers', 'onnx', 'scipy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from pathlib import Path\n"
        "from service import Settings, create_app\n"
        f"app = create_app(Settings(index=Path({str(sample_folder)!r})))\n"
        "print(app.test_client().post('/retrieve', json={'query': 'refund order 8841'}).status_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "200"


def test_modules_stay_readable() -> None:
    for folder in (*ORDER, "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text("utf-8").splitlines()) < 300, f"{path} has 300 lines or more"
