"""Reading XML of strangers: no document type, no entities, no flood of elements."""

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ralseg.annotation.formats.checks import Place
from ralseg.foundation import RalsegError

DEEPEST = 32
"""Elements within each other; CVAT's files have seven."""
MOST_ELEMENTS = 1_000_000
"""Elements of a file; each takes a hundred times the bytes in memory that `<a/>` takes in the file."""


def tree(data: bytes, place: Place) -> Element:
    """The root element of an XML file.

    Args:
        data: its content.
        place: the file, for the messages.

    Raises:
        RalsegError: if it is not well-formed, has a document type (which alone can define entities), or has too many
            or too deeply nested elements.
    """
    builder, depth, elements = TreeBuilder(), 0, 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > DEEPEST or elements > MOST_ELEMENTS:
            raise place.error(f"more than {DEEPEST} nested or {MOST_ELEMENTS:,} elements")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def document_type(*_: object) -> None:
        raise place.error("a document type (DTD), which annotations do not have and which may hide entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(data, True)
    except RalsegError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        # The last two come from encodings that the file names.
        raise place.error(f"not well-formed XML ({error})") from error
    return builder.close()
