"""What legacy classes write fulfils the contract."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from installed import Site
from legacy_folders import newer, older

from lollms_core import MSG_TYPE, Capability, TextDelta
from lollms_core.errors import BackendError, CapabilityNotSupported


def opened(site: Site, source: str, **keywords: Any) -> Any:
    site.folder("old", source)
    return site.manager().open_binding("old", **keywords)


def answering(body: str) -> str:
    """A folder whose generate_text has this body."""
    head = "def generate_text(self, prompt, stream=None, streaming_callback=None, n_predict=None):\n"
    return older(generate=head + "\n".join(f"    {line}" for line in body.splitlines()))


# generate_text ------------------------------------------------------------------------------------------


def test_it_gets_what_its_signature_has_and_the_rest_is_ignored_and_told(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    binding = opened(site, older())
    assert binding.generate_text("hi", temperature=0.5, n_threads=4, top_k=3) == "You said 1."
    assert binding.seen["temperature"] == 0.5
    assert "has no use for n_threads" in caplog.text
    assert binding.chat("hi", n_threads=4).ignored == ("n_threads",)


def test_parameters_of_the_contract_are_not_poured_into_its_kwargs(site: Site) -> None:
    """What is beside the contract is the author's own and goes there."""
    source = older(generate="def generate_text(self, prompt, top_k=None, **kwargs):\n    return str((top_k, kwargs))")
    assert opened(site, source).generate_text("hi", n_threads=4, top_k=3, mirostat=2) == "(3, {'mirostat': 2})"


def test_one_with_nothing_but_kwargs_gets_whatever_was_passed(site: Site) -> None:
    binding = opened(site, newer())
    assert binding.generate_text("hi", n_threads=4, mirostat=2, system_prompt="s") == "said hi"
    assert binding.seen == {"n_threads": 4, "mirostat": 2, "system_prompt": "s", "stream": False}


def test_its_own_defaults_stay_where_nothing_is_set(site: Site) -> None:
    binding = opened(site, older())
    binding.generate_text("hi")
    assert (binding.seen["temperature"], binding.seen["n_predict"]) == (0.7, None)


def test_an_older_one_that_streams_has_the_number_of_tokens_that_it_counts_up_to(site: Site) -> None:
    binding = opened(site, older())
    list(binding.stream("hi"))
    assert binding.seen["n_predict"] == 4096
    list(binding.stream("hi", n_predict=5))
    assert binding.seen["n_predict"] == 5


def test_positional_arguments_are_in_the_author_s_order(site: Site) -> None:
    source = older(generate="def generate_text(self, prompt, seed=None, top_k=None):\n    return str((seed, top_k))")
    assert opened(site, source).generate_text("hi", 1, 2) == "(1, 2)"


def test_a_conversation_reaches_it_as_a_discussion(site: Site) -> None:
    binding = opened(site, older())
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    assert binding.chat([{"role": "system", "content": "s"}, *turns]).text == "You said 3."
    assert (binding.seen["system_prompt"], binding.seen["split"]) == ("s", True)


def test_what_it_can_do_is_read_from_its_signature(site: Site) -> None:
    assert Capability.VISION in type(opened(site, older())).capabilities
    assert Capability.VISION not in type(opened(site, answering("return prompt"))).capabilities
    thinking = older(generate="def generate_text(self, prompt, think=False):\n    return str(think)")
    assert opened(site, thinking).generate_text("hi", think=True) == "True"
    with pytest.raises(CapabilityNotSupported):
        opened(site, older()).generate_text("hi", think=True)


# Callbacks ----------------------------------------------------------------------------------------------


def test_a_callback_that_returns_nothing_goes_on(site: Site) -> None:
    pieces: list[Any] = []
    binding = opened(site, older())

    def callback(piece: str, kind: MSG_TYPE) -> None:
        pieces.append((piece, kind))

    assert binding.generate_text("hi", streaming_callback=callback) == "You said 1."
    assert pieces == [(piece, MSG_TYPE.MSG_TYPE_CHUNK) for piece in ("You ", "said ", "1", ".")]


def test_false_stops(site: Site) -> None:
    assert opened(site, older()).generate_text("hi", streaming_callback=lambda piece, kind: False) == "You "


def test_a_callback_of_generate_from_messages_goes_on_too(site: Site) -> None:
    """Also where nothing stands between the caller and the author's method."""
    binding = opened(site, newer())
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert binding.generate_from_messages(messages, streaming_callback=lambda piece, kind: None) == "ua"
    assert binding.generate_from_messages(messages, streaming_callback=lambda piece, kind: False) == "u"


