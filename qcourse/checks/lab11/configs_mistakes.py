"""The known mistakes of 11.5: a config with one thing changed."""

import json

from qcourse.checks.lab11.configs_variants import INT8, config, no, renamed, said, silent, targets, top, without
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "symmetric the other way around",
        config(lambda w, symmetric, **given: w | {"symmetric": not symmetric}),
        "Your config says `symmetric` where there are zero points, and the other way around. A reader then waits for a "
        "tensor `weight_zero_point` that is not in the file, or ignores one that is.",
        "symmetric: true means no zero points (other dialects say `zero_point`, which is the opposite).",
        also=(silent("symmetric"), said(symmetric=True), said(symmetric=False)),
    ),
    Mistake(
        "no format, or one that does not exist",
        no("format"),
        "The reader knows no such format. It stands at the top (or in each group): which of those that you have seen means "
        "integers in int32 words?",
        "format: how the tensors are stored, one of a short list of names.",
        also=(top(format="int4"), top(format=4)),
    ),
    Mistake(
        "the format of another layout",
        top(format="int-quantized"),
        "That format exists, and holds something else: a byte for each integer, for int8 activations, or floats. The "
        "reader would wait for `weight` in int8, and find `weight_packed`.",
        "pack-quantized: integers in int32 words, activations in 16 bits.",
        also=(top(format="float-quantized"), top(format="nvfp4-pack-quantized")),
    ),
    Mistake(
        "another strategy than the scales have",
        said(strategy="channel"),
        "`strategy` says who shares a scale: `group` with a group_size, `channel` for one a row, `tensor` for one alone. "
        "Yours does not follow the argument, and what it says is believed.",
        "strategy and group_size together say how many scales there are.",
        also=(
            said(strategy="group"),
            silent("strategy"),
            said(strategy="tensor"),
            config(lambda w, group_size, **given: w | {"strategy": "group", "group_size": group_size or -1}),
            config(lambda w, group_size, **given: w | {"strategy": "tensor" if group_size is None else "group"}),
        ),
    ),
    Mistake(
        "a fixed group size",
        config(lambda w, group_size, **given: w | {"group_size": group_size and 128}),
        "Your config says 128, or nothing, whatever the argument is. The reader would take a file in groups of 32 for one "
        "with a quarter of the scales.",
        "group_size is what the file has.",
        also=(
            said(strategy="group", group_size=128),
            config(lambda w, group_size, **given: w | {"group_size": group_size and 64}),
            silent("group_size"),
        ),
    ),
    Mistake(
        "a fixed number of bits",
        said(num_bits=4),
        "Your config says the same width, whatever the argument is (without the key a reader takes 8).",
        "num_bits is what the file has.",
        also=(said(num_bits=8), silent("num_bits")),
    ),
    Mistake(
        "the ignored layers forgotten",
        no("ignore"),
        "`ignore` does not follow the argument: layers that stay in 16 bits are taken for quantized ones, or the other way "
        "around. Most files ignore lm_head, and some more.",
        "ignore: the layers in 16 bits; all others that targets name are quantized.",
        also=(top(ignore=[]), top(ignore=["lm_head"]), config(top=lambda c: c | {"ignore": c["ignore"][:1]})),
    ),
    Mistake(
        "targets that name no layer",
        targets(["linear"]),
        "Your targets fit none of the layers, or only some of them. `Linear` is the name of a class, with its capital; "
        "everything else is a layer's own name, or `re:` and a regular expression.",
        "targets: which layers a group is about.",
        also=(targets(["nn.Linear"]), targets(["re:.*_proj$"]), targets(["lm_head"]), targets(["re:.*mlp.*"])),
    ),
    Mistake(
        "targets missing, or no list",
        targets("Linear"),
        "A group needs a *list* of targets: one entry is a list, too.",
        "targets: a list of names.",
        also=(config(group=lambda g: without(g, "targets")),),
    ),
    Mistake(
        "no weights in the group",
        config(named="weight"),
        "The reader looks for `weights` in the group and does not find it. Under which name, and how deep, does the example "
        "have num_bits?",
        "config_groups → a group → weights → num_bits …",
        also=(config(group=lambda g: without(g, "weights") | g["weights"]),),
    ),
    Mistake(
        "no config_groups",
        config(top=lambda c: without(c, "config_groups") | c["config_groups"]["group_0"]),
        "A config has several groups, each with a name and its own targets, in a dict `config_groups`. Yours has no such "
        "dict.",
        "config_groups: a dict of groups; most files have one, group_0.",
        also=(
            config(top=lambda c: c | {"config_groups": list(c["config_groups"].values())}),
            config(top=lambda c: without(c, "config_groups") | c["config_groups"]),
        ),
    ),
    Mistake(
        "whose config it is",
        no("quant_method"),
        "The first thing that a reader asks is by whom: `quant_method` at the top decides which dialect all the rest is in. "
        "Yours is missing, misspelled (it has a hyphen), or one level too deep.",
        "quant_method: compressed-tensors.",
        also=(
            top(quant_method="compressed_tensors"),
            top(quant_method="gptq"),
            config(top=lambda c: {"quantization_config": c}),
        ),
    ),
    Mistake(
        "activations quantized as well",
        config(group=lambda g: g | {"input_activations": INT8}),
        "You ask for quantized activations. These files hold integers for weights, and an engine would round every x on its "
        "way, or refuse: weight-only means null there.",
        "input_activations: null leaves them as they are.",
        also=(config(group=lambda g: g | {"input_activations": g["weights"]}),),
    ),
    Mistake(
        "another type than int",
        said(type="float"),
        "`type` is int or float, without a width: that stands in num_bits.",
        "type int with num_bits 4 is int4.",
        also=(said(type="int4"),),
    ),
    Mistake(
        "names of another dialect",
        renamed("num_bits", "bits"),
        "A key of yours is unknown to this dialect. (`bits`, `sym` and `zero_point` are GPTQ's and AWQ's.) A reader that "
        "skipped what it does not know would read a file as something else: so it refuses.",
        "Unknown keys are refused by name.",
        also=(
            renamed("symmetric", "sym"),
            config(top=lambda c: without(c, "ignore") | {"modules_to_not_convert": c["ignore"]}),
            config(group=lambda g: g | {"activations": None}),
        ),
    ),
    Mistake(
        "text instead of numbers",
        config(lambda w, num_bits, **given: w | {"num_bits": str(num_bits)}),
        "JSON has numbers, true and null, and they are not the texts “4”, “True” and “None”.",
        "A value has its JSON type.",
        also=(
            config(lambda w, symmetric, **given: w | {"symmetric": str(symmetric).lower()}),
            config(lambda w, group_size, **given: w | {"group_size": str(group_size)}),
        ),
    ),
    Mistake(
        "JSON text instead of a dict",
        lambda *args: json.dumps(config()(*args)),
        "What came back is text. Whoever writes config.json calls `json.dumps` once, for everything.",
        "The result is a dict.",
    ),
    Mistake(
        "another quantization_status",
        top(quantization_status="frozen"),
        "The status says what the tensors in the file are: `compressed` ones. (`calibration` and `frozen` are stages before "
        "that, in which weights are still in 16 bits.)",
        "quantization_status: compressed, or absent.",
        also=(top(quantization_status="quantized"),),
    ),
)
