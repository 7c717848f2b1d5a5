"""A Slurm of one node on loopback, for a test: everything it starts ends with it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from getpass import getuser
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

PROGRAMS = (
    *("munged", "slurmctld", "slurmd"),
    *("sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue"),
)
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
READY = 60  # seconds for the node to be ready

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=5
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that this needs and that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextmanager
def one_node(more: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Starts a Slurm of one node; gives the environment for its commands, which has `more` in it.

    Raises:
        TimeoutError: if the node does not get ready, with the logs.
    """
    with TemporaryDirectory(prefix="slurm-") as name:  # short: a socket's path has 107 letters
        folder = Path(name)
        environment = {
            **os.environ,
            **more,
            "PATH": PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        _write_files(folder)
        try:
            with ExitStack() as stack:
                for command, is_ready in _daemons(folder, environment):
                    stack.enter_context(_running(command, folder, environment))
                    _wait(is_ready, folder)
                try:
                    yield environment
                finally:
                    call(environment, "scancel", "--me", "--full")
        finally:
            _end_processes(environment["SLURM_CONF"])


def _write_files(folder: Path) -> None:
    folder.chmod(0o755)  # munged wants to know that nobody else can write there
    conf = CONF.format(
        folder=folder,
        host=socket.gethostname().partition(".")[0],
        user=getuser(),
        cpus=os.cpu_count(),
        memory=psutil.virtual_memory().total // 2**20 // 2,
        controller_port=_free_port(),
        node_port=_free_port(),
    )
    (folder / "slurm.conf").write_text(conf)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()


def _daemons(
    folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[list[str], Callable[[], bool]]]:
    """Each command, and what is true once it is ready."""
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
    files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
    options = [f"--{option}={folder / file}" for option, file in files.items()]
    yield ["munged", "--foreground", "--force", *options], (folder / "munge.socket").exists
    yield ["slurmctld", "-D", "-i"], lambda: bool(call(environment, "scontrol", "ping"))
    sinfo = ("sinfo", "--noheader", "-o", "%t")
    yield ["slurmd", "-D"], lambda: call(environment, *sinfo).strip() == "idle"


def call(environment: Mapping[str, str], *command: str) -> str:
    """What a command of Slurm prints; empty if it fails."""
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return result.stdout


@contextmanager
def _running(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def processes(conf: str) -> list[psutil.Process]:
    """Those that know this slurm.conf: the daemons and the jobs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("SLURM_CONF") == conf:
                found.append(process)
    return found


def _end_processes(conf: str) -> None:
    """Ends what is left of the jobs."""
    for process in (left := processes(conf)):
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=20)


def _wait(ready: Callable[[], bool], folder: Path) -> None:
    until = time.monotonic() + READY
    while not ready():
        if time.monotonic() > until:
            logs = [*folder.glob("*.out"), *folder.glob("*.log")]
            raise TimeoutError("\n".join(f"{log.name}:\n{log.read_text()}" for log in logs))
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
