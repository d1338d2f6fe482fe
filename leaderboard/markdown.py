"""Events and boards as Markdown tables. Foreign text is written so that no sign of it is markup anywhere."""

from collections.abc import Iterable, Sequence

from leaderboard.columns import columns_of
from leaderboard.events import Event
from leaderboard.ranking import Board
from leaderboard.tables import event_cells, event_columns, event_title, title
from leaderboard.text import inert
from leaderboard.view import View

FURTHER = ("at most", "id")
LEFT = ("submitter", "id", "notes")
PLAIN = " ,-'()%="  # beside letters and digits; in the middle of a table's cell these mean nothing
CELL_WIDTH = 200


def escaped(text: str) -> str:
    """Text that is read as it stands: every sign that could begin markup, HTML or a link becomes a reference to it."""
    return "".join(
        char if not char.isascii() or char.isalnum() or char in PLAIN else f"&#{ord(char)};"
        for char in inert(text, CELL_WIDTH)
    )


def figure(text: str) -> str:
    """A cell that is not foreign: numbers keep their points."""
    return text if text.replace(",", "").replace(".", "").replace("/", "").isalnum() else escaped(text)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first two columns are a rank and a name."""
    lines = [headers, [":--" if name in LEFT else "--:" for name in headers]]
    lines += [[figure(place), escaped(name), *map(figure, cells)] for place, name, *cells in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def board_lines(board: Board, view: View) -> str:
    """A board with all entries."""
    columns = columns_of(board.entries, board.by, is_wide=False, further=FURTHER)
    rows = [[column.cell(entry, view) for column in columns] for entry in board.entries]
    return f"## {escaped(title(board))}\n\n{table([column.name for column in columns], rows)}"


def event_lines(event: Event, view: View) -> str:
    """An event with all places."""
    name, formula = event_title(event)
    rows = [event_cells(place, event, view) for place in event.places]
    return f"## {escaped(name)}\n\nScore: {escaped(formula)}.\n\n{table(event_columns(event), rows)}"


def problem_lines(view: View) -> list[str]:
    """Files that are not on the board."""
    if not view.problems:
        return []
    rows = ["| " + " | ".join(map(escaped, problem)) + " |" for problem in view.problems]
    head = "## Not on the board\n\n| file | code | reason |\n| :-- | :-- | :-- |"
    return ["\n".join([head, *rows])]


def to_markdown(view: View) -> str:
    """The whole leaderboard."""
    parts = [event_lines(event, view) for event in view.events]
    parts += [board_lines(board, view) for board in view.boards]
    return "\n\n".join(["# Leaderboard", *parts, *problem_lines(view)]) + "\n"
