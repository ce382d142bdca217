"""What is kept of the jobs that calls queue, and whether a call repeats one of them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice, takewhile

from comfyui_pipeline import job_records, job_results, prompt_ids
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.engine.protocol import Engine, Job
from comfyui_pipeline.errors import EngineError, QueuedBefore
from comfyui_pipeline.job_records import JobRecord, JobRecords
from comfyui_pipeline.job_results import ResultFile
from comfyui_pipeline.outputs import ResultOutput
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.changes import Origin
from input_server.atomic import file_lock
from input_server.light_dataclasses import replace

MAX_AGE_SECONDS = 6 * 3600.0
"""An older job of the same call is not looked for in the queue."""
MAX_LOOKED_UP = 3


def records(settings: Settings) -> JobRecords:
    """The jobs that this installation queued at the configured server."""
    return job_records.records_for(
        settings.cache_dir, settings.base_url, embedded=settings.embedded
    )


def remember(context: CallContext, ready: PreparedJob, prompt_id: str) -> None:
    """Keep a job that the server has just accepted under this id."""
    records(context.settings).add(
        prompt_id, ready.name, job_id=context.call.job_id, digest=_digest(ready)
    )


def remember_results(settings: Settings, prompt_id: str, outputs: Iterable[ResultOutput]) -> None:
    """Keep which files of this machine an answer names, for calls that take them as inputs."""
    files = [ResultFile(o.path, o.kind, o.preview) for o in outputs if o.path]
    if files:
        job_results.keep(records(settings), prompt_id, files)


def with_running_twin(context: CallContext, ready: PreparedJob) -> PreparedJob:
    """The job, with a sentence for the first lines when the same one is queued or running already.

    It happens when the answer to the first call was lost. Only jobs of this installation count, so
    that the queue is requested for these alone.
    """
    known = records(context.settings)
    alike = islice(known.of_digest(_digest(ready)), MAX_LOOKED_UP)
    recent = takewhile(lambda record: _age(record) < MAX_AGE_SECONDS, alike)
    looked_up = [
        record
        for record in recent
        if record.process != os.getpid() and not job_results.is_kept(known, record.prompt_id)
    ]
    if not looked_up:
        return ready
    try:
        queue = context.engine.queue_state()
    except EngineError:  # the server may still take the job
        return ready
    for record in looked_up:
        if queue.find(record.prompt_id) is None:
            continue
        state = "running" if queue.is_running(record.prompt_id) else "queued"
        sentence = (
            f"The same call is {state} already, since {max(1, round(_age(record)))} s, as prompt id "
            f"{record.prompt_id}: {_command('result', record.prompt_id)} returns its result. This "
            "call has queued another job."
        )
        return replace(ready, important=(sentence, *ready.important))
    return ready


def first_job(call: ToolCall, settings: Settings, engine: Engine) -> str | None:
    """The prompt id of the job that was queued under the call's ``job_id`` before; None for none.

    Raises what the server raises.
    """
    known = [r for r in records(settings).newest_first() if r.job_id == call.job_id]
    ids = dict.fromkeys([r.prompt_id for r in known] + [prompt_ids.of_job_id(call.job_id)])
    return next((i for i in list(ids)[:MAX_LOOKED_UP] if engine.state(i).stage != "unknown"), None)


@contextmanager
def one_at_a_time(context: CallContext, job: Job) -> Iterator[None]:
    """Queue the job of a caller's ``job_id`` here, so that calls at the same time queue only one.

    ComfyUI takes a second prompt under an id that it has. The lock ends with the process that holds
    it. Raises QueuedBefore where another call has queued the job.
    """
    call, settings = context.call, context.settings
    folder = records(settings).folder
    if not call.job_id or folder is None or job.prompt_id != prompt_ids.of_job_id(call.job_id):
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(folder / f"job-id-{job.prompt_id[:2]}"))
        except OSError as error:
            print(f"no lock in {folder.name}: {error.strerror}", file=sys.stderr)
        first = first_job(call, settings, context.engine)
        if first is not None:
            raise QueuedBefore(first)
        yield


def _digest(ready: PreparedJob) -> str:
    random = frozenset(
        (change.target.node.id, change.target.name)
        for change in ready.changes
        if change.origin is Origin.RANDOM_SEED
    )
    return job_records.digest(ready.job.prompt, random)


def _age(record: JobRecord) -> float:
    return time.time() - record.at


def _command(name: str, prompt_id: str) -> str:
    command: Mapping[str, str] = {"command": name, "prompt_id": prompt_id}
    return json.dumps(command)
