"""Small folders in the shapes that were written for lollms_client 0.17 and 1.21."""

from __future__ import annotations

import textwrap

__all__ = ["NEWER", "OLDER", "newer", "older"]

OLDER = """
from typing import Callable, List, Optional, Union
import pipmaster as pm
pm.ensure_packages(["packaging"])
from ascii_colors import ASCIIColors, trace_exception
from lollms_client.lollms_llm_binding import LollmsLLMBinding
from lollms_client.lollms_types import ELF_COMPLETION_FORMAT, MSG_TYPE
from lollms_client.lollms_utilities import encode_image

BindingName = "OlderBinding"


class OlderBinding(LollmsLLMBinding):
    {constructor}

    {generate}

    def tokenize(self, text: str) -> list:
        return list(text)

    def detokenize(self, tokens: list) -> str:
        return "".join(tokens)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenize(text))

    def embed(self, text: str, **kwargs) -> list:
        return [float(len(text))]

    def get_model_info(self) -> dict:
        return {{"name": self.binding_name, "model_name": self.model_name}}

    def listModels(self) -> list:
        return [{{"model_name": "old"}}]

    def load_model(self, model_name: str) -> bool:
        self.model_name = model_name
        return True
{more}
"""

OLDER_CONSTRUCTOR = """
def __init__(self, host_address: str = "http://here", model_name: str = "", service_key: str = None,
             verify_ssl_certificate: bool = True, **kwargs):
    super().__init__(binding_name=BindingName)
    self.host_address = host_address
    self.model_name = model_name
    self.service_key = service_key
    self.verify_ssl_certificate = verify_ssl_certificate
    self.default_completion_format = kwargs.get("default_completion_format", ELF_COMPLETION_FORMAT.Chat)
    self.rest = kwargs
"""

OLDER_GENERATE = """
def generate_text(self, prompt: str, images: Optional[List[str]] = None, system_prompt: str = "",
                  n_predict: Optional[int] = None, stream: Optional[bool] = None, temperature: float = 0.7,
                  streaming_callback: Optional[Callable[[str, MSG_TYPE], None]] = None,
                  split: Optional[bool] = False, user_keyword: Optional[str] = "!@>user:",
                  ai_keyword: Optional[str] = "!@>assistant:") -> Union[str, dict]:
    self.seen = {"images": images, "system_prompt": system_prompt, "n_predict": n_predict, "stream": stream,
                 "temperature": temperature, "split": split}
    turns = self.split_discussion(prompt, user_keyword=user_keyword, ai_keyword=ai_keyword) if split else [prompt]
    pieces = ["You ", "said ", str(len(turns)), "."]
    text = ""
    for piece in pieces:
        text += piece
        if stream and streaming_callback:
            if not streaming_callback(piece, MSG_TYPE.MSG_TYPE_CHUNK):
                break
    return text
"""

NEWER = """
from typing import Dict, List, Optional, Union
from lollms_client.lollms_llm_binding import LollmsLLMBinding
from lollms_client.lollms_types import MSG_TYPE
from lollms_client.lollms_discussion import LollmsDiscussion, LollmsMessage
from ascii_colors import ASCIIColors, trace_exception
import pipmaster as pm

BindingName = "NewerBinding"


class NewerBinding(LollmsLLMBinding):
    {constructor}

    {generate}

    def generate_from_messages(self, messages: List[Dict], n_predict: Optional[int] = None,
                               stream: Optional[bool] = None, temperature: Optional[float] = None,
                               streaming_callback=None, think: Optional[bool] = False, **kwargs) -> Union[str, dict]:
        self.seen = {{"messages": messages, "n_predict": n_predict, "stream": stream,
                      "temperature": temperature, **kwargs}}
        text = ""
        for message in self.clean_and_alternate_messages(messages):
            text += message["role"][0]
            if streaming_callback and not streaming_callback(message["role"][0], MSG_TYPE.MSG_TYPE_CHUNK):
                break
        return text

    def tokenize(self, text: str) -> list:
        return list(text)

    def detokenize(self, tokens: list) -> str:
        return "".join(tokens)

    def count_tokens(self, text: str) -> int:
        return len(text)

    def embed(self, text: str, **kwargs) -> list:
        return [float(len(text))]

    def get_model_info(self) -> dict:
        return {{"name": self.binding_name, "model_name": self.model_name, "config": dict(self.config)}}

    def list_models(self) -> List[Dict]:
        return [{{"model_name": "new"}}]

    def load_model(self, model_name: str) -> bool:
        self.model_name = model_name
        return True
{more}
"""

NEWER_CONSTRUCTOR = """
def __init__(self, **kwargs):
    super().__init__(BindingName, **kwargs)
    self.model_name = kwargs.get("model_name", "new")
    self.host_address = kwargs.get("host_address")
    self.given = kwargs
"""

NEWER_GENERATE = """
def generate_text(self, prompt: str, **kwargs) -> Union[str, dict]:
    self.seen = kwargs
    return "said " + prompt
"""


def older(constructor: str = OLDER_CONSTRUCTOR, generate: str = OLDER_GENERATE, more: str = "") -> str:
    """The ``__init__.py`` of a folder of 0.17, with a part replaced; `more` goes to the end of the class."""
    return _made(OLDER, constructor, generate, more)


def newer(constructor: str = NEWER_CONSTRUCTOR, generate: str = NEWER_GENERATE, more: str = "") -> str:
    """The same of 1.21."""
    return _made(NEWER, constructor, generate, more)


def _made(template: str, constructor: str, generate: str, more: str) -> str:
    def part(source: str) -> str:
        return textwrap.indent(textwrap.dedent(source).strip(), "    ").lstrip()

    more = textwrap.indent(textwrap.dedent(more).strip(), "    ")
    return template.format(constructor=part(constructor), generate=part(generate), more=more)
