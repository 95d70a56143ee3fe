"""`nox -s bench -- [--quick] [-k WORD]... [--list] [--docs]`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from bench import core, engine, http, start
from bench.cases import Case, Kit
from bench.environments import Environments
from bench.figures import Result
from bench.machine import machine
from bench.page import Report, as_json, page
from bench.plot import picture
from bench.processes import ROOT
from bench.running import measure


def main() -> None:
    """Measure what was asked for and write what came out."""
    options = _options().parse_args()
    folder = Path(os.environ["LOLLMS_BENCH_FOLDER"])
    ollama = os.environ.get("LOLLMS_BENCH_OLLAMA")
    kit = Kit(
        folder,
        Environments(folder, os.environ["LOLLMS_BENCH_PEERS"]),
        Path(os.environ["LOLLMS_BENCH_MODEL"]),
        options.quick,
        Path(ollama) if ollama else None,
        "" if ollama else os.environ.get("LOLLMS_BENCH_NO_OLLAMA") or "no Ollama was given",
    )
    chosen = [case for case in _cases(kit) if all(word in case.name for word in options.k)]
    if options.list or not chosen:
        print("\n".join(case.name for case in _cases(kit)))
        sys.exit(0 if options.list else f"no case has {' and '.join(options.k)} in its name")
    results = [Result(case) if case.missing else measure(case, kit, _tell) for case in chosen]
    whole = not options.quick and not options.k
    target = ROOT / "docs" if whole or options.docs else folder / "report"
    report = Report(
        shlex.join(["nox", "-s", "bench", *(["--", *sys.argv[1:]] if sys.argv[1:] else [])]),
        dt.datetime.now(tz=dt.UTC).date().isoformat(),
        options.quick,
        machine(),
        results,
        {
            result.case.name: f"benchmarks/{result.case.name}.svg"
            for result in results
            if result.case.plot and result.rounds
        },
    )
    _write(report, target)
    print(page(report))
    print(f"written: {target / 'benchmarks.md'}", file=sys.stderr)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: minutes, and rough figures")
    parser.add_argument("-k", action="append", default=[], metavar="WORD", help="only cases with this in their name")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--docs", action="store_true", help="write into docs/, though it is not the whole run")
    return parser


def _cases(kit: Kit) -> list[Case]:
    return [
        *engine.cases(kit),
        *start.cases(kit),
        *core.cases(kit),
        *http.cases(kit),
    ]


def _write(report: Report, folder: Path) -> None:
    """The page, the JSON and the pictures."""
    pictures = folder / "benchmarks"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    for result in report.results:
        if result.case.name in report.pictures:
            (folder / report.pictures[result.case.name]).write_text(picture(result), "utf-8")
    (folder / "benchmarks.md").write_text(page(report), "utf-8")
    (folder / "benchmarks.json").write_text(json.dumps(as_json(report), indent=1) + "\n", "utf-8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
