"""A source file as rows of prose and code, side by side.

A row begins where the author began to explain: at a full-line comment, or at a class or function that has a docstring;
also at each class or function of the module itself. The comment or docstring is the prose; the code up to the next
explanation stands beside it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from html import escape

from pygments import lex
from pygments.lexers import PythonLexer
from pygments.token import STANDARD_TYPES, Token

from scripts.site.prose import prose

_DOCUMENTED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Comments for tools, not for readers.
_DIRECTIVE = re.compile(r"#\s*(noqa|type:|fmt:|ruff:|pragma|!)")


@dataclass
class Row:
    """Prose (docstring and comment text) beside code (line numbers of the file, counted from 1)."""

    prose: list[str] = field(default_factory=list)
    code: list[int] = field(default_factory=list)


def _comment_lines(source: str) -> dict[int, str]:
    """Text of each line that is nothing but a comment."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        alone = token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
        if alone and not _DIRECTIVE.match(token.string):
            found[token.start[0]] = re.sub(r"^#+:? ?", "", token.string)
    return found


def _first_line(node: ast.AST) -> int:
    """The line where a definition begins, with its decorators."""
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _docstrings(tree: ast.Module) -> tuple[dict[int, tuple[int, str]], dict[int, int]]:
    """Docstrings: {first line: (last line, text)}, and {first line of a documented definition: its docstring's}."""
    texts, owners = {}, {}
    for node in ast.walk(tree):
        if not isinstance(node, (*_DOCUMENTED, ast.Module)) or ast.get_docstring(node) is None:
            continue
        statement = node.body[0]
        texts[statement.lineno] = (statement.end_lineno, ast.get_docstring(node))
        if isinstance(node, _DOCUMENTED) and statement.lineno > node.lineno:
            owners[_first_line(node)] = statement.lineno
    return texts, owners


def rows(source: str) -> tuple[str, list[Row]]:
    """The module docstring and the rows of a file. Raises SyntaxError where the file is not Python."""
    tree = ast.parse(source)
    comments, (texts, owners) = _comment_lines(source), _docstrings(tree)
    lines = source.splitlines()
    module = ast.get_docstring(tree) or ""
    inside_string = {  # a line within a string may look empty or like a comment, but belongs to the code
        n
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for n in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
    }
    tops = {_first_line(node) for node in tree.body if isinstance(node, _DOCUMENTED)}
    found = [Row()]
    number = 1
    while number <= len(lines):
        if number in texts:
            number = texts[number][0] + 1  # its words are already in the row of its owner, or in the module's head
            continue
        if number in comments:
            row = Row()
            block = []
            while number in comments:
                block.append(comments[number])
                number += 1
            row.prose.append("\n".join(block))
            found.append(row)
            if number in owners:
                row.prose.append(texts[owners[number]][1])
                row.code.append(number)
                number += 1
            continue
        if number in owners:
            found.append(Row(prose=[texts[owners[number]][1]]))
        elif number in tops:
            found.append(Row())
        if lines[number - 1].strip() or number in inside_string or found[-1].code:
            found[-1].code.append(number)
        number += 1
    for row in found:
        while row.code and not lines[row.code[-1] - 1].strip():
            row.code.pop()
    return module, [row for row in found if row.code or row.prose]


def _css_class(kind) -> str:
    """Pygments' short class of a token, which the theme colours; none for what has the text's own colour."""
    if kind is Token.Name or kind in Token.Text or kind in Token.Punctuation:
        return ""
    while kind not in STANDARD_TYPES:
        kind = kind.parent
    return STANDARD_TYPES[kind]


def highlighted(source: str) -> list[str]:
    """Each line of a Python source as HTML with the short class names that the theme colours."""
    lines = [""]
    for kind, value in lex(source, PythonLexer(stripnl=False)):
        name = _css_class(kind)
        for i, part in enumerate(value.split("\n")):
            if i:
                lines.append("")
            if part:
                text = escape(part)
                lines[-1] += f'<span class="{name}">{text}</span>' if name else text
    return lines


def annotated(source: str) -> tuple[str, str]:
    """HTML of the module docstring's body (its first line is the page's title) and of all rows."""
    module, found = rows(source)
    lines = highlighted(source)
    parts = []
    for row in found:
        words = "".join(prose(text) for text in row.prose)
        code = "\n".join(lines[n - 1] for n in row.code)
        number = row.code[0] if row.code else 0
        anchor = f' id="L{number}"' if number else ""
        mark = f'<a class="line" href="#L{number}" aria-label="line {number}">{number}</a>' if number else ""
        block = f'<div class="highlight"><pre tabindex="0"><code>{code}</code></pre></div>' if row.code else ""
        bare = "" if words else " bare"
        parts.append(
            f'<div class="row{bare}"{anchor}><div class="prose">{mark}{words}</div>'
            f'<div class="code">{block}</div></div>'
        )
    about = prose(module.partition("\n")[2].strip("\n"))
    return about, f'<section class="annotated">{"".join(parts)}</section>'
