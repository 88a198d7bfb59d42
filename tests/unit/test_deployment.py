"""What ``deploy`` holds: valid by its schemas, and all that it names exists in the package."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import typer.main
import yaml
from deployment import (
    COMPOSE,
    CONTAINERS,
    DEPLOY,
    IMAGE,
    KUBERNETES,
    KUSTOMIZATION,
    MANIFESTS,
    OBJECTS,
    PODS,
    ROOT,
    SERVICES,
    environment_of,
    find_all,
    find_object,
    pod_of,
    read_dockerfile,
    read_env_file,
)

from rag_chain import Settings, __version__
from rag_chain.cli.commands import app
from rag_chain.serve.app import create_app

BUILD, RUNTIME = read_dockerfile()
VARIABLES = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
TMP = "/tmp"  # noqa: S108 - of a container
NOT_OURS = {"PATH", "PYTHONUNBUFFERED", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"}
"""Variables of the image that others read: the shell, Python, platformdirs, onnxruntime."""
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer has no public name for it."""
OF_REDIS = {"REDIS_PASSWORD"}
OURS = {name: one for name, one in CONTAINERS.items() if one["image"].startswith(f"{IMAGE}:")}
COMPOSE_OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith(f"{IMAGE}:")}


# Schemas and linters


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid(name: str, version: str) -> None:
    for one in MANIFESTS[name]:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_wrong_manifest_is_found() -> None:
    service = find_object("StatefulSet", "rag-chain")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "replica": 2}}, "1.37", strict=True)


