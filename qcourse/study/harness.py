"""The shipped model behind EleutherAI's lm-evaluation-harness, offline: a second authority for our perplexity.

A local task (the windows' text as JSON lines, scored with `loglikelihood_rolling`) needs no download. With our
protocol, one `<|endoftext|>` and then the document, the harness must find the same bits a byte.
"""

import json
import math
import tempfile
from pathlib import Path

import torch

from qcourse.models.loader import load_tokenizer
from qcourse.study.perplexity import Windows


def documents(folder: Path, text: Windows) -> list[str]:
    """The windows as strings, each cut to whole lines, so that tokenizing them again is well defined."""
    tokenizer = load_tokenizer(folder)
    texts = [tokenizer.decode(ids[1:]) for ids in text.ids.tolist()]
    return [t[t.index("\n") + 1 : t.rindex("\n") + 1] for t in texts if t.count("\n") > 2 and "\ufffd" not in t]


@torch.inference_mode()
def log_likelihood(model, tokenizer, document: str) -> float:
    """ln p(document), with `<|endoftext|>` in front and nothing else in context."""
    ids = torch.tensor([tokenizer.encode(document, bos=True)])
    log_p = torch.log_softmax(model(ids[:, :-1]), -1)
    return log_p.gather(-1, ids[:, 1:, None]).double().sum().item()


def our_bits_per_byte(model, tokenizer, docs: list[str]) -> float:
    """Total bits over total bytes of the documents, by our own engine."""
    nats = -sum(log_likelihood(model, tokenizer, d) for d in docs)
    return nats / math.log(2) / sum(len(d.encode()) for d in docs)


def adapter(model, tokenizer):
    """Our model as the harness's `LM`: rolling log-likelihood only, which is what perplexity tasks ask for."""
    from lm_eval.api.model import LM

    class Adapter(LM):
        def loglikelihood_rolling(self, requests, disable_tqdm=False):
            """ln p of each document."""
            return [log_likelihood(model, tokenizer, r.args[0]) for r in requests]

        def loglikelihood(self, requests, disable_tqdm=False):
            """Not served."""
            raise NotImplementedError("this adapter serves perplexity tasks (loglikelihood_rolling) only")

        generate_until = loglikelihood

    return Adapter()


def run_harness(model, folder: Path, text: Windows) -> dict:
    """Run the local task: {"bits_per_byte", "byte_perplexity", "word_perplexity", "ours": our bits per byte}.

    Raises ImportError saying how to get lm-eval.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.api.task import ConfigurableTask
    except ImportError as e:
        raise ImportError("--harness needs lm-eval: pip install -c constraints.txt lm-eval") from e
    tokenizer, docs = load_tokenizer(folder), documents(folder, text)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "held_out.jsonl"
        data.write_text("".join(json.dumps({"text": d}) + "\n" for d in docs))
        metrics = [{"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")]
        task = ConfigurableTask(config={
            "task": "qcourse_held_out", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
            "metric_list": metrics,
        })  # fmt: skip
        result = simple_evaluate(adapter(model, tokenizer), tasks=[task], bootstrap_iters=0)["results"]["qcourse_held_out"]
    found = {m["metric"]: result[f"{m['metric']},none"] for m in metrics}
    return found | {"ours": our_bits_per_byte(model, tokenizer, docs), "documents": len(docs)}
