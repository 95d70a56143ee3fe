"""llama-cpp-python's functions come without the rest of it, and the rest of it does not mind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

GENERATE = """
import sys
from lollms_llamacpp import LlamaCppBinding
def generate():
    with LlamaCppBinding(model_path=sys.argv[1], ctx_size=64) as binding:
        return binding.chat("x", n_predict=3, temperature=0.8, seed=1).text
first = generate()
"""


def run(code: str, *arguments: object, path: Path | None = None) -> list[str]:
    """What a process prints that has `path` before all others."""
    before = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path is not None else ""
    program = [sys.executable, "-W", "error", "-c", before + textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_answer_imports_no_more_than_it_needs(tiny_folder: Path) -> None:
    others = ("llama_cpp", "numpy", "importlib.metadata", "socket")
    code = f"{GENERATE}\nprint([name for name in {others} if name in sys.modules])"
    assert run(code, tiny_folder / "chatty.gguf") == ["[]"]


def test_the_whole_package_beside_it(tiny_folder: Path, tmp_path: Path, make_tiny: Callable[..., bytes]) -> None:
    """Imported before or after, it is whole; each has its own types, both work, and what went wrong is still told."""
    after = f"""{GENERATE}
import llama_cpp
from pathlib import Path
from lollms_core import BackendError
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions
try:
    Model(Path(sys.argv[2]), LoadOptions())
except BackendError as error:
    print("unknown model architecture" in str(error))
llama = llama_cpp.Llama(sys.argv[1], n_ctx=64, verbose=False)
llama.tokenize(b"x")
llama.close()
print(generate() == first)
"""
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(make_tiny(general__architecture="unheard_of"))
    assert run(after, tiny_folder / "chatty.gguf", unknown) == ["True", "True"]
    before = f"""
import llama_cpp
{GENERATE}
from lollms_llamacpp.native import library
print(library().functions is llama_cpp.llama_cpp)
"""
    assert run(before, tiny_folder / "chatty.gguf") == ["True"]


def package(folder: Path, **modules: str) -> Path:
    """A package llama_cpp of these modules."""
    (folder / "llama_cpp").mkdir()
    for name, text in modules.items():
        (folder / "llama_cpp" / f"{name}.py").write_text(textwrap.dedent(text), "utf-8")
    return folder


USE = """
from lollms_llamacpp.c_functions import functions_of
functions = functions_of("llama_cpp")
print(functions.NUMBER, "llama_cpp" in sys.modules)
"""


def test_modules_that_import_each_other(tmp_path: Path) -> None:
    folder = package(
        tmp_path,
        __init__="raise RuntimeError('the rest')",
        _types="import llama_cpp._other as other; NUMBER = other.ONE + 1",
        _other="from ._one import ONE",
        _one="ONE = 1",
        llama_cpp="from llama_cpp._types import NUMBER as TWO\nfrom llama_cpp import _one\nNUMBER = TWO + _one.ONE",
    )
    assert run(USE, path=folder) == ["3 False"]


def test_modules_that_want_their_package(tmp_path: Path) -> None:
    folder = package(tmp_path, __init__="NUMBER = 7", llama_cpp="from llama_cpp import NUMBER")
    assert run(USE, path=folder) == ["7 True"]


def test_no_mixture_of_both(tmp_path: Path) -> None:
    """Once a module was made alone, another that cannot be is missing: its types would be others."""
    folder = package(tmp_path, __init__="X = 1", llama_cpp="NUMBER = 1", mtmd_cpp="from llama_cpp import X")
    code = f"""{USE}
try:
    functions_of("mtmd_cpp")
except ImportError as error:
    print(error.name)
"""
    assert run(code, path=folder) == ["1 False", "llama_cpp.mtmd_cpp"]


def test_none_is_installed(tmp_path: Path) -> None:
    code = """
    from importlib import util
    util.find_spec = lambda name: None
    sys.modules["llama_cpp"] = None
    from lollms_llamacpp.native import library
    from lollms_core import BackendUnavailable
    try:
        library()
    except BackendUnavailable as error:
        print("GGML_NATIVE=OFF" in str(error))
    """
    assert run(code, path=tmp_path) == ["True"]
