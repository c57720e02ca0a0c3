#!/usr/bin/python3
"""Checks the sources for the project's rules, as TAP: what a compiler or a formatter does not see.

Needs nothing but Python, so that it also runs among the tests.
"""

import hashlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = 120
CODE = (".cpp", ".hpp", ".sql", ".py", ".pl", ".pm", ".sh", ".spec")
NAME = r"sync\.([a-z][a-z0-9_]*)"
PARTS = ["src", "sql", "test", "scripts", "demo", "bench", "cmake"]


def files(*folders, suffixes=CODE):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "expected" not in path.parts:
                yield path


def where(path, text, position):
    return f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, position) + 1}"


def matches(paths, pattern, flags=re.MULTILINE):
    """Places where the pattern stands in the files."""
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        hits = re.finditer(pattern, text, flags)
        found += [f"{where(path, text, hit.start())}: {hit[0].strip()}" for hit in hits]
    return found


def without_comments(text):
    """SQL with the text of line comments blanked; positions stay."""
    return re.sub(r"--[^\n]*", lambda hit: " " * len(hit[0]), text)


def schema():
    return [(path, without_comments(path.read_text(encoding="utf-8"))) for path in files("src/schema")]


def adopts_objects():
    """A plain CREATE fails on an object that somebody planted; these would adopt it."""
    adopting = r"^\s*CREATE\s+OR\s+REPLACE\b|\bIF\s+NOT\s+EXISTS\s+(?!\()"
    pattern = re.compile(adopting, re.IGNORECASE | re.MULTILINE)
    return [f"{where(path, text, hit.start())}: {hit[0].strip()}"
            for path, text in schema() for hit in pattern.finditer(text)]


def awaits_in_conditions():
    """GCC 12 miscompiles them: the frame of the coroutine that is waited for is destroyed twice."""
    pattern = r"\b(?:if|while|for|switch) \([^;{]*co_await[^;{]*|(?:&&|\|\||\?) *!?co_await\b.*"
    return matches(files("src", suffixes=(".cpp", ".hpp")), pattern)


def routines():
    """(place, kind, name, head): the head of each routine of the script is all but its body."""
    start = re.compile(r"^CREATE\s+(FUNCTION|PROCEDURE)\s+sync\.([a-z_][a-z0-9_]*)", re.MULTILINE)
    for path, text in schema():
        for hit in start.finditer(text):
            rest = text[hit.start():]
            body = re.search(r"\$([a-z_]*)\$.*?\$\1\$", rest, re.DOTALL)
            end = rest.find(";", body.end()) if body and body.start() < rest.find(";") else rest.find(";")
            head = rest[:end]
            if body and body.start() < end:
                head = rest[:body.start()] + rest[body.end():end]
            yield where(path, text, hit.start()), hit[1], hit[2], head


def unpinned_definers():
    pinned = re.compile(r"SET\s+search_path\s*(=|TO)\s*pg_catalog\s*,\s*pg_temp\b", re.IGNORECASE)
    return [f"{place}: {name}" for place, _, name, head in routines()
            if re.search(r"SECURITY\s+DEFINER", head, re.IGNORECASE) and not pinned.search(head)]


def uncommented():
    whole = "\n".join(text for _, text in schema())
    missing = []
    for place, kind, name, _ in routines():
        if not name.startswith("_") and not re.search(rf"COMMENT\s+ON\s+{kind}\s+sync\.{name}\b", whole):
            missing.append(f"{place}: {kind.lower()} {name}")
    for path, text in schema():
        for hit in re.finditer(rf"^CREATE\s+(TABLE|VIEW)\s+{NAME}", text, re.MULTILINE):
            if not re.search(rf"COMMENT\s+ON\s+{hit[1]}\s+sync\.{hit[2]}\b", whole):
                missing.append(f"{where(path, text, hit.start())}: {hit[1].lower()} {hit[2]}")
    return missing


def not_for_core():
    foreign = "postgres|fmgr|utils/|libpq|curl/|extension/|executor/|process/|gateway/|connectors/|notify/|chrono>"
    includes = rf'^\s*#\s*include\s*[<"]({foreign})[^\n]*'
    clocks = r"\b(std::time|gettimeofday|clock_gettime)\b"
    return matches(files("src/core"), includes) + matches(files("src/core"), clocks)


