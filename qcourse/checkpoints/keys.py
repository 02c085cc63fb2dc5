"""Reading a foreign config: every key is typed, honoured, known to change nothing, or refused by name."""

from qcourse.checkpoints.errors import CheckpointError

MISSING = object()


class Keys:
    """The keys of a JSON object `config`; `where` begins every error. `done` refuses what nobody asked for."""

    def __init__(self, config: dict, where: str):
        if not isinstance(config, dict):
            raise CheckpointError(f"{where}: {config!r}: an object {{…}} expected")
        self.config, self.where, self.asked = config, where, set()

    def refuse(self, key: str, why: str):
        """Raise CheckpointError about `key`."""
        raise CheckpointError(f"{self.where}: {key} = {self.config.get(key)!r}: {why}")

    def take(self, *names: str, kind: type | tuple[type, ...], default=MISSING):
        """The value under the first of `names` (synonyms) that is there. null is as good as absent where there is a default.

        Raises CheckpointError for two synonyms that differ, a missing key without a default, and a value of another type.
        """
        self.asked.update(names)
        there = {n: self.config[n] for n in names if self.config.get(n) is not None}
        if len({repr(v) for v in there.values()}) > 1:
            raise CheckpointError(f"{self.where}: {' and '.join(there)} are one setting, and differ: {there}")
        if not there:
            if default is MISSING:
                raise CheckpointError(f"{self.where}: {names[0]} is missing")
            return default
        name, value = next(iter(there.items()))
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds:
            self.refuse(name, f"{' or '.join(k.__name__ for k in kinds)} expected")
        return value

    def only(self, name: str, *legal):
        """The value of an optional key that has to be one of `legal` (None: absent)."""
        self.asked.add(name)
        value = self.config.get(name)
        if not any(type(value) is type(v) and value == v for v in legal):
            self.refuse(name, f"only {' or '.join(map(repr, legal))} is read here")
        return value

    def harmless(self, *names: str) -> None:
        """Keys that say how the file was made, not what it means."""
        self.asked.update(names)

    def done(self) -> None:
        """Raise CheckpointError for a key that nobody asked for."""
        unknown = sorted(map(str, self.config.keys() - self.asked))
        if unknown:
            raise CheckpointError(
                f"{self.where}: unknown key {unknown[0]!r}: it may change what the weights mean, so it is not ignored"
            )
