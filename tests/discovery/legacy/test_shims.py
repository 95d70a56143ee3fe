"""The stand-ins for what legacy folders import beside their base class."""

from __future__ import annotations

import base64
import io
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from installed import Site
from legacy_folders import newer, older

from lollms_core.discovery.legacy.shims.lollms_client.lollms_utilities import (
    ImageTokenizer,
    _convert_to_bool,
    encode_image,
    to_float,
    to_int,
)
from lollms_core.errors import BackendUnavailable, ImageError
from lollms_core.messages import Image

# ascii_colors -------------------------------------------------------------------------------------------


def said(site: Site, caplog: pytest.LogCaptureFixture, lines: str, **keywords: Any) -> list[tuple[int, str]]:
    """What a folder's logger got while these lines ran in a method of its class."""
    caplog.set_level(logging.DEBUG)
    body = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    site.folder("old", older(more=f"def run(self):\n{body}"))
    binding: Any = site.manager().open_binding("old", **keywords)
    caplog.clear()
    binding.run()
    return [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "lollms_core.folders.old"]


def test_what_would_be_printed_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = "\n".join(
        f"ASCIIColors.{name}('{name}', end='', flush=True)"
        for name in ("debug", "info", "warning", "error", "green", "yellow", "cyan", "magenta", "success", "bold")
    )
    levels = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]
    found = said(site, caplog, lines)
    assert [level for level, _ in found] == levels + [logging.INFO] * 6
    assert [text for _, text in found][3:5] == ["error", "green"]
    assert capfd.readouterr() == ("", "")


def test_colours_are_empty(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    line = "ASCIIColors.info(f'{ASCIIColors.RED}a{ASCIIColors.GREEN}b{ASCIIColors.RESET}{ASCIIColors.color_cyan}')"
    assert said(site, caplog, line) == [(logging.INFO, "ab")]


def test_arguments_tables_and_coloured_text(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    lines = """
ASCIIColors.info("%s of %d", "one", 2)
ASCIIColors.info("100%", "sure")
ASCIIColors.print("text", ASCIIColors.color_red)
ASCIIColors.table("a", "b", rows=[(1, 2)], title="t")
ASCIIColors.info("")
"""
    texts = [text for _, text in said(site, caplog, lines)]
    assert texts == ["one of 2", "100% sure", "text", "t", "a | b", "1 | 2"]


def test_exceptions_are_one_line_and_for_those_who_debug_a_traceback(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    lines = """
try:
    {}["x"]
except KeyError as exc:
    trace_exception(exc)
"""
    (first, line), (second, trace) = said(site, caplog, lines)
    assert (first, line, second) == (logging.ERROR, "KeyError: 'x'", logging.DEBUG)
    assert trace.startswith("Traceback")


def test_keys_are_never_shown(site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that a binding was given, and what looks like one; also by a print, which goes to stderr."""
    lines = """
ASCIIColors.info(f"key {self.service_key}")
ASCIIColors.error("sk-abcdefghijklmnop")
trace_exception(OSError(self.service_key))
print("printed", self.service_key, sep=": ")
"""
    found = said(site, caplog, lines, service_key="a-key-of-mine")
    assert [text for _, text in found][:3] == ["key ***", "***", "OSError: ***"]
    assert "a-key-of-mine" not in caplog.text
    assert capfd.readouterr() == ("", "printed: ***\n")


def test_each_folder_has_a_logger_and_requirements_of_its_own(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in ("one", "two"):
        site.folder(name, older().replace('["packaging"]', f'["no-such-{name}"]'))
    manager = site.manager()
    for name in ("one", "two"):
        manager.open_binding(name)
    found = [(r.name, r.getMessage()) for r in caplog.records if r.name.startswith("lollms_core.folders")]
    assert found == [
        (
            f"lollms_core.folders.{name}",
            f"missing requirements: no-such-{name}; install them with: pip install no-such-{name}",
        )
        for name in ("one", "two")
    ]


def test_installed_ones_are_neither_used_nor_disturbed(site: Site) -> None:
    """As with lollms_client itself: folders work the same way whether it is there or not."""
    for name in ("ascii_colors", "pipmaster"):
        site.module(f"{name}.py", "mark = 'the real one'")
    site.folder("old", older().replace("BindingName =", "assert not hasattr(pm, 'mark')\nBindingName =", 1))
    site.manager().open_binding("old")
    assert not {"ascii_colors", "pipmaster"} & sys.modules.keys()
    assert __import__("pipmaster").mark == "the real one"
    del sys.modules["pipmaster"]


# lollms_utilities ---------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    from PIL import Image as Pillow

    made = io.BytesIO()
    Pillow.new("RGB", (width, height)).save(made, "PNG")
    return made.getvalue()


def test_an_image_as_base64(tmp_path: Path) -> None:
    """From whatever a caller may give."""
    data = png(4, 2)
    text = base64.b64encode(data).decode()
    (tmp_path / "a.png").write_bytes(data)
    sources = (tmp_path / "a.png", str(tmp_path / "a.png"), data, Image(data, "image/png"))
    assert [encode_image(source) for source in (*sources, f"data:image/png;base64,{text}")] == [text] * 5


def test_a_wide_image_is_made_smaller() -> None:
    from PIL import Image as Pillow

    smaller = Pillow.open(io.BytesIO(base64.b64decode(encode_image(png(400, 200), max_image_width=100))))
    assert (smaller.size, smaller.format) == ((100, 50), "PNG")
    assert base64.b64decode(encode_image(png(40, 20), max_image_width=100)) == png(40, 20)


def test_no_image_no_url_and_no_pillow_are_clear_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="cannot read the image file"):
        encode_image("no/such/file.png")
    with pytest.raises(ImageError, match="does not take image URLs"):
        encode_image("https://example.org/a.png")
    with pytest.raises(ImageError, match="Pillow cannot read"):
        encode_image(png(4, 2)[:20], max_image_width=2)
    data = png(400, 2)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(BackendUnavailable, match="pip install pillow"):
        encode_image(data, max_image_width=100)


@pytest.mark.parametrize(("size", "tokens"), [((512, 512), 255), ((1024, 1024), 765), ((2048, 4096), 1105)])
def test_tokens_of_an_image(size: tuple[int, int], tokens: int) -> None:
    """The second and third are the examples in OpenAI's guide."""
    assert ImageTokenizer("any").count_image_tokens(png(*size)) == tokens


def test_numbers_of_any_kind() -> None:
    assert [to_int(value, 9) for value in (3, "3", "3.7", True, "yes", None, "", "x", "inf")] == [
        3,
        3,
        3,
        1,
        1,
        *[9] * 4,
    ]
    assert [to_float(value) for value in (3, " 2.5 ", "off", None)] == [3.0, 2.5, 0.0, None]
    assert [_convert_to_bool(value) for value in (True, "yes", "1", 2, None, "no", "", "x")] == [True] * 4 + [False] * 4


# lollms_discussion --------------------------------------------------------------------------------------


def test_discussions_are_names_for_annotations(site: Site) -> None:
    more = "def make(self):\n    return LollmsDiscussion.from_messages([LollmsMessage.new_message(content='x')])"
    site.folder("old", newer(more=more))
    binding: Any = site.manager().open_binding("old")
    with pytest.raises(ValueError, match="LollmsMessage is no part of lollms-core"):
        binding.make()
