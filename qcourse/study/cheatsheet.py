"""The cheatsheet: two A4 pages, as one PDF and two PNG files, light or dark. `qcourse cheatsheet`, notebook A3.

    cheatsheet_formats    which formats, and what the registries say of them
    cheatsheet_formulas   bytes and KV cache, each with an example that study.cost computes
    cheatsheet_methods    who needs data, what each minimizes and wins; what limits you → what to take
    cheatsheet_names      what each ecosystem calls it
    cheatsheet_pictures   grids, and the way to a kernel
    cheatsheet_pages      all of it on paper (cheatsheet_page)

No number is typed: they are those of PRESETS, TABLE, WRITERS, study.cost and the captures. What changes there, changes here.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages

from qcourse.study.cheatsheet_formats import formats
from qcourse.study.cheatsheet_formulas import formulas
from qcourse.study.cheatsheet_methods import METHODS
from qcourse.study.cheatsheet_names import names
from qcourse.study.cheatsheet_page import THEMES
from qcourse.study.cheatsheet_pages import Content, page_one, page_two
from qcourse.study.cheatsheet_pictures import lines_of_dispatch
from qcourse.study.dispatch import routes
from qcourse.study.measured import capture_file, read_capture
from qcourse.study.picture import Picture

SUBJECTS = ("shipped", "smollm2")
SHARP = 200  # dots an inch, of the PNG files
EMBED = {"pdf.fonttype": 42, "pdf.use14corefonts": False}  # the font as a whole outline: sharp, and its text can be searched


ZOOS, WON = tuple(f"{s}-zoo" for s in SUBJECTS), tuple(dict.fromkeys(m.won[0] for m in METHODS))


def captures(folder: Path) -> dict[str, dict]:
    """Every capture that the sheet cites, by its name ("smollm2-zoo"). Raises ValueError and FileNotFoundError naming one
    that is not there, or not complete."""
    found = {}
    for name in dict.fromkeys((*ZOOS, *WON)):
        subject, _, experiment = name.partition("-")
        path = capture_file(folder, experiment, subject)
        found[name] = read_capture(path)
        if not found[name]["complete"]:
            raise ValueError(f"{path} is not complete: what the sheet cites would be missing; measure it to its end first")
    return found


def cited(found: Mapping[str, dict], names: tuple[str, ...]) -> str:
    """Some captures in words: "captures shipped-zoo, smollm2-zoo, 2026-11-30"."""
    days = sorted(found[name]["date"][:10] for name in names)
    return f"captures {', '.join(names)}, {' to '.join(dict.fromkeys((days[0], days[-1])))}"


def content(folder: Path) -> Content:
    """All that stands on the sheet. folder: of captures. Raises what `captures` raises."""
    found = captures(folder)
    results = {name: c["results"] for name, c in found.items()}
    zoos = {subject: results[name] for subject, name in zip(SUBJECTS, ZOOS, strict=True)}
    sources = cited(found, ZOOS), cited(found, WON)
    return Content(formats(zoos), formulas(), names(), lines_of_dispatch(routes()), results, sources)


def pages(what: Content, theme: str = "light") -> list[Picture]:
    """Both pages. Raises ValueError for an unknown theme."""
    if theme not in THEMES:
        raise ValueError(f"theme {theme!r}: one of {', '.join(THEMES)}")
    return [page_one(what, THEMES[theme]), page_two(what, THEMES[theme])]


def write(out: Path, folder: Path, theme: str = "light") -> list[Path]:
    """cheatsheet-THEME.pdf and a PNG of each page into the folder `out`, each whole or not there. Raises ValueError where it
    cannot be written, before anything is drawn."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".part").touch()
        (out / ".part").unlink()
    except OSError as e:
        raise ValueError(f"{out} cannot be written ({e.strerror or e}): name a folder for the cheatsheet with --out") from e
    drawn = pages(content(folder), theme)
    made = {f"cheatsheet-{theme}.pdf": pdf(drawn)}
    made |= {f"cheatsheet-{theme}-{i}.png": png(page) for i, page in enumerate(drawn, 1)}
    for name, data in made.items():
        part = out / f"{name}.part"
        part.write_bytes(data)
        part.replace(out / name)
    return [out / name for name in made]


def pdf(drawn: list[Picture]) -> bytes:
    """The pages as vectors, the font embedded; the same bytes each time."""
    buffer, about = io.BytesIO(), {"Title": "LLM quantization: a cheatsheet", "Creator": "qcourse", "CreationDate": None}
    with matplotlib.rc_context(EMBED), PdfPages(buffer, metadata=about) as file:
        for page in drawn:
            file.savefig(page, facecolor=page.get_facecolor())
    return buffer.getvalue()


def png(page: Picture) -> bytes:
    """A page as an image."""
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=SHARP, metadata={"Software": None})
    return buffer.getvalue()
