"""A worker process of the workload: threads and event loop tasks that run turns on one stack."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import Any

from rag_chain.testing.chats import Chat, open_chat
from rag_chain.testing.jobs import Job, Place, Stored
from rag_chain.testing.model import WorkloadModel
from rag_chain.testing.operations import OperationLog
from rag_chain.testing.plan import Actor, Shape, Step, make_plan, question_of

_REST_SECONDS = 0.02
_LINGER_SECONDS = 35.0


def work(job: Job) -> None:
    """Run all steps of a worker, then wait until all entries of its sessions are replayed to the server."""
    log = OperationLog(Path(job.log), job.worker)
    chat = open_chat(job.history, Place(**job.place), WorkloadModel(log=log, pause=job.model_pause))
    shape = Shape(**job.shape)
    actors = [_rest(actor, job.begun.get(actor.name, 0)) for actor in make_plan(shape)[job.worker]]
    worker = _Worker(job, chat, log, shape.seed)
    threads = [threading.Thread(target=worker.run, args=(actor,)) for actor in actors if not actor.is_task]
    tasks = [actor for actor in actors if actor.is_task]
    if tasks:
        threads.append(threading.Thread(target=lambda: asyncio.run(worker.arun(tasks))))
    for thread in threads:
        thread.start()
    worker.watch(lambda: any(thread.is_alive() for thread in threads))
    sessions = {step.session for actor in actors for step in actor.steps}
    _revisit(chat, sessions)
    waiting = _linger(chat, sessions)
    chat.close()
    log.write("ended", waiting=waiting)


def read_back(job: Job, sessions: list[str], seconds: float) -> dict[str, Stored]:
    """Return the sessions as a new process reads them, after waiting for replays."""
    log = OperationLog(Path(job.log), "reader")
    chat = open_chat(job.history, Place(**job.place), WorkloadModel(log=log))
    found = {}
    _linger(chat, sessions, seconds)
    for session in sessions:
        try:
            found[session] = chat.read(session)
        except Exception as error:  # noqa: BLE001 - any stack may raise anything; the report shows it
            found[session] = Stored(error=f"{type(error).__name__}: {str(error)[:200]}")
    chat.close()
    return found


class _Worker:
    def __init__(self, job: Job, chat: Chat, log: OperationLog, seed: int) -> None:
        self._job = job
        self._chat = chat
        self._log = log
        self._seed = seed
        self._children: list[int] = []
        self._looking = threading.Lock()

    def run(self, actor: Actor) -> None:
        """Run the steps of a thread."""
        for step in actor.steps:
            time.sleep(step.pause)
            begun = self._log.write("begun", actor=actor.name, turn=step.turn, erases=step.is_erasure)
            try:
                claim = self._take(step)
            except Exception as error:  # noqa: BLE001 - whatever a stack raises is the result for its caller
                self._raised(step, begun, error)
                time.sleep(_REST_SECONDS)
                continue
            self._done(step, begun, claim)
            if claim and self._is_audited(step):
                self._audit(step, claim)

    async def arun(self, actors: list[Actor]) -> None:
        """Run the steps of all tasks of the event loop."""
        await asyncio.gather(*(self._arun(actor) for actor in actors))

    async def _arun(self, actor: Actor) -> None:
        for step in actor.steps:
            await asyncio.sleep(step.pause)
            begun = self._log.write("begun", actor=actor.name, turn=step.turn, erases=step.is_erasure)
            try:
                claim = await self._atake(step)
            except Exception as error:  # noqa: BLE001 - see above
                self._raised(step, begun, error)
                await asyncio.sleep(_REST_SECONDS)
                continue
            self._done(step, begun, claim)
            if claim and self._is_audited(step):
                await asyncio.to_thread(self._audit, step, claim)

    def watch(self, goes_on: Callable[[], bool]) -> None:
        """Execute orders until the work is done, then wait for forked children."""
        order = Path(self._job.control) / self._job.worker
        sampled = 0.0
        while goes_on():
            if order.exists():
                text = order.read_text(encoding="utf-8").split()
                order.unlink()
                self._fork() if text[0] == "fork" else self._set_clock(float(text[1]))
            if self._job.sample and time.monotonic() - sampled > self._job.sample:
                sampled = self._log.write("memory", rss=_resident_bytes())
            time.sleep(0.005)
        for child in self._children:
            os.waitpid(child, 0)

    def _take(self, step: Step) -> str:
        """Run a step; return how the stack claims to have stored the turn; empty if cancelled, or not a turn."""
        chat, config = self._chat, self._chat.config_of(step.session)
        if step.is_erasure:
            chat.erase(step.session)
            return ""
        value = chat.input_of(question_of(step.turn))
        if step.way == "invoke":
            return chat.claim_of(chat.runnable.invoke(value, config))
        stream: Any = chat.runnable.stream(value, config)
        with closing(stream):
            pieces = self._read(step, stream)
        return "" if pieces is None else chat.claim_of(pieces)

    def _read(self, step: Step, stream: Iterator[Any]) -> Any:
        last: Any = None
        for place, chunk in enumerate(stream):
            if step.cancel_after is not None and place >= step.cancel_after:
                return None
            last = chunk
        return last if last is not None else {}

    async def _atake(self, step: Step) -> str:
        chat, config = self._chat, self._chat.config_of(step.session)
        if step.is_erasure:
            await asyncio.to_thread(chat.erase, step.session)
            return ""
        value = chat.input_of(question_of(step.turn))
        if step.way == "ainvoke":
            return chat.claim_of(await chat.async_runnable.ainvoke(value, config))
        last: Any = {}
        stream: Any = chat.async_runnable.astream(value, config)
        async with aclosing(stream) as chunks:
            place = 0
            async for chunk in chunks:
                if step.cancel_after is not None and place >= step.cancel_after:
                    return ""
                last, place = chunk, place + 1
        return chat.claim_of(last)

    def _done(self, step: Step, begun: float, claim: str) -> None:
        op = "erased" if step.is_erasure else "answered" if claim else "cancelled"
        self._log.write(op, turn=step.turn, since=round(begun, 6), claim=claim)

    def _raised(self, step: Step, begun: float, error: Exception) -> None:
        text = f"{type(error).__name__}: {str(error)[:160]}"
        self._log.write("raised", turn=step.turn, since=round(begun, 6), error=text)

    def _is_audited(self, step: Step) -> bool:
        chance = random.Random(f"{self._seed} {step.turn}").random()  # noqa: S311 - a repeatable choice
        return chance < self._job.audit

    def _audit(self, step: Step, claim: str) -> None:
        with self._looking:
            holds = self._chat.holds(step.session, step.turn, claim)
        if holds is not None:
            self._log.write("audited", turn=step.turn, claim=claim, holds=holds)

    def _fork(self) -> None:
        """Fork a child that runs a few turns on the same stack."""
        # The audit uses SQLite too: a fork during it would leave a lock held in the child forever.
        with self._looking:
            child = os.fork()
        if child:
            self._children.append(child)
            return
        code = 1
        try:
            steps = make_plan(Shape(**self._job.shape))[self._job.worker][0].steps
            sessions = list(dict.fromkeys(step.session for step in steps))[:3]
            name = f"{self._job.worker}f"
            turns = [Step(f"{session}.{name}.{n}", session, "invoke") for n in range(3) for session in sessions]
            self.run(Actor(name, False, tuple(turns)))
            if self._chat.async_runnable is self._chat.runnable:
                turns = [Step(f"{session}.{name}a.0", session, "ainvoke") for session in sessions]
                asyncio.run(self.arun([Actor(f"{name}a", True, tuple(turns))]))
            _linger(self._chat, sessions)
            code = 0
        finally:
            os._exit(code)

    def _set_clock(self, seconds: float) -> None:
        """Move this process's wall clock ahead (or back) by replacing Python's clock functions."""
        now, now_ns = time.time, time.time_ns
        time.time = lambda: now() + seconds
        time.time_ns = lambda: now_ns() + int(seconds * 1e9)


def _rest(actor: Actor, begun: int) -> Actor:
    return Actor(actor.name, actor.is_task, actor.steps[begun:])


def _revisit(chat: Chat, sessions: Iterable[str]) -> None:
    """Read each session once more, as users do who return to the same process."""
    for session in sessions:
        with suppress(Exception):
            chat.read(session)


def _linger(chat: Chat, sessions: Iterable[str], seconds: float = _LINGER_SECONDS) -> list[str]:
    """Wait until no entries wait for the server, as in a process that lives on; return sessions whose entries do."""
    deadline = time.monotonic() + seconds
    left = list(sessions)
    while left and time.monotonic() < deadline:
        with suppress(Exception):
            left = [session for session in left if chat.waits(session)]
        if left:
            time.sleep(0.1)
    return left


def _resident_bytes() -> int:
    import psutil  # only for load tests

    return int(psutil.Process().memory_info().rss)
