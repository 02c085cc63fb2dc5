"""The life of one layer (layers.vllm_life) in an installed vLLM: `make interop-vllm`.

Every name is looked up, every caller's source is read, and one token is followed: this file, run as a program in a process
of its own, starts the engine on a W4A16 folder and writes down which of these functions are entered, in which order, and
which of them were on the stack then.

    python tests/interop/test_vllm_steps.py FOLDER OUT
"""

import inspect
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("vllm")

from served import SETTINGS

from qcourse.layers.vllm_life import STEPS, spelled
from qcourse.layers.vllm_names import found

FIRST = {"VLLM_USE_V2_MODEL_RUNNER": "0"}  # of its two model runners, whatever is installed
NAMES = list(dict.fromkeys(name for step in STEPS for name in step.calls))
CALLS = [pair for step in STEPS for pair in pairwise(step.calls)]


def function_of(name: str):
    """The function itself: a class is made by its __init__, and decorators are taken off."""
    thing = found("vllm", name)
    return inspect.unwrap(thing.__init__ if isinstance(thing, type) else getattr(thing, "__func__", thing))


def place(name: str) -> str:
    """Where its code stands. An inherited method stands in the base class."""
    code = function_of(name).__code__
    return f"{Path(code.co_filename).stem}:{code.co_qualname}"


@pytest.mark.parametrize("name", NAMES)
def test_the_name_stands_where_the_step_says(name):
    assert callable(found("vllm", name))
    assert inspect.isfunction(function_of(name))


@pytest.mark.parametrize(("caller", "called"), CALLS)
def test_the_callers_source_names_what_it_calls(caller, called):
    assert spelled(called) in inspect.getsource(function_of(caller))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_words_that_are_names_stand_in_the_source_of_the_step(step):
    named = {sys.modules[f"vllm.{name.partition(':')[0]}"] for name in step.calls}
    source = "".join(map(inspect.getsource, named | {inspect.getmodule(function_of(name)) for name in step.calls}))
    for word in re.findall(r"\w*(?:_\w|[a-z][A-Z])\w*", f"{step.name} {step.what}"):
        assert word in source, word


@pytest.fixture(scope="module")
def followed(folder, tmp_path_factory):
    """What `follow` wrote. (A process that has loaded llvmlite, as numba does, cannot start vLLM 0.32: its search for Triton
    kernels takes llvmlite's library for a dictionary.)"""
    out = tmp_path_factory.mktemp("followed") / "followed.json"
    command = [sys.executable, __file__, str(folder("W4A16")), str(out)]
    done = subprocess.run(command, env=os.environ | SETTINGS | FIRST, capture_output=True, text=True)
    assert out.exists(), done.stderr[-4000:]
    return json.loads(out.read_text())


def of_one_layer(entered: list) -> list:
    """Without what belongs to other layers that are built: of a block only the first qkv_proj, and who asked for it."""
    block, attention, layer = (place(name) for name in next(s for s in STEPS if s.name == "a layer is wanted").calls)
    kept, made = [], []
    for name, above in entered:
        if block in (name, *above) and layer not in above:
            made.append(name)
            counts = name in (block, attention, layer) and made.count(name) == 1
        else:
            counts = layer not in above or made.count(layer) == 1
        if counts:
            kept.append((name, above))
    return kept


def test_one_token_is_made_by_these_steps_in_this_order(followed):
    """Each call is looked for behind the one before it, its caller next on the stack. A generator runs when it is asked, by
    whomever; of everything else, nothing is entered a second time before it makes its call."""
    entered, at = of_one_layer(followed["entered"]), -1
    assert len(followed["ids"]) == 1
    for before, (caller, called) in zip([("", ""), *CALLS], CALLS, strict=False):
        lazy, since = inspect.isgeneratorfunction(function_of(called)), at
        rest = enumerate(entered[since + 1 :], since + 1)
        at = next((i for i, (n, above) in rest if n == place(called) and (lazy or above[:1] == [place(caller)])), None)
        assert at is not None, f"{caller} → {called} is not entered after {' → '.join(before)}"
        if caller == before[1] and not inspect.isgeneratorfunction(function_of(caller)):
            assert place(caller) not in [name for name, _ in entered[since + 1 : at]], f"{caller} came again before {called}"
    said = "zeros stood in for the operator, which this build lacks" if followed["stand_in"] else "by vLLM's own operator"
    print(f"\n{len(entered)} entries; {len(STEPS)} steps, {len(CALLS)} calls found in order; {said}")


def test_every_step_is_entered(followed):
    there = {name for name, _ in followed["entered"]} | {name for _, above in followed["entered"] for name in above}
    assert [name for name in NAMES if place(name) not in there] == []


def follow(folder: Path) -> dict:
    """One id from the folder: {"ids", "entered": [[place, places on the stack] …], "stand_in": whether the operator is one}.

    vLLM's build for processors without AVX-512 has no operator for 4-bit weights; then zeros stand in for its product, since
    only the order of calls is looked at (values: test_vllm_formats).
    """
    import torch
    from vllm import SamplingParams

    from qcourse.study.vllm_engine import start

    places, entered = {function_of(name).__code__: place(name) for name in NAMES}, []

    def note(frame, event, _):
        if event == "call" and frame.f_code in places:
            above, caller = [], frame.f_back
            while caller is not None:
                if caller.f_code in places:
                    above.append(places[caller.f_code])
                caller = caller.f_back
            entered.append([places[frame.f_code], above])

    sys.setprofile(note)
    llm = start(folder, 128, 1e9)
    stand_in = not hasattr(torch.ops._C, "cpu_gemm_wna16")
    if stand_in:
        torch.ops._C.cpu_gemm_wna16 = lambda x, codes, out, *rest: out.zero_()
    greedy = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True)
    output = llm.generate([{"prompt_token_ids": [1, 5, 9]}], greedy, use_tqdm=False)[0].outputs[0]
    sys.setprofile(None)
    return {"ids": list(output.token_ids), "entered": entered, "stand_in": stand_in}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(follow(Path(sys.argv[1]))))
