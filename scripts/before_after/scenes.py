"""The scenes. Each does something to real processes, reads the outcome from Redis and checks its claims."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from before_after.processes import ChatProcess
from before_after.scene import Scene, whole
from before_after.stage import Stage
from rag_chain import RedisSessionManager, Settings
from rag_chain.conversation.timing import STAGES
from rag_chain.errors import SessionExpiredError, SessionNotFoundError

FIRST = "How long is a session kept?"
FOLLOW_UP = "Which variable changes that?"
EXPECTED = "RAG_SESSION_TTL"


def restart(stage: Stage, scene: Scene) -> None:
    """Play the restart: the same conversation in both modes, whose processes are then killed.

    A new process gets a follow-up question that has no meaning without the conversation before.
    """
    session = stage.session("restart")
    before, after = stage.process("before"), stage.process("after")
    stage.prepare("before", "after")
    for question in ("What happens to a broken file?", FIRST):
        stage.ask_both(scene, before, after, session, question)
    stage.event(scene, f"kill -9 {before.pid} {after.pid}: both processes are gone, two new ones start")
    before.kill()
    after.kill()
    before, after = stage.process("before"), stage.process("after")
    lost, kept = stage.ask_both(scene, before, after, session, FOLLOW_UP)
    reader = stage.reader(session)
    stored = reader.turns(show=2)
    scene.figures |= {
        "turns_before_kill": 2, "known_before": lost["known"] / 2, "known_after": kept["known"] / 2,
        "messages": reader.count(), "ttl_seconds": reader.ttl(), "bytes": reader.bytes(), "turns": 3,
    }  # fmt: skip
    scene.checks += [
        ("before: the new process knows nothing, and the follow-up question misses its answer",
         lost["known"] == 0 and EXPECTED not in lost["answer"]),
        (f"after: the new process knows both turns and answers with {EXPECTED}",
         kept["known"] == 4 and EXPECTED in kept["answer"]),
        ("after: Redis holds three whole turns, each once", len(stored) == 6 and whole(stored)),
    ]  # fmt: skip
    scene.proof += reader.proof
    stage.release(before, after)


def expiry(stage: Stage, scene: Scene) -> None:
    """Play the expiry, with a short time to live: an unused session is removed, and each use renews its time."""
    ttl = 4 if stage.fast else 8
    settings = {"RAG_SESSION_TTL": str(ttl)}
    session = stage.session("expiry")
    stage.prepare("before", "after", **settings)
    before, after = stage.process("before", **settings), stage.process("after", **settings)
    stage.ask_both(scene, before, after, session, FIRST)
    reader = stage.reader(session)
    existed = reader.exists()
    stage.event(scene, f"idle for half of the {ttl} seconds, then one more question")
    _wait(lambda: reader.left() <= ttl / 2)
    left = reader.ttl()
    _, used = stage.ask_both(scene, before, after, session, FOLLOW_UP)
    renewed = reader.ttl()
    stage.event(scene, f"idle for more than {ttl} seconds")
    _wait(lambda: reader.left() < 0)
    time.sleep(ttl / 4)
    gone = not reader.exists()
    manager = RedisSessionManager(Settings(redis_url=stage.redis_url, journal_path=None, session_ttl=ttl))
    try:
        found = _describe(manager, session), _describe(manager, session + "-never-was")
    finally:
        manager.close()
    reader.proof += [("get_session(ID)", found[0]), ("get_session(another ID)", found[1])]
    late = stage.ask_both(scene, before, after, session, FOLLOW_UP)
    scene.figures |= {"ttl_seconds": ttl, "left_before_use": left, "left_after_use": renewed}
    scene.checks += [
        (f"the turn in between renewed the time: {left:.1f} s were left, then {renewed:.1f} s",
         existed and left <= ttl / 2 < renewed and used["known"] == 2),
        ("after the idle time Redis holds no key of the session; nobody had to clean up", gone),
        ("an expired session is distinguished from one that never existed",
         found == ("SessionExpiredError", "SessionNotFoundError")),
        ("neither mode claims to remember", late[0]["known"] == late[1]["known"] == 0),
    ]  # fmt: skip
    scene.proof += reader.proof


def servers(stage: Stage, scene: Scene) -> None:
    """Play a load balancer: one server answers the first question, another gets the follow-up."""
    session = stage.session("servers")
    stage.prepare("before", "before", "after", "after")
    pairs = [(stage.process("before"), stage.process("after")) for _ in range(2)]
    (before, after), (other_before, other_after) = pairs
    stage.event(scene, f"server A gets the question: processes {before.pid} and {after.pid}")
    stage.ask_both(scene, before, after, session, "What is FAISS?")
    stage.event(scene, f"server B gets the follow-up: processes {other_before.pid} and {other_after.pid}")
    lost, kept = stage.ask_both(scene, other_before, other_after, session, "Which licence does it have?")
    reader = stage.reader(session)
    stored = reader.turns(show=4)
    scene.figures |= {"understood_before": int(lost["known"] > 0), "understood_after": int(kept["known"] > 0)}
    scene.checks += [
        ("before: the second server does not know the session, and names no licence",
         lost["known"] == 0 and "MIT" not in lost["answer"]),
        ("after: the second server knows what 'it' is, and names the MIT licence",
         kept["known"] == 2 and "MIT" in kept["answer"]),
        ("after: one list in Redis holds both servers' turns", len(stored) == 4 and whole(stored)),
    ]  # fmt: skip
    scene.proof += reader.proof
    stage.release(before, after, other_before, other_after)


def outage(stage: Stage, scene: Scene) -> None:
    """Play the outage: Redis is killed in the middle of a conversation, then the chat process; then Redis returns.

    The mode before uses no Redis, so this scene shows only the mode after.
    """
    session, server = stage.session("outage"), stage.server()
    settings = {"REDIS_URL": server.url, "RAG_JOURNAL_PATH": str(stage.folder / "outage.sqlite3")}
    first = stage.process("after", **settings)
    stage.prepare("after", **settings)

    turns = [stage.ask(scene, first, session, "What is FAISS?")]
    stage.event(scene, f"kill -9 {server.pid}: Redis is gone")
    server.kill()
    turns.append(stage.ask(scene, first, session, "Is Faiss written in Python?"))
    stage.event(scene, f"kill -9 {first.pid}: the chat process is gone too, while Redis is still down")
    first.kill()
    second = stage.process("after", **settings)
    turns.append(stage.ask(scene, second, session, "Who develops it?"))
    stage.event(scene, "Redis is started again, with its append-only file")
    begun = time.monotonic()
    server.start()
    reader = stage.reader(session, server.url)
    _wait(lambda: len(reader.turns()) == 6)
    seconds = time.monotonic() - begun
    turns.append(stage.ask(scene, second, session, "How long does a call to Redis take at most?"))
    stored = reader.turns(show=8)
    reader.count()
    reader.ttl()
    asked = [one["text"] for one in stored if one["type"] == "human"]
    during = turns[1:3]
    scene.figures |= {
        "asked_during": len(during), "answered_during": sum(bool(turn["answer"]) for turn in during),
        "journaled": sum(turn["persistence"] == "journaled" for turn in during),
        "replay_seconds": seconds, "in_redis": len(asked),
    }  # fmt: skip
    scene.checks += [
        ("every question was answered while Redis was down, and each answer said 'journaled'",
         all(turn["answer"] and turn["persistence"] == "journaled" for turn in during)),
        (f"{seconds:.1f} s after its start Redis held the turns that it had missed", seconds < _PATIENCE),
        ("Redis holds all four turns, each once and in the order in which they were asked",
         whole(stored) and asked == [str(turn["question"]) for turn in turns]),
        ("turns are durable again", turns[-1]["persistence"] == "durable"),
    ]  # fmt: skip
    scene.proof += reader.proof
    second.kill()


def writers(stage: Stage, scene: Scene) -> None:
    """Play concurrent writers: two servers write into one session, as with two open browser windows."""
    count = 4 if stage.fast else 12
    session = stage.session("writers")
    stage.prepare("before", "before", "after", "after")
    processes = [stage.process("before"), stage.process("before"), stage.process("after"), stage.process("after")]
    stage.event(scene, f"two servers in each mode take {count} questions each, concurrently")

    def hold(process: ChatProcess) -> list[int]:
        return [process.ask(session, FIRST if n % 2 else FOLLOW_UP)["known"] for n in range(count)]

    with ThreadPoolExecutor(2) as pool:
        known = [list(pool.map(hold, pair)) for pair in (processes[:2], processes[2:])]
    reader = stage.reader(session)
    messages, stored = reader.count(), reader.turns()
    reader.proof.append(("turn ids in the list, in order", " ".join(one["turn"][:4] for one in stored[::2])))
    in_order = whole(stored)
    scene.figures |= {"turns_asked": 2 * count, "turns_in_redis": len({one["turn"] for one in stored})}
    stage.screen.turns(
        f"each process holds its own {count} turns; after the last one, their prompts had "
        f"{known[0][0][-1]} and {known[0][1][-1]} messages\n",
        f"one list holds {messages // 2} turns; after the last one, their prompts had "
        f"{known[1][0][-1]} and {known[1][1][-1]} messages (the window holds 20)\n",
    )
    scene.steps.append({"known_to_the_last_turns": {"before": [known[0][0][-1], known[0][1][-1]],
                                                    "after": [known[1][0][-1], known[1][1][-1]]}})  # fmt: skip
    scene.checks += [
        ("before: neither process knows the other's turns",
         all(part == [min(2 * n, 20) for n in range(count)] for part in known[0])),
        (f"after: Redis holds all {2 * count} turns of both", messages == 4 * count),
        ("after: turns never interleave: each question is next to its own answer", in_order),
    ]  # fmt: skip
    scene.proof += reader.proof
    stage.release(*processes)


def latency(stage: Stage, scene: Scene) -> None:
    """Play the latency: the same questions to one warm process of each mode, alternately."""
    count = 8 if stage.fast else 40
    session = stage.session("latency")
    stage.prepare("before", "after")
    processes = {"before": stage.process("before"), "after": stage.process("after")}
    took: dict[str, dict[str, list[float]]] = {mode: {"session": [], "total": []} for mode in processes}
    stages: dict[str, list[dict[str, float]]] = {mode: [] for mode in processes}
    for number in range(count + 3):
        for mode, process in processes.items():
            spent = process.ask(session, FIRST)["milliseconds"]
            if number >= 3:  # a process is warm by then
                took[mode]["session"].append(spent["load_history"] + spent["save_turn"])
                took[mode]["total"].append(spent["total"])
                stages[mode].append(spent)
    texts = []
    for mode, spent in took.items():
        kept, total = statistics.median(spent["session"]), statistics.median(spent["total"])
        worst = statistics.quantiles(spent["session"], n=20)[-1]
        scene.figures |= {f"session_ms_{mode}": kept, f"session_p95_ms_{mode}": worst, f"total_ms_{mode}": total}
        texts.append(f"{kept:.2f} ms to read and save the session ({worst:.2f} ms at the 95th percentile) "
                     f"of {total:.0f} ms in total")  # fmt: skip
        for name in STAGES:
            scene.figures[f"{name}_ms_{mode}"] = statistics.median(one[name] for one in stages[mode])
    stage.screen.turns(texts[0], texts[1])
    scene.figures["turns"] = count
    reader = stage.reader(session)
    messages = reader.count()
    scene.checks.append((f"after: every one of {count + 3} turns is in Redis", messages == 2 * (count + 3)))
    scene.proof += reader.proof
    stage.release(*processes.values())


SCENES: dict[str, tuple[str, Callable[[Stage, Scene], None]]] = {
    "restart": ("The process is killed", restart),
    "expiry": ("Nobody uses the session", expiry),
    "servers": ("A second server continues", servers),
    "outage": ("Redis is killed, and comes back", outage),
    "writers": ("Two servers write at once", writers),
    "latency": ("What it costs", latency),
}

_PATIENCE = 15.0


def play(stage: Stage, name: str, number: int) -> Scene:
    """Play one scene and show it."""
    title, scene_of = SCENES[name]
    scene = Scene(name, title)
    stage.screen.scene(number, title, " ".join((scene_of.__doc__ or "").split()))
    if name != "outage":
        stage.screen.columns()
    begun = time.monotonic()
    scene_of(stage, scene)
    scene.seconds = round(time.monotonic() - begun, 2)
    stage.screen.closing(scene)
    return scene


def _describe(manager: RedisSessionManager, session: str) -> str:
    try:
        return f"{manager.get_session(session).messages} messages"
    except (SessionExpiredError, SessionNotFoundError) as error:
        return type(error).__name__


def _wait(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most ``_PATIENCE`` seconds."""
    until = time.monotonic() + _PATIENCE
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
