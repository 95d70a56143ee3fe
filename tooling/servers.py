"""Real servers, and the vocabularies that their tokens are compared with."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import nox

from tooling.fetching import fetched, pip_download, quietly
from tooling.native import LLAMA_CPP, c_compiler

__all__ = ["no_ollama", "ollama_program", "server_python", "vocabularies"]

XLLAMACPP = "2026.10.11549"
OLLAMA = "bigdl-core-cpp==2.6.0"
# The libraries that its Ollama was linked against.
OLLAMA_NEEDS = ("intel-cmplr-lib-rt==2025.0.2", "intel-openmp==2025.0.2")
OLLAMA_FILES = re.compile(
    r"(ollama-lib|libollama(?!-ggml-sycl)[\w-]*\.so|libsample\.so|libsvml\.so|libirng\.so|libimf\.so|libintlc\.so\.5|libiomp5\.so)"
)
# It was built for GPUs of one maker and refuses to start without this library. Ours says that there is no such GPU.
NO_GPU = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t ggml_row_size(int type, int64_t elements);

void *ggml_backend_sycl_reg(void) { return NULL; }
void *ggml_backend_sycl_init(int device) { (void)device; return NULL; }
void ggml_backend_sycl_get_device_name(int device, char *name, size_t size) { (void)device; if (size) *name = 0; }
void _Z26ggml_format_convert_to_xpuPKvPvmi(const void *from, void *to, size_t elements, int type) {
    memcpy(to, from, ggml_row_size(type, (int64_t)elements));
}
"""


def vocabularies(session: nox.Session) -> Path:
    """The vocabulary-only GGUF files of llama.cpp, from llama-cpp-python's source archive."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            pip_download(session, Path(name), "--no-binary", "llama-cpp-python", f"llama-cpp-python=={LLAMA_CPP}")
            (archive,) = Path(name).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                for member in files:
                    path = PurePosixPath(member.name)
                    if member.isfile() and path.suffix == ".gguf" and path.parent.name == "models":
                        (folder / path.name).write_bytes(_content(files, member))
        if not any(folder.iterdir()):
            session.error(f"the source archive of llama-cpp-python {LLAMA_CPP} holds no vocabularies")

    return fetched(f"vocabularies-{LLAMA_CPP}", fill)


def _content(files: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = files.extractfile(member)
    assert file is not None
    return file.read()


def server_python(session: nox.Session, native: str) -> str:
    """A Python that has the two OpenAI-compatible servers; not the tests' own, which shall hold nothing of theirs."""
    python = str(Path(session.bin) / "python")
    ask = "import sys; print('%s%d.%d' % (sys.implementation.name, *sys.version_info[:2]))"
    version = str(session.run("python", "-c", ask, silent=True, log=False)).strip()
    programs = "Scripts" if os.name == "nt" else "bin"

    def fill(folder: Path) -> None:
        quietly(session, "making an environment for the servers", python, "-m", "venv", str(folder))
        # Afterwards it is renamed, so its programs do not start any more; `python -m` does.
        pip = (str(folder / programs / "python"), "-m", "pip", "install")
        needs = (f"{native}[server]", f"xllamacpp=={XLLAMACPP}", "--only-binary", "xllamacpp")
        quietly(session, "installing the OpenAI-compatible servers", *pip, *needs)

    name = f"servers-{version}-llama-cpp-python-{LLAMA_CPP}-xllamacpp-{XLLAMACPP}"
    return str(fetched(name, fill) / programs / "python")


def no_ollama() -> str:
    """Why Ollama cannot run here; "" if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the real Ollama needs Linux on x86-64"
    if c_compiler() is None:
        return "the real Ollama needs a C compiler (cc, gcc or clang) for one small library"
    return ""


def ollama_program(session: nox.Session) -> Path:
    """A folder with Ollama and the libraries that it needs."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            for requirement in (OLLAMA, *OLLAMA_NEEDS):
                pip_download(session, Path(name), "--only-binary", ":all:", requirement)
            for archive in Path(name).glob("*.whl"):
                with zipfile.ZipFile(archive) as files:
                    for member in files.infolist():
                        file = PurePosixPath(member.filename).name
                        if OLLAMA_FILES.fullmatch(file):
                            (folder / file).write_bytes(files.read(member))
        (folder / "ollama-lib").chmod(0o755)
        source = folder / "no_gpu.c"
        source.write_text(NO_GPU, "utf-8")
        library = str(folder / "libollama-ggml-sycl.so")
        compiler = shlex.split(c_compiler() or "cc")
        quietly(session, "compiling", *compiler, "-O1", "-shared", "-fPIC", "-o", library, str(source))

    return fetched(re.sub("=+", "-", f"ollama-of-{OLLAMA}"), fill)