def not_for_connectors():
    foreign = "postgres|fmgr|libpq|curl/|extension/|executor/|process/|gateway/|notify/"
    return matches(files("src/connectors"), rf'^\s*#\s*include\s*[<"]({foreign})[^\n]*')


def not_for_notify():
    foreign = "postgres|fmgr|libpq|curl/|extension/|executor/|process/|gateway/"
    foreign += "|fstream>|chrono>|sys/|openssl/(ssl|bio|rand)"
    clocks = r"\b(std::time|gettimeofday|clock_gettime)\b"
    includes = rf'^\s*#\s*include\s*[<"]({foreign})[^\n]*'
    return matches(files("src/notify"), includes) + matches(files("src/notify"), clocks)


def undocumented_options(program):
    """Options of the program that the table of its page lacks; hidden ones are for tests."""
    documented = (ROOT / f"docs/{program}.md").read_text(encoding="utf-8")
    spec = re.compile(r'OptionSpec\{\s*"([a-z-]+)",\s*"[^"]*",\s*"[^"]*",\s*"[^"]*"[^,]*,\s*\w+,\s*false\b')
    sources = [path.read_text(encoding="utf-8") for path in files(f"src/{program}", suffixes=(".cpp",))]
    names = [name for text in sources for name in spec.findall(text)]
    return [f"--{name}" for name in names if f"| `--{name}" not in documented] or ([] if names else ["no option found"])


def headers_without_guard():
    return [str(path.relative_to(ROOT)) for path in files("src", "test", suffixes=(".hpp",))
            if "#pragma once" not in path.read_text(encoding="utf-8")]


def untidy_text():
    found = matches(files(*PARTS), r"^.*\t.*$") + matches(files(*PARTS), r"^.*[ \r]+$")
    for path in files(*PARTS):
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            found.append(f"{path.relative_to(ROOT)}: no newline at the end")
    return found


def long_lines():
    paths = list(files(*PARTS, suffixes=(".py",)))
    return [f"{path.relative_to(ROOT)}:{number}: {len(line)} columns" for path in paths
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if len(line) > COLUMNS]


def unfinished():
    own = pathlib.Path(__file__).resolve()
    words = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3])
    return matches((path for path in files(*PARTS) if path != own), rf"\b({words})\b[^\n]*")


def broken_python():
    found = []
    for path in files(*PARTS, suffixes=(".py",)):
        try:
            compile(path.read_text(encoding="utf-8"), str(path), "exec")
        except SyntaxError as error:
            found.append(f"{path.relative_to(ROOT)}:{error.lineno}: {error.msg}")
    return found


def changed_releases():
    """A released script that changes makes the update from it start at something else than databases have."""
    listed = [line.split() for line in (ROOT / "control/released.sha256").read_text(encoding="utf-8").splitlines()]
    return [path for digest, path in listed if hashlib.sha256((ROOT / path).read_bytes()).hexdigest() != digest]


RULES = {
    "the script creates and never adopts": adopts_objects,
    "no co_await in a condition": awaits_in_conditions,
    "SECURITY DEFINER functions pin their search_path": unpinned_definers,
    "public routines, tables and views have a comment": uncommented,
    "src/core knows no server, network or clock": not_for_core,
    "src/connectors does no I/O": not_for_connectors,
    "src/notify does no I/O and reads no clock": not_for_notify,
    "docs/executor.md lists every option": lambda: undocumented_options("executor"),
    "docs/gateway.md lists every option": lambda: undocumented_options("gateway"),
    "headers are included once": headers_without_guard,
    "no tabs, trailing blanks or missing last newlines": untidy_text,
    f"no Python line above {COLUMNS} columns": long_lines,
    "released scripts are what they were": changed_releases,
    "nothing is marked as unfinished": unfinished,
    "Python compiles": broken_python,
}


def main():
    failed = 0
    for rule, check in RULES.items():
        places = check()
        failed += bool(places)
        print(f"{'not ok' if places else 'ok'} - {rule}")
        for place in places[:20]:
            print(f"#   {place}")
        if len(places) > 20:
            print(f"#   and {len(places) - 20} more")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
