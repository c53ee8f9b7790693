"""Prints the table at the end of tests/run: test, seconds, result, and for what did not run, why.

    report.py RESULTS JUNIT ONLY

RESULTS is a directory of tests/run's: `steps` has a line "name, seconds, result" for each step, `list` what
cargo-nextest lists of all tests, `not-run` a line "test, reason" for each test whose needs the host does not meet, and
`not-run.expected` the same for what is no fault of the host. JUNIT is cargo-nextest's report. ONLY is `true` where the
user named the tests.

Exit code 0: all passed. 1: something failed. 3: all that ran passed, but something that should have run did not.
"""

import json
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

PROGRAMS = ("fam-build::plain", "fam-build::full")


def lines(path):
    """The fields of each line of a file with tabs between them; none if the file is not there."""
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def result_of(case):
    """How a test of cargo-nextest's ended."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "FAILED"
    tries = len(case.findall("flakyFailure")) + len(case.findall("flakyError"))
    return f"passed at try {tries + 1}" if tries else "passed"


def rows_of_tests(report):
    """A row for each integration test, and one for the unit tests of each crate."""
    rows, crates = [], {}
    for suite in report.iter("testsuite"):
        for case in suite.iter("testcase"):
            seconds, result = float(case.get("time", 0)), result_of(case)
            name = suite.get("name")
            if name in PROGRAMS:
                rows.append((f"{name.removeprefix('fam-build::')} {case.get('name')}", seconds, result))
            else:
                crates.setdefault(name, []).append((case.get("name"), seconds, result))
    for name, cases in sorted(crates.items()):
        failed = [case for case, _, result in cases if result == "FAILED"]
        result = f"FAILED: {', '.join(failed)}" if failed else "passed"
        rows.append((f"unit tests of {name} ({len(cases)})", sum(seconds for _, seconds, _ in cases), result))
    return rows, sum(len(cases) for cases in crates.values())


def main():
    results, junit, only = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "true"
    rows = [(name, float(seconds), "FAILED" if result == "failed" else result)
            for name, seconds, result in lines(results / "steps")]
    ran, count_of_unit_tests = rows_of_tests(xml.parse(junit)) if junit.exists() else ([], 0)
    rows += sorted(ran)
    names = {name for name, _, _ in ran}

    skipped = dict(lines(results / "not-run"))
    not_run = []
    listed = json.loads((results / "list").read_text()) if (results / "list").stat().st_size else {"rust-suites": {}}
    for suite in listed["rust-suites"].values():
        program = suite["binary-id"].removeprefix("fam-build::")
        for name, test in suite["testcases"].items():
            if test["ignored"]:
                not_run.append((f"{program} {name}", skipped.get(name, "ignored")))
            elif program == "full" and (name := f"full {name}") not in names:
                not_run.append((name, "only with tests/run --full"))
    missing = [row for row in not_run if not row[1].startswith("only with")]
    not_run += [tuple(row) for row in lines(results / "not-run.expected")]
    if only:
        not_run, missing = [], []

    width = max((len(row[0]) for row in rows + not_run), default=0)
    print(f"\n{'test':<{width}}  {'seconds':>7}  result")
    for name, seconds, result in rows:
        print(f"{name:<{width}}  {seconds:>7.1f}  {result}")
    for name, reason in sorted(not_run):
        print(f"{name:<{width}}  {'':>7}  not run: {reason}")
    failed = [row for row in rows if row[2].startswith("FAILED")]
    passed = len(rows) - len(failed) + max(count_of_unit_tests - 1, 0)
    for name, _, _ in failed:
        print(f"FAILED: {name}")
    print(f"\n{passed} passed, {len(failed)} failed, {len(not_run)} skipped")
    sys.exit(1 if failed else 3 if missing else 0)


main()
