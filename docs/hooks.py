"""Hooks of the documentation site: pages outside docs/ belong to it, and links work as they do in the repository."""

import os.path
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "policies/README.md", "policies/*/README.md", "results/README.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files, config):
    """Add the pages outside docs/ under their paths in the repository."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository into links between pages.

    A link to a file that the site does not carry, such as the raw rows in results/, becomes plain text.

    Raises:
        PluginError: A link leads to a file that does not exist.
    """
    here = "" if page.file.generated_by else "docs/"

    def replaced(match):
        image, label, target, anchor = match.groups()
        there = os.path.normpath(os.path.join(os.path.dirname(here + page.file.src_uri), target))
        if not (ROOT / there).exists():
            raise PluginError(f"{here}{page.file.src_uri}: the link to {target} leads nowhere")
        there = there.removeprefix("docs/")
        if files.get_file_from_path(there) is None:
            return label
        return f"{image}[{label}]({os.path.relpath(there, os.path.dirname(page.file.src_uri) or '.')}{anchor or ''})"

    return LINK.sub(replaced, markdown)
