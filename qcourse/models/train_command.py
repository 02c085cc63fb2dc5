"""`qcourse train`: every field of the recipe and of the model is an option."""

import json
from dataclasses import fields
from pathlib import Path

from qcourse.options import Outcome, Parser, a_place

EXAMPLES = """\
examples:
  qcourse train --out runs/model                          hours on two cores; killed, the same command goes on
  qcourse train --out runs/model --device cuda --compile  minutes; needs only torch, numpy and safetensors
  qcourse train --out runs/tiny --hidden-size 64 --num-hidden-layers 2 --steps 200
"""


def add_train(p: Parser) -> None:
    """Its options: those of a run, then one a field of TrainConfig and LlamaConfig, with their defaults."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.recipe import TrainConfig

    p.epilog = EXAMPLES
    p.add_argument("--out", type=a_place, required=True, help="folder of the run: model, tokenizer, log, state")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where it runs (default cpu)")
    p.add_argument("--data", type=Path, metavar="FOLDER", help="one with tokenizer.json and tokens-*.npz made elsewhere")
    p.add_argument("--start-from", type=Path, metavar="FOLDER", help="a model of the same shape to begin with")
    p.add_argument("--bf16", action="store_true", help="bf16 matmuls (default on cuda)")
    p.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    for config in (TrainConfig, LlamaConfig):
        group = p.add_argument_group(config.__name__)
        for f in fields(config):
            if f.type in (int, float):
                name = f"--{f.name.replace('_', '-')}"
                group.add_argument(name, type=f.type, default=f.default, metavar="N", help=f"default {f.default}")
    p.set_defaults(run=run_train)


def run_train(args) -> Outcome:
    """Hand the options to `models.train.train`, which prints a line an evaluation; the log is the result."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.recipe import TrainConfig
    from qcourse.models.train import train

    def make(config):
        return config(**{f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)})

    bf16 = args.bf16 or args.device == "cuda"
    train(args.out, make(LlamaConfig), make(TrainConfig), args.device, args.data, bf16, args.compile, args.start_from)
    log = [json.loads(line) for line in (args.out / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    return Outcome(f"written to {args.out}", {"out": str(args.out), "log": log})
