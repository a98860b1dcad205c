"""Companyfacts documents: the quick reading equals the careful one on every real file, and is quick."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from data_plane.observations import Filing, Malformed
from data_plane.sources.edgar import companyfacts
from data_plane.sources.http import BodyMalformed, json_object

LARGE = 2_000_000
LONG_AGO = date(1990, 1, 1)


@pytest.fixture(scope="module")
def documents(shared_data: Path) -> dict[str, bytes]:
    """Real documents by file name."""
    return {
        path.name: gzip.decompress(path.read_bytes()) for path in (shared_data / "sec" / "companyfacts").glob("*.gz")
    }


def test_both_ways_of_reading_say_the_same_of_real_documents(documents: dict[str, bytes]) -> None:
    assert len(documents) >= 9
    for name, body in documents.items():
        for since in (LONG_AGO, date(2018, 1, 1))[len(body) > LARGE :]:
            quick = companyfacts._typed("X", body, {}, since)
            careful = companyfacts.parse_facts("X", json_object("edgar", name, body), {}, since, 0)
            assert quick == careful, name
            assert companyfacts.parse("X", name, body, {}, since, 0) == careful
    assert sum(len(filing.facts) for filing in quick if isinstance(filing, Filing)) > 0


def test_documents_are_decoded_faster_than_by_the_standard_library(documents: dict[str, bytes]) -> None:
    """A ratio of the same run: absolute times are the machine's."""
    if sys.gettrace() is not None:
        pytest.skip("a tracer counts each line of ours, and none of the standard library's C")

    largest = sorted(documents.values(), key=len)[-3:]

    def seconds(read: Callable[[bytes], object]) -> float:
        began = time.process_time()
        for body in largest:
            read(body)
        return time.process_time() - began

    # By turns, so that what else the machine does weighs on both.
    pairs = [
        (seconds(json.loads), seconds(lambda body: companyfacts._typed("X", body, {}, LONG_AGO))) for _ in range(5)
    ]
    standard, ours = (min(column) for column in zip(*pairs, strict=True))
    assert ours < standard / 1.2


DOCUMENT = {
    "cik": 1,
    "facts": {
        "us-gaap": {
            "Assets": {
                "units": {
                    "USD": [
                        {"end": "2017-12-30", "val": 5, "accn": "a", "filed": "2018-02-02", "form": "10-Q", "fy": None},
                        {"end": "2017-12-30", "val": "many", "accn": "b", "filed": "2018-02-03", "form": "10-Q"},
                        {"end": "", "val": 5, "accn": "d", "filed": "2018-02-05", "form": "10-Q"},
                        {"end": "2017-13-30", "val": 5, "accn": "c", "filed": "2018-02-04", "form": "10-Q"},
                    ]
                }
            },
            "SomethingElse": "of any shape",
        }
    },
}


def test_one_value_of_another_shape_leaves_the_others_alone() -> None:
    found = companyfacts.parse("X", "url", json.dumps(DOCUMENT).encode(), {}, LONG_AGO, 7)
    assert [item.detail[:1] for item in found if isinstance(item, Malformed)] == ["b", "c", "d"]
    (good,) = [item for item in found if isinstance(item, Filing) and item.facts]
    assert good.accession == "a"
    assert good.facts[0].value == 5.0
    assert good.facts[0].fiscal_year == 0


def test_what_is_no_document_is_told() -> None:
    with pytest.raises(BodyMalformed, match="url is not JSON"):
        companyfacts.parse("X", "url", b'{"cik": 1', {}, LONG_AGO, 7)
    with pytest.raises((KeyError, TypeError, AttributeError)):
        companyfacts.parse("X", "url", b'{"cik": 1}', {}, LONG_AGO, 7)
