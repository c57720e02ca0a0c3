#!/usr/bin/python3
"""Assembles an update script: what differs between a released install script and src/schema, and what a person
wrote.

usage: update-script.py RELEASED.sql STEP.sql SCHEMA.sql... > sync_engine--OLD--NEW.sql
Beside STEP.sql lie begin.sql and tables.sql, which every update script runs: before all else, and before the
functions.

Tables, indexes, routines, views, triggers, comments and privileges that are new, and routines, views,
triggers and comments that have changed, are taken from the schema files; new objects are created plainly, so
that one which somebody planted is refused. STEP.sql holds what cannot be derived: ALTER TABLE, DROP and data,
in two parts that the line AFTER divides. A difference that neither covers is an error. CONTRIBUTING.md says
how to write a step.
"""

import pathlib
import re
import sys

AFTER = "-- after the functions:"
REPEAT = "-- Update scripts repeat this."
TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$"
                   r"|[;(),]|[^;(),'\"$/-]+|.", re.DOTALL)
CREATE = re.compile(r"CREATE\s+(?:UNIQUE\s+)?(\w+)\s+([\w.]+)(?:\s.*?\sON\s+([\w.]+))?", re.DOTALL)
RESULT = r"\s*(?:RETURNS\s+(TABLE\s*\(.*?\)|(?:SETOF\s+)?[\w.]+(?:\s+precision)?(?:\[\])?))?"
GRANT = re.compile(r"(GRANT|REVOKE)\s+(.*?)\s+ON\s+(?:(FUNCTION|PROCEDURE|SEQUENCE|SCHEMA|TABLE)\s+)?(.*?)"
                   r"\s+(?:TO|FROM)\s+(.*)", re.DOTALL)
BULK = re.compile(r"(GRANT|REVOKE)\s+(.*?)\s+ON\s+ALL\s+(FUNCTION|PROCEDURE|SEQUENCE)S\s+IN\s+SCHEMA\s+sync\s+(.*)",
                  re.DOTALL)
ROUTINES = ("FUNCTION", "PROCEDURE")
TYPES = {"int": "integer", "int4": "integer", "int8": "bigint", "bool": "boolean", "float8": "double precision"}


def tokens(text):
    return [hit[0] for hit in TOKEN.finditer(text)]


def statements(text):
    """(statement without its leading comments, those comments)."""
    found, parts, comments = [], [], ""
    for token in tokens(text):
        if token == ";":
            found.append(("".join(parts).strip(), comments))
            parts, comments = [], ""
        elif "".join(parts).strip() or not token.startswith(("--", "/*")):
            parts.append(token)
        else:
            comments += token + "\n"
    rest = "".join(parts).strip()
    if rest:
        sys.exit(f"update-script: no semicolon after {rest[:60]!r}")
    return found


def split(text):
    """Parts between commas that no parenthesis encloses."""
    parts, depth = [""], 0
    for token in tokens(text):
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [" ".join(part.split()) for part in parts if part.strip()]


def arguments(text):
    """What the parenthesis that begins the text holds, and what follows it."""
    depth, inside = 0, ""
    parts = tokens(text)
    for position, token in enumerate(parts):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            return inside[1:], "".join(parts[position + 1:])
        inside += token
    sys.exit(f"update-script: unbalanced parenthesis: {text[:60]!r}")


def type_name(text):
    return " ".join(TYPES.get(word, word) for word in text.lower().split())


class Routine:
    """Names are `sync.f(integer, text)`, as DROP, COMMENT and GRANT write them."""

    def __init__(self, kind, name, text):
        listed, rest = arguments(text[text.index("("):])
        types, shape = [], []
        for argument in split(listed):
            argument = re.split(r"\s+DEFAULT\s|\s*=\s*", argument)[0]
            mode = re.match(r"(INOUT|IN|OUT|VARIADIC)\s+", argument)
            name_and_type = argument[mode.end():] if mode else argument
            mode = mode[1] if mode else "IN"
            shape.append(f"{mode} {name_and_type}")
            if mode != "OUT":
                types.append(type_name(name_and_type.split(None, 1)[1]))
        returned = re.match(RESULT, rest, re.DOTALL)
        self.kind = kind
        self.key = f"{name}({', '.join(types)})"
        # What OR REPLACE cannot change.
        self.shape = (kind, tuple(shape), " ".join((returned[1] or "").split()))


def routine_key(text):
    """The same name from a list of types, or of arguments' types only."""
    name, listed = text.split("(", 1)
    return f"{name.strip()}({', '.join(type_name(part) for part in split(listed.rstrip().removesuffix(')')))})"


