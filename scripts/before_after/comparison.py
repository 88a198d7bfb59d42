"""The table at the end: only figures that the scenes of this run measured."""

from __future__ import annotations

from before_after.scene import Scene


def comparison(scenes: list[Scene]) -> list[dict[str, str]]:
    """Return rows of ``aspect``, ``before``, ``after`` for the scenes that were played."""
    played = {scene.name: scene.figures for scene in scenes}
    rows: list[dict[str, str]] = []

    def row(aspect: str, before: str, after: str) -> None:
        rows.append({"aspect": aspect, "before": before, "after": after})

    if figures := played.get("restart"):
        asked = f"{figures['turns_before_kill']:.0f} turns"
        row(
            "Persistence: known after kill -9",
            f"{figures['known_before']:.0f} of {asked}",
            f"{figures['known_after']:.0f} of {asked}",
        )
    if figures := played.get("outage"):
        row(
            "Availability: Redis and then the process are killed",
            "uses no Redis; a killed process loses everything",
            f"{figures['answered_during']:.0f} of {figures['asked_during']:.0f} questions answered meanwhile; "
            f"{figures['in_redis']:.0f} turns in Redis {figures['replay_seconds']:.1f} s after its start",
        )
    if figures := played.get("servers"):
        row(
            "Scaling: a second server understands the follow-up",
            "yes" if figures["understood_before"] else "no",
            "yes" if figures["understood_after"] else "no",
        )
    if figures := played.get("writers"):
        row(
            "Scaling: two servers, one session, at once",
            "two separate histories",
            f"{figures['turns_in_redis']:.0f} of {figures['turns_asked']:.0f} turns in one list, none interleaved",
        )
    if figures := played.get("expiry"):
        row(
            f"Idle for {figures['ttl_seconds']:.0f} s, the time to live",
            "forgotten by the process",
            "keys removed by Redis itself",
        )
    if figures := played.get("restart"):
        row(
            "Memory: where a session lives",
            "in one process",
            f"{figures['bytes'] / figures['turns'] / 1000:.1f} kB per turn in Redis, including answers and citations",
        )
    if figures := played.get("latency"):
        before, after = (
            f"{figures[f'session_ms_{mode}']:.2f} ms for the session, {figures[f'total_ms_{mode}']:.0f} ms in total"
            for mode in ("before", "after")
        )
        row(f"Latency: median of {figures['turns']:.0f} turns", before, after)
    return rows
