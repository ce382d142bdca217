"""Ids of jobs as people and AIs copy them, and the caller's own names for jobs."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from comfyui_pipeline.errors import JobLost
from comfyui_pipeline.job_records import JobRecord, JobRecords

MAX_READ = 2000
LONGEST_ID = 60
"""Characters of a complete id with a label and quotes."""
LISTED = 5
"""Jobs that an error lists."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PART = re.compile(r"[0-9a-f-]{6,36}")
LABEL = r"(?i)(?:prompt|job|task)[ _-]?id\s*[:=]?\s*|id\s*[:=]\s*"
QUOTES = " \t\r\n`'\"*_<>()[]{}.,;:!?…“”‘’«»「」『』【】《》（）。，；：！？、"
LAST_WORDS = (
    "last latest newest recent previous mostrecent lastjob latestjob lastone lastrun current -1 "
    "lastimage lastresult lastoutput lastpicture lastvideo 上一张 上一張 上一张图 "
    "上一个 上一個 最近 最新 最后 最後 最后一个 最後一個 上个 上個 上次 刚才 剛才 刚才的 剛才的 "
    "前一个 前一個"
)
LAST = frozenset(LAST_WORDS.split())


def clean(text: str) -> str:
    """The id in a text: without quotes, brackets, a label or a full stop, a UUID in lower case."""
    text = unicodedata.normalize("NFKC", text[:MAX_READ])
    found: set[str] = set(UUID.findall(text.lower()))
    if len(found) == 1:
        return found.pop()
    text = text.strip(QUOTES)
    if label := re.match(LABEL, text):
        text = text[label.end() :].strip(QUOTES)
    return text


def is_last(text: str) -> bool:
    """Whether a text means the job that was queued last."""
    word = unicodedata.normalize("NFKC", text[:MAX_READ]).strip(QUOTES).lower()
    return re.sub(r"[\s_]|(?<=[a-z])-", "", word).removeprefix("the") in LAST


def may_be_job(text: str) -> bool:
    """Whether a text can name a job where names of other things are expected too."""
    return is_last(text) or is_complete(text)


def is_complete(text: str) -> bool:
    """Whether a text is a complete prompt id, perhaps with a label or quotes."""
    return len(text) < LONGEST_ID and UUID.fullmatch(clean(text)) is not None


def of_job_id(job_id: str) -> str:
    """The prompt id of a job that the caller names ``job_id``: always the same UUID (version 5)."""
    name = f"comfyui-plugin {job_id}".encode("utf-8", "replace")
    return _uuid(hashlib.sha1(name).digest()[:16], 5)  # noqa: S324


def new() -> str:
    """A random prompt id, a UUID of version 4; the module ``uuid`` takes 5 ms to import."""
    return _uuid(os.urandom(16), 4)


def _uuid(octets: bytes, version: int) -> str:
    """The UUID of 16 octets with version and variant set (RFC 9562, section 4)."""
    marked = bytearray(octets)
    marked[6], marked[8] = marked[6] & 0x0F | version << 4, marked[8] & 0x3F | 0x80
    text = marked.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def resolve(prompt_id: str, job_id: str, records: JobRecords) -> str:
    """The prompt id that a call means by its ``prompt_id`` or ``job_id``.

    Raises JobLost for ``last`` where nothing was queued.
    """
    given = prompt_id or job_id
    if is_last(given):
        last = records.last()
        if last is None:
            raise JobLost(
                f"There is no {clean(given)} job: this installation has queued none at this server.",
                'Give the prompt id that "submit" or "run" returned.',
            )
        return last.prompt_id
    cleaned = clean(given)
    return named(given, cleaned, records) or (cleaned if prompt_id else of_job_id(job_id))


def named(given: str, cleaned: str, records: JobRecords) -> str | None:
    """The prompt id of the job that a text names for certain: by a complete id, the caller's own
    name for it, or the beginning of an id that only one known job has.
    """
    if UUID.fullmatch(cleaned):
        return cleaned
    known = records.newest_first()
    if any(record.prompt_id == cleaned for record in known):
        return cleaned
    own = next((record for record in known if record.job_id and record.job_id == given), None)
    if own is not None:
        return own.prompt_id
    if PART.fullmatch(cleaned.lower()):
        begin = {r.prompt_id for r in known if r.prompt_id.lower().startswith(cleaned.lower())}
        if len(begin) == 1:
            return begin.pop()
    return None


def unknown(prompt_id: str, records: JobRecords) -> JobLost:
    """The error for an id that the server does not know; it lists the jobs that were queued last."""
    known = [r for r in records.newest_first()[: LISTED + 1] if r.prompt_id != prompt_id][:LISTED]
    hint = (
        "The id may be mistyped, the job cancelled before it ran, or ComfyUI restarted or its "
        "history cleared. "
        "Look for its files before queueing it again."
    )
    if known:
        hint += f' The last jobs queued here ("last" means the first): {_listed(known)}.'
    return JobLost(f"ComfyUI has no job with the prompt id {prompt_id[:200]!r}.", hint)


def _listed(records: list[JobRecord]) -> str:
    return "; ".join(f"{record.prompt_id} ({record.workflow})" for record in records)
