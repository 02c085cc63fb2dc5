"""Rules → methods: which scheme each layer gets, and the KV cache's recipe, from a preset's name, a dict, or a file's own
`quantization_config`."""

import difflib
from dataclasses import dataclass, field, replace

from torch import nn

from qcourse.checkpoints.rules import EVERY, Rule, ignore
from qcourse.layers.kv_method import KVCacheMethod
from qcourse.layers.merged import one_method
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.layers.quantized import QuantizedLinearMethod, Quantizer
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.kv import KVCacheArgs, kv_args
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS, QuantizationScheme

HANDED_OUT = {"int8": "W8A16", "fp8": "FP8_DYNAMIC", "w4a16": "W4A16", "awq": "W4A16_ASYM"}  # names in labs of before
LAYERS = ("scheme", "rules", "group_size", "ignore", "layout", "input_scales")  # keys about linear layers
ENDS = {"embedding": "model.embed_tokens", "lm_head": "lm_head"}
KEYS = (*LAYERS, *ENDS, "kv_cache")


@dataclass
class RulesConfig(QuantizationConfig):
    """`rules`, first match wins; a layer that none names stays in 16 bits.

    quantizer     makes codes of 16-bit weights; None: the codes come from the file
    input_scales  layer → static scale of its input, for schemes with static activations that are quantized here
    kv_cache      the recipe of the KV cache; None: as the file says, in 16 bits where it says nothing
    kv_scales     whether the file holds the scales that this recipe needs
    own_head      whether a tied head gets a matrix of its own, because it is stored otherwise than the embedding
    """

    rules: list[Rule]
    quantizer: Quantizer | None = quantize
    input_scales: dict[str, float] | None = None
    kv_cache: KVCacheArgs | None = None
    kv_scales: bool = False
    own_head: bool = False
    seen: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def from_config(cls, config: dict) -> "RulesConfig":
        """A dict with these keys → a config that quantizes on the fly.

            scheme        a name of PRESETS                           group_size    G, or -1 for one scale a channel
            ignore        layers left in 16 bits (["lm_head"])        rules         [[pattern, scheme or None], …] instead
            layout        how codes have to fit (a name of LAYOUTS)   input_scales  {layer: scale}, for static schemes
            embedding     its scheme (None: 16 bits)                  lm_head       the same; a tied head becomes untied
            kv_cache      a name of KV_PRESETS, "auto": 16 bits

        The ends' schemes are whole names ("W4A16_G64"): group_size and layout are about the other layers. A tied head whose
        scheme is the embedding's stays tied. Raises ValueError for an unknown key, scheme or value.
        """
        unknown = sorted(map(str, config.keys() - set(KEYS)))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} in quantization: one of {', '.join(KEYS)}")
        of_layers = config.keys() & set(LAYERS)
        if ("scheme" in config) == ("rules" in config) and (of_layers or not config):
            raise ValueError("quantization needs either 'scheme' (one for every layer) or 'rules' ([[pattern, scheme], …])")
        rules, own_head = ends(config)
        rules += layer_rules(config) if of_layers else []
        scales = config.get("input_scales")
        if any(s and s.input_activations and s.input_activations.calibrated for s in (r.scheme for r in rules)) != (
            scales is not None
        ):
            raise ValueError("input_scales ({layer: scale}) belong to schemes with static activations, and only there")
        return cls(rules, input_scales=scales, kv_cache=kv_args(config.get("kv_cache")), own_head=own_head)

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """The first matching rule's method; of a layer that is made of several (qkv_proj) the one that all its parts have.

        Raises ValueError for a static scheme without this layer's input scale, and for parts that differ, naming them.
        """
        parts = self.parts(prefix)
        if len(parts) > 1:
            return one_method(prefix, {part: self.get_quant_method(layer, part) for part in parts})
        matching = [i for i, rule in enumerate(self.rules) if rule.matches(prefix)]
        self.seen.update(matching)  # a rule that only follows another one matched something, too
        rule = self.rules[matching[0]] if matching else None
        if rule is None or rule.scheme is None:
            return UnquantizedLinearMethod()
        method = QuantizedLinearMethod(rule.scheme, rule.layout, self.quantizer)
        if method.static and self.quantizer is not None:
            scale = (self.input_scales or {}).get(prefix)
            if isinstance(scale, bool) or not isinstance(scale, (int, float)):
                raise ValueError(
                    f"{prefix}: static activations need its input scale, a number; calibrate first (input_scales)"
                )
            method = QuantizedLinearMethod(rule.scheme, rule.layout, self.quantizer, scale)
        return method

    def get_embedding_method(self, prefix: str) -> LinearMethodBase | None:
        """That of a rule which names the embedding itself: a pattern of layers ("Linear", "model") does not mean it."""
        named = any(rule.pattern == prefix for rule in self.rules)
        return self.get_quant_method(None, prefix) if named else None

    def get_kv_cache_method(self, prefix: str) -> KVCacheMethod | None:
        """That of a file with static scales."""
        in_file = self.kv_scales and self.kv_cache is not None and self.kv_cache.static
        return KVCacheMethod(self.kv_cache, prefix) if in_file else None

    def refuse_unmatched(self, names: list[str]) -> None:
        """Raise ValueError for a rule that matched none of the model's layers `names`: a typo would quantize in silence."""
        for i, rule in enumerate(self.rules):
            if rule.required and i not in self.seen:
                parts = list(dict.fromkeys([n.rsplit(".", 1)[-1] for n in names] + names))
                near = difflib.get_close_matches(rule.pattern.removeprefix("re:"), parts, 3, 0.3)
                raise ValueError(
                    f"{rule.pattern!r} matches no layer of this model; did you mean {', '.join(near or parts[:7])}?"
                )


