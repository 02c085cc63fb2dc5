"""What each ecosystem calls the same thing: tensors from the layouts' slots, keys from the configs that the writers write.

A key is found by asking twice: two schemes that differ in one thing are written down, and where their configs differ, that
thing has its name. Nothing here spells a key of a config, so a rename changes the sheet (and fails its test).
"""

import torch

from qcourse.checkpoints.dialect_writers import WRITERS, DialectWriter
from qcourse.numerics.granularity import per_group
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.schemes import PRESETS, QuantizationScheme, int_weight
from qcourse.numerics.two_level import divides
from qcourse.packing import bits, layouts
from qcourse.packing.gguf import BLOCKS
from qcourse.packing.layout import Slot
from qcourse.packing.packed import layout_of

SHAPE = (4096, 4096)
G32, G64 = (QuantizationScheme(int_weight(4, per_group(G))) for G in (32, 64))
BYTES, RANGED = (QuantizationScheme(int_weight(b, per_group(64), sym)) for b, sym in ((8, True), (4, False)))
TITLES = {"compressed-tensors": "compressed-tensors", "gptq": "GPTQ", "awq": "AWQ", "gguf": "GGUF", "modelopt": "ModelOpt",
          "torchao": "TorchAO"}  # fmt: skip
TYPICAL = {"modelopt": PRESETS["NVFP4"], "gguf": PRESETS["Q4_K"]}  # whose tensors are shown; else 4 bits with zero points
PAIRS = {  # what → the schemes whose configs differ in it; ModelOpt knows no integers
    "bits a code": ((G64, BYTES), (PRESETS["FP8"], PRESETS["NVFP4"])),
    "group size": ((G64, G32), (PRESETS["FP8"], PRESETS["NVFP4"])),
    "symmetric": ((G64, RANGED), None),
    "activations": ((PRESETS["W8A16"], PRESETS["W8A8"]), (PRESETS["NVFP4A16"], PRESETS["NVFP4"])),
}
WORDS = {"bits a code": ("bits", "dtype", "algo"), "group size": ("group",), "symmetric": ("sym", "mapping"),
         "activations": ("input", "quant_type")}  # what one of several differing keys has in its name  # fmt: skip
ALWAYS = {("awq", "bits a code"): "bits", ("awq", "symmetric"): "zero_point"}  # keys of one legal value
PARTS = {"scale": ("scale", "scales", "d"), "zero point": ("zero", "dmin"), "act order": ("g_idx",)}
NO = "–"
WRAPPERS = ("_data", "_type", "default")  # of TorchAO: what stands around a value


def differing(a: dict, b: dict) -> list[str]:
    """The keys at which two configs differ, those nearest to the top first.

    >>> differing({"bits": 4, "meta": {"sym": True}}, {"bits": 8, "meta": {"sym": False, "x": {"y": 1}}})
    ['bits', 'sym', 'x']
    """
    found, below = [], [(a, b, "")]
    while below:
        a, b, above = below.pop(0)
        for key in {**a, **b}:
            name = above if key in WRAPPERS else key
            there, here = a.get(key, NO), b.get(key, NO)
            if isinstance(there, dict) and isinstance(here, dict):
                below.append((there, here, name))
            elif there != here:
                found.append(name)
    return list(dict.fromkeys(found))


def key(what: str, writer: DialectWriter) -> str:
    """What a writer's config calls a thing, or "–" where it has no word for it."""
    if (writer.name, what) in ALWAYS:
        only = ALWAYS[writer.name, what]
        return f"{only}: always {str(writer.written(scheme_of(writer.name))[only]).lower()}"
    pair = PAIRS[what][writer.name == "modelopt"]
    if pair is None:
        return NO
    try:
        found = differing(*(writer.written(scheme) for scheme in pair))
    except ValueError:
        return NO
    return next((k for word in WORDS[what] for k in found if word in k), NO)


def scheme_of(ecosystem: str) -> QuantizationScheme:
    """The scheme whose tensors are shown."""
    return TYPICAL.get(ecosystem, RANGED)


def slots(ecosystem: str) -> dict[str, Slot]:
    """Its tensors."""
    scheme = scheme_of(ecosystem)
    if ecosystem == "gguf":
        return layout_of("gguf").slots(scheme.weights, *SHAPE)
    writer = WRITERS[ecosystem]
    args = writer.says(scheme).weights
    if ecosystem == "torchao":
        args = int_weight(4, per_group(64))  # what `ready` makes of them: signed codes
    return layout_of(writer.layout(scheme)).slots(args, *SHAPE)


def place(slot: Slot) -> str:
    """Dtype and shape in letters: "int32 (K/8, N)".

    >>> place(layout_of("awq").slots(PRESETS["W4A16_ASYM"].weights, 128, 256)["qweight"])
    'int32 (K, N/8)'
    """
    axes = [str(n) for n in slot.shape]
    for letter, cut in slot.cuts.items():
        size = f"·{cut.size}" if cut.size > 1 else ""
        axes[cut.axis] = f"{letter}/{cut.step}{size}" if cut.step > 1 else letter
    return f"{str(slot.dtypes[0]).removeprefix('torch.').replace('float8_e4m3fn', 'E4M3')} ({', '.join(axes)})"


