"""What instruments read off a patient and its healthy twin: what each layer does, what its channels say.

An error is that of a layer alone, on the twin's own input; or that of the running model at the same place.
"""

import torch

from qcourse.models.llama import LlamaForCausalLM
from qcourse.shapes import Tensor
from qcourse.study.insides import listening


def places(model: LlamaForCausalLM) -> dict[str, torch.nn.Module]:
    """Norms and linear layers by their names in the file, in order of execution; the last one gives the logits."""
    found = {}
    for i, block in enumerate(model.model.layers):
        at = f"model.layers.{i}."
        qkv, o, gate_up, down = block.stages()
        found[f"{at}input_layernorm"] = block.input_layernorm
        found |= {m.prefix: m for m in (*qkv, *o)}
        found[f"{at}post_attention_layernorm"] = block.post_attention_layernorm
        found |= {m.prefix: m for m in (*gate_up, *down)}
    return found | {"model.norm": model.model.norm} | ({} if model.lm_head is None else {"lm_head": model.lm_head})


@torch.inference_mode()
def traffic(model: LlamaForCausalLM, ids: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """(input, output) of every place over the ids; the model runs without a cache. The head's under "logits"."""
    here, found = places(model), {}
    names = list(here)
    with listening(here.values(), lambda i, x, out: found.__setitem__(names[i], (x, out))):
        logits = model(ids)
    return found | {"logits": (found["model.norm"][1], logits)}


def apart(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    return ((a - b).float().norm() / b.float().norm().clamp(min=1e-30)).item()


@torch.inference_mode()
def alone(model: LlamaForCausalLM, reference: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Each place's error on the reference's own input; the logits' is that of the head on the reference's last norm."""
    found = {name: apart(m(reference[name][0]), reference[name][1]) for name, m in places(model).items()}
    last = reference["logits"][0]
    head = model.model.embed_tokens.logits(last) if model.lm_head is None else model.lm_head(last)
    return {n: e for n, e in found.items() if n != "lm_head"} | {"logits": apart(head, reference["logits"][1])}
