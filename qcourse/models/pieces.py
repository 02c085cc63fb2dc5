r"""How text is cut into pieces before BPE merges anything: the rules that engines know by name.

A file names its rule (`tokenizer.ggml.pre` in GGUF); the rule itself is a regular expression in llama.cpp's source and in
the model's own `tokenizer.json`. The shipped model is cut by "gpt-2", so that llama.cpp and transformers tokenize as we do.
`for_re` writes a rule out for Python's `re`, which knows neither `\p{L}` nor Unicode's idea of a space; what is a letter is
read from this Python's own Unicode tables, so a character that was assigned later counts as none.
Source: llama.cpp's `llama-vocab.cpp`; GPT-2's `encoder.py` (Radford et al. 2019).
"""

import re
import unicodedata
from functools import cache

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE = {  # name → patterns; each cuts the pieces of the one before it
    "default": (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
    "llama-bpe": (LLAMA3,),
    "qwen2": (LLAMA3.replace("{1,3}", ""),),
}
PRE |= {"llama3": PRE["llama-bpe"], "llama-v3": PRE["llama-bpe"]}
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # White_Space; Python's \s knows four more


def ranges(category: str) -> str:
    r"""Every character whose general category starts with `category`, as the inside of a `[…]`.

    >>> ranges("Zl")
    '\\U00002028'
    """
    found, start = [], None
    for code in range(0x33480):  # no letter or number is assigned beyond
        inside = unicodedata.category(chr(code)).startswith(category)
        if inside and start is None:
            start = code
        if not inside and start is not None:
            found.append(f"\\U{start:08x}" + (f"-\\U{code - 1:08x}" if code - 1 > start else ""))
            start = None
    return "".join(found)


@cache
def for_re(pattern: str) -> re.Pattern:
    r"""A rule that uses `\p{L}`, `\p{N}` and `\s`, for Python's `re`. Made once a process."""
    sets = {r"\p{L}": ranges("L"), r"\p{N}": ranges("N"), r"\s": SPACE}

    def write_out(found: re.Match) -> str:
        token = found.group()
        if token == r"\S":
            return f"[^{SPACE}]"
        inside, head = token.startswith("["), token
        for name, members in sets.items():
            head = head.replace(name, members)
        return head if inside else f"[{head}]"

    return re.compile(re.sub(r"\[[^\]]*\]|\\p\{[LN]\}|\\s|\\S", write_out, pattern))
