"""What YAML's parser says, in words for the person who wrote the file: where something began, and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import yaml

COLON = "a text with ': ' inside needs quotes, and the keys of one block begin in one column"
CONFLICT = re.compile(r"(<{7}|={7}|>{7})( |$)")
SPACES = re.compile("[\u00a0\u2000-\u200b\u202f\u3000\uff1a]")
"""Spaces and a colon that only look like those of YAML."""
CLOSED_BY = {"[": "]", "{": "}"}
BEGAN, FOUND = "context_mark", "problem_mark"
RULES: tuple[tuple[str, str, str, str], ...] = (
    ("quoted scalar", "end of stream", BEGAN, "the quote {char} that opens here is not closed"),
    ("", "escape", FOUND, "in double quotes a backslash begins a code such as \\n; use single quotes, or write \\\\"),
    ("", "tab character", FOUND, "a tab; indent with spaces"),
    ("flow", "", BEGAN, "the {char} that opens here is not closed by {closing}"),
    ("single document", "", FOUND, "a second document begins here (---); write one per file"),
    ("", "document start", FOUND, "text after the end of the document; write one document per file"),
    ("", "undefined alias", FOUND, "an alias of an anchor (&) that is not in this file; {quote}"),
    ("alias", "", BEGAN, "{quote}"),
    ("duplicate anchor", "", FOUND, "an anchor (&) of this name is in the file already; give it another name"),
    ("anchor", "", BEGAN, "{quote}"),
    ("", "cannot start any token", FOUND, "{quote}"),
    ("", "node content", FOUND, "{quote}"),
    ("", " tag", FOUND, "a tag that is not known; {quote}"),
    ("", "for merging", FOUND, "<< takes a mapping, as in <<: *name"),
    ("", "mapping values", FOUND, "a colon that does not belong here: {colon}"),
    ("", "sequence entries", FOUND, "a list begins on a line of its own; a text that begins with '- ' needs quotes"),
    ("", "expected ':'", BEGAN, "a key without ': ' and a value"),
)  # fmt: skip
"""Part of the parser's context, part of its problem, which of its two places to look at, and what to say about it."""


class Mistake(yaml.MarkedYAMLError):
    """YAML that can be parsed, yet cannot be meant; `problem` is a sentence for people."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)
        self.line = mark.line + 1


def explain_syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line to look at, from 1, and what is wrong there."""
    if not isinstance(error, yaml.MarkedYAMLError):  # the text cannot be YAML, whatever it says
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        where = found.start() if found else 0
        line = text.count("\n", 0, where) + 1
        return line, f"has the control character U+{ord(text[where]):04X}" if found else "cannot be read"
    if isinstance(error, Mistake):
        return error.line, str(error.problem)
    lines = [*text.splitlines(), ""]
    at = error.problem_mark.line if error.problem_mark else 0
    for number in range(
        max(at - 1, 0), min(at + 1, len(lines))
    ):  # a key without a colon ends in the next line
        if foreign := _foreign(lines[number]):
            return number + 1, f"is not YAML: {foreign}"
    for context, problem, place, message in RULES:
        mark = getattr(error, place) or error.problem_mark
        if context in (error.context or "") and problem in (error.problem or "") and mark:
            char = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
            if char == "\t":
                return _at(mark, "a tab; indent with spaces")
            if "flow" in context and (opened := _unclosed(text)):
                mark, char = opened.start_mark, text[opened.start_mark.index]
            quote = f"a text that begins with {char!r} needs quotes" if char.strip() else "a value is missing"
            closing = CLOSED_BY.get(char, "its counterpart")
            return _at(mark, message.format(char=char, closing=closing, quote=quote, colon=COLON))
    if error.problem_mark is None:
        return 1, f"is not YAML: {error.problem}"
    if "block" in (error.context or ""):
        return _out_of_block(text, error.problem_mark)
    return _at(error.problem_mark, str(error.problem))


def _foreign(line: str) -> str:
    """What git or a word processor has left in a line, which is not YAML; "": nothing."""
    if CONFLICT.match(line):
        return "a merge conflict that git marked: keep one of the two sides, without the marks"
    if sign := SPACES.search(line):
        return f"the character U+{ord(sign[0]):04X}, which only looks like a space or a colon; write that instead"
    return ""


def _unclosed(text: str) -> yaml.Token | None:
    """The last [ or { that nothing closes."""
    opened: list[yaml.Token] = []
    for token in _tokens(text):
        if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
            opened.append(token)
        elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
            if CLOSED_BY[text[opened[-1].start_mark.index]] != text[token.start_mark.index]:
                break
            opened.pop()
    return opened[-1] if opened else None


def _tokens(text: str) -> Iterator[yaml.Token]:
    """The tokens up to the first mistake."""
    with suppress(yaml.YAMLError):
        yield from yaml.scan(text, Loader=yaml.SafeLoader)


def _at(mark: yaml.Mark, message: str) -> tuple[int, str]:
    return mark.line + 1, f"is not YAML: column {mark.column + 1}: {message}"


def _out_of_block(text: str, at: yaml.Mark) -> tuple[int, str]:
    """A line that does not belong to the block it stands in: often a quote was opened and closes too late."""
    last = None
    for token in _tokens(text):
        if token.end_mark.line > at.line:
            break
        if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
            if token.start_mark.line < token.end_mark.line:
                closes = token.end_mark.line + 1
                return _at(
                    token.start_mark, f"the quote {token.style} that opens here closes in line {closes} only"
                )
            last = token
    if last and last.end_mark.line == at.line and last.end_mark.column <= at.column:
        return _at(
            last.start_mark,
            f"text after the closing quote {last.style}; quote the whole text, and write a quote inside of it twice",
        )
    return _at(at, "the indentation does not fit the lines above: keys of one block begin in one column")
