"""Documents of a provider that a run could not use: what it loaded is then not all, however well the rest went."""

from __future__ import annotations

from data_plane.daemon.backfill_job import Job
from data_plane.observations import Malformed

TOLD = 5
"""Documents that are named; the others are counted."""
_BODY = "BODY_"
"""How the codes of whole documents that cannot be read begin; a single row leaves the others of its document alone."""


class UnusableDocuments:
    """Of one run."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._why: dict[str, None] = {}

    def add(self, why: str) -> None:
        """One more, in a sentence that names it."""
        self._why[why] = None

    def learn(self, observation: Malformed) -> None:
        """Something that could not be read: a whole document counts."""
        if observation.code.startswith(_BODY):
            self.add(observation.detail)

    def found(self) -> list[str]:
        """What they are and what to do about them; empty where there are none."""
        if not self._why:
            return []
        whys, name = list(self._why), self._job.source.name
        more = [f"and {len(whys) - TOLD} more"] if len(whys) > TOLD else []
        remedy = "the same line again loads it once the provider has mended it"
        if self._job.reread:
            remedy = f"`triplane data backfill --source {name}` fetches anew what the provider still has"
        return [*whys[:TOLD], *more, remedy]
