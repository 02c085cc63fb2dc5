"""A file's tensors under other names: where an ecosystem keeps something elsewhere, or one tensor has two names."""

from collections.abc import Iterator, Mapping

from qcourse.checkpoints.on_disk import Place
from qcourse.shapes import Tensor


class Renamed(Mapping):
    """`places`: name → the file's own name for it; what it does not list is not there."""

    def __init__(self, weights: Mapping, places: dict[str, str]):
        self.weights, self.places = weights, places

    def __getitem__(self, name: str):
        return self.weights[self.places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own."""
        return self.weights.read(self.places[name])

    def place(self, name: str) -> Place:
        """Where its bytes lie, under the file's own name."""
        return self.weights.place(self.places[name])