def tensor(what: str, ecosystem: str) -> str:
    """The name of codes, scale, zero point or act order; of GGUF, the field of a block."""
    found = slots(ecosystem)
    first, fields = next(iter(found)), list(BLOCKS["Q4_K"].fields)
    if ecosystem == "gguf":
        codes = f"{place(found[first])}, field {fields[-1]}"
        return codes if what == "codes" else ", ".join(n for n in fields if n in PARTS[what]) or NO
    if what == "codes":
        return f"{first} {place(found[first])}"
    some = [n for n in found if any(word in n for word in PARTS[what] if len(word) > 1)][:1]
    if ecosystem == "gptq" and what == "zero point":
        return f"{some[0]}: {stored_zero(1)} (gptq_v2: {stored_zero(2)})"
    if ecosystem == "gptq" and what == "act order":
        some += [k for k in WRITERS["gptq"].written(RANGED) if "act" in k]
    return ", ".join(some) or NO


def stored_zero(version: int) -> str:
    """What a version of GPTQ's format stores for a zero point z, read off its words."""
    words = layouts.pack_gptq_zeros(torch.full((8, 1), 8, dtype=torch.uint8), 4, version)
    less = 8 - bits.unpack_words(words, 4, 8)[0, 0].item()
    return f"z − {less}" if less else "z"


def writer_for(ecosystem: str, preset: str) -> DialectWriter | None:
    """Its writer, if it has words for a scheme."""
    writer = WRITERS.get(ecosystem)
    try:
        return writer and writer.written(PRESETS[preset]) and writer
    except ValueError:
        return None


def upper(ecosystem: str) -> str:
    """NVFP4's number above the scales, and which way it works."""
    writer = writer_for(ecosystem, "NVFP4")
    if writer is None:
        return NO
    w = writer.says(PRESETS["NVFP4"]).weights
    last = list(layout_of(writer.layout(PRESETS["NVFP4"])).slots(w, *SHAPE))[-1]
    return f"{last}: {'divides' if divides(w) else 'multiplies'}"


def static(ecosystem: str) -> str:
    """The tensor of a static scale of the activations, in FP8."""
    writer = writer_for(ecosystem, "FP8")
    return NO if writer is None else layout_of(writer.layout(PRESETS["FP8"])).input_scale


def kept(ecosystem: str) -> str:
    """What the config calls the layers that stay in 16 bits; in a file beside it, too."""
    writer = WRITERS[ecosystem]
    before, after = (writer.written(scheme_of(ecosystem), ignore) for ignore in (("lm_head",), ("lm_head", "embed")))
    found = [k for k in after if before.get(k) != after[k]]
    for file, config in writer.beside(after).items():
        found += [k for k in differing(writer.beside(before)[file], config) if "embed" not in k]
    return ", ".join(dict.fromkeys(found))


def cache(ecosystem: str) -> str:
    """The key of a KV cache's scales, and where they lie."""
    writer = WRITERS.get(ecosystem)
    if writer is None or writer.cache is None:
        return NO
    said = next(iter(writer.cache(KV_PRESETS["fp8_e4m3"])))
    name = next(iter(writer.named({"self_attn.k_scale": torch.ones(1)})))
    return f"{said}; {name}"


def form(ecosystem: str) -> str:
    """The word for the format, where the config has one."""
    if ecosystem == "gguf":
        return "type Q4_K of each tensor"
    config = WRITERS[ecosystem].written(scheme_of(ecosystem))
    wanted = next(k for k in ("checkpoint_format", "format", "version", "quant_algo", "quant_type") if k in config)
    value = config[wanted]
    return f"{wanted}: {value if isinstance(value, str) else value['default']['_type']}"


def names() -> list[tuple[str, ...]]:
    """The rows: what it is, then its name in each of TITLES."""
    rows = [("said in", *(files(e) for e in TITLES)), ("the format", *(form(e) for e in TITLES))]
    for what in PAIRS:
        by_type = NO if what == "activations" else "by the type"  # GGUF's words for all of it
        rows.append((what, *(key(what, WRITERS[e]) if e in WRITERS else by_type for e in TITLES)))
    rows.append(("left in 16 bits", *(kept(e) if e in WRITERS else "type F16 of the tensor" for e in TITLES)))
    rows += [(what, *(tensor(what, e) for e in TITLES)) for what in ("codes", *PARTS)]
    rows += [("number above scales", *map(upper, TITLES)), ("scale of x, static", *map(static, TITLES))]
    return [*rows, ("scales of the KV cache", *map(cache, TITLES))]


def files(ecosystem: str) -> str:
    """Where the config stands."""
    if ecosystem == "gguf":
        return "general.file_type"
    writer = WRITERS[ecosystem]
    return ", ".join(["config.json", *writer.beside(writer.written(scheme_of(ecosystem)))])