def test_pieces_that_are_none_and_kinds_by_name_or_number(site: Site) -> None:
    body = """
if stream:
    streaming_callback(None, MSG_TYPE.MSG_TYPE_CHUNK)
    streaming_callback("a")
    streaming_callback("b", "MSG_TYPE_CHUNK")
    streaming_callback("t", 4)
    streaming_callback("c", 0, {"more": 1})
    streaming_callback("", MSG_TYPE.MSG_TYPE_CHUNK)
return "abc"
"""
    events = list(opened(site, answering(body)).stream("hi"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a", "b", "c"]
    assert opened(site, answering(body)).chat("hi").reasoning == "t"


# Errors -------------------------------------------------------------------------------------------------


def test_its_error_dicts_are_understood(site: Site) -> None:
    binding = opened(site, answering("return {'status': False, 'error': 'the server is gone'}"))
    assert binding.generate_text("hi") == {
        "status": False,
        "error": "the server is gone",
        "error_type": "BackendError",
        "partial": "",
    }
    with pytest.raises(BackendError, match="the server is gone"):
        binding.chat("hi")


def test_those_of_the_newer_kind_too(site: Site) -> None:
    source = newer(
        generate="def generate_text(self, prompt, **kwargs):\n    return {'status': 'error', 'message': 'x'}"
    )
    assert opened(site, source).generate_text("hi")["error"] == "x"


@pytest.mark.parametrize("method", ["listModels", "list_models", "tokenize", "detokenize", "count_tokens", "embed"])
def test_what_else_returns_one_raises(site: Site, method: str) -> None:
    more = f"def {method}(self, *args, **kwargs):\n    return {{'status': False, 'error': 'no'}}"
    arguments = [] if "ist" in method else ["x"]
    with pytest.raises(BackendError, match=r"^no$"):
        getattr(opened(site, older(more=more)), method)(*arguments)


def test_errors_and_info_show_no_key(site: Site) -> None:
    key = "a-key-of-mine"
    source = newer(
        generate="""
        def generate_text(self, prompt, **kwargs):
            if prompt == "raise":
                raise OSError("refused: " + self.config["service_key"])
            return {"status": False, "error": "refused: " + self.config["service_key"]}
        """
    )
    binding = opened(site, source, service_key=key)
    assert binding.generate_text("hi")["error"] == "refused: ***"
    assert key not in str(binding.generate_text("raise"))
    assert binding.get_model_info()["config"]["service_key"] == "***"
    assert key not in repr(binding) + repr(vars(binding)["config"])


# Names --------------------------------------------------------------------------------------------------


def test_list_models_and_list_models_in_camel_case_answer_each_other(site: Site) -> None:
    old, new = opened(site, older()), opened(site, newer())
    assert old.list_models() == old.listModels() == [{"model_name": "old"}]
    assert new.list_models() == new.listModels() == [{"model_name": "new"}]


def test_a_class_with_neither_lacks_it(site: Site) -> None:
    source = older().replace("def listModels", "def models")
    with pytest.raises(Exception, match="OlderBinding lacks listModels"):
        opened(site, source)


def test_chat_is_ours_where_theirs_takes_a_discussion(site: Site) -> None:
    more = "def chat(self, discussion: LollmsDiscussion, branch_tip_id=None):\n    return discussion.export('x')"
    assert opened(site, newer(more=more)).chat("hi").text == "said hi"


# Cancelling ---------------------------------------------------------------------------------------------

LOOP = """
def generate_text(self, prompt, stream=None, streaming_callback=None):
    text = ""
    for number in range(5):
        if self.is_cancelled():
            break
        text += str(number)
        if prompt == "cancel" and number == 1:
            self.cancel()
    return text
"""


def test_a_cancel_is_seen_by_the_generation_that_runs_and_by_no_later_one(site: Site) -> None:
    binding = opened(site, newer(generate=LOOP))
    assert binding.generate_text("go on") == "01234"
    assert binding.chat("cancel").text == "01"
    assert binding.generate_text("go on") == "01234"


def test_a_forgotten_cancel_does_not_count(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    binding = opened(site, newer(generate=LOOP.replace("self.cancel()", "self.cancel(); self.reset_cancel()")))
    assert not binding.is_cancelled()
    assert binding.generate_text("cancel") == "01234"
