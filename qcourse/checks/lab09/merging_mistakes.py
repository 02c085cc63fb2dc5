"""The known mistakes of 09.5: who is asked, and what is made of different answers."""

from collections import Counter

from qcourse.checks.lab09.rules_mistakes import chosen, last_part
from qcourse.checks.task import Mistake, Refuse

USUAL = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
choose = chosen()


def names(prefix: str, packed: dict) -> list[str]:
    """The file's names of a layer."""
    last = last_part(prefix)
    return [prefix[: len(prefix) - len(last)] + part for part in packed.get(last, [last])]


def one(found: list) -> str | None:
    """The scheme on which all agree; refused if they do not."""
    if len(set(found)) > 1:
        raise Refuse(f"they differ: {found}")
    return found[0]


def asked(decide=one, parts=names):
    """scheme_of_merged with another way to ask, or to decide."""
    return lambda prefix, rules, packed: decide([choose(name, rules) for name in parts(prefix, packed)])


def schemes_only(found: list) -> str | None:
    """The parts in 16 bits are not counted."""
    found = [scheme for scheme in found if scheme is not None]
    return one(found) if found else None


def first_scheme(found: list) -> str | None:
    """The first that has one."""
    return next((scheme for scheme in found if scheme is not None), None)


def all_or_none(found: list) -> str | None:
    """16 bits as soon as one part has them."""
    return None if None in found else one(found)


def listed(found: list) -> tuple | str | None:
    """What each part gets, where there are several."""
    return tuple(found) if len(found) > 1 else found[0]


MISTAKES = (
    Mistake(
        "the merged name looked up itself",
        asked(parts=lambda prefix, packed: [prefix]),
        "You looked for `qkv_proj` in the rules. They were written for a file, and there it is q_proj, k_proj and v_proj: "
        "no rule knows the merged name, except by accident (`re:.*` knows everything). Whose names must be asked for?",
        "packed_modules_mapping: rules speak the file's names.",
    ),
    Mistake(
        "one part speaks for all",
        asked(lambda found: found[0]),
        "You asked one part, or believed one, and gave its scheme to the others. Their codes have other bits: the loader "
        "would fail at best, or read them wrongly. What is to be said when the others disagree?",
        "One matrix has one format; parts that differ are refused.",
        also=(asked(lambda found: found[-1]), asked(lambda found: found[1] if len(found) > 1 else found[0])),
    ),
    Mistake(
        "16 bits left out of the comparison",
        asked(schemes_only),
        "Two parts have a scheme and the third has none, and you compared only those that have one. But the file holds a "
        "16-bit weight for the third, and no codes. Is None a different answer, or no answer?",
        "None is an answer: 16 bits. It has to agree, too.",
        also=(asked(first_scheme),),
    ),
    Mistake(
        "16 bits for all, if for one",
        asked(all_or_none),
        "Careful, it seems: one part is ignored, so none is quantized. But the file holds codes for the others, and the "
        "layer would wait for weights that are not there. An engine that loads a file cannot choose; what can it do?",
        "What a file says is honoured, or refused by name.",
    ),
    Mistake(
        "a disagreement passed over",
        asked(lambda found: found[0] if len(set(found)) == 1 else None),
        "Where the parts differ you return None, and that means 16 bits: an answer, not a refusal. Nobody learns that this "
        "config cannot be served. How does a function say that it cannot do what it was asked?",
        "What cannot be served is refused: ValueError, with the names.",
    ),
    Mistake(
        "the majority",
        asked(lambda found: Counter(found).most_common(1)[0][0]),
        "Two against one, and you took the two. The third one's tensors are in the file all the same, in its own format. A "
        "config is no vote.",
        "One matrix has one format; parts that differ are refused.",
    ),
    Mistake(
        "the parts asked for by their last name",
        asked(parts=lambda prefix, packed: packed.get(last_part(prefix), [prefix])),
        "You asked for `q_proj`, without the block that it stands in. A rule for `model.layers.3.self_attn.q_proj`, or a "
        "regular expression that begins with `model`, never sees it. What is the part's whole name?",
        "A layer is known by its whole name.",
        also=(asked(parts=lambda prefix, packed: packed.get(last_part(prefix), [last_part(prefix)])),),
    ),
    Mistake(
        "the usual names instead of `packed`",
        asked(parts=lambda prefix, packed: names(prefix, USUAL)),
        "You know that `qkv_proj` is q, k and v, and this model calls it otherwise. Which names are merged is the model's "
        "affair: in vLLM every model class has its own `packed_modules_mapping`.",
        "The format asks the model; it does not know it.",
    ),
    Mistake(
        "nothing for a layer that is not merged",
        asked(
            lambda found: one(found) if found else None,
            lambda prefix, packed: names(prefix, packed | {last_part(prefix): packed.get(last_part(prefix), [])}),
        ),
        "`down_proj` is in no mapping, because it is merged with nothing. It still has rules. What are the parts of a layer "
        "that is one?",
        "A layer that is one of the file's is its own only part.",
    ),
    Mistake(
        "a list of schemes",
        asked(listed),
        "You return what each part gets. The engine makes *one* LinearMethod for the whole layer, so it needs one answer, "
        "or none.",
        "get_quant_method: one layer, one method.",
        also=(
            asked(tuple),
            asked(lambda found: (one(found), listed(found))[1]),
            lambda prefix, rules, packed: {name: choose(name, rules) for name in names(prefix, packed)},
            lambda prefix, rules, packed: {last_part(name): choose(name, rules) for name in names(prefix, packed)},
        ),
    ),
)
