#!/usr/bin/python3
"""Prints `PASSED FAILED` of test output. usage: count-results.py tap|regress|junit FILE..."""

import pathlib
import re
import sys
import xml.etree.ElementTree


def count_tap(text):
    """Top-level `ok` lines; a skipped test or one marked as known to fail is neither."""
    passed = failed = 0
    for line in text.splitlines():
        found = re.match(r"(not )?ok\b", line)
        if not found or re.search(r"#\s*(skip|todo)\b", line, re.IGNORECASE):
            continue
        if found[1]:
            failed += 1
        else:
            passed += 1
    return passed, failed


def count_regress(text):
    """The lines of pg_regress and pg_isolation_regress: `test NAME ... ok`, or FAILED."""
    passed = len(re.findall(r"^(?:test)?\s+\S+\s+\.\.\. ok\b", text, re.MULTILINE))
    failed = len(re.findall(r"^(?:test)?\s+\S+\s+\.\.\. FAILED\b", text, re.MULTILINE))
    return passed, failed


def count_junit(text):
    """What pytest and GoogleTest write as XML."""
    passed = failed = 0
    for case in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is None and case.get("status") != "notrun":
            passed += 1
    return passed, failed


def main():
    counters = {"tap": count_tap, "regress": count_regress, "junit": count_junit}
    count = counters[sys.argv[1]]
    passed = failed = 0
    for name in sys.argv[2:]:
        one = count(pathlib.Path(name).read_text(encoding="utf-8", errors="replace"))
        passed, failed = passed + one[0], failed + one[1]
    print(passed, failed)


main()
