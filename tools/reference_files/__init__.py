"""Writes tests/checkpoints/files: tiny checkpoints made by the reference libraries, and what those libraries read in them.

Run once, in an environment of its own (versions in each provenance.json), then committed; the tests need none of it:

    python -m tools.reference_files --sources FOLDER [name ...]

FOLDER holds the unpacked source archives gptqmodel-7.7.0 and autoawq-0.2.9: their packers are imported from there without
the rest of the packages. Installed: torch, transformers, compressed-tensors, gguf, libgguf, and for GPTQModel's imports
logbar, pypcre, device-smi, tokenicer, defuser, threadpoolctl, dill.
"""