class Script:
    """An install script: its objects by name, its comments and its privileges."""

    def __init__(self, text):
        self.order = statements(re.sub(r"^\\.*\n", "", text, flags=re.MULTILINE))
        self.texts = {statement for statement, _ in self.order}
        self.objects, self.routines, self.grants = {}, {}, set()
        for statement, _ in self.order:
            key = self.name_of(statement)
            if key is not None:
                if key in self.objects:
                    sys.exit(f"update-script: {key} is created twice")
                self.objects[key] = statement
            self.grants.update(grants(statement))

    def name_of(self, statement):
        """`table sync.t`, `function sync.f(text)`, `trigger t on sync.t`; None for what creates nothing."""
        hit = CREATE.match(statement)
        if hit is None:
            return None
        kind, name, table = hit[1].lower(), hit[2], hit[3]
        if hit[1] in ROUTINES:
            routine = Routine(kind, name, statement)
            self.routines[f"routine {routine.key}"] = routine
            return f"routine {routine.key}"
        if kind == "trigger":
            return f"trigger {name} on {table}"
        if kind == "index":
            return f"index sync.{name}"
        return f"{kind} {name}"


def grants(statement):
    """(GRANT or REVOKE, privilege, kind, object, role), one each."""
    hit = GRANT.match(statement)
    if hit is None or hit[4].startswith("ALL "):
        return []
    kind = (hit[3] or "TABLE").lower()
    found = []
    for name in split(hit[4]):
        thing = f"routine {routine_key(name)}" if hit[3] in ROUTINES else f"{kind} {name}"
        found += [(hit[1], privilege, kind, thing, role) for role in split(hit[5]) for privilege in single(hit[2])]
    return found


def single(privileges):
    """`SELECT (a, b), INSERT` as `SELECT (a)`, `SELECT (b)`, `INSERT`."""
    for privilege in split(privileges):
        name, _, columns = privilege.partition("(")
        if columns:
            yield from (f"{name}({column})" for column in split(columns.rstrip(" )")))
        else:
            yield name


class Step:
    """What a person wrote."""

    def __init__(self, text):
        before, divider, after = text.partition(f"\n{AFTER}\n")
        if not divider:
            sys.exit(f"update-script: the step has no line {AFTER!r}")
        self.before, self.after = before.strip(), after.strip()
        self.dropped = self.drops(self.before)
        self.gone = self.dropped | self.drops(self.after)
        self.covered = {" ".join(hit.split()) for hit in re.findall(r"^-- covers: (.*)$", text, re.MULTILINE)}
        for statement, _ in statements(before + "\n" + after):
            table = re.match(r"ALTER\s+TABLE\s+(?:ONLY\s+)?([\w.]+)", statement)
            if table:
                self.covered.add(f"table {table[1]}")

    @staticmethod
    def drops(text):
        found = set()
        for statement, _ in statements(text):
            hit = re.match(r"DROP\s+(\w+)\s+(.*)", statement, re.DOTALL)
            if hit is None:
                continue
            kind = hit[1].lower()
            for name in split(hit[2]):
                if hit[1] in ROUTINES:
                    found.add(f"routine {routine_key(name)}")
                elif kind == "trigger":
                    found.add(f"trigger {name.replace(' ON ', ' on ')}")
                else:
                    found.add(f"{kind} {name}")
        return found


def or_replace(statement):
    return re.sub(r"^CREATE\b", "CREATE OR REPLACE", statement)


