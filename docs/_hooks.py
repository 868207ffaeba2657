"""What mkdocs does beside building: pages of results come along, and every page says its reading time."""

from __future__ import annotations

import math
import re
from pathlib import Path

WORDS_A_MINUTE = 220
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "reproduce" / "pages"
_SKIPPED = re.compile(r"```.*?```|~~~.*?~~~|<!--.*?-->|^:::.*$", re.DOTALL | re.MULTILINE)


def reading_minutes(markdown: str) -> int:
    """Minutes that a page takes, rounded up; code is looked at rather than read and not counted.

    Args:
        markdown: the page.
    """
    text = re.sub(r"\]\([^)]*\)", "]", _SKIPPED.sub("", markdown))
    words = [word for word in text.split() if re.search(r"[^\W_]", word)]
    return max(1, math.ceil(len(words) / WORDS_A_MINUTE))


def on_files(files, config):
    """Pages of results stand outside `docs`; they join the site below `results/`."""
    from mkdocs.structure.files import File

    for path in sorted([*RESULTS.glob("*.md"), *RESULTS.glob("plots/*.svg")]):
        name = f"results/{path.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_nav(nav, config, files):
    """The navigation says how long each page takes."""
    for page in nav.pages:
        minutes = reading_minutes(Path(page.file.abs_src_path).read_text(encoding="utf-8"))
        page.title = f"{page.title} · {minutes} min"
    return nav


def on_page_markdown(markdown, page, config, files):
    """Links into the repository become links of the site; the time stands below the heading."""
    minutes = reading_minutes(markdown)
    markdown = markdown.replace("](../reproduce/pages/", "](results/")
    heading = re.search(r"^# (.*)$", markdown, re.MULTILINE)
    if heading:
        page.meta.setdefault("title", heading[1])
        said = f"\n\n*{minutes} minute{'s' if minutes > 1 else ''} to read*\n"
        markdown = markdown[: heading.end()] + said + markdown[heading.end() :]
    return markdown
