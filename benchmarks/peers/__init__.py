"""The peers: the same network and step, ours and as users of other frameworks write it."""

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Peer:
    """One way to train the network.

    Attributes:
        title: what tables call it.
        loop: the class of its `Loop`, "module:class".
        needs: modules that it needs and this project does not bring along.
    """

    title: str
    loop: str
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The modules that it needs and that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


PEERS = {
    "ours": Peer("ours", "benchmarks.peers.torch_loop:Ours"),
    "pytorch": Peer("PyTorch", "benchmarks.peers.torch_loop:PyTorch"),
    "channels_last": Peer("PyTorch, channels_last", "benchmarks.peers.torch_loop:ChannelsLast"),
    "our_run": Peer("ours, a whole run", "benchmarks.peers.lightning_loop:OurRun"),
    "lightning": Peer("Lightning, DataLoader", "benchmarks.peers.lightning_loop:Lightning"),
    "keras": Peer("Keras, TensorFlow", "benchmarks.peers.keras_loop:Keras", ("tensorflow",)),
    "flax": Peer("Flax, JAX", "benchmarks.peers.flax_loop:Flax", ("jax", "flax", "optax")),
}


def installed(names: list[str]) -> list[str]:
    """Those of the peers that can run; says what the others lack."""
    for name in names:
        if missing := PEERS[name].missing():
            print(
                f"skipped {PEERS[name].title}: {', '.join(missing)} not installed; "
                "pip install -e '.[peers]'"
            )
    return [name for name in names if not PEERS[name].missing()]
