"""Label the most useful regions of your own images: `query_regions.py COMMAND FOLDER`, or `ralseg-query`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ not in ("__main__", "__mp_main__", "ralseg.query_regions"):
    raise ImportError("import ralseg.query_regions: under the name query_regions it would be another module")

EXAMPLES = """
  ralseg-query init streets --demo                  a project of drawn streets, to try it
  ralseg-query init photos --classes road,sky,tree --images ~/photos
  ralseg-query label photos                         choose a round and label it in the browser
  ralseg-query export photos --to cvat              or label it in CVAT, Label Studio or another tool (COCO, PNG)
  ralseg-query import photos cvat annotations.xml
  ralseg-query train photos                         train on all labels so far
  ralseg-query status photos                        what it costs, how good it is, what to do next
  ralseg-query predict photos                       label maps and overlays of all images
  ralseg-query recommend ~/photos --budget 100      which kind of acquisition suits these images, and why

Every command can be interrupted; run again, it goes on.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The door; returns the exit status: 0, 2 for bad input (which one line explains), or 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    from ralseg.annotation import commands
    from ralseg.foundation import RalsegError
    from ralseg.foundation.torchrun import started
    from ralseg.segmentation.devices import single_thread

    single_thread()
    try:
        if started() > 1:
            raise RalsegError("torchrun is for train_agent and evaluate_policy; start query_regions.py without it")
        match arguments.command:
            case "init":
                names = [name.strip() for name in (arguments.classes or "").split(",") if name.strip()]
                commands.init(arguments.folder, names, arguments.images, arguments.demo, arguments.settings)
            case "query":
                commands.query(arguments.folder)
            case "label":
                commands.label(arguments.folder, not arguments.no_browser, arguments.port, arguments.train)
            case "export":
                commands.export(arguments.folder, arguments.to, arguments.out)
            case "import":
                commands.import_(arguments.folder, arguments.format, arguments.file, arguments.skip_rest)
            case "train":
                commands.train_(arguments.folder)
            case "status":
                commands.status(arguments.folder)
            case "predict":
                commands.predict(arguments.folder, arguments.out)
            case "recommend":
                commands.recommend(arguments.folder, arguments.budget)
    except RalsegError as error:
        print(f"query_regions: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nquery_regions: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    formats = ("cvat", "label-studio", "coco", "png")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ralseg-query", description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, folder: str = "the project's folder") -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("folder", type=Path, nargs="?", default=Path("ralseg-project"), help=folder)
        return made

    init = command("init", "make a project of a folder with images/ and classes.yaml")
    init.add_argument("--images", type=Path, help="a folder of images elsewhere, which is linked")
    init.add_argument("--classes", help="names of the classes with commas between, if there is no classes.yaml")
    init.add_argument("--demo", action="store_true", help="draw images of streets to try it on")
    init.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                      help="change a setting of configs/query_regions.yaml, e.g. --set per_round=50")  # fmt: skip
    command("query", "choose the units of the next round")
    label = command("label", "open the page on which the round is labelled")
    label.add_argument("--port", type=int, help="another port than the project's own")
    label.add_argument("--no-browser", action="store_true", help="print the address alone")
    label.add_argument("--train", action="store_true",
                       help="train when a round is done, and go on with the next one in the same page")  # fmt: skip
    export = command("export", "write the round for another tool")
    export.add_argument("--to", choices=formats, required=True, help="the tool")
    export.add_argument("--out", type=Path, help="where to; default: exports/ in the project")
    import_ = command("import", "read the labels that another tool gave back")
    import_.add_argument("format", choices=formats, help="the tool")
    import_.add_argument("file", type=Path, help="the file, or for png the folder")
    import_.add_argument("--skip-rest", action="store_true", help="ask no more for the units that it leaves out")
    command("train", "train on all labels so far")
    command("status", "what it costs, how good it is, what to do next")
    predict = command("predict", "write label maps and overlays of all images")
    predict.add_argument("--out", type=Path, help="where to; default: predictions/ in the project")
    recommend = command("recommend", "say which kind of acquisition suits a folder of images, and why",
                        "a folder of images, or one with images/, as a project has")  # fmt: skip
    recommend.add_argument("--budget", type=int, help="how many images will be labelled in the end; default: a tenth")
    return parser


if __name__ == "__main__":
    sys.exit(main())
