"""Write a checkpoint of guided-diffusion as safetensors with diffusers' names.

python -m ralseg.segmentation.sources.convert_diffusion 256x256_diffusion_uncond.pt adm.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from ralseg.foundation import RalsegError, atomic_write, expanded
from ralseg.segmentation.networks import read_tensors
from ralseg.segmentation.sources.guided_diffusion import Layout, converted


def convert(checkpoint: str | Path, file: str | Path, layout: Layout | None = None) -> None:
    """Write a checkpoint of guided-diffusion as safetensors, which `source.file` then names.

    Memory holds the tensors two or three times meanwhile, 7 GB for a released network.

    Args:
        checkpoint: a torch file of tensors, or safetensors; nothing is unpickled.
        file: ends in .safetensors.
        layout: the sizes of the network; None for the released ones.

    Raises:
        RalsegError: if the checkpoint is missing, damaged, or of another network, or the file cannot be written.
    """
    if expanded(file).suffix != ".safetensors":
        raise RalsegError(f"{file}: must end in .safetensors, by which it is known when it is read")
    data = save(converted(read_tensors(checkpoint), layout or Layout(), checkpoint), {"format": "pt"})
    with atomic_write(expanded(file)) as opened:
        opened.write(data)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        "convert_diffusion", description="Write a checkpoint of guided-diffusion as safetensors with diffusers' names."
    )
    parser.add_argument("checkpoint", help="256x256_diffusion_uncond.pt, lsun_bedroom.pt or another of the same sizes")
    parser.add_argument("file", help="a new file, which source.file then names; ends in .safetensors")
    arguments = parser.parse_args(argv)
    try:
        convert(arguments.checkpoint, arguments.file)
    except RalsegError as error:
        print(f"convert_diffusion: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
