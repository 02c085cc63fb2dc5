"""What README says of the memory that a large checkpoint takes is what a capture holds, and below its limit."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_figures_are_those_of_the_capture():
    text = " ".join((ROOT / "README.md").read_text().split())
    paragraph = re.search(r"`quantize`, `convert` and `export` take checkpoints.*?for kill -9\)", text)[0]
    found = json.loads((ROOT / re.search(r"captures/streaming-\S+?json", paragraph)[0]).read_text())
    peaks = [round(run["peak_resident"] / 1e6) for run in found["runs"]]
    source, *said = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) MB", paragraph))
    assert source == round(found["source_bytes"] / 1e6) and said == peaks and len(peaks) == 4
    assert all(run["peak_resident"] <= found["limit"] == 700_000_000 for run in found["runs"])
    assert found["source_bytes"] > 4 * found["limit"] and {"device", "date", "command"} <= found.keys()
