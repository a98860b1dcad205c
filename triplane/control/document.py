"""`python -m triplane.control.document`: rewrite targets.yaml and docs/configuration.md from the models, keeping edited values.

Values outside what the models allow, and values of parameters that are gone, are given up and named on stderr; parameters that
are new take their default. `--check` writes nothing and ends with 1 when either file is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from triplane.domain.problems import ProblemsError
from triplane.domain.targets import Targets
from triplane.domain.targets.reading import REGENERATE, read, sections
from triplane.domain.targets.writing import page, render
from triplane.runtime import atomic_file


def document(text: str, name: str = "targets.yaml") -> tuple[str, list[str]]:
    """The rewritten targets.yaml, and a sentence for each value of `text` that was given up. An empty text gives the defaults.

    Raises ProblemsError when `text` is not YAML, since nothing could be kept.
    """
    if not text.strip():
        return render(Targets()), []
    reading = read(text, name)
    if not reading.is_yaml:
        raise ProblemsError(reading.problems)
    kept = {full: value for full, value in reading.values.items() if full not in reading.faulty}
    values: dict[str, dict[str, object]] = {group: {} for group in sections()}
    for full, value in kept.items():
        group, _, parameter = full.partition(".")
        values[group][parameter] = value
    targets = Targets.model_validate(values, strict=True)
    # A missing parameter has lost nothing; everything else that is named with a value, or unknown, has.
    lost = [str(problem) for problem in reading.problems if problem.parameter and REGENERATE not in problem.allowed]
    return render(targets, {full: reading.spelled[full] for full in kept}), lost


PAGE = Path("docs/configuration.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m triplane.control.document", description=__doc__)
    parser.add_argument(
        "--targets", type=Path, default=Path("targets.yaml"), help="file to rewrite (default: targets.yaml)"
    )
    parser.add_argument(
        "--page", type=Path, help="page to write (default: docs/configuration.md, in a folder that has docs/)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a file is stale")
    options = parser.parse_args(arguments)
    before = options.targets.read_text(encoding="utf-8") if options.targets.exists() else ""
    try:
        rewritten, lost = document(before, options.targets.name)
    except ProblemsError as error:
        print(error, file=sys.stderr)
        return 1
    for sentence in lost:
        print(f"given up: {sentence}", file=sys.stderr)
    stale = False
    written = [(options.targets, rewritten)]
    if options.page or PAGE.parent.is_dir():  # a user's folder has no pages, and wants none
        written.append((options.page or PAGE, page()))
    for path, text in written:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale = True
            print(f"{path}: {'stale; run python -m triplane.control.document' if options.check else 'rewritten'}")
            if not options.check:
                atomic_file.write(path, text, through_links=True)
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
