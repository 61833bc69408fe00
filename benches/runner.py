#!/usr/bin/env python3
"""How much time the build runner adds to `pack`: prebuild, build and postbuild beside plain `pack build --publish`.

Called by scripts/bench, which builds the program and starts the real parts. Every pair makes the same app twice in repositories
of its own, without any cache (cold) and then once more with no change (warm); the order alternates. From the wall time of
the three commands is taken away the time in which `pack`, the start of the add-ons or the test command ran, as the program's own
log tells it. What is left is the runner's: starting three times, AWS, the registry, git, the image's way into the daemon.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

COMMANDS = ("prebuild", "build", "postbuild")
LIMITS = {"cold": 1.5, "warm": 0.7}
ACCOUNT, REGION, TABLE = "111122223333", "us-east-1", "apppack"


def part(name):
    return os.environ[f"PACKHORSE_TEST_{name}"]


def ask(endpoint, service, method, path, headers=None, body=b""):
    """Asks a stand-in of AWS, which reads account and service from the signature."""
    scope = f"Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}", **(headers or {})}
    request = urllib.request.Request(endpoint + path, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def dynamodb(operation, **input):
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"}
    return json.loads(ask(part("DYNAMODB"), "dynamodb", "POST", "/", headers, json.dumps(input).encode()))


def ensure_table():
    keys = [("primary_id", "HASH"), ("secondary_id", "RANGE")]
    try:
        dynamodb(
            "CreateTable",
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        )
    except urllib.error.HTTPError as error:
        if "ResourceInUseException" not in error.read().decode():
            raise


def key(app, sort):
    return {"primary_id": {"S": f"APP#{app}"}, "secondary_id": {"S": sort}}


class Account:
    """An app in an account of stand-ins: a bucket and a lane, so that the runner does all that it ever does."""

    def __init__(self, app):
        self.app, self.bucket = app, app
        ask(part("MOTO"), "s3", "PUT", f"/{self.bucket}")
        lane = {
            "version": {"N": "1"},
            "format": {"N": "1"},
            "commit_id": {"S": "bench"},
            "state": {"S": json.dumps(empty_lane(app))},
        }
        dynamodb("PutItem", TableName=TABLE, Item={**key(app, "LANE"), **lane})

    def phases(self, number):
        item = dynamodb("GetItem", TableName=TABLE, Key=key(self.app, f"BUILD#{number:010}")).get("Item", {})
        return {phase: item[phase]["M"]["state"]["S"] for phase in ("build", "test") if phase in item}

    def remove(self):
        for sort in ("LANE", "BUILD#0000000001", "BUILD#0000000002"):
            dynamodb("DeleteItem", TableName=TABLE, Key=key(self.app, sort))
        listed = ask(part("MOTO"), "s3", "GET", f"/{self.bucket}").decode()
        for name in re.findall("<Key>(.*?)</Key>", listed):
            ask(part("MOTO"), "s3", "DELETE", f"/{self.bucket}/{name}")
        ask(part("MOTO"), "s3", "DELETE", f"/{self.bucket}")


def empty_lane(app):
    """The lane of an app that was never built, in layout 1."""
    none = dict.fromkeys(("forgotten", "live", "failed_deploy", "closed", "draining"))
    counts = {"releases": 0, "steps": 0, "next_action": 1, "postdeployed": False}
    key = {"app": app, "pull_request": None}
    return {"key": key, "builds": {}, "owed": {}, "unprojected": {}, **none, **counts}


def clone(app_folder, to):
    """A fresh clone, as a build gets it; its builder is the registry's."""
    shutil.copytree(app_folder, to, ignore=shutil.ignore_patterns(".packhorse", "__pycache__"))
    manifest = Path(to, "app.json")
    text = re.sub('"stack": "[^"]*"', f'"stack": "{part("BUILDER")}"', manifest.read_text())
    manifest.write_text(text)
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "init.defaultBranch=main"]
    dates = {**os.environ, "GIT_AUTHOR_DATE": "@1700000000 +0000", "GIT_COMMITTER_DATE": "@1700000000 +0000"}
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "The app"]):
        subprocess.run([*git, *words], cwd=to, env=dates, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=to, check=True, capture_output=True, text=True).stdout.strip()


class Failed(Exception):
    pass


def run(command, env, log):
    """Runs a command; returns its wall time and its output, each line with the time at which it came."""
    begin = time.monotonic()
    lines = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        for line in child.stdout:
            lines.append((time.monotonic() - begin, line.rstrip("\n")))
    wall = time.monotonic() - begin
    with log.open("a") as out:
        out.write(f"\n$ {' '.join(command)}\n")
        out.writelines(f"{at:8.3f} {line}\n" for at, line in lines)
        out.write(f"{wall:8.3f} ended with {child.returncode}\n")
    if child.returncode != 0:
        raise Failed(f"`{' '.join(command)}` failed: {log}")
    return wall, [line for _, line in lines]


def milliseconds(lines, pattern):
    found = [re.search(r"\bmilliseconds=(\d+)", line) for line in lines if re.search(pattern, line)]
    if len(found) != 1 or found[0] is None:
        raise Failed(f"the log tells {len(found)} times of `{pattern}`")
    return int(found[0][1]) / 1000


