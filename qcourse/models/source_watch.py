"""A source that does not change while it is streamed, nor between a killed run and the next: sha256, tensor by tensor.

    read        each tensor is hashed as it is read, and its sha256 is kept under the file's own name for it
    read again  it has to be the same: whoever changed the file meanwhile is found, whatever its length and date say
    go on       what a killed run had read is hashed once more, some megabytes at a time, before anything is done; a file of
                which it had not read all has to be of the same length and date

A date or a length that changes during the run is noticed without hashes, when a file is opened again (`OnDisk`).
Cost: sha256 of all that is read, about 1 second a gigabyte; nothing is read for the hash alone, except to go on.
Does not notice what was changed before it was ever read, by someone who put the date back.
"""

import hashlib
from collections.abc import Mapping

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.on_disk import OnDisk, Place

AGAIN = "the source has changed: bring it back, or begin again under another --out"
PIECE = 1 << 23  # bytes in memory at once, where a tensor is only hashed


def follow(weights: Mapping, known: dict[str, str], stamps: dict[str, list[int]]) -> None:
    """Fill `known` (name in the file → sha256) with every tensor of a source as it is read from now on, and `stamps` (file →
    length and date) with its files.

    Raises CheckpointError, naming file and tensor, for one that is another than `known` says: now, of those that it names,
    and later, as they are read; and for a file with others, too, that is another than `stamps` says.
    """
    places = list({place.name: place for place in map(weights.place, weights)}.values())
    for place in places:
        if place.name in known:
            compare(place, sha256_of(place), known)
    for disk, mine in by_file(places).items():
        stamp = list(disk.stamp[2:])
        if stamps.setdefault(disk.path.name, stamp) != stamp and not {p.name for p in mine.values()} <= known.keys():
            raise CheckpointError(f"{disk.path}: its length or date is another than when this was begun: {AGAIN}")
        disk.watch = lambda begin, data, mine=mine: look(mine, known, begin, data)


def by_file(places: list[Place]) -> dict[OnDisk, dict[tuple[int, int], Place]]:
    """Each file's tensors by (begin, nbytes)."""
    found: dict[OnDisk, dict[tuple[int, int], Place]] = {}
    for place in places:
        found.setdefault(place.disk, {})[place.begin, place.nbytes] = place
    return found


def look(places: dict[tuple[int, int], Place], known: dict[str, str], begin: int, data: memoryview) -> None:
    """Hash what was read, where it is a whole tensor."""
    place = places.get((begin, data.nbytes))
    if place is not None and data.nbytes:
        compare(place, hashlib.sha256(data).hexdigest(), known)


def compare(place: Place, sha256: str, known: dict[str, str]) -> None:
    """Keep a tensor's sha256. Raises CheckpointError where another is known."""
    if known.setdefault(place.name, sha256) != sha256:
        raise CheckpointError(
            f"{place.disk.path}: tensor {place.name!r} is not what was read before (sha256 {known[place.name][:12]}…, now "
            f"{sha256[:12]}…): {AGAIN}"
        )


def sha256_of(place: Place) -> str:
    """Of a tensor's bytes in the file, a piece at a time."""
    h, end = hashlib.sha256(), place.begin + place.nbytes
    for begin in range(place.begin, end, PIECE):
        h.update(memoryview(place.disk.read(begin, min(PIECE, end - begin)).numpy()))
    return h.hexdigest()
