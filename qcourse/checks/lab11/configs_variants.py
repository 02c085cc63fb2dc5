"""compressed_tensors_config with one thing changed: in its weights, in its group, or at the top."""

INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def without(d: dict, key: str) -> dict:
    """All other keys."""
    return {k: v for k, v in d.items() if k != key}


def config(weights=lambda w, **given: w, group=lambda g: g, top=lambda c: c, named="weights"):
    """compressed_tensors_config with one thing changed. weights: of what they are, and the arguments."""

    def wrong(num_bits, group_size, symmetric, ignore):
        w = {"num_bits": num_bits, "type": "int", "symmetric": symmetric, "group_size": group_size}
        w["strategy"] = "channel" if group_size is None else "group"
        w = weights(w, num_bits=num_bits, group_size=group_size, symmetric=symmetric)
        g = group({"targets": ["Linear"], named: w, "input_activations": None})
        whole = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": g}}
        return top(whole | {"ignore": list(ignore)})

    return wrong


def said(**keys):
    """Weights with keys of other values."""
    return config(lambda w, **given: w | keys)


def silent(key: str):
    """Weights without a key."""
    return config(lambda w, **given: without(w, key))


def targets(value):
    """A group with other targets."""
    return config(group=lambda g: g | {"targets": value})


def top(**keys):
    """The whole with keys of other values."""
    return config(top=lambda c: c | keys)


def no(key: str):
    """The whole without a key."""
    return config(top=lambda c: without(c, key))


def renamed(old: str, new: str):
    """Weights with a key of another name."""
    return config(lambda w, **given: without(w, old) | {new: w[old]})
