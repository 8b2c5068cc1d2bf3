"""CamVid as shared by SegNet's authors: 701 images of 480x360 from four clips, with 11 classes."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ralseg.foundation import RalsegError, expanded
from ralseg.segmentation.datasets.class_list import read_text, short
from ralseg.segmentation.datasets.download import CAMVID_SHA256, CAMVID_URL, download_camvid
from ralseg.segmentation.datasets.files import FileDataset, label_table, paired
from ralseg.segmentation.datasets.palettes import CAMVID, colors_of

SUBSETS = ("train", "val", "test")
VOID = 11


class CamVid(FileDataset):
    """CamVid in SegNet's layout: train/, trainannot/, val/, valannot/, test/, testannot/ (Brostow et al. 2009).

    Args:
        root: the folder that holds these six folders.
        list_files: subset -> text file with a line "IMAGE LABEL" per frame; the last two parts of each path are looked
            up in `root`. None uses every PNG of the six folders.
        download: whether to fetch the public archive into `root` if `root` does not exist yet.
        url: the zip archive to fetch.
        sha256: the checksum that its contents must have, see `download.content_sha256`.

    Raises:
        RalsegError: if a folder, a list or a label is missing, two images share a name, or the download fails.
    """

    name = "camvid"
    classes = tuple(CAMVID)
    colors = colors_of(CAMVID)
    unit_size = (90, 80)
    label_ids = label_table(list(range(len(CAMVID))), (VOID,))

    def __init__(
        self,
        root: str | Path,
        list_files: Mapping[str, str | Path] | None = None,
        download: bool = False,
        url: str = CAMVID_URL,
        sha256: str = CAMVID_SHA256,
    ):
        root = expanded(root)
        if download and not root.exists():
            download_camvid(root, url, sha256)
        if not root.is_dir():
            raise RalsegError(
                f"{root}: no such folder; set dataset.root to CamVid, or dataset.download=true to fetch it"
            )
        self.identity = str(root.resolve())
        if list_files is None:
            pairs = {subset: _pairs_of_folder(root, subset) for subset in SUBSETS}
        else:
            pairs = {subset: _pairs_of_list(root, Path(path)) for subset, path in list_files.items()}
        self.files = {}
        for image, label in (pair for subset in pairs.values() for pair in subset):
            if image.stem in self.files:
                raise RalsegError(
                    f"{image}: {self.files[image.stem][0]} has the same name; an image belongs to one subset"
                )
            self.files[image.stem] = (image, label)
        self.names = tuple(sorted(self.files))
        self.subsets = {subset: tuple(sorted(image.stem for image, _ in found)) for subset, found in pairs.items()}
        self.groups = {name: name.split("_")[0] for name in self.names}


def _pairs_of_folder(root: Path, subset: str) -> list[tuple[Path, Path]]:
    folder = root / subset
    images = sorted(folder.glob("*.png"))
    if not images:
        raise RalsegError(f"{folder}: no PNG images; {root} must hold SegNet's CamVid (train/, trainannot/, val/, ...)")
    return [paired(image, root / f"{subset}annot" / image.name) for image in images]


def _pairs_of_list(root: Path, path: Path) -> list[tuple[Path, Path]]:
    lines = [line.split() for line in read_text(path, "correct dataset.list_files").splitlines()]
    pairs = []
    for number, parts in enumerate(lines, 1):
        if len(parts) not in (0, 2):
            raise RalsegError(
                f"{path}, line {number}: expected 'IMAGE LABEL', found {len(parts)} words; correct the line"
            )
        if parts:
            pairs.append(paired(*(_within(root, part, f"{path}, line {number}") for part in parts)))
    if not pairs:
        raise RalsegError(f"{path}: the list is empty; give a line 'IMAGE LABEL' per frame")
    return pairs


def _within(root: Path, listed: str, where: str) -> Path:
    """The file that a list means: its last two parts, FOLDER/NAME.png, below the root."""
    parts = PurePosixPath(listed).parts[-2:]
    if len(parts) < 2 or {"..", "/"} & {*parts}:
        raise RalsegError(f"{where}: {short(listed)} does not end in a folder and a file of {root}; correct the line")
    return root.joinpath(*parts)
