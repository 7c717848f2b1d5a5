"""Reports in one message what Slurm refuses, and the end of a job that it has killed."""

from typing import Any

WAY_OUT = (
    "hydra.launcher.KEY=VALUE sets what a job asks for; called again, the same command repeats "
    "what is not complete; hydra/launcher=joblib runs a sweep on one machine"
)


def tell_in_one_message() -> None:
    """Ends the command with what submitit says, not with a stack trace.

    Hydra has no hook for a launcher that fails, so its method is replaced.
    """
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    if "launch" in vars(SlurmLauncher):  # it is: the original is inherited
        return
    launch = SlurmLauncher.launch

    def launch_or_exit(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return launch(self, *args, **kwargs)
        except RuntimeError as error:  # all of submitit's are
            raise SystemExit(f"{str(error).strip()}\n{WAY_OUT}") from error

    SlurmLauncher.launch = launch_or_exit
