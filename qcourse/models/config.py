"""config.json → `LlamaConfig`: every key is honoured, known to change nothing, or refused by name. Nothing is assumed.

A key that this reader does not know may change the function (granite's multipliers, a sliding window, q/k norms): the model
would load, run, and be another model. So an unknown key is an error, and so is a known one with a value we do not compute.
transformers is the judge (tests/interop/test_architectures.py).
"""

import json
from pathlib import Path

from qcourse.checkpoints.errors import CheckpointError
from qcourse.models.config_keys import DEFAULTS, HARMLESS, HONOURED, NEUTRAL, SIZES
from qcourse.models.llama import LlamaConfig


def read_json(path: Path) -> dict:
    """A JSON object. Raises CheckpointError for a missing, unreadable or other file, saying what it is instead."""
    try:
        data = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; a model folder holds config.json, model.safetensors, tokenizer.json"
        ) from None
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise CheckpointError(f"{path}: not UTF-8 text ({e.reason} at byte {e.start})") from e
    except (json.JSONDecodeError, RecursionError) as e:
        raise CheckpointError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: holds a {type(data).__name__}, an object {{…}} expected")
    return data


def read_config(folder: Path | str) -> LlamaConfig:
    """`config.json` of a Llama, Mistral or Qwen2 folder. Raises CheckpointError naming the key and what is legal."""
    path = Path(folder) / "config.json"
    return llama_config(read_json(path), path)


def llama_config(raw: dict, path: Path | str) -> LlamaConfig:
    """The parsed config.json → what the model is built from. Raises CheckpointError naming the key and what is legal."""
    refuse_foreign(raw, path)
    kind = raw["model_type"]
    c = DEFAULTS[kind] | {k: v for k, v in raw.items() if v is not None}
    sizes = {key: number(c, key, path) for key in (*SIZES, "max_position_embeddings")}
    heads, hidden, context = sizes["num_attention_heads"], sizes["hidden_size"], sizes["max_position_embeddings"]
    window = c.get("sliding_window") if kind == "mistral" and raw.get("sliding_window", 1) is not None else None
    if window is not None and number(c, "sliding_window", path) < context:
        refuse(raw, path, "sliding_window", f"a window below max_position_embeddings={context} is not computed here")
    kv_heads = number(c, "num_key_value_heads", path, heads)
    if hidden % heads and "head_dim" not in c or heads % kv_heads:
        refuse(
            raw, path, "num_attention_heads", f"hidden_size={hidden}, num_key_value_heads={kv_heads}: these do not divide"
        )
    head_dim = number(c, "head_dim", path, hidden // heads)
    if head_dim % 2:
        refuse(raw, path, "head_dim", "rotary embeddings turn pairs: an even number expected")
    bias = kind == "qwen2" or flag(c, "attention_bias", path)
    theta, scaling = rope(c, path)
    return LlamaConfig(
        **sizes, num_key_value_heads=kv_heads, head_dim=head_dim, rope_theta=theta, rope_scaling=scaling,
        rms_norm_eps=positive(c.get("rms_norm_eps", 1e-6), "rms_norm_eps", path), attention_bias=bias,
        tie_word_embeddings=flag(c, "tie_word_embeddings", path), output_bias=bias and kind != "qwen2",
        mlp_bias=flag(c, "mlp_bias", path),
    )  # fmt: skip


def refuse(raw: dict, path: Path | str, key: str, why: str):
    """Raise CheckpointError about `key`."""
    raise CheckpointError(f"{path}: {key} = {raw.get(key)!r}: {why}")


def refuse_foreign(raw: dict, path: Path | str) -> None:
    """Raise CheckpointError for another architecture, an unknown key, or a key whose value would change the function."""
    if raw.get("model_type") not in DEFAULTS:
        refuse(raw, path, "model_type", f"this model is a Llama; it computes {', '.join(DEFAULTS)} and nothing else")
    if any(not str(a).endswith("ForCausalLM") for a in raw.get("architectures") or []):
        refuse(raw, path, "architectures", "only …ForCausalLM is computed here")
    bad = sorted(raw.keys() - HONOURED - HARMLESS - NEUTRAL.keys())
    if bad:
        refuse(raw, path, bad[0], "a key that this reader does not know; it may change what the model computes")
    for key, legal in NEUTRAL.items():
        if key in raw and raw[key] not in legal:
            refuse(raw, path, key, f"only {' or '.join(map(repr, legal))} is computed here")
    if any(t != "full_attention" for t in raw.get("layer_types") or []):
        refuse(raw, path, "layer_types", "only full_attention is computed here")


def number(c: dict, key: str, path, default: int | None = None) -> int:
    """A size. Raises CheckpointError unless it is a positive integer (or absent, where there is a default)."""
    value = c.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise CheckpointError(f"{path}: {key} = {value!r}: a positive integer expected")
    return value


def positive(value, key: str, path) -> float:
    """A number above 0. Raises CheckpointError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise CheckpointError(f"{path}: {key} = {value!r}: a positive number expected")
    return float(value)


def flag(c: dict, key: str, path) -> bool:
    """true or false; absent and null are false, as in transformers. Raises CheckpointError for anything else ("false")."""
    value = c.get(key, False)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {key} = {value!r}: true or false expected")
    return value


def rope(c: dict, path) -> tuple[float, dict | None]:
    """(theta, scaling or None) from `rope_theta`, `rope_parameters` (transformers 5) and `rope_scaling` (before), which
    have to agree. Raises CheckpointError for two that contradict each other, another kind than default, linear or llama3,
    and a parameter that is missing."""
    found = {}
    for key in ("rope_parameters", "rope_scaling"):
        r = c.get(key)
        if r is None:
            continue
        if not isinstance(r, dict):
            raise CheckpointError(f"{path}: {key} = {r!r}: an object expected")
        found[key] = {**{k: v for k, v in r.items() if k not in ("type", "rope_theta")},
                      "rope_type": r.get("rope_type", r.get("type", "default"))}  # fmt: skip
    if len(found) == 2 and found["rope_parameters"] != found["rope_scaling"]:
        raise CheckpointError(f"{path}: rope_parameters and rope_scaling contradict each other: {found}")
    r = next(iter(found.values()), {"rope_type": "default"})
    thetas = {k: positive(v, f"{k} (rope_theta)", path) for k, v in (
        ("rope_theta", c.get("rope_theta")),
        *((k, (c.get(k) or {}).get("rope_theta")) for k in ("rope_parameters", "rope_scaling")),
    ) if v is not None}  # fmt: skip
    if len(set(thetas.values())) > 1:
        raise CheckpointError(f"{path}: rope_theta is given twice and differently: {thetas}")
    theta = next(iter(thetas.values()), 10000.0)
    if r.get("partial_rotary_factor", 1) != 1:
        raise CheckpointError(f"{path}: partial_rotary_factor = {r['partial_rotary_factor']!r}: only 1 is computed here")
    needs = {"default": (), "linear": ("factor",), "llama3": LLAMA3}
    if r["rope_type"] not in needs:
        raise CheckpointError(f"{path}: rope_type = {r['rope_type']!r}: only default, linear and llama3 are computed here")
    surplus = sorted(r.keys() - {"rope_type", "partial_rotary_factor", *LLAMA3})
    if surplus:
        raise CheckpointError(f"{path}: rope parameter {surplus[0]!r} is not known here")
    if r["rope_type"] == "default":
        return theta, None
    return theta, {"rope_type": r["rope_type"]} | {k: positive(r.get(k), f"rope {k}", path) for k in needs[r["rope_type"]]}


LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
