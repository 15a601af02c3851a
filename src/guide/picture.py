#!/usr/bin/env python3
"""Draws what a command prints on a terminal, as SVG.

usage: picture.py FIRST LAST TITLE COMMAND ARGUMENT... > FILE

The command gets a pseudo terminal for its standard output, so that it prints colors. Of more than FIRST + LAST
lines the first and the last are drawn. Understands SGR (colors, bold, faint, underline), and needs only Python.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from html import escape

WIDTH, LINE, MARGIN, BAR = 8.4, 19, 16, 36
COLUMNS = 120
BACKGROUND, FOREGROUND = "#1e1f29", "#d8dae5"
COLORS = ["#5c6370", "#ef6b73", "#8fce72", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dae5"]
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|\r")


def output(command):
    """What the command writes to a terminal of COLUMNS columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, COLUMNS, 0, 0))
    environment = dict(os.environ, TERM="xterm-256color", COLUMNS=str(COLUMNS))
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    octets = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux reports the end of a pseudo terminal as EIO.
            break
        if not piece:
            break
        octets += piece
    status = process.wait()
    if status:
        sys.exit(f"{' '.join(command)}: exit code {status}")
    return octets.decode()


class Style:
    """The attributes of the text that follows."""

    def __init__(self):
        self.color, self.bold, self.faint, self.underline = None, False, False, False

    def change(self, numbers):
        numbers = [int(number or 0) for number in numbers.split(";")]
        while numbers:
            number = numbers.pop(0)
            if number == 0:
                self.__init__()
            elif number == 1:
                self.bold = True
            elif number == 2:
                self.faint = True
            elif number == 4:
                self.underline = True
            elif number == 22:
                self.bold = self.faint = False
            elif 30 <= number <= 37:
                self.color = COLORS[number - 30]
            elif 90 <= number <= 97:
                self.color = COLORS[number - 90]
            elif number == 39:
                self.color = None
            elif number in (38, 48):
                del numbers[: 2 if numbers[:1] == [5] else 4]

    def svg(self):
        words = []
        if self.color:
            words.append(f'fill="{self.color}"')
        if self.bold:
            words.append('font-weight="bold"')
        if self.faint:
            words.append('opacity="0.6"')
        if self.underline:
            words.append('text-decoration="underline"')
        return " ".join(words)


def lines(text):
    """Each line as pieces: (column, text, style in SVG)."""
    style, result = Style(), []
    for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"):
        pieces, column, last = [], 0, 0

        def piece(part):
            nonlocal column
            if part.strip():
                blank = len(part) - len(part.lstrip(" "))
                pieces.append((column + blank, part.strip(" "), style.svg()))
            column += len(part)

        for match in SEQUENCE.finditer(line):
            piece(line[last : match.start()])
            last = match.end()
            if match.group(2) == "m":
                style.change(match.group(1))
        piece(line[last:])
        result.append(pieces)
    return result


def draw(title, rows):
    """The picture."""
    width = 2 * MARGIN + WIDTH * max(
        [COLUMNS] + [column + len(text) for row in rows for column, text, _ in row]
    )
    height = BAR + MARGIN + LINE * len(rows)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img"'
        f' aria-label="{escape(title)}" font-family="ui-monospace, Menlo, Consolas, monospace"'
        f' font-size="14" fill="{FOREGROUND}" xml:space="preserve">'
    )
    yield f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>'
    for place, color in enumerate(["#ef6b73", "#e5c07b", "#8fce72"]):
        yield f'<circle cx="{20 + 18 * place}" cy="18" r="6" fill="{color}"/>'
    yield f'<text x="50%" y="23" text-anchor="middle" opacity="0.7">{escape(title)}</text>'
    for number, row in enumerate(rows):
        y = BAR + MARGIN + LINE * number
        for column, text, style in row:
            # The length keeps columns in line, whatever the font.
            x, length = MARGIN + WIDTH * column, WIDTH * len(text)
            yield (
                f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"'
                f"{' ' + style if style else ''}>{escape(text)}</text>"
            )
    yield "</svg>"


def main(arguments):
    if len(arguments) < 4:
        sys.exit(__doc__)
    first, last, title, command = int(arguments[0]), int(arguments[1]), arguments[2], arguments[3:]
    rows = lines(output(command))
    if len(rows) > first + last:
        rows[first : len(rows) - last] = [[(0, "...", 'opacity="0.6"')]]
    print("\n".join(draw(title, rows)))


main(sys.argv[1:])