class Update:
    def __init__(self, old, new, step):
        self.old, self.new, self.step = old, new, step
        self.faults, self.output = [], []
        # Objects that the step leaves for us to create.
        self.fresh = {key for key in new.objects if key not in old.objects or key in step.dropped}

    def emit(self, *lines):
        self.output += [f"{line};" for line in lines]

    def fault(self, text):
        self.faults.append(text)

    def create(self, key, statement):
        if key in self.fresh:
            self.emit(statement)
            return
        if statement == self.old.objects[key]:
            return
        kind = key.split()[0]
        if kind == "routine":
            was, is_now = self.old.routines[key], self.new.routines[key]
            if was.shape != is_now.shape:
                self.fault(f"{key}: its arguments' names or its result changed; DROP it first in the step")
            self.emit(or_replace(statement))
        elif kind in ("view", "trigger"):
            self.emit(or_replace(statement))
        elif key not in self.step.covered:
            means = "ALTER TABLE" if kind == "table" else "a DROP"
            self.fault(f"{key} changed: the step needs {means} or a line '-- covers: {key}'")

    def comment(self, statement):
        hit = re.match(r"COMMENT\s+ON\s+(\w+)\s+(.*?)\s+IS\s", statement, re.DOTALL)
        name = " ".join(hit[2].split()).replace(" ON ", " on ")
        key = f"routine {routine_key(name)}" if hit[1] in ROUTINES else f"{hit[1].lower()} {name}"
        if statement not in self.old.texts or key in self.fresh or key.startswith("column ") and self.fresh_column(key):
            self.emit(statement)

    def fresh_column(self, key):
        relation = key.split()[1].rpartition(".")[0]
        return f"table {relation}" in self.fresh or f"view {relation}" in self.fresh

    def privileges(self, statement):
        bulk = BULK.match(statement)
        if bulk and bulk[3] == "SEQUENCE":
            for name in self.fresh_sequences():
                self.emit(f"{bulk[1]} {bulk[2]} ON SEQUENCE {name} {bulk[4]}")
        elif bulk:
            for key in sorted(self.fresh & set(self.new.routines)):
                if self.new.routines[key].kind == bulk[3].lower():
                    self.emit(f"{bulk[1]} {bulk[2]} ON {bulk[3]} {key.removeprefix('routine ')} {bulk[4]}")
        elif not grants(statement):
            self.fault(f"a privilege that this program cannot read: {statement[:80]!r}")
        wanted = {}
        for grant in grants(statement):
            verb, privilege, kind, thing, role = grant
            # Granting what was granted would add the privileges that others have given since to those that a dump
            # takes for ours and leaves out.
            if grant not in self.old.grants or self.among(thing, self.fresh):
                wanted.setdefault((verb, kind, thing.split(" ", 1)[1], role), []).append(privilege)
        for (verb, kind, name, role), privileges in wanted.items():
            direction = "TO" if verb == "GRANT" else "FROM"
            self.emit(f"{verb} {', '.join(privileges)} ON {kind.upper()} {name} {direction} {role}")

    @staticmethod
    def among(thing, keys):
        """Privileges on a view are those on a table."""
        return thing in keys or thing.replace("table ", "view ", 1) in keys

    def fresh_sequences(self):
        for key in sorted(self.fresh):
            if key.startswith("table "):
                for column in re.findall(r"^\s+(\w+)\s.*\bAS\s+IDENTITY\b", self.new.objects[key], re.MULTILINE):
                    yield f"{key.split()[1]}_{column}_seq"

    def other(self, statement, comments):
        first = " ".join(statement.split()[:3])
        if REPEAT in comments:
            self.emit(statement)
        elif statement not in self.old.texts and first not in self.step.covered:
            self.fault(f"{statement[:80]!r} is new or changed: put its effect and '-- covers: {first}' into the step,"
                       f" or '{REPEAT}' above it")

    def removed(self):
        for key in self.old.objects:
            if key not in self.new.objects and key not in self.step.gone | self.step.covered:
                self.fault(f"{key} is gone: the step needs its DROP")
        for verb, privilege, _, thing, role in sorted(self.old.grants - self.new.grants):
            gone = thing.startswith("routine ") and thing not in self.new.objects or self.among(thing, self.step.gone)
            if not gone and f"grant {thing} {role}" not in self.step.covered:
                self.fault(f"{verb} {privilege} on {thing}, {role} is gone: the step needs the contrary"
                           f" and '-- covers: grant {thing} {role}'")

    def run(self):
        for statement, comments in self.new.order:
            key = self.new.name_of(statement)
            if key is not None:
                self.create(key, statement)
            elif statement.startswith("COMMENT"):
                self.comment(statement)
            elif re.match(r"(GRANT|REVOKE)\b", statement):
                self.privileges(statement)
            else:
                self.other(statement, comments)
        self.removed()
        return self.output


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def main():
    released, step_path, *schema = sys.argv[1:]
    step = Step(read(step_path))
    update = Update(Script(read(released)), Script("\n".join(read(path) for path in schema)), step)
    output = update.run()
    if update.faults:
        for fault in update.faults:
            print(f"{step_path}: {fault}", file=sys.stderr)
        return 1
    print('\\echo Use "ALTER EXTENSION sync_engine UPDATE" to load this file. \\quit')
    beside = pathlib.Path(step_path).parent
    print(read(beside / "begin.sql"), step.before, read(beside / "tables.sql"), *output, step.after, sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
