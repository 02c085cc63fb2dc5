"""The life of one layer: what can be said without vLLM (with it: tests/interop/test_vllm_steps.py), and our own order."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qcourse.layers.vllm_life import SPELLED, STEPS, drawn, short, spelled
from qcourse.layers.vllm_names import found
from qcourse.models.generate import stream
from qcourse.models.loader import SHIPPED, load_model
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.schemes import PRESETS

ROOT = Path(__file__).parent.parent.parent
LATER, RANKS = "gemm.choose:choose", "layers.partition:ParallelLinear.load"  # ours: after loading; not without ranks


def test_every_name_of_ours_is_there():
    names = [step.ours for step in STEPS if step.ours is not None]
    assert all(callable(found("qcourse", name)) for name in names)
    assert len(set(names)) == len(names)


def test_a_step_that_we_do_not_have_says_why_and_no_other_does():
    assert [step.name for step in STEPS if step.ours is None] == [step.name for step in STEPS if step.why]


def test_steps_are_told_in_sentences_without_line_numbers():
    assert len({step.name for step in STEPS}) == len(STEPS)
    for step in STEPS:
        words = f"{step.what} {step.why}".strip()
        assert words.endswith(".") and words[0].isupper() and len(step.what) <= 120
        assert not re.search(r"\bline \d|\.py\b|:\d", words)


def test_every_step_has_a_caller_and_every_name_is_written_whole():
    for step in STEPS:
        assert len(step.calls) >= 2 and step.theirs == step.calls[-1]
        assert all(re.fullmatch(r"[a-z_0-9.]+:\w+(\.\w+)?", name) for name in step.calls), step.calls


def test_one_thread_runs_through():
    """Whoever calls first in a step was met before, but where the engine itself begins: settings, worker, model, step."""
    met, begins = set(), []
    for step in STEPS:
        if step.calls[0] not in met:
            begins.append(short(step.calls[0]))
        met.update(step.calls)
    assert begins == ["ModelConfig._verify_quantization", "VllmConfig._get_quantization_config", "CPUModelRunner.load_model",
                      "LlamaDecoderLayer", "LlamaModel.load_weights", "AutoWeightsLoader._load_module",
                      "CPUModelRunner.execute_model", "LlamaAttention.forward", "CPUModelRunner.sample_tokens"]  # fmt: skip


def test_the_five_calls_of_the_contract_are_all_met_in_their_order():
    contract = ["from_config", "get_quant_method", "create_weights", "process_weights_after_loading", "apply"]
    theirs = [short(name) for step in STEPS for name in step.calls if short(name).startswith("CompressedTensors")]
    names = [name.rpartition(".")[2] for name in theirs]
    assert [name for name in dict.fromkeys(names) if name in contract] == contract


def test_spellings_are_of_names_that_are_called():
    assert SPELLED.keys() <= {short(name) for step in STEPS for name in step.calls[1:]}
    assert spelled("a.b:C.d") == "d" and spelled("a.b:c") == "c" and spelled("x:LinearBase") == "super().__init__("


def test_a_drawing_indents_each_beneath_its_caller():
    for step in STEPS:
        lines = drawn(step).splitlines()
        assert [line.split() for line in lines] == [[short(n), n.partition(":")[0]] for n in step.calls]
        assert [len(line) - len(line.lstrip()) for line in lines] == [2 * i for i in range(len(lines))]


def test_reading_it_needs_neither_torch_nor_vllm():
    code = "import sys, qcourse.layers.vllm_life; print([n for n in ('torch', 'vllm', 'numpy') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.strip() == "[]"


def code_of(name: str):
    """The code of a function, or of a class's __init__, without decorators."""
    thing = found("qcourse", name)
    return inspect.unwrap(thing.__init__ if isinstance(thing, type) else thing).__code__


@pytest.fixture(scope="module")
def entered(tmp_path_factory):
    """Which of our functions are entered, in order, while a W4A16 folder is loaded and one id is made."""
    folder = tmp_path_factory.mktemp("life") / "w4a16"
    quantize_to_folder(SHIPPED, folder, PRESETS["W4A16"], Method(), progress=False)
    names, found_in_order = {code_of(step.ours): step.ours for step in STEPS if step.ours}, []

    def note(frame, event, _):
        if event == "call" and frame.f_code in names:
            found_in_order.append(names[frame.f_code])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        list(stream(load_model(folder), [1, 5, 9], max_new_tokens=1))
    finally:
        sys.setprofile(before)
    return found_in_order


def test_our_steps_come_in_the_same_order_but_for_the_kernel(entered):
    at = -1
    for name in [step.ours for step in STEPS if step.ours not in (None, LATER, RANKS)]:
        assert name in entered[at + 1 :], f"{name} is not entered after {entered[at]}"
        at = entered.index(name, at + 1)
    ready = next(step.ours for step in STEPS if step.name == "made ready for the kernel")
    assert RANKS not in entered and entered.index(LATER) > entered.index(ready) > entered.index("models.loader:fill")


def test_what_is_said_of_both_orders_is_said_in_the_steps():
    by_ours = {step.ours: step.what for step in STEPS}
    names = [step.ours for step in STEPS]
    assert names.index(LATER) < names.index("models.loader:fill") and "when the layer is full" in by_ours[LATER]
    assert "for ranks only" in by_ours[RANKS]