def layer_rules(config: dict) -> list[Rule]:
    """The rules of a dict's linear layers. Raises ValueError for a value that is none."""
    pairs = config.get("rules", [[EVERY, config.get("scheme")]])
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise ValueError(f"rules is {pairs!r}: a list of [pattern, scheme] expected")
    layout, G = config.get("layout"), config.get("group_size")
    rules = ignore(config.get("ignore", ["lm_head"]))
    for pattern, name in pairs:
        rules.append(Rule(pattern, None if name is None else regrouped(scheme_of(name), G), layout))
    return rules


def ends(config: dict) -> tuple[list[Rule], bool]:
    """The rules of a dict's embedding and head, which come first, and whether a tied head has to be untied for them."""
    schemes = {}
    for key in ENDS:
        name = config.get(key)
        if not (name is None or isinstance(name, str)):
            raise ValueError(f"{key} is {name!r}: a scheme's name, or None for 16 bits, expected")
        if key in config:
            schemes[key] = None if name is None else scheme_of(name)
    if schemes.get("lm_head") and "lm_head" in config.get("ignore", ()):
        raise ValueError(f"lm_head is {config['lm_head']!r}, and ignore leaves it in 16 bits: one of them")
    rules = [Rule(ENDS[key], scheme, required=key == "embedding") for key, scheme in schemes.items()]
    return rules, "lm_head" in schemes and schemes["lm_head"] != schemes.get("embedding")


def scheme_of(name: str) -> QuantizationScheme:
    """A preset by its name, or one with groups and its G behind: "W3A16_G64". Raises ValueError for an unknown one, naming
    the nearest."""
    base, _, size = str(name).rpartition("_G")
    grouped = base in PRESETS and "_G" not in base and PRESETS[base].weights.group_size is not None
    if name not in PRESETS and grouped and size.isdecimal():
        return regrouped(PRESETS[base], int(size))
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name).upper(), PRESETS, 2, 0.4)
        raise ValueError(
            f"unknown quantization scheme {name!r}{': did you mean ' + ' or '.join(near) + '?' if near else ''} "
            f"(known: {', '.join(PRESETS)})"
        )
    return PRESETS[name]


def regrouped(scheme: QuantizationScheme, group_size: int | None) -> QuantizationScheme:
    """The scheme with another group size (-1: one scale a channel). Raises ValueError for anything but such a number."""
    if group_size is None:
        return scheme
    if isinstance(group_size, bool) or not isinstance(group_size, int) or not (group_size == -1 or group_size > 0):
        raise ValueError(f"group_size={group_size!r}: a positive integer, or -1 for one scale a channel")
    granularity = per_channel if group_size == -1 else per_group(group_size)
    return replace(scheme, weights=scheme.weights.with_(granularity=granularity))


def get_quantization_config(spec: str | dict | QuantizationScheme | QuantizationConfig | None) -> QuantizationConfig | None:
    """A preset ("W4A16"), a dict ({"scheme": "W4A16", "group_size": 64}), a scheme, or a config → a config.

    None and "bf16" mean no quantization. Raises what `RulesConfig.from_config` raises, TypeError for anything else.
    """
    if spec is None or isinstance(spec, QuantizationConfig):
        return spec
    if isinstance(spec, QuantizationScheme):
        return RulesConfig([*ignore(["lm_head"]), Rule(EVERY, spec)])
    if isinstance(spec, str):
        return None if spec == "bf16" else RulesConfig.from_config({"scheme": HANDED_OUT.get(spec, spec)})
    if isinstance(spec, dict):
        if spec.get("quant_method") == "w4a16" and spec.keys() <= {"quant_method", "bits", "group_size"}:  # lab 04 of before
            spec = {"scheme": f"W{spec.get('bits', 4)}A16", "group_size": spec.get("group_size")}
        return RulesConfig.from_config(spec)
    raise TypeError(f"quantization is a {type(spec).__name__}: a preset's name, a dict or a QuantizationScheme expected")
