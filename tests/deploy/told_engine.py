"""A docker command whose containers are rows of a file, and whose images behave as a test says. It notes what is done.

It knows the commands that deploy.sh, handover.sh and ledger.sh give, and ends with 9 at any other: nothing is taken for
granted. Time does not pass in it: a container is at once what its image makes of it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import stamina
from stamina.instrumentation import set_on_retry_hooks

set_on_retry_hooks([])  # each look that comes too early would be a line

DEPLOY = Path(__file__).parents[2] / "deploy"
ORDER = ["engine-spread", "engine-fee", "engine-liquidity", "engine-risk", "executor", "hub", "feed"]

PROGRAM = '''
"""See told_engine.py. An image: {head, fails: [services that end at once], deaf: [services that never get well],
migrates: whether it can take a ledger down, starts: what it says instead of starting}."""
import json, os, sys

words, file = sys.argv[1:], os.environ["WORLD"]
with open(file) as opened:
    world = json.load(opened)
images, boxes = world["images"], world["containers"]

def end(code=0, *lines):
    with open(file, "w") as opened:
        json.dump(world, opened)
    print(*lines, sep="\\n", end="\\n" if lines else "")
    sys.exit(code)

def did(*what):
    world["done"].append(" ".join(what))

def of(service):
    return [id for id, box in boxes.items() if service in (None, box["service"]) and box["service"] != "trial"]

def serving(service):
    return [id for id in of(service) if boxes[id]["state"] == "running" and not boxes[id]["waits"]]

def begin(id):
    box = boxes[id]
    image = images[box["image"]]
    box["waits"] = box["service"] in world["turns"] and any(other != id for other in serving(box["service"]))
    box["state"] = "exited" if box["service"] in image.get("fails", []) else "running"
    if box["service"] == "executor" and box["state"] == "running" and not box["waits"]:
        if image["head"] < world["ledger"]:
            box["state"] = "exited"
        else:
            world["ledger"] = image["head"]

def well(id):
    box = boxes[id]
    return box["state"] == "running" and not box["waits"] and box["service"] not in images[box["image"]].get("deaf", [])

def ends(id):
    boxes[id]["state"] = "exited"
    for other in of(boxes[id]["service"]):
        if boxes[other]["state"] == "running" and boxes[other]["waits"]:
            boxes[other]["waits"] = False
            begin(other)

def add(service, image):
    world["count"] += 1
    id = f"{service}-{world['count']}"
    boxes[id] = {"service": service, "image": image, "state": "created", "waits": False}
    boxes[id]["environment"] = world["environment"]
    did("start", id, image)
    begin(id)
    return id

if words == ["info"]:
    end(os.environ.get("ENGINE") == "gone")
if words == ["compose", "version"]:
    end(os.environ.get("ENGINE") == "plain")
if words[:2] == ["image", "inspect"]:
    end(words[2] not in images)
if words[0] == "build":
    image = words[words.index("--tag") + 1]
    did("build", image, " ".join(sorted(os.listdir(words[-1]))))
    images[image] = {"head": "0001"}
    end()
if words[:2] == ["run", "--detach"]:
    image = words[words.index("engine") - 1]
    id = "trial"
    says = images[image].get("starts")
    boxes[id] = {"service": "trial", "image": image, "state": "exited" if says else "running", "waits": False}
    boxes[id]["says"] = says
    did("try", image, os.path.basename(words[words.index("--volume") + 1].split(":")[0]))
    end(0, id)
if words[:2] == ["run", "--rm"] and words[-2:] == ["ledger", "head"]:
    end(0, images[words[-3]]["head"])
if words[0] == "inspect":
    if words[3] not in boxes:
        end(1)
    box = boxes[words[3]]
    shown = words[2]
    for name, value in {
        "{{.State.Status}}": box["state"], "{{.State.Health.Status}}": "healthy" if well(words[3]) else "unhealthy",
        "{{.RestartCount}}": "0", "{{.Config.Image}}": box["image"], "{{.Id}}": words[3],
        '{{index .Config.Labels "arbhub.environment"}}': box.get("environment", ""),
    }.items():
        shown = shown.replace(name, value)
    end(0, shown)
if words[0] == "exec":
    box = boxes[words[1]]
    if words[2] == "probe" and words[4:] == ["turn"]:
        assert words[3].split(":")[1] == world["turns"][box["service"]], words
        end(not (box["state"] == "running" and box["waits"]))
    if words[2] == "probe":
        end(box["state"] != "running")
    if words[2] == "python3":
        end(not (box["service"] == "hub" and well(words[1]) and world["ready"]))
if words[0] == "logs":
    end(0, boxes[words[-1]].get("says") or "the last words of " + words[-1])
if words[0] == "stop":
    did("stop", words[1])
    ends(words[1])
    end()
if words[0] == "start":
    did("start", words[1])
    begin(words[1])
    end()
if words[0] == "rm":
    for id in words[1:]:
        if not id.startswith("--") and boxes.pop(id, None) and id != "trial":
            did("rm", id)
    end()
if words[0] == "compose":
    assert os.environ["COMPOSE_FILE"].split(":")[0].endswith("deploy/compose.yaml")
    rest = words[3:] if words[1] == "--progress" else words[1:]
    asked = [word for word in rest[1:] if not word.startswith("-") and "=" not in word and "{" not in word]
    if rest[0] == "ps" and "--format" in rest:
        end(0, *(f"{boxes[id]['service']} {boxes[id]['state']} 0 {'healthy' if well(id) else 'unhealthy'}"
                 for service in asked or [None] for id in of(service)))
    if rest[0] == "ps":
        end(0, *(id for service in asked or [None] for id in of(service)
                 if "--all" in rest or boxes[id]["state"] == "running"))
    if rest[0] == "rm":
        for id in [id for id in of(asked[0]) if boxes[id]["state"] == "exited"]:
            del boxes[id]
            did("rm", id)
        end()
    if rest[0] == "logs":
        end(0, "the last words of all")
    if rest[0] in ("stop", "start"):
        did("compose", rest[0], asked[0])
        for id in of(asked[0]):
            ends(id) if rest[0] == "stop" else begin(id)
        end()
    if rest[0] == "up" and "--scale" in rest:
        service, _, wanted = rest[rest.index("--scale") + 1].partition("=")
        assert "--no-recreate" in rest and "--no-deps" in rest and "--no-build" in rest
        for id in of(service):
            if boxes[id]["state"] == "exited":  # as compose does
                begin(id)
        while len(of(service)) < int(wanted):
            add(service, os.environ["HUB_IMAGE"])
        end()
    if rest[0] == "up" and "--build" in rest:
        did("develop", os.path.basename(os.environ["COMPOSE_FILE"].split(":")[1]), *asked)
        end()
    if rest[0] == "up":
        for service in asked or world["services"]:
            for id in of(service):
                del boxes[id]
            add(service, os.environ["HUB_IMAGE"])
        end()
    if rest[:2] == ["run", "--rm"] and rest[5:7] == ["ledger", "revision"]:
        end(0, world["ledger"])
    if rest[:2] == ["run", "--rm"] and rest[5:7] == ["ledger", "migrate"]:
        did("migrate", rest[rest.index("--to") + 1], os.environ["HUB_IMAGE"])
        if not images[os.environ["HUB_IMAGE"]].get("migrates", True):
            end(1)
        world["ledger"] = rest[rest.index("--to") + 1]
        end()
print("a command that this engine does not know:", words, file=sys.stderr)
sys.exit(9)
'''


class NotYetError(Exception):
    """What is waited for has not come."""


class ToldEngine:
    """An engine of a test's own, with every service running version `a`, and images a and b."""

    def __init__(self, folder: Path, turns: dict[str, str]) -> None:
        """`turns` are the services with one writer at a time, and the port that each is asked at."""
        self.folder, self._file = folder, folder / "world.json"
        self._path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self._environment = os.environ | {
            "PATH": self._path, "WORLD": str(self._file), "DEPLOY_STATE": str(folder / "state"),
            "BACKUP": str(folder / "backup"),
        }  # fmt: skip  # a place each
        (folder / "bin").mkdir()
        self._program("bin/docker", f"#!{sys.executable} -IS\n{PROGRAM}")
        self._program("backup", f'#!/bin/sh\necho "backup $*" >>{folder}/backups\nexit ${{BACKUP_CODE:-0}}\n')
        box = {"image": "arbhub:a", "state": "running", "waits": False, "environment": "compose"}
        boxes = {f"{name}-0": box | {"service": name} for name in ORDER}
        images = {"arbhub:a": {"head": "0001"}, "arbhub:b": {"head": "0001"}}
        self._write(
            images=images, containers=boxes, done=[], count=0, ledger="0001", ready=True, turns=turns, services=ORDER,
            environment="compose",
        )  # fmt: skip  # the words of one call stay together

    def image(self, name: str, **behaviour: Any) -> None:
        """Have an image that behaves so."""
        world = self._read()
        world["images"][name] = {"head": "0001", **behaviour}
        self._write(**world)

    def has(self, **facts: Any) -> None:
        """Say something else of this world: ledger, ready, containers, environment."""
        self._write(**(self._read() | facts))

    def deploy(self, *words: str, **environ: str) -> tuple[int, str]:
        """Run deploy.sh without waiting for anybody: its exit code, and what it said."""
        return self.run(DEPLOY / "deploy.sh", *words, "--settle", "0", "--timeout", "0", **environ)

    def run(self, script: Path, *words: str, **environ: str) -> tuple[int, str]:
        """Run any script where this is the engine."""
        command = ["bash", str(script), *words]
        ran = subprocess.run(command, env=self._environment | environ, check=False, capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr

    def interrupted(self, when: str, *words: str) -> tuple[int, str]:
        """Run deploy.sh, and press Ctrl-C once something was done."""
        heeding = ["env", "--default-signal=INT"]  # where we run in the background, what we start would not
        with subprocess.Popen(
            [*heeding, "bash", str(DEPLOY / "deploy.sh"), *words, "--settle", "0", "--timeout", "60"],
            env=self._environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip  # the words of one command stay together
            for attempt in stamina.retry_context((NotYetError, json.JSONDecodeError), attempts=None, timeout=60.0,
                                                 wait_initial=0.05, wait_max=0.05):  # fmt: skip
                with attempt:  # the file may be half written
                    if when not in self.done():
                        raise NotYetError
            os.killpg(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def runs(self) -> dict[str, str]:
        """The image that serves as each service, from what runs and does not wait."""
        boxes = self._read()["containers"].values()
        return {box["service"]: box["image"] for box in boxes if box["state"] == "running" and not box["waits"]}

    def containers(self) -> int:
        """How many there are, whatever they do."""
        return len(self._read()["containers"])

    def done(self) -> list[str]:
        """What was done to containers, ledger and images, in order."""
        done: list[str] = self._read()["done"]
        return done

    def ledger(self) -> str:
        """The revision that it is at."""
        return str(self._read()["ledger"])

    def backups(self) -> list[str]:
        """How the backup was called."""
        file = self.folder / "backups"
        return file.read_text().splitlines() if file.exists() else []

    def history(self, env: str = "compose") -> list[list[str]]:
        """Mode and version of each deployment."""
        file = self.folder / "state" / env
        return [line.split()[1:] for line in file.read_text().splitlines()] if file.exists() else []

    def _program(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)

    def _read(self) -> dict[str, Any]:
        world: dict[str, Any] = json.loads(self._file.read_text())
        return world

    def _write(self, **world: Any) -> None:
        self._file.write_text(json.dumps(world))
