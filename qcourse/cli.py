"""`qcourse`: what the course can do without a notebook. `qcourse COMMAND --help` explains each."""

import argparse
from dataclasses import fields
from pathlib import Path


def add_train(commands) -> None:
    """`qcourse train`: every field of the recipe and of the model is an option."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.train import TrainConfig

    p = commands.add_parser("train", help="train the shipped model again (resumes if OUT holds a run)")
    p.add_argument("--out", type=Path, required=True, help="folder of the run: model, tokenizer, log, state")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--data", type=Path, help="folder with tokenizer.json and tokens-*.npz made elsewhere")
    p.add_argument("--bf16", action="store_true", help="bf16 matmuls (default on cuda)")
    p.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    for config in (TrainConfig, LlamaConfig):
        group = p.add_argument_group(config.__name__)
        for f in fields(config):
            if f.type is not bool:
                group.add_argument(
                    f"--{f.name.replace('_', '-')}", type=f.type, default=f.default, help=f"default {f.default}"
                )
    p.set_defaults(run=run_train)


def run_train(args) -> None:
    """Hand the options to `models.train.train`."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.train import TrainConfig, train

    def make(config):
        return config(**{f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)})

    bf16 = args.bf16 or args.device == "cuda"
    train(args.out, make(LlamaConfig), make(TrainConfig), args.device, args.data, bf16, args.compile)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `qcourse` command."""
    parser = argparse.ArgumentParser(prog="qcourse", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_train(commands)
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    main()