def through_packhorse(program, account, number, app_folder, work, log):
    source = work / f"source-{number}"
    commit = clone(app_folder, source)
    build = f"{account.app}:{secrets.token_hex(8)}"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "TMPDIR": str(work),
        "DOCKER_HOST": part("DOCKER"),
        "PACKHORSE_PACK": part("PACK"),
        "PACKHORSE_TRUST_BUILDER": "1",
        "PACKHORSE_BUILD_NETWORK": "host",
        "PACKHORSE_LOG": "warn,packhorse=debug",
        "AWS_ENDPOINT_URL": part("MOTO"),
        "AWS_ENDPOINT_URL_DYNAMODB": part("DYNAMODB"),
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "APPNAME": account.app,
        "ARTIFACT_BUCKET": account.bucket,
        "DOCKER_REPO": f"{part('REGISTRY')}/{account.app}",
        "CODEBUILD_BUILD_ID": build,
        "CODEBUILD_BUILD_ARN": f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{build}",
        "CODEBUILD_BUILD_NUMBER": str(number),
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": commit,
        "CODEBUILD_SOURCE_VERSION": "main",
        "CODEBUILD_SRC_DIR": str(source),
        "CODEBUILD_START_TIME": str(int(time.time() * 1000)),
        "BRANCH": "main",
    }
    if os.environ.get("PACKHORSE_TEST_CA_BUNDLE"):
        env["PACKHORSE_CA_BUNDLE"] = part("CA_BUNDLE")
    wall, own = {}, {}
    for command in COMMANDS:
        wall[command], lines = run([program, "codebuild", command], env, log)
        others = {
            "prebuild": r"The add-ons' start ended",
            "build": r"A child ended.*program=\S*pack\b",
            "postbuild": r"The test command ended",
        }[command]
        own[command] = wall[command] - milliseconds(lines, others)
    phases = account.phases(number)
    if phases.get("build") != "succeeded" or phases.get("test") != "succeeded":
        raise Failed(f"the lane did not follow the build: {phases}")
    return wall, own


def through_pack(name, app_folder, work, turn, log):
    source = work / f"plain-{turn}"
    clone(app_folder, source)
    repository = f"{part('REGISTRY')}/{name}"
    command = [
        part("PACK"), "build", f"{repository}:latest", "--publish", "--path", str(source),
        "--builder", part("BUILDER"), "--trust-builder", "--pull-policy", "if-not-present", "--network", "host",
        "--cache-image", f"{repository}:cache", "--docker-host", part("DOCKER"), "--no-color",
    ]  # fmt: skip
    if os.environ.get("PACKHORSE_TEST_CA_BUNDLE"):
        inside = "/ca-certificates.crt"
        command += ["--volume", f"{part('CA_BUNDLE')}:{inside}:ro"]
        command += [word for name in ("SSL_CERT_FILE", "PIP_CERT") for word in ("--env", f"{name}={inside}")]
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "PACK_HOME": str(work / "pack"), "DOCKER_HOST": part("DOCKER"), "PACK_VOLUME_KEY": "bench"}
    return run(command, env, log)[0]


def docker(*words):
    return subprocess.run([part("DOCKER_CLI"), *words], check=True, capture_output=True, text=True).stdout.split()


def sweep(name):
    """Takes away what a pair left in the engine."""
    for volume in docker("volume", "ls", "-q", "--filter", f"name={name}"):
        docker("volume", "rm", "-f", volume)
    images = docker("image", "ls", "-q", "--filter", f"reference={part('REGISTRY')}/{name}*")
    if images:
        docker("image", "rm", "-f", *set(images))


def pair(program, app_folder, work, log, packhorse_first):
    app = f"bench{secrets.token_hex(4)}"
    account = Account(app)
    result = {}
    try:
        for number, kind in enumerate(("cold", "warm"), 1):
            def ours():
                wall, own = through_packhorse(program, account, number, app_folder, work, log)
                result[kind] = {**result.get(kind, {}), "wall": wall, "own": own}

            def plain():
                seconds = through_pack(f"{app}-plain", app_folder, work, number, log)
                result[kind] = {**result.get(kind, {}), "pack": seconds}

            for turn in (ours, plain) if packhorse_first else (plain, ours):
                turn()
    finally:
        account.remove()
        sweep(app)
    return result


def median(values):
    return statistics.median(list(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="pairs (default: %(default)s)")
    parser.add_argument("program", help="the optimised program")
    parser.add_argument("app", help="the folder of the app")
    arguments = parser.parse_args()
    ensure_table()
    results = []
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as folder:
        kept = Path(os.environ.get("BENCH_LOG", Path(folder, "log")))
        kept.write_text("")
        for turn in range(arguments.runs):
            work = Path(folder, str(turn))
            work.mkdir()
            result = pair(arguments.program, arguments.app, work, kept, turn % 2 == 0)
            results.append(result)
            for kind, found in result.items():
                own = found["own"]
                print(
                    f"{turn + 1:2} {kind}: runner {sum(own.values()):.2f} s "
                    f"({', '.join(f'{command} {own[command]:.2f}' for command in COMMANDS)}) "
                    f"of {sum(found['wall'].values()):.2f} s; plain pack {found['pack']:.2f} s; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
    failed = False
    print(f"\nMedians of {len(results)} pairs:")
    for kind, limit in LIMITS.items():
        found = [result[kind] for result in results]
        own = median(sum(one["own"].values()) for one in found)
        wall = median(sum(one["wall"].values()) for one in found)
        pack = median(one["pack"] for one in found)
        engine = median(one["wall"]["build"] - one["own"]["build"] for one in found)
        failed |= own > limit
        print(
            f"{kind}: runner {own:.2f} s (at most {limit} s), whole {wall:.2f} s, its pack {engine:.2f} s, "
            f"plain pack {pack:.2f} s, ratio {wall / pack:.2f}"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"error: {error}")
