#!/usr/bin/env python3
"""The embedded lifecycle beside `pack`, publishing and into the daemon: same machine, builder, app and registry.

Called by scripts/bench, which builds the program and starts the real parts. A registry of its own lies in memory, so that it does not
hold anybody up; a builder of its own has one buildpack, which makes layers of chosen size and number (benches/buildpack).

Every round builds the same app with each engine, each with a repository and a cache of its own: without anything (cold), once more
(no change), with one file of the app changed, with a dependency changed. The order alternates, and medians are told. "Rest" is the
wall time without detect and build, between the phase lines that each engine prints; what comes before and after the lifecycle counts.
CPU is the whole machine's but for what it does anyway, bytes on disk are the disks', after a sync, and bytes sent are what the
registry's port received. So nothing else should run meanwhile.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Ours and `pack`, each publishing (ours with zstd too) and into the daemon.
ENGINES = ("embedded", "zstd", "publish", "loaded", "daemon")
# With which of ours one of `pack` is compared.
OURS = {"publish": "embedded", "daemon": "loaded"}
SCENARIOS = ("cold", "no change", "one file", "dependency")
# What an app has: an interpreter that later buildpacks need, dependencies, what their installer keeps, and tools of the build.
LAYERS = [
    ("runtime", "build+launch+cache", 60, 3000, "1"),
    ("dependencies", "launch", 120, 6000, "1"),
    ("installer", "cache", 20, 200, "1"),
    ("assets", "launch", 5, 300, "1"),
]
GOALS = {"no change": 5, "one file": 4, "2 GB": 6}


def part(name):
    return os.environ[f"PACKHORSE_TEST_{name}"]


class Failed(Exception):
    pass


def call(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"`{' '.join(map(str, command))}` failed:\n{done.stdout}")
    return done.stdout


def docker(*words):
    return call([part("DOCKER_CLI"), *words])


class Registry:
    """A registry whose files lie in memory. Counts what it receives with a rule of the firewall."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="packhorse-bench-", dir="/dev/shm")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        config = Path(self.folder, "config.yml")
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage:\n  filesystem: {{rootdirectory: {self.folder}/data}}\n  delete: {{enabled: true}}\n"
            f'http: {{addr: "{self.host}"}}\n'
        )
        log = Path(self.folder, "log").open("w")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        self.rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(self.port)]
        subprocess.run(["iptables", "-w", "-I", *self.rule], check=True)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5).read()
                return
            except OSError:
                time.sleep(0.05)
        raise Failed("the registry does not start")

    def received(self):
        for line in call(["iptables", "-w", "-nvxL", "INPUT"]).splitlines():
            if f"dpt:{self.port}" in line:
                return int(line.split()[1])
        return 0

    def forget(self, name):
        """Takes the repositories of a round away; the blobs go with them, since the store is only swept as a whole."""
        shutil.rmtree(Path(self.folder, "data/docker/registry/v2/repositories", name), ignore_errors=True)

    def sweep(self):
        """Takes away all blobs that no repository links to."""
        data = Path(self.folder, "data/docker/registry/v2")
        linked = {link.parent.name for link in data.glob("repositories/**/link")}
        for blob in data.glob("blobs/sha256/*/*"):
            if blob.name not in linked:
                shutil.rmtree(blob)

    def close(self):
        self.process.terminate()
        self.process.wait()
        subprocess.run(["iptables", "-w", "-D", *self.rule], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def cpu():
    """Seconds of all cores spent in programs and in the kernel for them."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def written():
    """Bytes that went to the disks."""
    total = 0
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if re.fullmatch(r"(vd|sd|xvd|hd)[a-z]+|nvme\d+n\d+", fields[2]):
            total += int(fields[9]) * 512
    return total


class Memory(threading.Thread):
    """The most memory that the processes of a build had together: those that began with it, and what the daemon grew by."""

    def __init__(self, apart):
        super().__init__(daemon=True)
        self.apart = apart
        self.before = self.sizes()
        self.peak = 0
        self.ended = threading.Event()

    @staticmethod
    def sizes():
        found = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    with open(f"/proc/{entry.name}/statm") as statm:
                        _, resident, shared = map(int, statm.read().split()[:3])
                    # Without what is shared with files, such as the program itself.
                    found[int(entry.name)] = (resident - shared) * 4096
                except (OSError, ValueError):
                    pass
        return found

    def run(self):
        while not self.ended.wait(0.03):
            now = self.sizes()
            grown = sum(max(0, size - self.before.get(pid, 0)) for pid, size in now.items() if pid not in self.apart)
            self.peak = max(self.peak, grown)

    def end(self):
        self.ended.set()
        self.join()
        return self.peak


PHASE = re.compile(r"={2,3}> (\w+)$")
# As packhorse names the phases, and the Go lifecycle.
NAMES = {"analyze": "ANALYZING", "detect": "DETECTING", "restore": "RESTORING", "build": "BUILDING", "export": "EXPORTING"}


def measured(command, env, log, registry, kept):
    """Runs a build; returns what it took."""
    os.sync()
    memory = Memory({registry.process.pid, os.getpid()})
    disk, sent, busy = written(), registry.received(), cpu()
    memory.start()
    begin = time.monotonic()
    stamps, lines = [], []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as child:
        for line in child.stdout:
            at = time.monotonic() - begin
            lines.append((at, line.rstrip("\n")))
            if (found := PHASE.search(line.rstrip())) is not None:
                stamps.append((NAMES.get(found[1], found[1]), at))
    wall = time.monotonic() - begin
    peak, busy = memory.end(), cpu() - busy
    os.sync()
    with log.open("a") as out:
        out.write(f"\n$ {' '.join(command)}\n")
        out.writelines(f"{at:8.3f} {line}\n" for at, line in lines)
        out.write(f"{wall:8.3f} ended with {child.returncode}\n")
    if child.returncode != 0:
        raise Failed(f"`{' '.join(command)}` failed; its output:\n" + "\n".join(line for _, line in lines[-30:]))
    ends = dict(zip([name for name, _ in stamps], [at for _, at in stamps[1:]] + [wall]))
    starts = dict(stamps)
    if not {"DETECTING", "BUILDING", "EXPORTING"} <= starts.keys():
        raise Failed(f"phase lines are missing: {stamps}; see {log}")
    apart = sum(ends[phase] - starts[phase] for phase in ("DETECTING", "BUILDING"))
    return {
        "wall": wall,
        "rest": wall - apart,
        "before": starts.get("ANALYZING", 0),
        **{phase.lower(): ends[phase] - starts[phase] for phase in starts},
        "cpu": busy,
        "disk": written() - disk,
        "sent": registry.received() - sent,
        "memory": peak,
    }


class Bench:
    def __init__(self, program, folder, registry):
        self.program, self.folder, self.registry = program, Path(folder), registry
        self.log = Path(os.environ.get("BENCH_LOG", self.folder / "log"))
        self.log.write_text("")
        self.home = self.folder / "home"
        self.home.mkdir()
        self.builder = f"{registry.host}/bench/builder:1"
        self.make_builder()

    def make_builder(self):
        run = f"{self.registry.host}/bench/run:1"
        docker("tag", "packhorse/run:debian-12", run)
        docker("push", "-q", run)
        buildpack = self.folder / "buildpack"
        shutil.copytree(HERE / "buildpack", buildpack)
        with open(buildpack / "seed.bin", "wb") as seed:
            left = 48_000_000
            for path in sorted([*Path("/usr/lib/python3").rglob("*"), *Path("/usr/lib/x86_64-linux-gnu").glob("*.so*"), *Path("/usr/lib/python3.11").rglob("*.py*")]):
                if left > 0 and path.is_file() and not path.is_symlink():
                    left -= seed.write(path.read_bytes()[:left])
        call(["chmod", "-R", "go=rX,u=rwX", str(buildpack)])
        lifecycle = Path(part("LIFECYCLE")).parent.parent / "lifecycle.tgz"
        (self.folder / "builder.toml").write_text(
            f'[[buildpacks]]\nuri = "{buildpack}"\n[[order]]\n[[order.group]]\nid = "bench/layers"\nversion = "1.0.0"\n'
            f'[build]\nimage = "packhorse/build:debian-12"\n[[run.images]]\nimage = "{run}"\n'
            f'[lifecycle]\nuri = "{lifecycle}"\n'
        )
        call([part("PACK"), "builder", "create", self.builder, "--config", str(self.folder / "builder.toml"),
              "--pull-policy", "if-not-present", "--target", "linux/amd64", "--no-color"], env=self.pack_env())  # fmt: skip
        docker("push", "-q", self.builder)

    def pack_env(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "PACK_HOME": str(self.home / "pack"),
                "DOCKER_HOST": part("DOCKER"), "PACK_VOLUME_KEY": "bench"}  # fmt: skip

    def app(self, name, layers, files=200, kilobytes=8):
        app = self.folder / "apps" / name
        shutil.rmtree(app, ignore_errors=True)
        app.mkdir(parents=True)
        text = (HERE / "lifecycle.py").read_bytes()
        for number in range(files):
            file = app / f"package-{number % 17}" / f"module_{number}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes((f"# {number}\n".encode() + text)[: kilobytes * 1024])
        self.declare(app, layers, "")
        (app / "app.json").write_text(json.dumps({"stack": self.builder}))
        return app

    @staticmethod
    def declare(app, layers, engine):
        """Each engine makes layers of its own: a daemon that has those of another would not unpack them."""
        lines = [" ".join(map(str, [*layer[:-1], layer[-1] + engine])) for layer in layers]
        (app / "layers.txt").write_text("".join(line + "\n" for line in lines))

    def build(self, engine, name, app):
        publish = engine in ("embedded", "zstd", "publish")
        image = f"{self.registry.host}/{name}-{engine}:latest" if publish else f"{name}-{engine}:latest"
        if engine in ("embedded", "zstd", "loaded"):
            command = [self.program, "image", "build", str(app), "--engine", "embedded", "--builder", self.builder, "--tag", image]
            env = {"DOCKER_HOST": part("DOCKER"), "PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_CACHE_HOME": str(self.cache(engine))}
        else:
            command = [part("PACK"), "build", image, "--path", str(app), "--builder", self.builder, "--trust-builder",
                       "--pull-policy", "if-not-present", "--network", "host", "--docker-host", part("DOCKER"), "--no-color"]  # fmt: skip
            env = self.pack_env()
        command += ["--publish"] if publish else []
        command += ["--compression", "zstd"] if engine == "zstd" else []
        return measured(command, env, self.log, self.registry, self.home)

    def cache(self, engine):
        return self.home / f".cache-{engine}"

    def forget(self, name):
        for engine in ENGINES:
            self.registry.forget(f"{name}-{engine}")
        self.registry.sweep()
        for volume in docker("volume", "ls", "-q").split():
            if name in volume:
                docker("volume", "rm", "-f", volume)
        images = docker("image", "ls", "-q", "--filter", f"reference={name}-*").split()
        if images:
            docker("image", "rm", "-f", *sorted(set(images)))
        # The daemon, one of the tests' own, would know the layers of images that lost their name.
        docker("image", "prune", "-f")
        for engine in ("zstd", *OURS.values()):
            for kept in ("layers", "handed", "docker"):
                shutil.rmtree(self.cache(engine) / "packhorse" / kept, ignore_errors=True)

    def round(self, turn, engines):
        """All scenarios with each engine, the order of engines turned by one each time."""
        name = f"bench{secrets.token_hex(4)}"
        found = {}
        app = self.app(name, LAYERS)
        layers = LAYERS
        try:
            for scenario in SCENARIOS:
                if scenario == "one file":
                    (app / "package-3/module_3.py").write_text(f"# changed in round {turn}\n")
                if scenario == "dependency":
                    layers = [(n, k, m, f, "2" if n in ("dependencies", "installer") else v) for n, k, m, f, v in LAYERS]
                for engine in engines[turn % len(engines):] + engines[: turn % len(engines)]:
                    self.declare(app, layers, engine)
                    found[scenario, engine] = self.build(engine, name, app)
        finally:
            self.forget(name)
        return found

    def large(self, turn, engines, megabytes, layers, files):
        """A cold build of a large set of layers."""
        name = f"bench{secrets.token_hex(4)}"
        sizes = [(f"large-{n}", "launch", megabytes // layers, files // layers, "1") for n in range(layers)]
        app = self.app(name, sizes)
        try:
            order = engines[turn % len(engines):] + engines[: turn % len(engines)]
            found = {}
            for engine in order:
                self.declare(app, sizes, engine)
                found[engine] = self.build(engine, name, app)
            return found
        finally:
            self.forget(name)


def median(runs, what):
    return statistics.median(run[what] for run in runs)


def table(title, runs_of):
    """Prints medians, one line per engine, and how many times longer than ours the rest of `pack` took, to the same place."""
    print(f"\n{title}")
    print(f"{'':10} {'wall':>8} {'rest':>8} {'export':>8} {'cpu':>8} {'disk MB':>8} {'sent MB':>8} {'peak MB':>8}  rest/ours")
    ratios = {}
    for engine, runs in runs_of.items():
        m = lambda what: median(runs, what)
        ours = runs_of.get(OURS.get(engine))
        ratios[engine] = m("rest") / median(ours, "rest") if ours else None
        ratio = f"{ratios[engine]:.1f}" if ours else ""
        if engine == "publish" and "zstd" in runs_of:
            ratio += f", with zstd {m('rest') / median(runs_of['zstd'], 'rest'):.1f}"
        print(
            f"{engine:10} {m('wall'):8.2f} {m('rest'):8.2f} {m('exporting'):8.2f} {m('cpu'):8.2f} {m('disk') / 1e6:8.1f} "
            f"{m('sent') / 1e6:8.1f} {m('memory') / 1e6:8.0f}  {ratio}"
        )
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds of the four scenarios (default: %(default)s)")
    parser.add_argument("--large", type=int, default=3, help="rounds of 2 GB (default: %(default)s)")
    parser.add_argument("--curves", action="store_true", help="also sizes and numbers of files, one round each")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which to compare (default: %(default)s)")
    parser.add_argument("program", help="the optimised program")
    arguments = parser.parse_args()
    engines = tuple(arguments.engines.split(","))
    missed = []
    with tempfile.TemporaryDirectory(prefix="packhorse-bench-") as folder:
        registry = Registry()
        try:
            bench = Bench(arguments.program, folder, registry)
            # The first build of all fetches the builder.
            bench.large(0, tuple(e for e in engines if e not in OURS) or engines, 2, 1, 2)
            rounds = []
            for turn in range(arguments.runs):
                rounds.append(bench.round(turn, engines))
                told = "; ".join(f"{s} " + " / ".join(f"{rounds[-1][s, e]['rest']:.2f}" for e in engines) for s in SCENARIOS)
                print(f"{turn + 1:2} rest of {' / '.join(engines)}: {told}; load {os.getloadavg()[0]:.1f}", flush=True)
            for scenario in SCENARIOS if rounds else ():
                ratios = table(f"{scenario}, medians of {len(rounds)}", {e: [r[scenario, e] for r in rounds] for e in engines})
                missed += check(scenario, ratios)
            large = [bench.large(turn, engines, 2000, 4, 20000) for turn in range(arguments.large)]
            if large:
                # Detect and build are apart, so this is export and push but for some tenths of a second.
                missed += check("2 GB", table(f"2 GB in 4 layers of 5,000 files, cold, medians of {len(large)}", {e: [r[e] for r in large] for e in engines}))
            if arguments.curves:
                for megabytes, files in [(10, 1000), (100, 1000), (500, 1000), (100, 100), (100, 10000), (100, 50000)]:
                    found = bench.large(0, engines, megabytes, 1, files)
                    table(f"one layer, {megabytes} MB, {files} files, cold", {e: [found[e]] for e in engines})
        finally:
            registry.close()
            for name in ("run", "builder"):
                subprocess.run([part("DOCKER_CLI"), "image", "rm", "-f", f"{registry.host}/bench/{name}:1"], capture_output=True, check=False)
    if missed:
        print("\nMissed: " + "; ".join(missed))
        sys.exit(1)


def check(scenario, ratios):
    """The goals are about `pack build --publish`; the daemon's ratio is told beside it."""
    goal, ratio = GOALS.get(scenario), ratios.get("publish")
    return [f"{scenario}: {ratio:.1f} times, and not {goal}"] if goal and ratio and ratio < goal else []


if __name__ == "__main__":
    # Stopped from outside, it still takes away what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Failed as error:
        sys.exit(f"error: {error}")