def test_compose_files_are_valid() -> None:
    files = [DEPLOY / "compose.yaml", *(ROOT / "examples").rglob("compose.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *map(str, files)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_kustomization_lists_every_manifest_that_is_no_example() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == sorted(name for name in MANIFESTS if "example" not in name)


# What is named exists


def environments() -> dict[str, dict[str, str]]:
    """The variables that each file sets."""
    found = {"Dockerfile": environment_of(RUNTIME)}
    for path in DEPLOY.glob("*.example"):
        found[path.name] = read_env_file(path, all_lines=True)
    found |= {f"compose {name}": one.get("environment", {}) for name, one in COMPOSE_OURS.items()}
    for one in OBJECTS:
        data = one.get("data", {}) | one.get("stringData", {})
        variables = {name: value for name, value in data.items() if "." not in name}
        found[f"{one['kind']} {one['metadata']['name']}"] = variables
    for name, container in CONTAINERS.items():
        found[f"env of {name}"] = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
    return {name: variables for name, variables in found.items() if variables}


@pytest.mark.parametrize("name", environments())
def test_every_variable_is_a_setting(name: str) -> None:
    others = OF_REDIS if "redis" in name else NOT_OURS if name == "Dockerfile" else set()
    assert set(environments()[name]) - others <= set(VARIABLES)


def test_the_values_are_valid_settings() -> None:
    for name, given in environments().items():
        values = {one: value for one, value in given.items() if value not in ("", "CHANGE-ME") and one in VARIABLES}
        settings = Settings(**{VARIABLES[one]: value for one, value in values.items()}, _env_file=None)
        assert settings, name


def test_containers_take_their_environment_from_objects_that_there_are() -> None:
    for container in CONTAINERS.values():
        for source in container["envFrom"]:
            ((kind, reference),) = source.items()
            assert find_object({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"])


def parse(words: list[str]) -> list[str]:
    """Parse a command line as ``rag-chain`` does, without running it, and return the names of the commands."""
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    while hasattr(command, "list_commands"):
        name, *words = words
        names.append(name)
        if name not in command.list_commands(typer.Context(command)):
            raise USAGE_ERROR(f"No such command {names}.")
        command = command.get_command(typer.Context(command), name)
    command.make_context(names[-1], list(words))
    return names


def commands() -> dict[str, list[str]]:
    """The arguments that each file gives to the image's entry point."""
    found = {"Dockerfile": json.loads(find_all(RUNTIME, "CMD")[0])}
    found |= {f"compose {name}": one["command"] for name, one in COMPOSE_OURS.items()}
    return found | {name: one["args"] for name, one in OURS.items()}


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_exists(name: str) -> None:
    assert parse(commands()[name])[0] in ("serve", "ingest", "sessions")


@pytest.mark.parametrize("wrong", [["serve", "--worker", "2"], ["sessions", "journals"], ["serve", "--workers", "two"]])
def test_a_wrong_command_is_found(wrong: list[str]) -> None:
    with pytest.raises(USAGE_ERROR):
        parse(wrong)


def test_the_entry_point_is_the_command_of_the_package() -> None:
    assert json.loads(find_all(RUNTIME, "ENTRYPOINT")[0]) == ["rag-chain"]
    assert all("entrypoint" not in one for one in COMPOSE_OURS.values())
    assert all("command" not in one for one in OURS.values())
    assert environment_of(RUNTIME)["PATH"].startswith("/opt/rag_chain/bin:")


def test_the_extras_exist_and_hold_what_the_service_needs() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    chosen = dict(one.split("=", 1) for one in find_all(BUILD, "ARG"))["EXTRAS"].split(",")
    assert {"cli", "serve", "local", "milvus", "otel"} <= set(chosen) <= set(extras)


def test_probes_ask_for_routes_that_there_are(tmp_path: Path) -> None:
    routes = create_app(Settings(api_keys_path=tmp_path / "keys.json", _env_file=None)).openapi()["paths"]
    probes = [
        probe["httpGet"]
        for container in OURS.values()
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if (probe := container.get(kind))
    ]
    assert {probe["path"] for probe in probes} == {"/healthz", "/readyz"}
    assert {probe["path"] for probe in probes} <= set(routes)
    ports = {port["name"]: port["containerPort"] for port in OURS["StatefulSet rag-chain"]["ports"]}
    exposed = int(find_all(RUNTIME, "EXPOSE")[0])
    assert ports == {"http": exposed}
    assert {probe["port"] for probe in probes} == {"http"}
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", find_all(RUNTIME, "HEALTHCHECK")[0])
    assert asked == (str(exposed), "/healthz")


def test_the_default_port_is_the_exposed_one() -> None:
    serve = typer.main.get_command(app).commands["serve"]
    default = next(one.default for one in serve.params if one.name == "port")
    assert str(default) == find_all(RUNTIME, "EXPOSE")[0]
    assert SERVICES["service"]["ports"] == [f"127.0.0.1:{default}:{default}"], "of this machine alone: it has no TLS"


# The end of a process


def seconds_to_end(grace: float) -> float:
    """How long the service may take to end: its turns, the events of their last tokens, connections, exports."""
    return grace + 20


def test_the_service_has_more_time_to_end_than_it_takes() -> None:
    pod = PODS["StatefulSet rag-chain"]
    grace = float(find_object("ConfigMap", "rag-chain")["data"]["RAG_SERVE_GRACE"])
    before = float(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] >= before + seconds_to_end(grace)
    minutes = re.fullmatch(r"(\d+)m", SERVICES["service"]["stop_grace_period"])[1]
    assert int(minutes) * 60 >= seconds_to_end(float(SERVICES["service"]["environment"]["RAG_SERVE_GRACE"]))


def test_the_shell_of_redis_is_replaced_by_the_server_so_that_it_gets_the_signal() -> None:
    for script in (SERVICES["redis"]["command"][0], CONTAINERS["StatefulSet rag-chain-redis"]["args"][0]):
        assert script.strip().splitlines()[-1].startswith("exec valkey-server ")


# Images, users, file systems


def images() -> list[str]:
    bases = [rest.split()[0] for stage in (BUILD, RUNTIME) for rest in find_all(stage, "FROM")]
    return [*bases, *(one["image"] for one in SERVICES.values()), *(one["image"] for one in CONTAINERS.values())]


def test_images_have_a_version() -> None:
    for image in images():
        name, colon, tag = image.rpartition(":")
        assert colon, image
        assert re.search(r"\d+\.\d+", tag), image
        assert name != IMAGE or tag == __version__
    (replaced,) = KUSTOMIZATION["images"]
    assert (replaced["name"], replaced["newTag"]) == (IMAGE, __version__)


def test_the_image_runs_as_a_user_with_a_number() -> None:
    user, group = find_all(RUNTIME, "USER")[-1].split(":")
    assert int(user) > 0 < int(group)
    assert all(one["user"] == f"{user}:{group}" for one in COMPOSE_OURS.values())
    for name in OURS:
        context = PODS[name]["securityContext"]
        assert (context["runAsUser"], context["fsGroup"]) == (int(user), int(group))


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_without_rights(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "memory" in container["resources"]["limits"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "milvus"])
def test_a_service_of_compose_runs_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0", "root"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_compose_has_limits_and_a_check(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    is_checked = "healthcheck" in service or (service["image"].startswith(IMAGE) and find_all(RUNTIME, "HEALTHCHECK"))
    assert is_checked


def writable(mounts: list[dict[str, Any]]) -> list[str]:
    return [one["mountPath"] for one in mounts if not one.get("readOnly")]


def test_what_is_written_lies_in_a_volume() -> None:
    config = find_object("ConfigMap", "rag-chain")["data"]
    image = environment_of(RUNTIME)
    pod = writable(OURS["StatefulSet rag-chain"]["volumeMounts"])
    for folders, values in ((pod, image | config), (["/data", TMP], image)):
        for variable in ("RAG_JOURNAL_PATH", "RAG_DOCUMENTS_DIR"):
            assert any(Path(values[variable]).is_relative_to(folder) for folder in folders), variable
        assert TMP in folders, "what the workers share of their figures"
    assert find_all(RUNTIME, "VOLUME") == ["/data"]
    assert all("state:/data" in one["volumes"] for one in COMPOSE_OURS.values())
    ingest = OURS["CronJob rag-chain-ingest"]
    assert config["RAG_INDEX_DIR"] in writable(ingest["volumeMounts"])
    assert config["RAG_INDEX_DIR"] not in pod, "the ingestion alone writes the index"
    (folder,) = [word for word in ingest["args"] if word.startswith("/")]
    assert folder in {one["mountPath"] for one in ingest["volumeMounts"]}


def test_the_journal_outlives_its_pod() -> None:
    service = find_object("StatefulSet", "rag-chain")
    (claim,) = service["spec"]["volumeClaimTemplates"]
    folder = Path(find_object("ConfigMap", "rag-chain")["data"]["RAG_JOURNAL_PATH"]).parent
    mounts = {one["name"]: one["mountPath"] for one in OURS["StatefulSet rag-chain"]["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == str(folder)
    assert set(service["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    size = int(re.fullmatch(r"(\d+)Gi", claim["spec"]["resources"]["requests"]["storage"])[1]) * 1024
    assert size > Settings.model_fields["journal_max_mb"].default
    replayed = PODS["Job rag-chain-replay"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert re.fullmatch(rf"{claim['metadata']['name']}-{service['metadata']['name']}-\d+", replayed)


# What belongs together


def test_volumes_mounts_and_claims_fit() -> None:
    claims = {one["metadata"]["name"] for one in OBJECTS if one["kind"] == "PersistentVolumeClaim"}
    for found in OBJECTS:
        pod = pod_of(found)
        if pod is None:
            continue
        templates = {one["metadata"]["name"] for one in found["spec"].get("volumeClaimTemplates", [])}
        volumes = {one["name"]: one for one in pod["volumes"]}
        for container in pod["containers"]:
            assert {one["name"] for one in container["volumeMounts"]} == set(volumes) | templates
        for volume in volumes.values():
            if "configMap" in volume:
                assert find_object("ConfigMap", volume["configMap"]["name"])
            if "secret" in volume:
                assert find_object("Secret", volume["secret"]["secretName"])
            if "persistentVolumeClaim" in volume and found["kind"] != "Job":
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_selectors_find_the_pods_of_the_service_and_no_others() -> None:
    service = find_object("StatefulSet", "rag-chain")
    labels = service["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"]["matchLabels"] == labels
    assert find_object("Service", "rag-chain")["spec"]["selector"] == labels
    assert find_object("Service", service["spec"]["serviceName"])["spec"]["selector"] == labels
    assert find_object("PodDisruptionBudget", "rag-chain")["spec"]["selector"]["matchLabels"] == labels
    scaled = find_object("HorizontalPodAutoscaler", "rag-chain")["spec"]
    assert (scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"]) == ("StatefulSet", "rag-chain")
    assert "replicas" not in service["spec"], "an apply would undo what the autoscaler did"
    assert scaled["minReplicas"] >= 2
    job = find_object("CronJob", "rag-chain-ingest")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert job != labels


def test_redis_keeps_what_it_is_given() -> None:
    own = [line for line in (DEPLOY / "valkey.conf").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(own)
    assert find_object("ConfigMap", "rag-chain-redis")["data"]["valkey.conf"].splitlines() == own
    limits = (
        SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"],
        CONTAINERS["StatefulSet rag-chain-redis"]["resources"]["limits"]["memory"],
    )
    (most,) = re.findall(r"^maxmemory (\d+)gb$", "\n".join(own), re.MULTILINE)
    assert limits == (f"{2 * int(most)}g", f"{2 * int(most)}Gi")


# Secrets


def test_no_file_holds_a_secret() -> None:
    for one in OBJECTS:
        if one["kind"] == "Secret":
            assert "data" not in one
            for value in one["stringData"].values():
                assert "CHANGE-ME" in value
    for path in DEPLOY.glob("*.env.example"):
        for name, value in read_env_file(path, all_lines=True).items():
            assert not value or not re.search(r"KEY|PASSWORD|REDIS_URL", name), name
    for name, values in environments().items():
        if not name.startswith("Secret"):
            assert not [one for one, value in values.items() if "SecretStr" in _type_of(one) and "@" in value]
    texts = [path.read_text(encoding="utf-8") for path in DEPLOY.rglob("*") if path.is_file()]
    assert not [text for text in texts if re.search(r"sk-\w{10}|rag_[\w-]{43}", text)]


def _type_of(variable: str) -> str:
    return str(Settings.model_fields[VARIABLES[variable]].annotation) if variable in VARIABLES else ""


def test_secrets_come_from_files_that_git_and_the_image_leave_out() -> None:
    for name, service in SERVICES.items():
        for file in service.get("env_file", []):
            assert (DEPLOY / f"{file}.example").is_file(), name
            path = f"deploy/{file}"
            assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT).returncode == 0, path
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n", 1)[1].splitlines()
    assert kept[0] == "*"
    allowed = {line.removeprefix("!") for line in kept if line.startswith("!")}
    copied = {name for rest in find_all(BUILD, "COPY") for name in shlex.split(rest)[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert [rest for rest in find_all(RUNTIME, "COPY") if not rest.startswith("--from=build ")] == []


def test_every_file_of_the_folder_is_read_here() -> None:
    known = {"Dockerfile", "compose.yaml", "valkey.conf", "alerts.yaml", "grafana.json", "redis.env.example"}
    known |= {"service.env.example"}
    assert {path.name for path in DEPLOY.iterdir() if path.is_file() and path.suffix != ".env"} == known
    assert {path.name for path in KUBERNETES.iterdir()} - {"secret.yaml"} == {*MANIFESTS, "kustomization.yaml"}
    assert COMPOSE["volumes"].keys() == {"state", "redis", "milvus"}
    assert yaml.safe_load(COMPOSE["configs"]["etcd"]["content"])


# The page

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"rag-chain ((?:sessions|serve|keys|ingest|chat)[^`\n#';]*)", PAGE)


@pytest.mark.parametrize("command", sorted({one.strip() for one in SHOWN}))
def test_every_command_of_the_page_exists(command: str) -> None:
    words = shlex.split(command.rstrip(")"))
    assert parse([*words, *(["PATH"] if words[0] == "ingest" else [])])


def test_what_compose_runs_on_the_page_exists() -> None:
    found = re.findall(r"compose --file deploy/compose\.yaml (?:run --rm(?: --no-deps)?|exec|cp) ([\w.:/]+)", PAGE)
    assert {one.partition(":")[0] for one in found} == {"service", "ingest", "redis"} <= set(SERVICES)


def test_every_file_and_object_of_the_page_exists() -> None:
    for name in re.findall(r"\b((?:deploy|tests|notebooks)/[\w/.-]*\w)", PAGE):
        assert (ROOT / name).exists() or (ROOT / f"{name}.example").exists() or name.endswith("secret.yaml"), name
    for name in MANIFESTS:
        assert f"`{name}`" in PAGE
    for kind, name in re.findall(r"\b(statefulset|cronjob)/([\w-]+)", PAGE):
        assert find_object({"statefulset": "StatefulSet", "cronjob": "CronJob"}[kind], name)


def test_the_page_names_the_variables_as_they_are() -> None:
    named = set(re.findall(r"`((?:RAG|REDIS|OPENAI)_[A-Z_]+)", PAGE))
    assert len(named) > 15
    assert named <= set(VARIABLES) | OF_REDIS
