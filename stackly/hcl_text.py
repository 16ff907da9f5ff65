"""Text rules of HCL that need no grammar: brackets, escapes, heredocs."""

import re

# Brackets in strings and comments nest nothing. What hides inside an interpolation meets the parser's own limit.
# What never ends is taken to the end: looked for anew at each beginning, it would cost the square of the file.
_SKIPPED = re.compile(r'"(?:\\.|[^"\\\n])*(?:"|(?=\n)|\\?\Z)|\#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z)|[\[\](){}]', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_MAX_CODE = 0x10FFFF


def depth_problem(text: str, limit: int) -> tuple[int, int] | None:
    """Line and column of the first bracket nested deeper than `limit`."""
    depth = 0
    for found in _SKIPPED.finditer(text):
        mark = found.group()
        if mark in ("[", "(", "{"):
            depth += 1
        elif mark in ("]", ")", "}"):
            depth -= 1
        if depth > limit:
            at = found.start()
            return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return None


def unescape(raw: str) -> tuple[str, str]:
    """The text a quoted string means, and the first escape that HCL does not know (empty when all are known)."""
    wrong = ""

    def one(found: re.Match[str]) -> str:
        nonlocal wrong
        word = found.group(1)
        if word in _SIMPLE:
            return _SIMPLE[word]
        code = int(word[1:], 16) if len(word) > 1 else _MAX_CODE + 1
        if code <= _MAX_CODE and not 0xD800 <= code <= 0xDFFF:
            return chr(code)
        wrong = wrong or found.group()
        return ""

    return _ESCAPE.sub(one, raw), wrong


def heredoc(token: str) -> str:
    """The lines between the markers, last newline kept as Terraform keeps it; `<<-` takes the common indent away."""
    first, *rest = token.replace("\r\n", "\n").rstrip("\n").split("\n")
    lines = rest[:-1]
    if first.startswith("<<-"):
        indents = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip()]
        cut = min(indents, default=0)
        lines = [line[cut:] for line in lines]
    return "".join(line + "\n" for line in lines)
