"""The known mistakes of 09.4: another idea of matching, or another rule of those that match."""

import re

from qcourse.checks.task import Mistake


def last_part(prefix: str) -> str:
    """What stands behind the last dot."""
    return prefix.rsplit(".", 1)[-1]


def named(pattern: str, prefix: str) -> bool:
    """The whole name, or its last part."""
    return pattern in (prefix, last_part(prefix))


def matcher(name=named, expression=re.match):
    """Does a pattern mean a layer? With another question for names, or for regular expressions."""

    def matches(pattern, prefix):
        return bool(expression(pattern[3:], prefix) if pattern.startswith("re:") else name(pattern, prefix))

    return matches


def whole(pattern: str, prefix: str) -> bool:
    """Nothing but the whole name."""
    return pattern == prefix


def first(found: list) -> str | None:
    """The scheme of the first that matches."""
    return found[0][1] if found else None


def most_specific(found: list) -> str | None:
    """A whole name before a last part before an expression."""
    return min(found, key=lambda rule: (rule[0].startswith("re:"), "." not in rule[0]))[1] if found else None


def chosen(matches=None, pick=first):
    """choose_scheme with another matcher, or another choice among the rules that match."""
    matches = matches or matcher()
    return lambda prefix, rules: pick([(p, scheme) for p, scheme in rules if matches(p, prefix)])


def left_over(prefix, rules):
    """The loop ends, and its variable is returned."""
    found = [scheme for p, scheme in rules if matcher()(p, prefix)]
    return found[0] if found else rules[-1][1]


def top_rule(prefix, rules):
    """Where nothing matches, the first rule's scheme."""
    found = [scheme for p, scheme in rules if matcher()(p, prefix)]
    return found[0] if found else rules[0][1]


def with_search(name):
    """A mistake about names, beside search and fullmatch."""
    return (chosen(matcher(name, re.search)), chosen(matcher(name, re.fullmatch)))


MISTAKES = (
    Mistake(
        "the last rule that matches",
        chosen(pick=lambda found: found[-1][1] if found else None),
        "Your later rules overwrite earlier ones. Here the first match wins, so special cases stand on top and the rule for "
        "everything at the bottom. When may your loop stop?",
        "Rules are read from the top: first match wins.",
    ),
    Mistake(
        "the most specific rule",
        chosen(pick=most_specific),
        "You prefer a whole name to a part of it, and both to an expression, as CSS does. That has to be guessed by whoever "
        "writes the config; an order can be read. Which rule stands higher?",
        "Rules are read from the top: first match wins.",
    ),
    Mistake(
        "a piece of the name is enough",
        chosen(matcher(lambda pattern, prefix: pattern in prefix)),
        "You look for the pattern anywhere in the name. Then `gate`, the router of a mixture of experts, also hits every "
        "`gate_proj`. (AWQ's `modules_to_not_convert` is read so, and has surprised many.) What stands between the dots?",
        "A name matches whole, or by its last part.",
        also=with_search(lambda pattern, prefix: pattern in prefix),
    ),
    Mistake(
        "the end of the name is enough",
        chosen(matcher(lambda pattern, prefix: prefix.endswith(pattern))),
        "`endswith` knows nothing of dots: `shared_expert_gate` ends with `gate`, and a draft model's layer with the whole "
        "name of its model's. Where does a last *part* begin?",
        "A name matches whole, or by its last part.",
        also=(
            chosen(matcher(lambda pattern, prefix: prefix == pattern or prefix.endswith("." + pattern))),
            *with_search(lambda pattern, prefix: prefix.endswith(pattern)),
        ),
    ),
    Mistake(
        "whole names only",
        chosen(matcher(whole)),
        "Your rules never hit by a last part: `down_proj` means the down projection of every block. How do you get the "
        "piece behind the last dot?",
        "A name matches whole, or by its last part.",
        also=(*with_search(whole), chosen(matcher(re.match))),
    ),
    Mistake(
        "last parts only",
        chosen(matcher(lambda pattern, prefix: pattern == last_part(prefix))),
        "You compare only what stands behind the last dot, and a whole name has dots. A config that names one layer of one "
        "block would be ignored in silence.",
        "A name matches whole, or by its last part.",
    ),
    Mistake(
        "an expression may match anywhere",
        chosen(matcher(expression=re.search)),
        "`re.search` finds a match anywhere in the name; these patterns are anchored at its start, as in "
        "compressed-tensors, which is why so many of them begin with `.*`. Which function of `re` begins at the beginning?",
        "re: from the start of the name.",
    ),
    Mistake(
        "an expression must match to the end",
        chosen(matcher(expression=re.fullmatch)),
        r"`re.fullmatch` wants the whole name. `re:model\.layers\.0\.` is meant for everything in block 0: it begins the "
        "name and need not end it. Who wants an end writes `$`.",
        "re: from the start of the name, as far as the expression goes.",
    ),
    Mistake(
        "expressions taken for names",
        chosen(lambda pattern, prefix: named(pattern, prefix)),
        "A pattern that begins with `re:` is no name: you compared it as text, so it never matches. (Or its first three "
        "letters went into the expression.) What has to be cut off, and what does `re.match` get?",
        "re: the rest is a regular expression.",
        also=(chosen(lambda pattern, prefix: named(pattern, prefix) or bool(re.match(pattern, prefix))),),
    ),
    Mistake(
        "None taken for no rule",
        chosen(pick=lambda found: next((scheme for _, scheme in found if scheme is not None), None)),
        "A rule matched, its scheme was None, and you went on to the next. None is an answer: this layer stays in 16 bits, "
        "whatever follows. `lm_head` is the usual case. Do you ask whether a rule *matches*, or what it *says*?",
        "First match wins, also if it says None: an ignore list is rules without a scheme.",
    ),
    Mistake(
        "a scheme where no rule matches",
        left_over,
        "No rule names this layer, and you gave it a scheme all the same: after a loop, its variable still holds the last "
        "rule. What does a layer get that nobody has asked to quantize?",
        "No rule: 16 bits. What is not asked for is not done.",
        also=(top_rule,),
    ),
)
