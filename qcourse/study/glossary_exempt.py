"""What needs no entry in the glossary: names of people's things, and bold words that are stress, not terms."""

NAMES = {
    "CPU": "a word of every computer", "GPU": "a word of every computer", "H100": "a GPU, named with its numbers",
    "JSON": "a file format outside the field", "PDF": "a file format outside the field",
    "PNG": "a file format outside the field",
    "PyPI": "where Python's packages are", "PyTorch": "a product", "NVIDIA": "a company", "DeepSeek": "a company",
    "V3": "of DeepSeek-V3, a model", "OPT": "a family of models", "Qwen2": "a family of models",
    "A1": "an appendix of the course", "A2": "an appendix of the course", "A3": "an appendix of the course",
    "A4": "a size of paper", "EVEN": "what torchao calls a rule that stands at round-up",
}  # fmt: skip
STRESSED = {
    # stress
    "predict", "not", "measured", "w", "a", "low", "minus one", "in turns", "more concurrency", "the bytes decide", "size",
    "bytes ÷ bandwidth", "gain / s", "users", "kernels", "bytes", "the rest", "rest", "Show", "Talk to it",
    "The six invariants",
    # labels of lists, and the first words of paragraphs
    "Natural", "Trained in", "none", "The mechanism", "A number", "The border", "The check", "Formats", "Bytes", "Methods",
    "What limits you", "Names", "The zero row.", "The missing clamp.", "Values.", "The ends.", "A byte a code",
    "head of its own", "Turning first.", "Third, tiles.", "Fourth, split-K.", "First, the loop.", "Computed, not measured.",
    # explained elsewhere: at round-up, at full range
    "even", "full",
}  # fmt: skip
