"""The files of ``deploy``, read: what the image, Docker Compose and Kubernetes run, and with which environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
IMAGE = "rag_chain"
"""The image that ``deploy/Dockerfile`` makes."""
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS: dict[str, list[dict[str, Any]]] = {
    path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
}
OBJECTS = [one for part in MANIFESTS.values() for one in part]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def read_dockerfile() -> list[list[tuple[str, str]]]:
    """Return the stages of the Dockerfile, each as its instructions and their arguments, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    stages: list[list[tuple[str, str]]] = []
    for line in filter(str.strip, lines):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(rest.split())))
    return stages


def find_all(stage: list[tuple[str, str]], name: str) -> list[str]:
    """Return the arguments of one kind of instruction."""
    return [rest for instruction, rest in stage if instruction == name]


def environment_of(stage: list[tuple[str, str]]) -> dict[str, str]:
    """Return what the ENV instructions of a stage set."""
    return dict(part.split("=", 1) for rest in find_all(stage, "ENV") for part in rest.split())


def find_object(kind: str, name: str) -> dict[str, Any]:
    """Return one object of Kubernetes."""
    return next(one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pod_of(found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the specification of the pods that an object makes; ``None``: it makes none."""
    spec = found.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    pod: dict[str, Any] | None = spec.get("template", {}).get("spec")
    return pod


PODS = {f"{one['kind']} {one['metadata']['name']}": pod for one in OBJECTS if (pod := pod_of(one))}
CONTAINERS = {name: container for name, pod in PODS.items() for container in pod["containers"]}


def read_env_file(path: Path, *, all_lines: bool = False) -> dict[str, str]:
    """Return the variables of an env file; ``all_lines``: those that are commented out too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pattern = re.compile(r"#?([A-Z_]+)=(.*)" if all_lines else r"([A-Z_]+)=(.*)")
    return {match[1]: match[2] for line in lines if (match := pattern.fullmatch(line))}
